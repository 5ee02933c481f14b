"""Rows with a bound and a verdict. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One figure; `must` is what it may be at most, None where it is only told."""

    name: str
    value: float
    unit: str
    must: float | None = None

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
    restart: writes                                          0              at most 0         pass
    """
    return "\n".join(_line(row) for row in rows)


def _line(row: Row) -> str:
    must = "" if row.must is None else f"at most {_number(row.must)}"
    value = f"{_number(row.value)} {row.unit}".rstrip()
    return f"{row.name:46}{value.rjust(12)}{must.rjust(23)}{row.verdict.rjust(13)}".rstrip()


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) or value >= 1000 else f"{value:.3g}"
