"""The generated parts of `docs/benchmarks-attack.md`, from the runs that are committed.

Usage: `python -m benchmarks.attack.page [--check]`; with `--check` nothing is written and a
difference is an error. A run under attack is one part, a soak (`benchmarks.soak`) the other.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.attack import verdict as attack
from benchmarks.machine import placed
from benchmarks.markers import kept, replaced
from benchmarks.soak import verdict as soak

ROOT: Final = Path(__file__).resolve().parents[2]
_PROGRAM: Final = "benchmarks.attack.page"
_NONE: Final = "No run is committed yet."

Report = Mapping[str, Any]


def attacked(report: Report) -> str:
    """What the page tells about a run under attack (`benchmarks.attack`)."""
    return (
        f"{_began(report)}\n"
        f"{report['turns']} turns of {report['seconds']:g} s alone and as many beside each attack,"
        f" {report['requests_per_s']:g} requests a second of each client;"
        f" server and clients at nice {report['nice']}.\n"
        f"At most {report['max_ratio']:g} times as late passes.\n\n"
        f"{attack.markdown(report['rows'])}"
    )


def soaked(report: Report) -> str:
    """What the page tells about a long run (`benchmarks.soak`)."""
    asked = sum(report["sent"].values())
    return (
        f"{_began(report)}\n"
        f"{asked} requests in {report['minutes']:g} minutes, {report['rate']:g} a second at most;"
        f" the server then ended with status {report['status']}.\n\n"
        f"{soak.markdown(report['rows'])}\n\n"
        f"{soak.kinds(report['sent'], report['errors'])}"
    )


PARTS: Final[Mapping[str, Callable[[Report], str]]] = {"attack": attacked, "soak": soaked}
"""By the name of the part, which is that of the benchmark's folder, too."""


def _began(report: Report) -> str:
    noise = f"Before it began, other work used {report['noise']:.2f} cores."
    return f"Taken on {placed(report)}.\n{noise}"


def told(part: str, report: Report | None) -> str:
    """What the page tells about a run."""
    return _NONE if report is None else PARTS[part](report)


def publish(part: str, report: Report, root: Path = ROOT) -> None:
    """Let the page of a repository tell of a run."""
    path = _records(part, root)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, separators=(",", ":")) + "\n")
    main([], root)


def read(part: str, root: Path = ROOT) -> Report | None:
    """The committed run of a part; None where there is none."""
    path = _records(part, root)
    return dict(json.loads(path.read_text())) if path.exists() else None


def _records(part: str, root: Path) -> Path:
    return root / "benchmarks" / part / "results" / "run.json"


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    """Write the page, or with `--check` return 1 where it differs."""
    page = root / "docs" / "benchmarks-attack.md"
    text = page.read_text()
    for part in PARTS:
        text = replaced(text, part, told(part, read(part, root)), program=_PROGRAM)
    return kept(page, text, arguments, program=_PROGRAM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
