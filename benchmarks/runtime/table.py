"""The ratio table, from the records of a run.

Lives here: which figures a row needs, what they say, how that reads. Pure; the lines of `raw.jsonl`
in, Markdown out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from benchmarks.runtime.rows import ROWS, UNITS, Row, Series
from benchmarks.runtime.verdicts import Verdict, ratios, verdict

Record = Mapping[str, Any]
"""One line of `raw.jsonl`; `kind` says which: machine, start, load, raw, size, absent."""

NOT_MEASURED: Final = "not measured"
"""What is said of a row that the run was not asked for."""

_RATES: Final = ("per_second", "inferences_per_second")
_NOTHING: Final = "-"
_HEAD: Final = (
    "Row", "What", "Against", "Ours", "Theirs", "Ratio", "Per CPU second", "Must", "Stretch",
    "Verdict",
)  # fmt: skip
_LOADS: Final = (
    "Workload", "Server", "req/s", "req per CPU second", "p50 ms", "p99 ms", "errors",
    "noise, cores",
)  # fmt: skip
_STARTS: Final = ("Server", "First answers, s", "PSS, MB", "Processes")


@dataclass(frozen=True, slots=True)
class Result:
    """A row with its figures by round.

    `values` are what the gate judges: ratios, or our figures where nobody is compared with.
    `problem` says why figures are missing.
    """

    row: Row
    ours: Mapping[int, float]
    theirs: Mapping[int, float]
    values: Sequence[float]
    per_cpu: Sequence[float]
    verdict: Verdict | None
    problem: str | None = None


def results(records: Sequence[Record], rows: Sequence[Row] = ROWS) -> list[Result]:
    """Judge every row."""
    return [_result(records, row) for row in rows]


def measured(found: Sequence[Result]) -> list[Result]:
    """The results of rows that the run was asked for."""
    return [result for result in found if result.problem != NOT_MEASURED]


def _result(records: Sequence[Record], row: Row) -> Result:
    ours, theirs = (series(records, each) for each in (row.ours, row.theirs))
    values = ratios(ours, theirs) if row.theirs else [ours[each] for each in sorted(ours)]
    per_cpu = ratios(*(_per_cpu(records, each) for each in (row.ours, row.theirs)))
    problem = _problem(records, row)
    if problem and absent(records, row.ours):
        # Our own server has to answer: a row without its figures, or with errors, is missed.
        return Result(row, ours, theirs, values, per_cpu, Verdict.MISSED, problem)
    if not values:
        return Result(row, ours, theirs, values, per_cpu, None, problem or NOT_MEASURED)
    judged = verdict(values, row.gate) if row.gate else None
    return Result(row, ours, theirs, values, per_cpu, judged, problem)


def _problem(records: Sequence[Record], row: Row) -> str | None:
    if reason := absent(records, row.ours):
        return f"ours: {reason}"
    if row.theirs and (reason := absent(records, row.theirs)):
        return f"not available: {reason}"
    return None


def series(records: Iterable[Record], wanted: Series | None) -> dict[int, float]:
    """The figures of a series by round; what was answered under errors is no figure."""
    if wanted is None:
        return {}
    return {
        int(record["round"]): float(record[wanted.metric])
        for record in records
        if _is_of(record, wanted) and record.get(wanted.metric) and not record.get("errors")
    }


def absent(records: Iterable[Record], wanted: Series) -> str | None:
    """Say what kept a series from being complete, if something is on record."""
    for record in records:
        if record["kind"] == "absent" and record["server"] == wanted.server:
            if record.get("of", wanted.of) == wanted.of:
                return f"{record['reason']} (round {record['round'] + 1})"
        elif _is_of(record, wanted) and record.get("errors"):
            return f"errors under load: {_listed(record['errors'])} (round {record['round'] + 1})"
    return None


def _is_of(record: Record, wanted: Series) -> bool:
    return record.get("server") == wanted.server and record.get("of", "") == wanted.of


def _per_cpu(records: Iterable[Record], wanted: Series | None) -> dict[int, float]:
    if wanted is None or wanted.metric not in _RATES:
        return {}
    return {
        int(record["round"]): float(record["per_cpu_second"])
        for record in records
        if _is_of(record, wanted) and record.get("per_cpu_second") and not record.get("errors")
    }


def markdown(found: Sequence[Result], names: Mapping[str, str]) -> str:
    """Render results as a table; `names` calls servers as readers know them."""
    return _table(_HEAD, [_cells(each, names) for each in found])


def details(records: Sequence[Record], names: Mapping[str, str]) -> str:
    """Render what each server did: medians over the rounds, the errors of all of them."""
    loads = _grouped(records, "load", ("of", "server"))
    starts = _grouped(records, "start", ("server",))
    load_rows = [
        (
            of,
            names.get(server, server),
            *(_median(group, key) for key in ("per_second", "per_cpu_second", "p50_ms", "p99_ms")),
            "; ".join(_listed(each["errors"]) for each in group if each["errors"]) or "0",
            _median(group, "noise_cores"),
        )
        for (of, server), group in sorted(loads.items())
    ]
    start_rows = [
        (
            f"{names.get(server, server)} (`{server}`)",
            *(_median(group, key) for key in ("start_s", "pss_mb", "processes")),
        )
        for (server,), group in sorted(starts.items())
    ]
    tables = [(_LOADS, load_rows), (_STARTS, start_rows)]
    return "\n".join(_table(head, rows) for head, rows in tables if rows)


def noise(records: Sequence[Record]) -> tuple[float, float] | None:
    """Median and maximum over all loads of the cores that other work used; None without loads."""
    found = [float(record["noise_cores"]) for record in records if record["kind"] == "load"]
    return (median(found), max(found)) if found else None


def _grouped(
    records: Iterable[Record], kind: str, by: tuple[str, ...]
) -> dict[tuple[str, ...], list[Record]]:
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        if record["kind"] == kind:
            groups.setdefault(tuple(record[key] for key in by), []).append(record)
    return groups


def _median(group: Sequence[Record], key: str) -> str:
    values = [float(record[key]) for record in group if record[key] is not None]
    return rounded(median(values)) if values else _NOTHING


def _cells(result: Result, names: Mapping[str, str]) -> tuple[str, ...]:
    row, gate = result.row, result.row.gate
    return (
        row.number,
        row.what,
        names.get(row.theirs.server, row.theirs.server) if row.theirs else _NOTHING,
        _figure(result.ours, row.ours),
        _figure(result.theirs, row.theirs),
        _spread(result.values) if row.theirs else _NOTHING,
        _spread(result.per_cpu),
        f"{'≤' if gate.at_most else '≥'} {gate.must:g}" if gate else _NOTHING,
        f"{gate.stretch:g}" if gate and gate.stretch is not None else _NOTHING,
        _said(result),
    )


def _said(result: Result) -> str:
    judged = result.verdict.value if result.verdict else None
    parts = [part for part in (judged, result.problem) if part]
    return "; ".join(parts) or "not gated"


def _figure(figures: Mapping[int, float], wanted: Series | None) -> str:
    if not figures or wanted is None:
        return _NOTHING
    return f"{rounded(median(figures.values()))} {UNITS[wanted.metric]}"


def _spread(values: Sequence[float]) -> str:
    if not values:
        return _NOTHING
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def rounded(value: float) -> str:
    """Write a figure with three digits that mean something.

    >>> rounded(9083.4), rounded(0.3812), rounded(17.94)
    ('9083', '0.381', '17.9')
    """
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def _listed(errors: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(errors.items()))


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
