"""How much more the stable revision's bad requests come in bursts than chance would have it.

Counts that burst break every test for independent requests, so the evidence is divided by a factor
phi: phi = clamp(index / 3, 1, 4), where the index compares the variance of the counts with what
independent requests would have. Bursts that hit both revisions cancel and raise the index too,
hence the 3. A power of at most 1 of an e-value is one as well (Jensen's inequality), if phi comes
from the time before.

index = sum((x_i - n_i r)^2 / (n_i r)) / (k - 1), r the rate of all k intervals, older ones fading.
Examples: two intervals of 100 requests with 5 bad ones each have the index 0; with 0 and 10 it is
10; a single interval has none, and phi is 1.
Source: `rollout.md` A7.2; Pearson's statistic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from slipway_operator.verdict.counts import Tally

_FADE: Final = 0.98
"""Weight of an interval relative to the one after it: about fifty of them are remembered."""
_FEWEST: Final = 4.0
"""Intervals without which nothing is concluded."""
_TOLERATED: Final = 3.0
_LARGEST: Final = 4.0


@dataclass(frozen=True, slots=True)
class Dispersion:
    """Fading sums over intervals with requests."""

    intervals: float = 0.0
    requests: float = 0.0
    bad: float = 0.0
    square: float = 0.0
    """Sum of x_i^2 / n_i."""

    def grown(self, seen: Tally) -> Dispersion:
        """Add an interval; one without requests tells nothing."""
        if not seen.requests:
            return self
        return Dispersion(
            self.intervals * _FADE + 1,
            self.requests * _FADE + seen.requests,
            self.bad * _FADE + seen.bad,
            self.square * _FADE + seen.bad**2 / seen.requests,
        )

    @property
    def index(self) -> float:
        """Variance over that of independent requests; 0 when nothing is known."""
        if self.intervals <= 1 or self.bad <= 0:
            return 0.0
        excess = self.square * self.requests / self.bad - self.bad
        return max(0.0, excess / (self.intervals - 1))

    @property
    def phi(self) -> float:
        """What evidence is divided by, 1 to 4."""
        if self.intervals < _FEWEST:
            return 1.0
        return min(_LARGEST, max(1.0, self.index / _TOLERATED))
