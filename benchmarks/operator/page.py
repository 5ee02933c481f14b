"""The generated parts of `docs/benchmarks-operator.md`, from the runs that are committed.

Usage: `python -m benchmarks.operator.page [--check]`; with `--check` nothing is written and a
difference is an error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from benchmarks.machine import placed
from benchmarks.markers import kept, replaced
from benchmarks.operator.table import Row, markdown

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "benchmarks-operator.md"
_PROGRAM: Final = "benchmarks.operator.page"
RESULTS: Final = Path(__file__).resolve().parent / "results"
PARTS: Final = ("lived", "copied")

_NONE: Final = "No run is committed yet."

Report = Mapping[str, Any]


def publish(report: Report) -> None:
    """Let the page tell of a run."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{PARTS[bool(report['copied'])]}.json"
    path.write_text(json.dumps(report, indent=2) + "\n")
    main([])


def told(report: Report | None) -> str:
    """What the page tells about a run."""
    if report is None:
        return _NONE
    names = {field.name for field in fields(Row)}
    went = "; what is measured went before it (`--ahead`)" if report.get("ahead") else ""
    rows = [Row(**{k: v for k, v in row.items() if k in names}) for row in report["rows"]]
    return (
        f"{report['objects']} ModelDeployments, taken on {placed(report)}.\n"
        f"Before it began, other work used {report['noise']:.2f} cores{went}.\n\n{markdown(rows)}"
    )


def read(part: str) -> Report | None:
    """The committed run of a part; None where there is none."""
    path = RESULTS / f"{part}.json"
    return dict(json.loads(path.read_text())) if path.exists() else None


def main(arguments: Sequence[str]) -> int:
    """Write the page, or with `--check` return 1 where it differs."""
    text = PAGE.read_text()
    for part in PARTS:
        text = replaced(text, part, told(read(part)), program=_PROGRAM)
    return kept(PAGE, text, arguments, program=_PROGRAM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
