"""Simulated rollouts, judged by the real code: how often does it fail, how often pass, and when?"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

import numpy as np

from slipway_operator.verdict.counts import Interval, Tally
from slipway_operator.verdict.outcome import Verdict
from slipway_operator.verdict.rates import Criteria, Rates, judged

INTERVAL_S = 30
_BEFORE = 6
"""Intervals that are seen while the candidate is prepared."""


@dataclass(frozen=True)
class Truth:
    """What is really the case."""

    ratio: float = 1.0
    """Errors of the candidate per error of the stable."""
    weight: float = 0.1
    rate: float = 50.0
    """Requests per second of both."""
    base: float = 0.01
    shared_noise: float = 0.0
    own_noise: float = 0.0
    """Standard deviations of an interval's log-normal factors: of both together, and of each."""


@dataclass(frozen=True)
class Trials:
    """How many rollouts went."""

    failed: float
    passed: float
    detection_s: float
    """Median time to the Fail."""


def trials(
    truth: Truth,
    criteria: Criteria,
    *,
    runs: int,
    minutes: int = 30,
    seed: int = 1,
    interval_s: int = INTERVAL_S,
) -> Trials:
    """Roll out again and again."""
    chance = np.random.default_rng(seed)
    intervals = minutes * 60 // interval_s
    ends = [_rollout(truth, criteria, chance, intervals, interval_s) for _ in range(runs)]
    times = [fail for fail, _ in ends if fail is not None]
    passes = [1 for _, is_passed in ends if is_passed]
    return Trials(
        len(times) / runs,
        len(passes) / runs,
        median(times) * interval_s if times else float("inf"),
    )


def _rollout(
    truth: Truth,
    criteria: Criteria,
    chance: np.random.Generator,
    intervals: int,
    interval_s: int,
) -> tuple[int | None, bool]:
    """Tell in which interval it failed, and whether it had passed by then."""
    known, is_passed = Rates(), False
    for _ in range(_BEFORE):
        known = known.warmed(_interval(truth, chance, interval_s).stable)
    for number in range(1, intervals + 1):
        known = known.grown(_interval(truth, chance, interval_s), criteria)
        match judged((known,), criteria)[0]:
            case Verdict.FAIL:
                return number, is_passed
            case Verdict.PASS:
                is_passed = True
    return None, is_passed


def _interval(truth: Truth, chance: np.random.Generator, interval_s: int) -> Interval:
    requests = int(truth.rate * interval_s)
    candidate = int(chance.binomial(requests, truth.weight))
    shared, first, second = (
        _factor(chance, noise) for noise in (truth.shared_noise, truth.own_noise, truth.own_noise)
    )
    return Interval(
        _tally(chance, candidate, truth.base * truth.ratio * shared * first),
        _tally(chance, requests - candidate, truth.base * shared * second),
    )


def _factor(chance: np.random.Generator, noise: float) -> float:
    return float(np.exp(noise * chance.standard_normal() - noise**2 / 2))


def _tally(chance: np.random.Generator, requests: int, rate: float) -> Tally:
    return Tally(requests, float(chance.binomial(requests, min(1.0, rate))))
