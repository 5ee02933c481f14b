"""Where a verb is going to write: looked at before anything long begins."""

from __future__ import annotations

import os
from pathlib import Path

from slipway_runtime.errors import ConfigError, shown


def check_output(option: str, file: Path | None) -> None:
    """Refuse a file that could not be written at the end.

    Raises:
        ConfigError: its folder is missing or may not be written to, or it is a folder itself.
    """
    if file is None:
        return
    folder = file.absolute().parent
    if not folder.is_dir():
        raise ConfigError(
            f"{option}: folder {shown(str(folder))} does not exist, expected one that does; "
            "make it, or name another"
        )
    if file.is_dir():
        raise ConfigError(
            f"{option}: {shown(str(file))} is a folder, expected a file; add a name to it"
        )
    if not os.access(file if file.exists() else folder, os.W_OK):
        raise ConfigError(
            f"{option}: {shown(str(file))} may not be written, expected a file that may; "
            "name another"
        )
