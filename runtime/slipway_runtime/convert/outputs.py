"""Where the verbs write: files, looked at before anything long begins, and progress."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from time import monotonic

from slipway_runtime.convert.task import Report
from slipway_runtime.errors import ConfigError, shown


class Teller:
    """Progress for people, on standard error, where it does not mix with a report."""

    def __init__(self) -> None:
        self._start_s = monotonic()
        self.began_s: list[float] = []
        """When each step began, in seconds after the first."""

    def __call__(self, step: str) -> None:
        """Tell that a step begins."""
        self.began_s.append(monotonic() - self._start_s)
        tell(f"{self.began_s[-1]:5.1f} s  {step}")


def tell(line: str) -> None:
    """Write one line of progress."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def write_report(file: Path | None, report: Report) -> None:
    """Keep a report as JSON, where that is asked for."""
    if file is not None:
        file.write_text(report.model_dump_json(by_alias=True, indent=2) + "\n", "utf-8")


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
