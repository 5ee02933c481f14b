"""Rows with a bound and a verdict. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One figure; `must` is what it may be at most, None where it is only told.

    `stretch` is what the operator's prototype reached: a wish, which is not judged.
    """

    name: str
    value: float
    unit: str
    must: float | None = None
    stretch: float | None = None

    @property
    def verdict(self) -> str:
        """`pass` or `fail` against the bound; empty without one."""
        if self.must is None:
            return ""
        return "pass" if self.value <= self.must else "fail"

    def json(self) -> dict[str, Any]:
        """The row for a file."""
        return {**asdict(self), "verdict": self.verdict}


def rendered(rows: Sequence[Row]) -> str:
    """Write rows as a table.

    >>> print(rendered([Row("restart: writes", 0, "", 0)]))
    restart: writes                                          0     at most 0                  pass
    """
    return "\n".join(_line(row) for row in rows)


def markdown(rows: Sequence[Row]) -> str:
    """Write rows as a table of a page.

    >>> print(markdown([Row("edit: p99", 41.7, "ms", 100, 47)]).splitlines()[-1])
    | edit: p99 | 41.7 ms | 100 | 47 | pass |
    """
    lines = [
        "| What | Figure | Must, at most | Stretch | Verdict |",
        "| --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*lines, *(f"| {' | '.join(_cells(row))} |" for row in rows)])


def _line(row: Row) -> str:
    name, value, must, stretch, verdict = _cells(row)
    bound = f"at most {must}" if must else ""
    wish = f"wish {stretch}" if stretch else ""
    return (
        f"{name:46}{value.rjust(12)}{bound.rjust(14)}{wish.rjust(12)}{verdict.rjust(10)}".rstrip()
    )


def _cells(row: Row) -> tuple[str, str, str, str, str]:
    value = f"{_number(row.value)} {row.unit}".rstrip()
    must, stretch = ("" if x is None else _number(x) for x in (row.must, row.stretch))
    return row.name, value, must, stretch, row.verdict


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) or value >= 1000 else f"{value:.3g}"
