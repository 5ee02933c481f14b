"""Counters and histograms of one thread: what a request counts costs a fraction of a microsecond.

prometheus_client takes a lock for every number and walks a histogram's edges one by one. Here the
event loop counts alone, and the library is asked only when it writes /metrics.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import INF, floatToGoString


class Counter:
    """One series that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Count."""
        self.value += amount


class Histogram:
    """One series of counts by upper edge."""

    __slots__ = ("counts", "edges", "sum")

    def __init__(self, edges: Sequence[float]) -> None:
        self.edges: Final = edges
        self.counts: Final = [0] * (len(edges) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value in the first bucket whose edge is not below it."""
        self.counts[bisect_left(self.edges, value)] += 1
        self.sum += value


class Counters(Collector):
    """The series of one counter, by their labels."""

    def __init__(
        self, name: str, text: str, labels: Sequence[str], registry: CollectorRegistry
    ) -> None:
        self._about: Final = (name, text)
        self._names: Final = tuple(labels)
        self._series: Final[dict[tuple[str, ...], Counter]] = {}
        registry.register(self)

    def labels(self, **values: str) -> Counter:
        """The series with these labels; the same each time."""
        return self._series.setdefault(tuple(values[name] for name in self._names), Counter())

    def clear(self) -> None:
        """Forget every series; who holds one counts for nobody."""
        self._series.clear()

    def collect(self) -> Iterable[Metric]:
        """Tell what has been counted."""
        family = CounterMetricFamily(*self._about, labels=self._names)
        for values, series in self._series.items():
            family.add_metric(values, series.value)
        yield family


class Histograms(Collector):
    """The series of one histogram, by their labels."""

    def __init__(
        self,
        name: str,
        text: str,
        edges: Sequence[float],
        labels: Sequence[str],
        registry: CollectorRegistry,
    ) -> None:
        self._about: Final = (name, text)
        self._edges: Final = tuple(edges)
        self._words: Final = [
            floatToGoString(edge)  # type: ignore[no-untyped-call]  # as the library writes them
            for edge in (*edges, INF)
        ]
        self._names: Final = tuple(labels)
        self._series: Final[dict[tuple[str, ...], Histogram]] = {}
        registry.register(self)

    def labels(self, **values: str) -> Histogram:
        """The series with these labels; the same each time."""
        key = tuple(values[name] for name in self._names)
        return self._series.setdefault(key, Histogram(self._edges))

    def clear(self) -> None:
        """Forget every series; who holds one counts for nobody."""
        self._series.clear()

    def collect(self) -> Iterable[Metric]:
        """Tell what has been counted; buckets are cumulative."""
        family = HistogramMetricFamily(*self._about, labels=self._names)
        for values, series in self._series.items():
            buckets = zip(self._words, accumulate(series.counts), strict=True)
            family.add_metric(values, list(buckets), series.sum)
        yield family
