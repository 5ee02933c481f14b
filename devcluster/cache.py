"""Where everything of the cluster lies on disk, and the keys and locks that keep it coherent.

Lives here: the folders, content hashes, file locks.
Layout: `bin/` programs by hash · `images/` archives · `storage/` buildah's ·
`clusters/NAME/` one cluster each · `locks/`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from devcluster.progress import wait_until


def cache_root(environment: Mapping[str, str] = os.environ) -> Path:
    """The project's cache: `$SLIPWAY_CACHE`, else `slipway` below the user's cache folder."""
    if own := environment.get("SLIPWAY_CACHE"):
        return Path(own).absolute()
    if xdg := environment.get("XDG_CACHE_HOME"):
        return Path(xdg).absolute() / "slipway"
    return Path.home() / ".cache" / "slipway"


def folder(*parts: str) -> Path:
    """A folder of the cache, made when missing."""
    path = cache_root().joinpath(*parts)
    path.mkdir(parents=True, exist_ok=True)
    return path


def repository_root() -> Path:
    """The checkout this package lies in."""
    return Path(__file__).resolve().parent.parent


def content_key(texts: Iterable[str | bytes], length: int = 12) -> str:
    """Hash a sequence of inputs; where one ends and the next begins counts.

    >>> content_key(["ab", "c"]) == content_key(["a", "bc"])
    False
    """
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode() if isinstance(text, str) else text
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()[:length]


def tree_entries(root: Path, paths: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """Every file at or below `paths` as (name relative to `root`, path), sorted; no bytecode."""
    files: set[Path] = set()
    for path in paths:
        files.update(path.rglob("*") if path.is_dir() else [path])
    for path in sorted(files):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
            yield path.relative_to(root).as_posix(), path


@contextmanager
def file_lock(name: str, *, timeout_s: float = 1800) -> Iterator[None]:
    """Hold a lock among all `devcluster` runs of this user; the kernel frees it if we die.

    Raises:
        DevclusterError: another run kept it for longer than `timeout_s`.
    """
    path = folder("locks") / f"{name}.lock"
    with path.open("a+") as stream:

        def taken() -> bool:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        wait_until(taken, f"another devcluster run to release {path}", timeout_s=timeout_s)
        yield


def write_if_changed(path: Path, text: str, mode: int = 0o644) -> bool:
    """Write a file whole or not at all; tell whether its content changed."""
    if path.is_file() and path.read_text() == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.touch(mode=mode)
    draft.write_text(text)
    draft.replace(path)
    return True


def keep_newest(paths: Iterable[Path], count: int) -> list[Path]:
    """Remove all but the `count` most recently used of `paths`; return the removed."""
    by_age = sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True)
    for path in by_age[count:]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return by_age[count:]
