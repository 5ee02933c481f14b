"""What rounds say about a gate.

Lives here: ratios of one round, and the verdict on them. Pure.
Formula: ratio = ours / theirs within a round; the claim is the median over the rounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Final

NOISE: Final = 1.2
"""Two quiet rounds of one server differ by up to this much: less is no claim."""


class Verdict(StrEnum):
    """How a row stands."""

    MET = "met"
    MISSED = "missed"
    NOISE = "noise"


@dataclass(frozen=True, slots=True)
class Gate:
    """What a ratio has to reach: at least `must`, or at most where less is better."""

    must: float
    stretch: float | None = None
    at_most: bool = False

    def is_met(self, value: float) -> bool:
        """Whether a value is on the right side; the gate itself is."""
        return value <= self.must if self.at_most else value >= self.must


def ratios(ours: Mapping[int, float], theirs: Mapping[int, float]) -> list[float]:
    """Ratios of the rounds in which both were measured, in their order.

    >>> ratios({0: 10.0, 1: 12.0, 2: 9.0}, {0: 5.0, 1: 4.0})
    [2.0, 3.0]
    """
    both = sorted(set(ours) & set(theirs))
    return [ours[each] / theirs[each] for each in both if theirs[each]]


def verdict(values: Sequence[float], gate: Gate) -> Verdict:
    """Judge the values of all rounds.

    `noise` is what lies so near to the gate that the rounds contradict each other.

    Raises:
        ValueError: there are no rounds.
    """
    if not values:
        raise ValueError("rounds: got none, expected at least one")
    middle = median(values)
    is_near = max(middle / gate.must, gate.must / middle) <= NOISE if middle > 0 else False
    if is_near and len({gate.is_met(value) for value in values}) > 1:
        return Verdict.NOISE
    return Verdict.MET if gate.is_met(middle) else Verdict.MISSED
