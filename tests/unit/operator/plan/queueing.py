"""The queue of a pod, simulated event by event: the truth that the capacity model is held to."""

from __future__ import annotations

import math
import random
from collections import deque
from dataclasses import dataclass

from slipway_operator.plan.capacity import Window


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that takes what has come while it was busy as one batch."""

    fixed_s: float
    per_request_s: float = 0.0
    max_batch: int = 1
    scv: float = 0.0
    """Of an execution's time; log-normal."""

    def execution_s(self, batch: int, chance: random.Random) -> float:
        """Draw the time of one execution."""
        mean = self.fixed_s + self.per_request_s * batch
        spread = math.log(1 + self.scv)
        return mean * chance.lognormvariate(-spread / 2, math.sqrt(spread))


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a simulation."""

    latencies: list[float]
    window: Window

    def percentile(self, percentile: int) -> float:
        """A percentile of the latency, in seconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, len(ordered) * percentile // 100)]


def simulate(pod: Pod, rate: float, requests: int, seed: int) -> Run:
    """Send Poisson arrivals to one pod; of several pods, each sees its share of them."""
    chance = random.Random(seed)
    waiting: deque[float] = deque()
    latencies: list[float] = []
    arrival, now = chance.expovariate(rate), 0.0
    sent, executions, busy_s, total_s, total_s2 = 0, 0, 0.0, 0.0, 0.0
    while len(latencies) < requests:
        if not waiting:
            now = max(now, arrival)
        while sent < requests and arrival <= now:
            waiting.append(arrival)
            sent += 1
            arrival += chance.expovariate(rate)
        batch = min(len(waiting), pod.max_batch)
        took = pod.execution_s(batch, chance)
        now += took
        latencies += [now - waiting.popleft() for _ in range(batch)]
        executions, busy_s = executions + 1, busy_s + took
        total_s, total_s2 = total_s + took, total_s2 + took * took
    mean = total_s / executions
    scv = max(0.0, total_s2 / executions / mean**2 - 1)
    window = Window(now, 1, requests, requests, executions, total_s, busy_s, scv=scv)
    return Run(latencies, window)
