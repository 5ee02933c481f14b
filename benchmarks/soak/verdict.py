"""Judge a soak run: what may grow, and by how much. Pure.

Formula, for memory: after the warm-up (a fifth of the run), growth = median of the last tenth -
median of the first tenth, and trend = slope of Theil and Sen * time. Both have to stay within 5 %
of the first and within 10 MiB. Counts (files, threads, tasks) rise and fall with the requests of
the moment, so it is their minimum in the same two tenths that may rise by two at most; and once the
server is idle again, it may hold two more than before the load at most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

WARM_UP: Final = 0.2
"""Share of the run in which caches fill and arenas grow."""
MEMORY_SHARE: Final = 0.05
MEMORY_BYTES: Final = 10 * 2**20
SPARE_COUNT: Final = 2
_MAX_PAIRS_OF: Final = 200


@dataclass(frozen=True, slots=True)
class Sample:
    """What a server process holds at a moment."""

    at_s: float
    rss_bytes: int
    own_bytes: int
    """Of it, what is no file's: others that load the same libraries, or end, do not change it."""
    fds: int
    threads: int
    tasks: int


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was judged."""

    name: str
    begin: float
    end: float
    growth: float
    bound: float
    unit: str = ""

    @property
    def is_passed(self) -> bool:
        """Whether it grew by no more than its bound."""
        return self.growth <= self.bound

    @property
    def verdict(self) -> str:
        """`pass` or `FAIL`."""
        return "pass" if self.is_passed else "FAIL"

    def json(self) -> dict[str, Any]:
        """The row for a file; the verdict is that of the bound of its day."""
        return {**asdict(self), "verdict": self.verdict}


def judge(samples: Sequence[Sample], before: Sample, after: Sample, errors: int) -> list[Row]:
    """Judge a run.

    Args:
        samples: under load, in the order of time, at regular intervals.
        before: idle, ahead of the load.
        after: idle again.
        errors: answers that were not what they should be.

    Raises:
        ValueError: too few samples for medians of tenths.
    """
    warm = [s for s in samples if s.at_s >= samples[0].at_s + WARM_UP * _span_s(samples)]
    if len(warm) < 20:
        raise ValueError(f"{len(warm)} samples after the warm-up, expected 20 or more")
    rows = [
        *_memory("RSS", warm, lambda sample: sample.rss_bytes),
        *_memory("anonymous", warm, lambda sample: sample.own_bytes),
    ]
    for name, count in _COUNTS.items():
        begin, end = _tenths([count(sample) for sample in warm], min)
        rows.append(Row(f"{name} under load", begin, end, end - begin, SPARE_COUNT))
        idle, again = count(before), count(after)
        if name != "threads":  # a pool keeps what it has started
            rows.append(Row(f"{name} at rest", idle, again, again - idle, SPARE_COUNT))
    rows.append(Row("unexpected answers", 0, errors, errors, 0))
    return rows


_COUNTS: Final[dict[str, Callable[[Sample], int]]] = {
    "file descriptors": lambda sample: sample.fds,
    "threads": lambda sample: sample.threads,
    "tasks": lambda sample: sample.tasks,
}


def _memory(name: str, warm: Sequence[Sample], size: Callable[[Sample], int]) -> list[Row]:
    sizes = [size(sample) for sample in warm]
    begin, end = _tenths(sizes, median)
    trend = slope([sample.at_s for sample in warm], sizes) * _span_s(warm)
    bound = min(MEMORY_SHARE * begin, MEMORY_BYTES)
    return [
        Row(name, begin, end, end - begin, bound, "MiB"),
        Row(f"{name}, trend", begin, begin + trend, trend, bound, "MiB"),
    ]


def _tenths(values: Sequence[int], middle: Callable[[Sequence[int]], float]) -> tuple[float, float]:
    size = max(1, len(values) // 10)
    return middle(values[:size]), middle(values[-size:])


def _span_s(samples: Sequence[Sample]) -> float:
    return samples[-1].at_s - samples[0].at_s


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """The median of the slopes between all pairs: one outlier does not tilt it.

    >>> slope([0, 1, 2, 3, 4], [0, 2, 4, 6, 600])
    2.0
    """
    step = max(1, len(times) // _MAX_PAIRS_OF)
    points = list(zip(times[::step], values[::step], strict=True))
    slopes = [
        (later[1] - early[1]) / (later[0] - early[0])
        for index, early in enumerate(points)
        for later in points[index + 1 :]
    ]
    return float(median(slopes))


def table(rows: Sequence[Row]) -> str:
    """The rows as text, each with its verdict."""
    lines = [f"{'':28}{'begin':>10}{'end':>10}{'growth':>10}{'bound':>10}"]
    for row in rows:
        columns = "".join(f"{number:>10}" for number in _numbers(row.json()))
        lines.append(f"{row.name:28}{columns} {row.unit:4} {row.verdict}")
    return "\n".join(lines)


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows (`Row.json`) as a table of a page."""
    lines = ["| What | Begin | End | Growth | At most | Verdict |", "| --- " * 6 + "|"]
    for row in rows:
        figures = (f"{number} {row['unit']}".rstrip() for number in _numbers(row))
        lines.append(f"| {' | '.join((row['name'], *figures, row['verdict']))} |")
    return "\n".join(lines)


def _numbers(row: Mapping[str, Any]) -> list[str]:
    scale, digits = (2**20, 1) if row["unit"] == "MiB" else (1, 0)
    return [f"{row[name] / scale:.{digits}f}" for name in ("begin", "end", "growth", "bound")]


def kinds(sent: Mapping[str, int], errors: Mapping[str, int]) -> str:
    """Write how often each kind was sent, and answered unexpectedly, as a table of a page.

    Args:
        sent: requests by kind.
        errors: answers by kind and words, parted by a colon.
    """
    unexpected: Counter[str] = Counter()
    for words, count in errors.items():
        unexpected[words.partition(":")[0]] += count
    lines = ["| Kind | Requests | Unexpected answers |", "| --- | --- | --- |"]
    rows = [f"| {kind} | {sent[kind]} | {unexpected[kind]} |" for kind in sorted(sent)]
    return "\n".join([*lines, *rows])
