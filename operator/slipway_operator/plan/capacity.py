"""How many pods keep a percentile of the latency under its target. Pure.

Each pod is one queue of its own: Services spread requests at random and know nothing of queues, so
a pooled model such as M/M/c would promise too much. A pod takes what has come while it was busy as
one batch, which takes s(b) = max(least, fixed + per_request * b) seconds. Two estimates of the
latency hold from above, and the smaller one counts:

- little load, no batches (M/G/1; exact for exponential service):
  rho = rate * s(1), P(wait > t) = rho * exp(-t / w), w = s(1) * (1 + scv) / (2 * (1 - rho));
- much load, batches in a row: m = rate * s(m) requests arrive during one execution, with the
  variance m / (1 - g^2), g = rate * per_request; a request waits for one batch and is in the next.

Source: Pollaczek-Khinchine; Kingman's exponential tail; bulk service with the gate at its start.
Checked in `tests/unit/operator/plan/test_capacity.py` against a simulation of the queue itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

_MAX_UTILIZATION: Final = 0.9
"""However long the target: beyond it, small errors of the measurement grow without bound."""
_HEADROOM: Final = 1.1
"""Requests that are planned for, per request that was measured."""
_EXTRAPOLATION: Final = 2.0
"""Batches are planned for up to this multiple of the largest mean batch that was seen."""
_SPREAD: Final = 1.3
"""Largest mean batch over smallest from which the two parts of a batch's time can be told apart."""


@dataclass(frozen=True, slots=True)
class Window:
    """What was measured of all pods of a revision over some seconds."""

    seconds: float
    pods: int
    requests: float
    """That arrived, refused ones included."""
    inferences: float
    executions: float
    execution_s: float
    """Sum over executions."""
    busy_s: float
    """Sum over pods."""
    overhead_s: float = 0.0
    """Mean time of a request outside of queue and model."""
    scv: float = 0.0
    """Squared coefficient of variation of an execution's time."""

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds

    @property
    def batch(self) -> float:
        """Mean requests of an execution."""
        return max(1.0, self.inferences / self.executions) if self.executions else 1.0

    @property
    def mean_s(self) -> float:
        """Mean time of an execution."""
        return self.execution_s / self.executions if self.executions else 0.0


@dataclass(frozen=True, slots=True)
class Service:
    """How long a batch takes, from what was measured."""

    fixed_s: float
    per_request_s: float
    least_s: float
    largest: float
    """The largest batch that the measurement speaks of; 1 when there are no batches."""
    scv: float
    overhead_s: float

    def seconds(self, batch: float) -> float:
        """Time of a batch of so many requests."""
        return max(self.least_s, self.fixed_s + self.per_request_s * batch)


def fitted(windows: Sequence[Window]) -> Service | None:
    """Learn a batch's time from windows, newest last; None when nothing was computed.

    With batches of different sizes it is a line (least squares, weighted by executions). Otherwise
    nothing is known of other batches: a smaller one is not assumed to take less, and a larger one
    is not planned for.
    """
    seen = [w for w in windows if w.executions and w.mean_s > 0]
    if not seen:
        return None
    last = seen[-1]
    scv, overhead = last.scv, last.overhead_s
    sizes = [w.batch for w in seen]
    if max(sizes) >= _SPREAD * min(sizes):
        fixed, slope = _line(seen)
        return Service(fixed, slope, 0.0, _EXTRAPOLATION * max(sizes), scv, overhead)
    largest = last.batch if last.batch >= _SPREAD else 1.0
    return Service(0.0, last.mean_s / last.batch, last.mean_s, largest, scv, overhead)


def _line(seen: Sequence[Window]) -> tuple[float, float]:
    """Fit mean time over mean batch; neither part is ever negative."""
    weight = sum(w.executions for w in seen)
    size = sum(w.executions * w.batch for w in seen) / weight
    time = sum(w.executions * w.mean_s for w in seen) / weight
    both = sum(w.executions * (w.batch - size) * (w.mean_s - time) for w in seen)
    square = sum(w.executions * (w.batch - size) ** 2 for w in seen)
    slope = max(0.0, both / square)
    if slope * size > time:
        return 0.0, time / size
    return time - slope * size, slope


def latency(service: Service, rate: float, percentile: float) -> float:
    """Bound a percentile of the latency in one pod, in seconds; infinite when it cannot keep up.

    Args:
        service: what a batch takes.
        rate: requests per second that come to the pod.
        percentile: between 0 and 1.
    """
    return service.overhead_s + min(
        _single(service, rate, percentile), _batched(service, rate, percentile)
    )


def _single(service: Service, rate: float, percentile: float) -> float:
    """Every request alone."""
    alone = service.seconds(1)
    load = rate * alone
    if load >= 1:
        return math.inf
    scale = alone * (1 + service.scv) / (2 * (1 - load))
    tail = load / (1 - percentile)
    wait = scale * math.log(tail) if tail > 1 else 0.0
    slow = alone * (_slow(service.scv, percentile) - 1)
    return alone + math.hypot(wait, slow)  # a long wait and a slow execution seldom meet


def _batched(service: Service, rate: float, percentile: float) -> float:
    """One batch after the other."""
    growth = rate * service.per_request_s
    mean = _mean_batch(service, rate)
    if growth >= 1 or not 1 < service.largest >= mean:
        return math.inf
    z = NormalDist().inv_cdf(percentile)
    large = max(1.0, mean + z * math.sqrt(mean / (1 - growth**2)))
    in_turn = math.ceil(large / service.largest) if large > service.largest else 1
    one = service.seconds(min(large, service.largest))
    return one * in_turn + one * _slow(service.scv, percentile)


def _mean_batch(service: Service, rate: float) -> float:
    """Requests that arrive during one execution of as many: the fixed point of rate * s(m)."""
    growth = rate * service.per_request_s
    if growth >= 1:
        return math.inf
    return max(rate * service.least_s, rate * service.fixed_s / (1 - growth))


def _slow(scv: float, percentile: float) -> float:
    """How much longer than the mean a slow execution is, were it log-normal."""
    spread = math.log(1 + scv)
    return max(1.0, math.exp(NormalDist().inv_cdf(percentile) * math.sqrt(spread) - spread / 2))


@dataclass(frozen=True, slots=True)
class Objective:
    """What is wanted."""

    percentile: int
    """1 to 99."""
    target_s: float
    most: int
    """Pods at most."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What was found out, and what follows from it."""

    arrival_rate: float
    """Requests per second, all pods together."""
    service_rate: float
    """Requests that one pod computes per second of work."""
    utilization_percent: int
    recommended: int
    reason: str


def recommend(windows: Sequence[Window], objective: Objective) -> Capacity | None:
    """Say how many pods there ought to be; None when nothing was measured yet.

    Args:
        windows: newest last. The load is that of the last or of all, whichever is more: up at once,
            down with their mean.
        objective: what is wanted.
    """
    service = fitted(windows)
    if service is None:
        return None
    last = windows[-1]
    mean = sum(w.requests for w in windows) / sum(w.seconds for w in windows)
    rate = max(last.rate, mean) * _HEADROOM
    pods, reason = _needed(service, rate, objective)
    busy = last.busy_s / (last.seconds * last.pods) if last.pods else 0.0
    return Capacity(last.rate, _service_rate(windows), round(100 * min(1.0, busy)), pods, reason)


def _service_rate(windows: Sequence[Window]) -> float:
    seen = [w for w in windows if w.executions]
    busy = sum(w.execution_s for w in seen)
    return sum(w.inferences for w in seen) / busy if busy else 0.0


def _needed(service: Service, rate: float, objective: Objective) -> tuple[int, str]:
    percentile, target = objective.percentile / 100, objective.target_s
    name = f"p{objective.percentile}"
    idle = latency(service, 0.0, percentile)
    if idle > target:
        enough = _kept_up(service, rate, objective.most)
        return enough, (
            f"{name} is {_ms(idle)} without any load, above the target of {_ms(target)}: more pods"
            " cannot help; give a pod more CPU, or raise the target"
        )
    for pods in range(1, objective.most + 1):
        expected = latency(service, rate / pods, percentile)
        if expected <= target and _utilization(service, rate / pods) <= _MAX_UTILIZATION:
            return pods, f"{name} of {_ms(expected)} is expected, the target is {_ms(target)}"
    return objective.most, (
        f"{name} would be above the target of {_ms(target)} even with maxReplicas"
        f" {objective.most}; raise autoscaling.maxReplicas"
    )


def _utilization(service: Service, rate: float) -> float:
    """Load over what a pod can do with its largest batches."""
    return rate * min(service.seconds(1), service.seconds(service.largest) / service.largest)


def _kept_up(service: Service, rate: float, most: int) -> int:
    needed = math.ceil(_utilization(service, rate) / _MAX_UTILIZATION)
    return min(most, max(1, needed))


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"
