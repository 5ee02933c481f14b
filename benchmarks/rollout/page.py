"""The generated parts of `docs/benchmarks-rollout.md`, from the runs that are committed.

Usage: `python -m benchmarks.rollout.page [--check]`; with `--check` nothing is written and a
difference is an error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.machine import placed
from benchmarks.markers import kept, replaced
from benchmarks.rollout.cases import Mode
from benchmarks.rollout.table import markdown

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "benchmarks-rollout.md"
RESULTS: Final = Path(__file__).resolve().parent / "results"
_PROGRAM: Final = "benchmarks.rollout.page"
_NONE: Final = "No run is committed yet."

Report = Mapping[str, Any]


def publish(mode: Mode, report: Report) -> None:
    """Let the page tell of a run."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{mode}.json").write_text(json.dumps(report, separators=(",", ":")) + "\n")
    main([])


def told(report: Report | None) -> str:
    """What the page tells about a run."""
    if report is None:
        return _NONE
    return (
        f"Taken on {placed(report)}; {report['replicas']} pods,"
        f" {report['rate']:.0f} requests a second.\n"
        f"Before it began, other work used {report['noise']:.2f} cores.\n\n"
        f"{markdown(report['results'])}"
    )


def read(mode: Mode) -> Report | None:
    """The committed run of a mode; None where there is none."""
    path = RESULTS / f"{mode}.json"
    return dict(json.loads(path.read_text())) if path.exists() else None


def main(arguments: Sequence[str]) -> int:
    """Write the page, or with `--check` return 1 where it differs."""
    text = PAGE.read_text()
    for mode in Mode:
        text = replaced(text, mode, told(read(mode)), program=_PROGRAM)
    return kept(PAGE, text, arguments, program=_PROGRAM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
