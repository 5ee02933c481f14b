"""How much more the stable revision's bad requests come in bursts than chance would have it.

Counts that burst break every test for independent requests, so the evidence is divided by a factor
phi: phi = clamp(index / 3, 1, 4), where the index compares the variance of the counts with what
independent requests would have. Bursts that hit both revisions cancel and raise the index too,
hence the 3. A power of at most 1 of an e-value is one as well (Jensen's inequality), if phi comes
from the time before.

How much bursts of each revision alone disturb the comparison of both depends on how the requests
are shared, too: they move the share of the candidate's bad requests, whose variance grows with
p (1 - p), p the candidate's share of all requests, and with the number x of bad ones of both. So a
comparison at half and half is divided by more than one at a tenth: by 1 + 0.8 p (1 - p) x t, where
t = 2 ln(1 + spread) is the variance of the logarithm of the ratio (`compared`).

index = sum((x_i - n_i r)^2 / (n_i r)) / (k - 1), r the rate of all k intervals, older ones fading.
Examples: two intervals of 100 requests with 5 bad ones each have the index 0; with 0 and 10 it is
10; a single interval has none, and phi is 1. spread = (index - 1) / mean of x_i: with intervals of
100 requests and 0 and 10 bad ones it is 9 / 5.
Source: `rollout.md` A7.2; Pearson's statistic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from slipway_operator.verdict.counts import Tally

_FADE: Final = 0.98
"""Weight of an interval relative to the one after it: about fifty of them are remembered."""
_FEWEST: Final = 4.0
"""Intervals without which nothing is concluded."""
_TOLERATED: Final = 3.0
_LARGEST: Final = 4.0
_SATURATION: Final = 0.8
"""A share moves less than its logarithm where bursts are large; measured, see decision 0017."""
_RARE: Final = 3.0
"""Standard deviations of the rate's logarithm."""
_LARGEST_COMPARED: Final = 100.0


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

    @property
    def spread(self) -> float:
        """Squared coefficient of variation of the rate, beyond what chance explains."""
        if self.intervals < _FEWEST or self.bad <= 0:
            return 0.0
        return max(0.0, self.index - 1) * self.intervals / self.bad

    @property
    def burst(self) -> float:
        """Rate that hardly any burst of the revision's own exceeds, 0 to 1 and more."""
        if not self.requests:
            return 0.0
        return self.bad / self.requests * math.exp(_RARE * math.sqrt(math.log1p(self.spread)))

    def compared(self, exposure: float, requests: float) -> float:
        """What evidence from a comparison is divided by, 1 to 100; never less than `phi`.

        Args:
            exposure: share of the candidate, 0 to 1.
            requests: of both revisions in the interval.
        """
        if not self.requests:
            return self.phi
        bad = requests * self.bad / self.requests  # as many as were to be expected
        moved = exposure * (1 - exposure) * bad * 2 * math.log1p(self.spread)
        return min(_LARGEST_COMPARED, max(self.phi, 1 + _SATURATION * moved))
