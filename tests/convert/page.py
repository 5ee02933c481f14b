"""The generated part of `docs/guides/formats.md`, from the run that is committed.

Usage: `python -m tests.convert.page [--check]`; with `--check` nothing is written and a difference
is an error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.markers import replaced

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "guides" / "formats.md"
RESULTS: Final = Path(__file__).resolve().parent / "results.json"
SERVED: Final = Path(__file__).resolve().parent / "served.json"
_PROGRAM: Final = "tests.convert.page"
_NONE: Final = "No run is committed yet."

Row = Mapping[str, Any]
Served = Mapping[str, Any]
"""By the model's file: a record, or, of earlier runs, the difference alone."""
_MISSING: Final = "-"


def publish(rows: Sequence[Row], facts: Mapping[str, str]) -> None:
    """Let the page tell of a run."""
    RESULTS.write_text(json.dumps({**facts, "rows": list(rows)}, indent=2) + "\n", "utf-8")
    main([])


def publish_served(records: Mapping[str, Row]) -> None:
    """Let the page tell what pods of a real cluster have answered, by the model's file.

    A record has `difference`, `seconds` until the pod was ready, and the `image` that converted.
    """
    SERVED.write_text(json.dumps(dict(records), indent=2, sort_keys=True) + "\n", "utf-8")
    main([])


def told(run: Mapping[str, Any] | None, served: Served) -> str:
    """What the page tells about a run, and about pods' answers."""
    if run is None:
        return _NONE
    head = f"Taken on {run['date']}, {run['where']}.\n"
    return "\n".join([head, *_table(run["rows"], served)])


def _table(rows: Sequence[Row], served: Served) -> Iterator[str]:
    yield (
        "| Format | File | Read by | Rows | Labels | Largest difference | Conversion |"
        " Served by a pod | Pod ready after | Image |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        pod = _record(served.get(row["file"]))
        cells = (
            *(row["format"], row["file"], row["framework"], row["rows"]),
            _cell(row.get("labels"), "g", " %"),
            _cell(row["difference"], ".1e"),
            _cell(row.get("seconds"), ".1f", " s"),
            _cell(pod.get("difference"), ".1e"),
            _cell(pod.get("seconds"), ".0f", " s"),
            pod.get("image", _MISSING),
        )
        yield f"| {' | '.join(map(str, cells))} |"


def _record(found: Any) -> Row:
    if isinstance(found, Mapping):
        return found
    return {} if found is None else {"difference": found}


def _cell(value: float | None, form: str, unit: str = "") -> str:
    return _MISSING if value is None else f"{value:{form}}{unit}"


def main(arguments: Sequence[str]) -> int:
    """Write the page, or with `--check` return 1 where it differs."""
    before = PAGE.read_text("utf-8")
    run = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else None
    served = json.loads(SERVED.read_text("utf-8")) if SERVED.exists() else {}
    after = replaced(before, "conversions", told(run, served), program=_PROGRAM)
    if "--check" in arguments:
        if before != after:
            sys.stderr.write(f"{PAGE.name}: differs from its run; python -m {_PROGRAM}\n")
        return int(before != after)
    PAGE.write_text(after, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
