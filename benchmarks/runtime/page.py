"""The generated parts of `docs/benchmarks.md`, from the run that is committed.

Usage: `python -m benchmarks.runtime.page [--check]`; with `--check` nothing is written and a
difference is an error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.machine import placed
from benchmarks.markers import kept, replaced
from benchmarks.runtime.table import Record, details, markdown, measured, noise, results

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
_PROGRAM: Final = "benchmarks.runtime.page"
COMMITTED: Final = Path(__file__).resolve().parent / "results" / "raw.jsonl"

_RECORDS: Final = "benchmarks/runtime/results/raw.jsonl"

_NONE: Final = "No run is committed yet."


def read(path: Path) -> list[Record]:
    """The records of a run; none where there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def parts(records: Sequence[Record]) -> dict[str, str]:
    """Return what the page tells about a run, by the name of the part."""
    if not records:
        return dict.fromkeys(("machine", "ratios", "settings", "figures"), _NONE)
    machine = records[0]
    names = {name: server["title"] for name, server in machine["servers"].items()}
    return {
        "machine": f"{described(records)}\nThe records: `{_RECORDS}`.",
        "ratios": markdown(measured(results(records)), names).rstrip(),
        "settings": settings(machine),
        "figures": details(records, names).rstrip(),
    }


def described(records: Sequence[Record]) -> str:
    """Tell where and when a run was made, and how quiet it was."""
    machine = records[0]
    other = noise(records)
    count = 1 + max((int(record.get("round", 0)) for record in records), default=0)
    taken = f"Taken on {placed(machine)}; {count} rounds of {machine['seconds']} s a load."
    if other is None:
        return taken
    middle, most = other
    told = f"{middle:.2f} cores at the median of all loads, {most:.2f} at most"
    return f"{taken}\nOther work used {told}."


def settings(machine: Record) -> str:
    """Tell how each server was run, and with which packages."""
    versions: Mapping[str, Mapping[str, str]] = machine["versions"]
    rows = [
        f"| {each['title']} (`{name}`) | {each['setting']} | "
        + ", ".join(
            f"{package} {found}" for package, found in versions[each["environment"]].items()
        )
        + " |"
        for name, each in machine["servers"].items()
    ]
    return "\n".join(["| Server | How it was run | Packages |", "| --- | --- | --- |", *rows])


def written(text: str, records: Sequence[Record]) -> str:
    """The page as a run wants it."""
    for name, part in parts(records).items():
        text = replaced(text, name, part, program=_PROGRAM)
    return text


def main(arguments: Sequence[str]) -> int:
    """Write the page, or with `--check` return 1 where it differs."""
    after = written(PAGE.read_text(), read(COMMITTED))
    return kept(PAGE, after, arguments, program=_PROGRAM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
