"""Models on the disk of a laptop."""

from __future__ import annotations

import os
from pathlib import Path

from slipway_runtime.errors import AccessDenied, NotFound
from slipway_runtime.supply.claim import copy_folder
from slipway_runtime.supply.digest import ModelWriter, copy_file
from slipway_runtime.supply.tree import Tree
from slipway_runtime.supply.uri import file_path, redacted


def fetch_file(uri: str, writer: ModelWriter) -> None:
    """Copy a `file://` URI's bytes.

    Raises:
        NotFound: there is no such file.
        AccessDenied: it may not be read.
    """
    try:
        copy_file(Path(file_path(uri)), writer)
    except PermissionError as err:
        raise AccessDenied(f"model.uri: {redacted(uri)!r} may not be read") from err
    except OSError as err:
        raise NotFound(
            f"model.uri: {redacted(uri)!r} cannot be read ({os.strerror(err.errno or 0)})"
        ) from err


def fetch_file_folder(uri: str, tree: Tree) -> None:
    """Copy everything below a folder; whose disk it is may link to anywhere on it.

    Raises:
        NotFound: there is no such folder, or nothing in it.
        AccessDenied: a file may not be read.
        Unsupported: it has a link to a folder, or more files than a model may have.
    """
    copy_folder(uri, Path(file_path(uri)), tree, within=Path("/"))
