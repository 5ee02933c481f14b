"""Read a tar archive as a stream: regular files only, nothing believed, nothing held.

The standard library's reader follows links, makes devices, and takes a name of any length into
memory. This one knows what a model may be packed with, and refuses the rest by name.

Source: POSIX.1-2017, "pax Interchange Format", "ustar Interchange Format"; GNU tar, "Basic Tar
Format".
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from slipway_runtime.errors import InvalidModel, Unsupported, shown

_BLOCK: Final = 512
_CHUNK: Final = 2**20
_MAX_EXTENSION_BYTES: Final = 64 * 1024
_FILES: Final = frozenset({tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE})
_OTHERS: Final = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


class Readable(Protocol):
    """Bytes that come in order."""

    def read(self, size: int, /) -> bytes:
        """Give at most so many bytes; none at the end."""


@dataclass(slots=True)
class Member:
    """A file of the archive; its content has to be read before the next is asked for."""

    name: str
    size_bytes: int


class TarReader:
    """Members of an archive, in order."""

    def __init__(self, stream: Readable) -> None:
        self._stream: Final = stream
        self._left_bytes = 0
        self._padding_bytes = 0

    def members(self, max_members: int) -> Iterator[Member]:
        """Yield the regular files.

        Raises:
            InvalidModel: it is no tar archive, or is cut off.
            Unsupported: it has members that a model has not, or too many.
        """
        name: str | None = None
        size: int | None = None
        for _ in range(max_members):
            header = self._header()
            if header is None:
                return
            if header.type == tarfile.GNUTYPE_LONGNAME:
                name = _text(self._extension(header).partition(b"\0")[0])
            elif header.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
                name, size = self._pax(header, name)
            elif header.type in (tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE):
                self._extension(header)
            else:
                yield from self._member(header, name, size)
                name = size = None
        raise Unsupported(
            f"model.uri: the archive has more than {max_members} members, expected fewer; "
            "pack the model alone, or raise SLIPWAY_RUNTIME_MAX_MODEL_FILES"
        )

    def chunks(self) -> Iterator[bytes]:
        """Yield the content of the member that came last."""
        while self._left_bytes:
            chunk = self._exactly(min(self._left_bytes, _CHUNK))
            self._left_bytes -= len(chunk)
            yield chunk

    def _member(
        self, header: tarfile.TarInfo, name: str | None, size: int | None
    ) -> Iterator[Member]:
        shown_name = name if name is not None else header.name
        if header.type == tarfile.DIRTYPE:
            return
        if header.type not in _FILES:
            kind = _OTHERS.get(header.type, f"of type {header.type!r}")
            raise Unsupported(
                f"model.uri: {shown(shown_name)} of the archive is {kind}, expected regular files; "
                "pack the model with `tar --dereference --hard-dereference`"
            )
        size_bytes = header.size if size is None else size
        self._begin(size_bytes)
        yield Member(shown_name, size_bytes)
        for _ in self.chunks():
            pass
        self._end()

    def _begin(self, size_bytes: int) -> None:
        if size_bytes < 0:
            raise InvalidModel("model.uri: a member of the archive has a negative size")
        self._left_bytes = size_bytes
        self._padding_bytes = -size_bytes % _BLOCK

    def _end(self) -> None:
        self._exactly(self._padding_bytes)
        self._padding_bytes = 0

    def _header(self) -> tarfile.TarInfo | None:
        """The next header; None at the end, which is a block of zeros."""
        raw = self._exactly(_BLOCK)
        if not any(raw):
            return None
        try:
            return tarfile.TarInfo.frombuf(raw, "utf-8", "surrogateescape")
        except (tarfile.HeaderError, ValueError) as err:
            raise InvalidModel(
                "model.uri: the archive has a broken header, expected a tar archive"
            ) from err

    def _extension(self, header: tarfile.TarInfo) -> bytes:
        """What a member says of the next one."""
        if header.size > _MAX_EXTENSION_BYTES:
            raise Unsupported(
                f"model.uri: the archive spends {header.size} bytes on the name of a file, "
                f"expected at most {_MAX_EXTENSION_BYTES}"
            )
        self._begin(header.size)
        raw = b"".join(self.chunks())
        self._end()
        return raw

    def _pax(self, header: tarfile.TarInfo, name: str | None) -> tuple[str | None, int | None]:
        records = _records(self._extension(header))
        if any(key.startswith("GNU.sparse") for key in records):
            raise Unsupported(
                "model.uri: the archive has a sparse file, expected regular ones; "
                "pack the model without `tar --sparse`"
            )
        size = records.get("size")
        if size is not None and not (size.isascii() and size.isdecimal() and len(size) < 20):
            raise InvalidModel(f"model.uri: the archive gives a file the size {shown(size)}")
        return records.get("path", name), None if size is None else int(size)

    def _exactly(self, size: int) -> bytes:
        raw = bytearray()
        while len(raw) < size:
            chunk = self._stream.read(size - len(raw))
            if not chunk:
                raise InvalidModel("model.uri: the archive is cut off in the middle")
            raw += chunk
        return bytes(raw)


def _text(raw: bytes) -> str:
    """What is no UTF-8 stays recognisable: as a name it is refused."""
    return raw.decode("utf-8", "surrogateescape")


def _records(raw: bytes) -> dict[str, str]:
    """Read `LENGTH KEY=VALUE` lines."""
    found: dict[str, str] = {}
    while raw.strip(b"\0"):
        head, _, _ = raw.partition(b" ")
        if not head.isdigit() or len(head) > 6 or not len(head) + 2 < int(head) <= len(raw):
            raise InvalidModel("model.uri: the archive has a broken header, expected pax records")
        line, raw = raw[len(head) + 1 : int(head) - 1], raw[int(head) :]
        key, _, value = _text(line).partition("=")
        found[key] = value
    return found
