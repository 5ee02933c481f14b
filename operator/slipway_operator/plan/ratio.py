"""Shares of traffic by numbers of pods: what a Service over both tracks comes to. Integers only.

The stable revision has s pods and keeps them; the candidate gets c, so that c / (s + c) is as near
to the weight as whole pods allow, 1 <= c <= ceil(s * surge / 100). Examples, for the weights 5, 25
and 50 with a surge of 100 %: one pod gives 1 and 50 % each time; four give 1, 1, 4 and 20, 20, 50
%; ten give 1, 3, 10 and 9, 23, 50 %. To conserve pods, both together have D = s, at least one each.
Source: `rollout.md` B6.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction


def surged(stable: int, weight: int, surge_percent: int) -> int:
    """Pods of the candidate beside all those of the stable revision.

    Args:
        stable: pods of the stable revision; without any, one of the candidate is something.
        weight: percent, 1 to 99.
        surge_percent: the most of them, in percent of the stable's.

    >>> [surged(10, weight, 100) for weight in (5, 25, 50, 75)]
    [1, 3, 10, 10]
    """
    most = max(1, -(-stable * surge_percent // 100))
    return _nearest(weight * stable // (100 - weight), most, weight, lambda c: stable + c)


def conserved(total: int, weight: int) -> int:
    """Pods of the candidate when both revisions together have `total`, but one each at least.

    >>> [conserved(10, weight) for weight in (1, 25, 50, 99)], conserved(1, 50)
    ([1, 2, 5, 9], 1)
    """
    return _nearest(weight * total // 100, max(1, total - 1), weight, lambda _: max(2, total))


def _nearest(below: int, most: int, weight: int, total: Callable[[int], int]) -> int:
    """Of the two numbers around the exact one the nearer; of two as near the smaller."""
    choice = {min(most, max(1, number)) for number in (below, below + 1)}
    wish = Fraction(weight, 100)
    return min(choice, key=lambda c: (abs(Fraction(c, total(c)) - wish), c))


def weighted(total: int, weight: int) -> int:
    """Pods that a share of the requests needs, of a number that all of them need.

    >>> [weighted(10, weight) for weight in (1, 25, 50, 99)], weighted(0, 50)
    ([1, 3, 5, 10], 1)
    """
    return max(1, -(-total * weight // 100))


def percent(part: int, whole: int) -> int:
    """Round a share to percent; nothing of nothing is none.

    >>> percent(1, 3), percent(0, 0)
    (33, 0)
    """
    return round(Fraction(100 * part, whole)) if whole else 0
