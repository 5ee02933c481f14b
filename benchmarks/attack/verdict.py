"""Judge what an attack costs good clients. Pure.

Latencies of all turns alone and of all turns beside the attack are put together; the verdict is on
the ratio of their 99th percentiles, and on no good request having failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any, Final

MAX_RATIO: Final = 2.0
MIN_LATENCIES: Final = 100


@dataclass(frozen=True, slots=True)
class Turns:
    """Latencies of a good client, in seconds, and the number of its failures."""

    latencies_s: Sequence[float]
    failures: int = 0
    cpu: float = 0.0
    """Share of a core that the server used meanwhile."""


@dataclass(frozen=True, slots=True)
class Cost:
    """One attack's cost for one kind of good client."""

    attack: str
    client: str
    alone_p50_s: float
    attack_p50_s: float
    alone_p99_s: float
    attack_p99_s: float
    failures: int
    cpu: float
    """Share of a core that the server used beside the attack: near 1, it was simply full."""

    @property
    def ratio(self) -> float:
        """How many times the 99th percentile is what it is alone."""
        return self.attack_p99_s / self.alone_p99_s

    @property
    def is_passed(self) -> bool:
        """Whether good clients are answered, all, and at most so much later."""
        return self.ratio <= MAX_RATIO and not self.failures

    @property
    def verdict(self) -> str:
        """`pass` or `FAIL`, and how many requests have failed, where some have."""
        failed = f" ({self.failures} failures)" if self.failures else ""
        return f"{'pass' if self.is_passed else 'FAIL'}{failed}"

    def json(self) -> dict[str, Any]:
        """The row for a file; the verdict is that of the bound of its day."""
        return {**asdict(self), "ratio": self.ratio, "verdict": self.verdict}


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent do not exceed.

    >>> percentile([3.0, 1.0, 2.0, 4.0], 50)
    2.0
    """
    ordered = sorted(values)
    return ordered[max(0, ceil(len(ordered) * percent / 100) - 1)]


def cost(attack: str, client: str, alone: Turns, attacked: Turns) -> Cost:
    """Hold turns beside an attack against turns alone.

    Raises:
        ValueError: too few answers for a 99th percentile.
    """
    for turns in (alone, attacked):
        if len(turns.latencies_s) < MIN_LATENCIES:
            raise ValueError(
                f"{attack}, {client}: {len(turns.latencies_s)} answers, "
                f"expected {MIN_LATENCIES} or more"
            )
    return Cost(
        attack,
        client,
        percentile(alone.latencies_s, 50),
        percentile(attacked.latencies_s, 50),
        percentile(alone.latencies_s, 99),
        percentile(attacked.latencies_s, 99),
        alone.failures + attacked.failures,
        attacked.cpu,
    )


def table(costs: Sequence[Cost]) -> str:
    """The costs as text, in milliseconds, each with its verdict."""
    heads = ("p50", "attack", "p99", "attack", "ratio", "CPU")
    lines = [f"{'':34}{'client':8}" + "".join(f"{head:>9}" for head in heads)]
    for each in costs:
        times = (each.alone_p50_s, each.attack_p50_s, each.alone_p99_s, each.attack_p99_s)
        columns = "".join(f"{1000 * time:9.2f}" for time in times)
        columns += f"{each.ratio:9.2f}{each.cpu:9.2f}"
        lines.append(f"{each.attack:34}{each.client:8}{columns} {each.verdict}")
    return "\n".join(lines)


_HEAD: Final = (
    "Attack", "Client", "p50 alone", "p50 attacked", "p99 alone", "p99 attacked",
    "p99, times as late", "Server's CPU", "Verdict",
)  # fmt: skip


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows (`Cost.json`) as a table of a page."""
    lines = [f"| {' | '.join(_HEAD)} |", "| --- " * len(_HEAD) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(_cells(row))} |" for row in rows)])


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    names = ("alone_p50_s", "attack_p50_s", "alone_p99_s", "attack_p99_s")
    times = (f"{1000 * row[name]:.2f} ms" for name in names)
    return (
        row["attack"], row["client"], *times,
        f"{row['ratio']:.2f}", f"{row['cpu']:.0%}", row["verdict"],
    )  # fmt: skip
