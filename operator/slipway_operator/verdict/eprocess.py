"""E-processes: evidence that may be looked at any time, in logarithms.

An e-process is a bet against a hypothesis that starts with 1 and, were the hypothesis true, would
not be expected to grow: the chance that it ever reaches 1/a is at most a, however often it is
looked at (Ville's inequality). Three bets are placed on intervals of counts:

- *ratio*: given that a request was bad, it is the candidate's with the probability
  theta(d) = p e^d / (p e^d + 1 - p), p its share of the requests, d the logarithm of the ratio of
  both rates. A bet on d against d0 gains x_c (d - d0) - x ln((1 - p + p e^d) / (1 - p + p e^d0)),
  x bad requests of which x_c are the candidate's. Load, weights and outages of both cancel.
- *share*: a bet on the rate q against q0 gains x ln(q/q0) + (n - x) ln((1 - q) / (1 - q0)).
- *mixtures*: the mean of several bets is a bet, and so is one that begins later with money that was
  set aside: what has long been good and then turns bad is found without paying for the past.

Examples (`tests/unit/operator/verdict/test_eprocess.py`): 3 of 3 bad requests at an exposure of
0.1 gain 3 d - 3 ln(0.9 + 0.1 e^d); no bad request gains 0; d = d0 gains 0.
Source: Ville 1939; Lindon & Malek, arXiv:2011.03567; Vovk & Wang, Ann. Stat. 2021; Howard et al.,
Ann. Stat. 2021.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from slipway_operator.verdict.counts import Interval, Tally

_AT_ONCE: Final = 0.5
"""Share of the money that is bet from the beginning."""
_LATER: Final = 1 / 64
"""Share of what was set aside that each interval adds to the bets."""
_SMALLEST: Final = -600.0
"""Logarithms below it say no more than it does, and stay finite numbers."""


def ratio_gain(seen: Interval, log_ratio: float, against: float) -> float:
    """Logarithm of what a bet on a ratio of rates gains.

    Args:
        seen: the counts.
        log_ratio: logarithm of the ratio candidate over stable that is bet on.
        against: that of the hypothesis.
    """
    share, bad = seen.exposure, seen.candidate.bad + seen.stable.bad
    ahead, behind = _normaliser(share, log_ratio), _normaliser(share, against)
    return seen.candidate.bad * (log_ratio - against) - bad * math.log(ahead / behind)


def _normaliser(share: float, log_ratio: float) -> float:
    return 1 - share + share * math.exp(log_ratio)


def share_gain(seen: Tally, rate: float, against: float) -> float:
    """Logarithm of what a bet on a rate gains; both rates are above 0 and below 1."""
    good = seen.requests - seen.bad
    return seen.bad * math.log(rate / against) + good * math.log((1 - rate) / (1 - against))


def log_mean(logs: Sequence[float]) -> float:
    """Logarithm of the mean of numbers given by their logarithms.

    >>> round(log_mean([0.0, 0.0]), 6), round(log_mean([-1000.0, math.log(3)]), 6)
    (0.0, 0.405465)
    """
    return _log_sum(logs) - math.log(len(logs))


def _log_sum(logs: Iterable[float]) -> float:
    known = list(logs)
    top = max(known)
    return top + math.log(sum(math.exp(x - top) for x in known))


@dataclass(frozen=True, slots=True)
class Mixture:
    """Bets on several alternatives at once, all placed at the beginning."""

    logs: tuple[float, ...]
    """Logarithm of what each has come to."""

    @classmethod
    def fresh(cls, size: int) -> Mixture:
        """Place nothing yet."""
        return cls((0.0,) * size)

    @property
    def log_evidence(self) -> float:
        """Logarithm of the mean."""
        return log_mean(self.logs)

    def grown(self, gains: Sequence[float]) -> Mixture:
        """Add the gains of an interval, one per alternative."""
        return Mixture(tuple(max(_SMALLEST, x + g) for x, g in zip(self.logs, gains, strict=True)))


@dataclass(frozen=True, slots=True)
class Lookout:
    """Bets on several alternatives that may become true at any time."""

    logs: tuple[float, ...]
    """Logarithm of what the bets on each alternative have come to, placed at whatever time."""
    aside: float
    """Logarithm of what is not placed yet."""

    @classmethod
    def fresh(cls, size: int) -> Lookout:
        """Place the first part."""
        return cls((math.log(_AT_ONCE / size),) * size, math.log(1 - _AT_ONCE))

    @property
    def log_evidence(self) -> float:
        """Logarithm of the sum, which was 1 at the beginning."""
        return _log_sum((*self.logs, self.aside))

    def grown(self, gains: Sequence[float]) -> Lookout:
        """Place the part of an interval, then add its gains, one per alternative."""
        stake = self.aside + math.log(_LATER / len(self.logs))
        grown = tuple(
            max(_SMALLEST, _log_sum((x, stake)) + g) for x, g in zip(self.logs, gains, strict=True)
        )
        return Lookout(grown, max(_SMALLEST, self.aside + math.log(1 - _LATER)))
