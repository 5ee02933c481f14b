"""Whether bad requests are more frequent with the candidate: errors, or answers that are too slow.

Two questions are asked at once, each by an e-process over the whole rollout:

- is the candidate's rate more than `1 + margin` times the stable's?  (Fail, false with alpha)
- is it less than `1 + detect` times, or below the floor?             (Pass, false with beta)

Bad requests come in bursts, and one that hits a single revision looks like a bad revision: so what
an interval can say against a candidate is bounded, and then divided by how much the stable one's
bad requests burst, and by more the more evenly the requests are shared (`dispersion.py`). Both keep
the promise of alpha for independent requests.

A Fail needs a rate above the floor, too: nobody goes back for 3 errors in a million. A Pass needs
`min_requests`, a Fail does not: a model that fails at once is sent back at once. Where the stable
revision has no traffic any more (after the cut), the candidate is held to the rate that the stable
one had, its uncertainty added.
Source: `rollout.md` A7.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Final

from slipway_operator.verdict.counts import Interval, Tally
from slipway_operator.verdict.dispersion import Dispersion
from slipway_operator.verdict.eprocess import (
    Lookout,
    Mixture,
    log_mean,
    ratio_gain,
    share_gain,
)
from slipway_operator.verdict.outcome import Evidence, Verdict
from slipway_operator.verdict.state import decoded, encoded

_WORSE: Final = (0.15, 0.3, 0.5, 0.8, 1.2, 1.8, 2.5, 3.5)
"""Logarithms of ratios beyond the margin that are bet on: 1.2 to 33 times as many."""
_BETTER: Final = (0.15, 0.3, 0.5, 0.8, 1.2, 1.8, 2.5)
"""Logarithms of ratios below the one to detect that are bet on."""
_BELOW: Final = (0.7, 1.5, 3.0)
"""Logarithms of rates below the floor that are bet on: a half, a fifth and a twentieth of it."""
_LARGEST_GAIN: Final = 3.0
"""Most that an interval can speak against a candidate: no burst sends it back alone.

A smaller gain is still a fair one. Three intervals are enough for a Fail at the usual alpha, since
3 * 3 > ln(200) + ln(16), the latter because half of the money is spread over eight bets.
"""
_NO_BURST: Final = 0.3
"""Share of bad requests from which an interval speaks for itself, unless the stable revision's own
bursts become that large: others seldom do."""
_LARGEST_RATE: Final = 0.999
_QUANTILE: Final = 2.33
"""Of the normal distribution at 99 %."""
_SUMS: Final = 8
SIZE: Final = len(_WORSE) + 1 + len(_BETTER) + len(_BELOW) + _SUMS
"""Numbers in a state."""


@dataclass(frozen=True, slots=True)
class Criteria:
    """What counts as worse, and how sure one has to be."""

    margin: float = 0.25
    """Ratio of the rates above 1 that is put up with."""
    floor: float = 0.005
    """Rate of bad requests, 0 to 1, up to which nothing fails."""
    detect: float = 1.0
    """Ratio above 1 that a Pass rules out."""
    alpha: float = 0.01
    """Chance of failing a candidate that is no worse."""
    beta: float = 0.05
    """Chance of passing one that is."""
    min_requests: int = 100
    """Requests to the candidate without which nothing passes."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What is known so far: a handful of numbers."""

    worse: Lookout = field(default_factory=lambda: Lookout.fresh(len(_WORSE)))
    better: Mixture = field(default_factory=lambda: Mixture.fresh(len(_BETTER)))
    below: Mixture = field(default_factory=lambda: Mixture.fresh(len(_BELOW)))
    dispersion: Dispersion = field(default_factory=Dispersion)
    candidate: Tally = field(default_factory=Tally)
    stable: Tally = field(default_factory=Tally)

    def warmed(self, stable: Tally) -> Rates:
        """Take an interval in, in which the candidate could have no requests yet.

        How the stable revision's bad requests burst has to be known before it is compared with.
        """
        return replace(self, dispersion=self.dispersion.grown(stable))

    def referenced(self, stable: Tally) -> Rates:
        """Take what the stable revision did earlier, where it was never compared with."""
        return self if self.stable.requests else replace(self, stable=stable)

    def grown(self, seen: Interval, criteria: Criteria) -> Rates:
        """Take an interval in, in which both revisions had requests or could have had them."""
        margin, detect = math.log1p(criteria.margin), math.log1p(criteria.detect)
        phi = self.dispersion.phi  # from the time before: else the evidence would choose its weight
        all_requests = seen.candidate.requests + seen.stable.requests
        compared = self.dispersion.compared(seen.exposure, all_requests)
        most = _most(seen.candidate, self.dispersion)
        worse = [min(most, ratio_gain(seen, margin + d, margin)) / compared for d in _WORSE]
        better = [ratio_gain(seen, detect - d, detect) / phi for d in _BETTER]
        return Rates(
            self.worse.grown(worse),
            self.better.grown(better),
            self.below.grown(_below_gains(seen.candidate, criteria.floor, phi)),
            self.dispersion.grown(seen.stable),
            self.candidate + seen.candidate,
            self.stable + seen.stable,
        )

    def grown_alone(self, seen: Tally, criteria: Criteria) -> Rates:
        """Take an interval in, in which all requests were meant for the candidate."""
        limit = min(_LARGEST_RATE, _at_most(self.stable) * (1 + criteria.margin))
        phi = self.dispersion.phi
        rates = [min(_LARGEST_RATE, limit * math.exp(d)) for d in _WORSE]
        most = _most(seen, self.dispersion)
        worse = [min(most, share_gain(seen, rate, limit)) / phi for rate in rates]
        below = _below_gains(seen, criteria.floor, phi)
        return replace(
            self,
            worse=self.worse.grown(worse),
            below=self.below.grown(below),
            candidate=self.candidate + seen,
        )

    @property
    def counts(self) -> Interval:
        """Everything that was counted."""
        return Interval(self.candidate, self.stable)

    def evidence(self, criteria: Criteria) -> Evidence:
        """Weigh what is known."""
        better = self.better.log_evidence
        # Of a candidate that is worse both bets are expected to lose, so their mean is, too.
        passed = log_mean((better, self.below.log_evidence)) if criteria.floor else better
        return Evidence(self.worse.log_evidence, passed, self.dispersion.phi)

    def encoded(self) -> str:
        """Write it as text."""
        noise = self.dispersion
        return encoded(
            (
                *self.worse.logs, self.worse.aside, *self.better.logs, *self.below.logs,
                noise.intervals, noise.requests, noise.bad, noise.square,
                self.candidate.requests, self.candidate.bad,
                self.stable.requests, self.stable.bad,
            )
        )  # fmt: skip

    @classmethod
    def decoded(cls, text: object) -> Rates:
        """Read it back; from anything else begin anew."""
        numbers = decoded(text, SIZE)
        if numbers is None or min(numbers[-_SUMS:]) < 0:
            return cls()
        read = iter(numbers)

        def take(count: int) -> tuple[float, ...]:
            return tuple(next(read) for _ in range(count))

        return cls(
            Lookout(take(len(_WORSE)), *take(1)),
            Mixture(take(len(_BETTER))),
            Mixture(take(len(_BELOW))),
            Dispersion(*take(4)),
            Tally(*take(2)),
            Tally(*take(2)),
        )


def _below_gains(seen: Tally, floor: float, phi: float) -> list[float]:
    if not floor:
        return [0.0] * len(_BELOW)
    return [share_gain(seen, floor * math.exp(-d), floor) / phi for d in _BELOW]


def _most(candidate: Tally, noise: Dispersion) -> float:
    is_beyond = candidate.rate >= max(_NO_BURST, noise.burst)
    return math.inf if is_beyond else _LARGEST_GAIN


def _at_most(seen: Tally) -> float:
    """Bound a rate from above; without requests nothing is known, and any rate is possible."""
    if not seen.requests:
        return _LARGEST_RATE
    root = math.sqrt(seen.bad + 1) + _QUANTILE / 2
    return min(_LARGEST_RATE, root**2 / seen.requests)


def judged(parts: tuple[Rates, ...], criteria: Criteria) -> tuple[Verdict, Evidence]:
    """Judge a candidate by what is known of it, in one or several ways of counting.

    Several (slow answers by more than one limit) count by the mean of their evidence, which is
    valid however they depend on each other.

    Args:
        parts: at least one; all have the same requests.
        criteria: the same for all.
    """
    weighed = [p.evidence(criteria) for p in parts]
    evidence = Evidence(
        log_mean([e.fail for e in weighed]),
        log_mean([e.passed for e in weighed]),
        max(e.phi for e in weighed),
    )
    is_frequent = any(p.candidate.rate > criteria.floor for p in parts)
    if evidence.fail >= -math.log(criteria.alpha) and is_frequent:
        return Verdict.FAIL, evidence
    if parts[0].candidate.requests < criteria.min_requests:
        return Verdict.NO_DATA, evidence
    if evidence.passed >= -math.log(criteria.beta):
        return Verdict.PASS, evidence
    return Verdict.RUNNING, evidence


def evidence_text(log_evidence: float) -> str:
    """Write evidence for people, small and large alike.

    >>> evidence_text(0.0), evidence_text(-20.0), evidence_text(50.0)
    ('1.0', '0.0', '>1e9')
    """
    if log_evidence > math.log(1e9):
        return ">1e9"
    return f"{math.exp(log_evidence):.1f}"
