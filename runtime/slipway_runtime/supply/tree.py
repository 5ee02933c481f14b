r"""A model of several files on its way to disk: safe names, one digest, whole or not at all.

Lives here: which names a folder's files may have, how they are hashed together, and writing them.
Stays out: where they come from (`folders.py`, `archive.py`), and which is the model (`choice.py`).

The digest of a folder is that of the text which `sha256sum` prints for its files, in the order of
their names' bytes; a file or folder whose name begins with a dot is no part of it:

    find * -type f | grep -v '/\.' | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum
"""

from __future__ import annotations

import hashlib
import os
import shutil
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from slipway_runtime.errors import Unsupported, shown
from slipway_runtime.supply.digest import (
    ModelWriter,
    check_room,
    check_size,
    disk_problem,
    file_digest,
)

FOLDER: Final = "folder"
"""Name of the folder below the one for models, once it is whole."""
_PARTIAL: Final = ".folder.partial"
_MAX_NAME_BYTES: Final = 1024
_MAX_PART_BYTES: Final = 255
_MAX_DEPTH: Final = 32


def published_folder(model: Path, into: Path) -> Path:
    """The folder that was published with a model in it; that of the model where it was a file."""
    folder = into / FOLDER
    return folder if model.is_relative_to(folder) else model.parent


class Tree:
    """Files on their way into `into/folder`; as a context manager it removes what is unfinished."""

    def __init__(self, into: Path, *, max_bytes: int, max_files: int) -> None:
        self._target: Final = into / FOLDER
        self._partial: Final = into / _PARTIAL
        self._max_bytes: Final = max_bytes
        self.max_files: Final = max_files
        self._names: Final = Names()
        self._digests: Final[dict[str, str]] = {}
        self.size_bytes = 0

    def __enter__(self) -> Self:
        shutil.rmtree(self._partial, ignore_errors=True)
        try:
            self._partial.mkdir(parents=True)
        except OSError as err:
            raise disk_problem(err, self._partial.parent) from err
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        err: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self._partial, ignore_errors=True)

    @property
    def digest(self) -> str:
        """`sha256:…` of all files that were written."""
        return digest_of(self._digests)

    @property
    def names(self) -> list[str]:
        """The files that were written."""
        return sorted(self._digests)

    def expect(self, size_bytes: int) -> None:
        """Refuse a size that was announced for all files, before the first comes.

        Raises:
            Unsupported: larger than allowed.
            DiskFull: larger than what is free.
        """
        check_size(size_bytes, self._max_bytes)
        check_room(self._partial, size_bytes)

    @contextmanager
    def file(self, name: str) -> Iterator[ModelWriter]:
        """Write one file; when the block ends, it is there.

        Raises:
            Unsupported: its name is not safe, is taken, or is one too many.
        """
        if len(self._digests) >= self.max_files:
            raise too_many(self.max_files)
        self._names.add(name)
        path = self._partial / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise disk_problem(err, self._partial) from err
        writing = ModelWriter(
            self._partial, max_bytes=self._max_bytes, before_bytes=self.size_bytes
        )
        with writing as writer:
            yield writer
            writer.commit(path)
        self._digests[name] = writer.digest
        self.size_bytes += writer.size_bytes

    @contextmanager
    def aside(self) -> Iterator[tuple[ModelWriter, Path]]:
        """Write a file that is no part of the folder: an archive, and where it may lie meanwhile.

        While it is unpacked, the disk holds both.
        """
        path = self._partial / ".archive"
        with ModelWriter(self._partial, max_bytes=self._max_bytes) as writer:
            try:
                yield writer, path
            finally:
                path.unlink(missing_ok=True)

    def commit(self) -> None:
        """Give the folder its name, once every file of it is there."""
        try:
            shutil.rmtree(self._target, ignore_errors=True)
            self._partial.replace(self._target)
        except OSError as err:
            raise disk_problem(err, self._target.parent) from err


class Names:
    """Names of one folder, each once, also where letters of either case are the same."""

    def __init__(self) -> None:
        self._files: Final[dict[str, str]] = {}
        self._folders: Final[dict[str, str]] = {}

    def add(self, name: str) -> None:
        """Take a name.

        Raises:
            Unsupported: it is not safe, or another one stands in its way.
        """
        check_name(name)
        folder = name.rpartition("/")[0]
        while folder:
            self._take(folder, self._folders, self._files, once=False)
            folder = folder.rpartition("/")[0]
        self._take(name, self._files, self._folders, once=True)

    def _take(
        self, name: str, own: dict[str, str], others: Mapping[str, str], *, once: bool
    ) -> None:
        folded = unicodedata.normalize("NFC", name).casefold()
        found = others.get(folded) or own.get(folded)
        if found is not None and (once or found != name or folded in others):
            what = "twice" if found == name else f"and {shown(name)}"
            raise Unsupported(
                f"model.uri: the folder has {shown(found)} {what}, expected names that differ in "
                "more than upper and lower case; rename one of them"
            )
        own[folded] = name


def check_name(name: str) -> None:
    """Hold a file's name to what is safe on every disk, and in the text that is hashed.

    >>> check_name("onnx/model.onnx")

    Raises:
        Unsupported: it leads out of the folder, is too long, or has characters that are not shown.
    """
    parts = name.split("/")
    is_safe = (
        not {"", ".", ".."} & set(parts)
        and "\\" not in name
        and all(c.isprintable() for c in name)
        and _fits(name, parts)
    )
    if not is_safe:
        raise Unsupported(
            f"model.uri: a file is called {shown(name)}, expected a path inside the folder, "
            f"without '..', backslashes and control characters, of at most {_MAX_NAME_BYTES} "
            f"bytes, {_MAX_PART_BYTES} between slashes"
        )


def _fits(name: str, parts: list[str]) -> bool:
    try:
        return (
            len(name.encode()) <= _MAX_NAME_BYTES
            and all(len(part.encode()) <= _MAX_PART_BYTES for part in parts)
            and len(parts) <= _MAX_DEPTH
        )
    except UnicodeEncodeError:  # half of a character
        return False


def is_hidden(name: str) -> bool:
    """Whether a file is no part of a model: it, or a folder above it, begins with a dot.

    >>> is_hidden(".git/config"), is_hidden("a/b.onnx"), is_hidden("../secret")
    (True, False, False)
    """
    return any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))


def digest_of(digests: Mapping[str, str]) -> str:
    """Hash the files of a folder together, given the digest of each."""
    text = hashlib.sha256()
    for name, digest in sorted(digests.items()):
        text.update(f"{digest.removeprefix('sha256:')}  {name}\n".encode())
    return f"sha256:{text.hexdigest()}"


def folder_digest(folder: Path) -> str:
    """Hash a folder that is already there, hidden files left out."""
    return digest_of({name: file_digest(folder / name) for name in walked(folder)})


def walked(folder: Path) -> Iterator[str]:
    """Names of the files below a folder of ours, in no order, hidden ones left out."""
    for here, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith("."):
                yield (Path(here) / name).relative_to(folder).as_posix()


def too_many(max_files: int) -> Unsupported:
    """Say that a folder has more files than it may."""
    return Unsupported(
        f"model.uri: the folder has more than {max_files} files, expected fewer; name the folder "
        "of the model alone, or raise SLIPWAY_RUNTIME_MAX_MODEL_FILES"
    )
