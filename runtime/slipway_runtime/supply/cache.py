"""Models that were fetched before, on a volume that pods and revisions share.

Lives here: finding an entry by its digest, adding one, and taking turns.
Stays out: what is done without a cache, which is the same but for the way to the store.

An entry is a file or a folder, named by the digest of what was fetched. It is believed no more than
a store: whoever takes it copies it to a place of its own and hashes it on the way. Writers write
under a name that nobody else has, and rename: an entry is there as a whole or not at all, whatever
is interrupted, and whoever else writes. The lock spares downloads and guards nothing.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, time
from typing import Final
from uuid import uuid4

from slipway_runtime.errors import SupplyError, Unsupported
from slipway_runtime.supply.digest import ModelWriter, check_room, copy_stream
from slipway_runtime.supply.tree import Tree, walked

log: Final = logging.getLogger(__name__)

_LOOK_EVERY_S: Final = 0.5
_NO_FILE: Final = frozenset({errno.ELOOP, errno.ENXIO})
"""What opening a link or a socket ends in."""
_LEFTOVER_S: Final = 86_400.0
"""Nobody writes that long; what is older was left by somebody who was interrupted."""


class Cache:
    """Entries by digest. What goes wrong with it is logged: a model is served without it, too."""

    def __init__(
        self, folder: Path, *, sleep: Callable[[float], None], wait_s: float = 900.0
    ) -> None:
        """Use a folder; `wait_s` is how long somebody else may take to fetch."""
        self._folder: Final = folder
        self._sleep: Final = sleep
        self._wait_s: Final = wait_s

    @contextmanager
    def turn(self, digest: str | None) -> Iterator[None]:
        """Let one fetch what many want; the others find it when their turn comes."""
        lock = None if digest is None else self._opened_lock(digest)
        if digest is None or lock is None:
            yield
            return
        try:
            self._wait(lock, digest)
            yield
        finally:
            os.close(lock)

    def copied(self, digest: str, writer: ModelWriter) -> bool:
        """Write an entry that is a file; False where there is none, or another than it should."""
        entry = self._entry(digest)
        found = self._taken(
            entry, digest, lambda: writer.digest if self._copied(entry, writer) else None
        )
        if not found:
            writer.restart()
        return found

    def copied_folder(self, digest: str, tree: Tree) -> bool:
        """Write an entry that is a folder; as `copied`, but what was written has to be dropped."""
        entry = self._entry(digest)

        def copied() -> str | None:
            for name in walked(entry):
                with tree.file(name) as writer:
                    if not self._copied(entry / name, writer):
                        return None
            return tree.digest

        return entry.is_dir() and self._taken(entry, digest, copied)

    def _taken(self, entry: Path, digest: str, copied: Callable[[], str | None]) -> bool:
        """Copy an entry, and drop one that is not what it is called; it stops nobody."""
        try:
            found = copied()
        except Unsupported as err:  # others write here: too large, or with names that no model has
            self._discard(entry, digest, str(err))
            return False
        except SupplyError as err:  # ours, such as a full disk: the download will say so
            log.warning("cache cannot be copied", extra={"cause": str(err)})
            return False
        if found == digest:
            log.info("model is in the cache", extra={"digest": digest})
            return True
        if found is not None:
            self._discard(entry, digest, f"it has {found}")
        return False

    def keep(self, digest: str, path: Path) -> None:
        """Add a file or folder, unless it is there."""
        entry = self._entry(digest)
        if entry.exists():
            return
        partial = self._folder / f".{entry.name}.{uuid4().hex}"
        try:
            check_room(self._folder, _size_bytes(path))
            if path.is_dir():
                shutil.copytree(path, partial)
            else:
                shutil.copyfile(path, partial)
            partial.rename(entry)
        except (OSError, SupplyError) as err:
            # Another writer was quicker, or the volume is full or may not be written.
            if not entry.exists():
                log.warning("model is not kept in the cache", extra={"cause": str(err)})
        finally:
            _remove(partial)
            self._sweep()

    def _entry(self, digest: str) -> Path:
        return self._folder / digest.replace(":", "-")

    def _copied(self, path: Path, writer: ModelWriter) -> bool:
        """Write one file; False where it is not there, or cannot be read just now.

        Raises:
            Unsupported: it is no file, or larger than a model may be.
        """
        try:
            # Neither links nor pipes: others write here, too.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError as err:
            if err.errno in _NO_FILE:
                raise Unsupported("it is no file") from err
            log.warning("cache cannot be read", extra={"cause": str(err)})
            return False
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Unsupported("it is no file")
            with open(descriptor, "rb", closefd=False) as file:
                copy_stream(file, writer)
        except OSError as err:
            log.warning("cache cannot be read", extra={"cause": str(err)})
            return False
        finally:
            os.close(descriptor)
        return True

    def _discard(self, entry: Path, digest: str, cause: str) -> None:
        fields = {"digest": digest, "cause": cause}
        log.warning("cache has something else, which is removed", extra=fields)
        aside = self._folder / f".{entry.name}.{uuid4().hex}"
        with suppress(OSError):
            entry.rename(aside)
            _remove(aside)

    def _opened_lock(self, digest: str) -> int | None:
        path = self._folder / f".{self._entry(digest).name}.lock"
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            return os.open(path, flags, 0o660)
        except OSError as err:
            log.warning("cache cannot be locked", extra={"cause": str(err)})
            return None

    def _wait(self, lock: int, digest: str) -> None:
        begun_s = monotonic()
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if self._entry(digest).exists() or monotonic() - begun_s > self._wait_s:
                    return
            except OSError as err:  # some network volumes have no locks
                log.warning("cache cannot be locked", extra={"cause": str(err)})
                return
            self._sleep(_LOOK_EVERY_S)

    def _sweep(self) -> None:
        """Remove what interrupted writers have left."""
        with suppress(OSError):
            for path in self._folder.glob(".sha256-*"):
                if time() - path.lstat().st_mtime > _LEFTOVER_S:
                    _remove(path)


def _size_bytes(path: Path) -> int:
    files = [path / name for name in walked(path)] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files)


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
