"""Models on a volume of the cluster, which the pod mounts read-only."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from slipway_runtime.errors import (
    AccessDenied,
    InvalidConfig,
    NotFound,
    Unavailable,
    Unsupported,
    shown,
)
from slipway_runtime.supply.digest import ModelWriter, copy_stream
from slipway_runtime.supply.tree import Tree, too_many
from slipway_runtime.supply.uri import claim_path, redacted


def fetch_claim(uri: str, writer: ModelWriter, *, folder: Path) -> None:
    """Copy a file of the claim; links may lead about in it, and not out of it.

    Raises:
        NotFound: there is no such file.
        AccessDenied: it may not be read, or leads out of the claim.
        Unavailable: the volume cannot be read just now.
        InvalidConfig: the URI is not `pvc://CLAIM/PATH`.
    """
    _, path = claim_path(uri)
    _copy(uri, folder / path, writer, folder)


def fetch_claim_folder(uri: str, tree: Tree, *, folder: Path) -> None:
    """Copy everything below a folder of the claim; `fetch_claim` says what may be raised."""
    _, path = claim_path(uri)
    source = (folder / path).resolve()
    if not source.is_relative_to(folder.resolve()):
        raise AccessDenied(
            f"model.uri: {redacted(uri)!r} is a link that leads out of the claim, "
            "expected a folder in it"
        )
    copy_folder(uri, source, tree, within=folder)


def copy_folder(uri: str, source: Path, tree: Tree, *, within: Path) -> None:
    """Copy everything below a folder; links to files may lead about in another one."""
    if not source.is_dir():
        raise NotFound(f"model.uri: {redacted(uri)!r} is no folder; {_beside(source)}")
    names = folder_names(uri, source, tree.max_files)
    if not names:
        raise NotFound(f"model.uri: {redacted(uri)!r} has no files below it; check the URI")
    for name in names:
        with tree.file(name) as writer:
            _copy(uri, source / name, writer, within)


def folder_names(uri: str, source: Path, max_files: int) -> list[str]:
    """Name the files of a folder, without going through links to other folders.

    Raises:
        Unavailable: it cannot be read.
        Unsupported: it has a link to a folder, or too many files.
    """
    names: list[str] = []

    def unreadable(err: OSError) -> None:
        raise _unreadable(uri, err) from err

    for here, folders, files in os.walk(source, onerror=unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if link := next((name for name in folders if os.path.islink(f"{here}/{name}")), None):
            raise Unsupported(
                f"model.uri: {shown(link)} below {redacted(uri)!r} is a link to a folder, expected "
                "folders and files; name the folder that it leads to"
            )
        below = Path(here).relative_to(source)
        names += [(below / name).as_posix() for name in files if not name.startswith(".")]
        if len(names) > max_files:
            raise too_many(max_files)
    return sorted(names)


def _copy(uri: str, source: Path, writer: ModelWriter, folder: Path) -> None:
    try:
        # Not blocking: whoever opens a pipe for reading waits for its writer.
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as err:
        raise NotFound(f"model.uri: {redacted(uri)!r} is not there; {_beside(source)}") from err
    except PermissionError as err:
        raise AccessDenied(
            f"model.uri: {redacted(uri)!r} may not be read by user {os.getuid()}; "
            "make it readable for the group or for all"
        ) from err
    except OSError as err:
        raise _unreadable(uri, err) from err
    try:
        _check_place(uri, descriptor, folder)
        writer.expect(os.fstat(descriptor).st_size)
        with open(descriptor, "rb", closefd=False) as file:
            copy_stream(file, writer)
    except OSError as err:
        raise _unreadable(uri, err) from err
    finally:
        os.close(descriptor)


def _check_place(uri: str, descriptor: int, folder: Path) -> None:
    """Look where an open file is: a link that is swapped after the look changes nothing."""
    place = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
    if not place.is_relative_to(folder.resolve()):
        raise AccessDenied(
            f"model.uri: {redacted(uri)!r} is a link that leads out of the claim, "
            "expected a file in it"
        )
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        found = "a folder" if stat.S_ISDIR(kind) else "no regular file"
        raise InvalidConfig(
            f"model.uri: {redacted(uri)!r} is {found}, expected a file; "
            "a folder has a slash at the URI's end"
        )


def _beside(source: Path) -> str:
    """What there is instead, as far as the path goes."""
    there = next(parent for parent in source.parents if parent.is_dir())
    names = sorted(path.name for path in there.iterdir())[:10]
    return f"the folder has {', '.join(map(repr, names)) or 'nothing in it'}"


def _unreadable(uri: str, err: OSError) -> Unavailable:
    return Unavailable(
        f"model.uri: {redacted(uri)!r} cannot be read ({os.strerror(err.errno or 0)}); "
        "check the volume"
    )
