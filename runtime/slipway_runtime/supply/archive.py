"""Unpack an archive that was fetched: tar, tar with gzip, and zip.

Lives here: what the three have in common, the limits. A file is written as it is read, and counted
before it is: an archive that promises little and gives much ends where it exceeds its limit.
Stays out: the formats (`tar.py`, `zip.py`), and which names are safe (`tree.py`).
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Final

from slipway_runtime.errors import InvalidModel, Unsupported, shown
from slipway_runtime.supply.tar import Readable, TarReader
from slipway_runtime.supply.tree import Tree, is_hidden
from slipway_runtime.supply.zip import ZipReader
from slipway_runtime.units import readable_bytes

_GZIP: Final = b"\x1f\x8b"
_ZIP: Final = b"PK\x03\x04"
_MAX_RATIO: Final = 200
"""Weights shrink to a half or a third; all zeros shrink to a thousandth."""
_FREE_BYTES: Final = 64 * 2**20
"""So much may come of the smallest archive: tests and toys are full of zeros."""
_HEAD_BYTES: Final = 4
_WHITEOUT: Final = ".wh."
_MEMBERS_PER_FILE: Final = 4
"""Folders are members, too, and so is what long names are written with."""


def unpack(archive: Path, tree: Tree) -> None:
    """Write the files of an archive into a folder.

    Raises:
        InvalidModel: it is none, or is broken.
        Unsupported: it has links, devices, unsafe names, or more than the limits allow.
    """
    packed_bytes = archive.stat().st_size
    with archive.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        file.seek(0)
        if head == _ZIP:
            unpack_zip(file, tree, packed_bytes)
        elif head.startswith(_GZIP):
            unpack_tar(gunzipped(file), tree, packed_bytes)
        else:
            unpack_tar(file, tree, packed_bytes)


def unpack_tar(stream: Readable, tree: Tree, packed_bytes: int) -> None:
    """Write the files of a tar archive; `unpack` says what may be raised."""
    reader, allowance = TarReader(stream), Allowance(packed_bytes)
    try:
        for member in reader.members(_MEMBERS_PER_FILE * tree.max_files):
            if name := _kept(member.name):
                _write(tree, name, member.size_bytes, reader.chunks(), allowance)
            else:
                allowance.take(member.size_bytes)
    except (OSError, EOFError, zlib.error) as err:
        raise InvalidModel("model.uri: the archive is broken, expected tar or tar.gz") from err


def unpack_zip(file: BinaryIO, tree: Tree, packed_bytes: int) -> None:
    """Write the files of a zip archive; `unpack` says what may be raised."""
    allowance = Allowance(packed_bytes)
    reader = ZipReader(file, _MEMBERS_PER_FILE * tree.max_files)
    for member in reader.members():
        if name := _kept(member.name):
            _write(tree, name, member.size_bytes, reader.chunks(member), allowance)


class Allowance:
    """How many bytes may still come of an archive."""

    def __init__(self, packed_bytes: int) -> None:
        self._packed_bytes: Final = packed_bytes
        self._left_bytes = max(_FREE_BYTES, _MAX_RATIO * packed_bytes)

    def take(self, size_bytes: int) -> None:
        """Use some of it up.

        Raises:
            Unsupported: it is used up.
        """
        self._left_bytes -= size_bytes
        if self._left_bytes < 0:
            raise Unsupported(
                f"model.uri: the archive has {readable_bytes(self._packed_bytes)} and unpacks to "
                f"more than {_MAX_RATIO} times that, expected less; publish the files unpacked"
            )


def gunzipped(file: BinaryIO) -> Readable:
    """Read what gzip has packed."""
    return gzip.GzipFile(fileobj=file, mode="rb")


def _kept(name: str) -> str:
    """Take the name as `tar -C FOLDER .` writes it; empty for what is no part of the model."""
    while name.startswith("./"):
        name = name[2:]
    if any(part.startswith(_WHITEOUT) for part in name.split("/")):
        raise Unsupported(
            f"model.uri: {shown(name)} takes a file of another layer away, expected files only; "
            "publish the model in one layer"
        )
    return "" if is_hidden(name) else name


def _write(
    tree: Tree, name: str, size_bytes: int, chunks: Iterable[bytes], allowance: Allowance
) -> None:
    with tree.file(name) as writer:
        writer.expect(size_bytes)
        for chunk in chunks:
            allowance.take(len(chunk))
            writer.write(chunk)
