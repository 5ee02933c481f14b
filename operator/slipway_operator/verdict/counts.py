"""What is counted of two revisions: requests, and those of them that were bad.

Lives here: the values that every statistic reads. Which requests are bad (an error, a slow answer)
whoever counts them decides.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tally:
    """Requests of one revision."""

    requests: float = 0.0
    bad: float = 0.0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.requests + other.requests, self.bad + other.bad)

    @property
    def rate(self) -> float:
        """Share of bad requests, 0 to 1; 0 without requests.

        >>> Tally(200, 3).rate, Tally().rate
        (0.015, 0.0)
        """
        return self.bad / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True)
class Interval:
    """What both revisions did in the same stretch of time."""

    candidate: Tally
    stable: Tally

    def __add__(self, other: Interval) -> Interval:
        return Interval(self.candidate + other.candidate, self.stable + other.stable)

    @property
    def exposure(self) -> float:
        """Share of the requests that the candidate had really, 0 to 1: not its weight."""
        both = self.candidate.requests + self.stable.requests
        return self.candidate.requests / both if both else 0.0
