"""Files that somebody changes while we run: a mounted Secret or ConfigMap, or a file of a laptop.

The kubelet changes all files of a volume at once, by pointing the link `..data` to another folder.
What is read is always of one such folder, never half of one and half of the next.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from slipway_runtime.errors import ConfigError, shown

MAX_FILES: Final = 1024
MAX_FILE_BYTES: Final = 256 * 1024
_CURRENT: Final = "..data"

Version = tuple[object, ...]
"""Differs when the content may."""


class Files(Protocol):
    """Where credentials are."""

    def version(self) -> Version:
        """Tell what is there now, cheaply.

        Raises:
            OSError: nothing can be told.
        """

    def read(self) -> Mapping[str, bytes]:
        """Read all of it, by name.

        Raises:
            ConfigError: it cannot be read, or is too much.
        """


class Folder:
    """A mounted volume, or a folder that somebody fills by hand."""

    def __init__(self, path: Path) -> None:
        self._path: Final = path

    def version(self) -> Version:
        """The folder that the kubelet points to; or names, sizes and times."""
        try:
            return (os.readlink(self._path / _CURRENT),)
        except FileNotFoundError:
            entries = sorted(os.scandir(self._path), key=lambda entry: entry.name)
            return tuple((entry.name, *_stamp(entry.stat())) for entry in entries[:MAX_FILES])

    def read(self) -> Mapping[str, bytes]:
        """Read every file of one version."""
        try:
            current = Path(os.path.realpath(self._path / _CURRENT))
            root = current if current.is_dir() else self._path
            names = sorted(e.name for e in os.scandir(root) if not e.name.startswith(".."))
        except OSError as err:
            raise _unreadable(self._path, err) from err
        if len(names) > MAX_FILES:
            raise ConfigError(
                f"authentication: got {len(names)} files, expected at most {MAX_FILES}"
            )
        return {name: _content(root / name) for name in names}


class OneFile:
    """A file of a laptop."""

    def __init__(self, path: Path) -> None:
        self._path: Final = path

    def version(self) -> Version:
        """Its size and times."""
        return _stamp(self._path.stat())

    def read(self) -> Mapping[str, bytes]:
        """Read it, under its name."""
        return {self._path.name: _content(self._path)}


def _stamp(found: os.stat_result) -> Version:
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as err:
        raise _unreadable(path, err) from err
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(
            f"authentication: {shown(path.name)} is larger than {MAX_FILE_BYTES} bytes"
        )
    return content


def _unreadable(path: Path, err: OSError) -> ConfigError:
    why = os.strerror(err.errno or 0)
    return ConfigError(f"authentication: {shown(str(path))} cannot be read ({why})")
