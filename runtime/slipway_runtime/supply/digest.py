"""Write a model to disk and hash it on the way, so that no byte is read twice and none is kept.

The file has a temporary name until it is whole and checked: a reader never sees half a model, and
a process that starts again finds either a model or nothing. After a machine's crash there may be
less than that under the name; what is found is hashed before it is used, so nobody waits here until
gigabytes are on the disk.
"""

from __future__ import annotations

import errno
import hashlib
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from slipway_runtime.errors import (
    DigestMismatch,
    DiskFull,
    SupplyError,
    Unavailable,
    Unsupported,
    shown,
)
from slipway_runtime.units import readable_bytes

_CHUNK_BYTES: Final = 2**20
_HEAD_BYTES: Final = 512


class ModelWriter:
    """One model on its way to `folder`; as a context manager it removes what is unfinished."""

    def __init__(self, folder: Path, *, max_bytes: int, before_bytes: int = 0) -> None:
        """Begin a file; `before_bytes` is what other files of the same model have already."""
        self._folder: Final = folder
        self._partial: Final = folder / ".model.partial"
        self._max_bytes: Final = max_bytes
        self._before_bytes: Final = before_bytes
        self._file: BinaryIO | None = None
        self.restart()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        err: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()
        self._partial.unlink(missing_ok=True)

    @property
    def digest(self) -> str:
        """`sha256:…` of what has been written so far."""
        return f"sha256:{self._hash.hexdigest()}"

    def restart(self) -> None:
        """Forget what has been written: the source has other bytes now."""
        self._close()
        self._hash = hashlib.sha256()
        self.size_bytes = 0
        self.head = b""
        """The first bytes, from which a wrong file can be told."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = self._partial.open("wb")
        except OSError as err:
            raise disk_problem(err, self._folder) from err

    def expect(self, size_bytes: int) -> None:
        """Refuse a size that was announced before its bytes come.

        Raises:
            Unsupported: larger than allowed.
            DiskFull: larger than what is free.
        """
        check_size(self._before_bytes + size_bytes, self._max_bytes)
        check_room(self._folder, size_bytes - self.size_bytes)

    def write(self, chunk: bytes) -> None:
        """Append bytes.

        Raises:
            Unsupported: the model has become larger than allowed.
            DiskFull: the disk is full.
        """
        check_size(self._before_bytes + self.size_bytes + len(chunk), self._max_bytes)
        if len(self.head) < _HEAD_BYTES:
            self.head += chunk[: _HEAD_BYTES - len(self.head)]
        try:
            self._file.write(chunk)  # type: ignore[union-attr]  # open between restart and commit
        except OSError as err:
            raise disk_problem(err, self._folder) from err
        self._hash.update(chunk)
        self.size_bytes += len(chunk)

    def commit(self, target: Path) -> None:
        """Give the file its name, once every byte of it is written."""
        try:
            self._file.flush()  # type: ignore[union-attr]  # open between restart and commit
            self._close()
            self._partial.replace(target)
        except OSError as err:
            raise disk_problem(err, self._folder) from err

    def _close(self) -> None:
        if self._file:
            # Closing flushes, which fails again on a full disk; commit has flushed before.
            with suppress(OSError):
                self._file.close()
            self._file = None


def check_digest(field: str, found: str, expected: str | None, head: bytes = b"") -> None:
    """Compare what was fetched with what was promised; None promises nothing.

    Raises:
        DigestMismatch: they differ; the text says so when the file is a web page.
    """
    if expected is not None and found != expected:
        guess = looks_like(head)
        hint = f"it looks like {guess}" if guess else "give the new digest, or fix the source"
        raise DigestMismatch(f"{field}: got {found}, expected {expected}; {hint}")


def looks_like(head: bytes) -> str | None:
    """Recognise what is often fetched in place of a model; None for anything else.

    >>> looks_like(b"<!DOCTYPE html><title>Sign in")
    'an HTML or XML document'
    """
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    known = {
        b"version https://git-lfs": "a Git LFS pointer, not the file behind it",
        b"<": "an HTML or XML document",
        b"{": "a JSON document",
        b"\x89HDF": "an HDF5 file (Keras); convert it to ONNX",
        b"PK\x03\x04": "a ZIP archive (PyTorch, Keras, NumPy); convert it to ONNX",
        b"\x80": "a Python pickle; convert it to ONNX",
        b"\x1f\x8b": "a gzip archive",
    }
    return next((name for prefix, name in known.items() if start.startswith(prefix)), None)


def file_digest(path: Path) -> str:
    """Hash a file that is already there."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


def copy_file(source: Path, writer: ModelWriter) -> None:
    """Write a local file's bytes, a chunk at a time."""
    with source.open("rb") as file:
        copy_stream(file, writer)


def copy_stream(file: BinaryIO, writer: ModelWriter) -> None:
    """Write an open file's bytes, a chunk at a time."""
    while chunk := file.read(_CHUNK_BYTES):
        writer.write(chunk)


def check_size(size_bytes: int, max_bytes: int) -> None:
    """Hold a model to the limit of the settings.

    Raises:
        Unsupported: larger than allowed.
    """
    if size_bytes > max_bytes:
        raise Unsupported(
            f"model.uri: the model has {readable_bytes(size_bytes)} or more, expected at most "
            f"{readable_bytes(max_bytes)}; raise SLIPWAY_RUNTIME_MAX_MODEL_BYTES"
        )


def check_room(folder: Path, wanted_bytes: int) -> None:
    """Look whether so many more bytes fit, before any of them comes.

    Raises:
        DiskFull: they do not.
    """
    found = os.statvfs(folder)
    free_bytes = found.f_bavail * found.f_frsize
    if wanted_bytes > free_bytes:
        raise DiskFull(
            f"disk: {readable_bytes(free_bytes)} are free in {shown(str(folder))}, the model needs "
            f"{readable_bytes(wanted_bytes)} more; give the node or the volume more room"
        )


def disk_problem(err: OSError, folder: Path) -> SupplyError:
    """Say what a failed write means."""
    if err.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(
            f"disk: no space left in {shown(str(folder))} for the model; "
            "give the node or the volume more room"
        )
    return Unavailable(
        f"disk: {shown(str(folder))} cannot be written ({os.strerror(err.errno or 0)})"
    )
