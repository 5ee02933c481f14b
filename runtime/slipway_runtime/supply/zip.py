"""Read a zip archive: regular files only, nothing believed.

The standard library's reader takes the whole directory of an archive into memory, and follows what
its entries say. Here the directory is measured first, and each entry is looked at before a byte of
it is unpacked.

Source: PKWARE, "APPNOTE.TXT, .ZIP File Format Specification", 4.3 and 4.4.
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from slipway_runtime.errors import InvalidModel, Unsupported, shown

_CHUNK: Final = 2**20
_END: Final = b"PK\x05\x06"
_END64_PLACE: Final = b"PK\x06\x07"
_END64: Final = b"PK\x06\x06"
_MAX_COMMENT_BYTES: Final = 65535
_MAX_ENTRY_BYTES: Final = 256
"""Of the directory, on average: 46 bytes and a name."""
_LOCAL_HEADER_BYTES: Final = 30
_ENCRYPTED: Final = 0x1
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})


@dataclass(frozen=True, slots=True)
class Member:
    """A file of the archive."""

    name: str
    size_bytes: int
    entry: zipfile.ZipInfo


class ZipReader:
    """Members of an archive."""

    def __init__(self, file: BinaryIO, max_members: int) -> None:
        """Read the directory.

        Raises:
            InvalidModel: it is no zip archive, or is cut off.
            Unsupported: it has too many members.
        """
        _check_directory(file, max_members)
        try:
            self._archive: Final = zipfile.ZipFile(file)
        except NotImplementedError as err:  # zipfile's word for a version it does not know
            raise Unsupported(
                f"model.uri: the archive is a {err}, expected one that zip 6.3 can read"
            ) from err
        except (zipfile.BadZipFile, OSError, ValueError, struct.error) as err:
            raise _broken() from err

    def members(self) -> Iterator[Member]:
        """Yield the regular files, once all entries have been looked at.

        Raises:
            Unsupported: one is a link, encrypted, packed in another way, or lies upon another.
        """
        entries = [entry for entry in self._archive.infolist() if not entry.is_dir()]
        for entry in entries:
            _check(entry)
        _check_apart(entries)
        # Not `filename`: that is cut at a zero, and has other slashes.
        yield from (Member(entry.orig_filename, entry.file_size, entry) for entry in entries)

    def chunks(self, member: Member) -> Iterator[bytes]:
        """Yield the content of a member.

        Raises:
            InvalidModel: it is broken, or not what the directory says.
        """
        try:
            with self._archive.open(member.entry) as content:
                while chunk := content.read(_CHUNK):
                    yield chunk
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as err:
            raise _broken() from err


def _check_directory(file: BinaryIO, max_members: int) -> None:
    """Measure the directory before anybody reads it."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _MAX_COMMENT_BYTES - 22))
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or at + 22 > len(tail):
        raise _broken()
    count, directory_bytes = struct.unpack("<HL", tail[at + 10 : at + 16])
    if at >= 20 and tail[at - 20 : at - 16] == _END64_PLACE:
        count, directory_bytes = _sizes64(file, tail[at - 20 : at], size)
    file.seek(0)
    if count > max_members or directory_bytes > max_members * _MAX_ENTRY_BYTES:
        raise Unsupported(
            f"model.uri: the archive has {count} members, expected at most {max_members}; "
            "pack the model alone, or raise SLIPWAY_RUNTIME_MAX_MODEL_FILES"
        )


def _sizes64(file: BinaryIO, locator: bytes, size: int) -> tuple[int, int]:
    (place,) = struct.unpack("<Q", locator[8:16])
    if place + 56 > size:
        raise _broken()
    file.seek(place)
    record = file.read(56)
    if not record.startswith(_END64):
        raise _broken()
    count, directory_bytes = struct.unpack("<QQ", record[32:48])
    return count, directory_bytes


def _check(entry: zipfile.ZipInfo) -> None:
    name, mode = shown(entry.orig_filename), entry.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise Unsupported(
            f"model.uri: {name} of the archive is a link or a device, expected regular files; "
            "pack the model without `zip --symlinks`"
        )
    if entry.flag_bits & _ENCRYPTED:
        raise Unsupported(f"model.uri: {name} of the archive is encrypted, expected plain files")
    if entry.compress_type not in _METHODS:
        raise Unsupported(
            f"model.uri: {name} of the archive is packed by method {entry.compress_type}, "
            "expected deflate or none"
        )


def _check_apart(entries: list[zipfile.ZipInfo]) -> None:
    """Refuse entries that share bytes: so a small archive can hold the same gigabytes often."""
    end = 0
    for entry in sorted(entries, key=lambda found: found.header_offset):
        if entry.header_offset < end:
            raise Unsupported(
                f"model.uri: {shown(entry.orig_filename)} of the archive lies upon another member, "
                "expected each to have its own bytes"
            )
        end = entry.header_offset + _LOCAL_HEADER_BYTES + entry.compress_size


def _broken() -> InvalidModel:
    return InvalidModel("model.uri: the archive is broken, expected a zip archive")
