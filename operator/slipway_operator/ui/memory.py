"""What the operator remembers of weights over time, for the chart: bounded, and gone with it.

The status tells only the present; a chart needs what was before.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from slipway_operator.picture.words import inside, number, word

MOST_POINTS: Final = 720
"""Of one ModelDeployment: an hour of looks every five seconds."""
MOST_MODELS: Final = 200


@dataclass(frozen=True, slots=True)
class Point:
    """The weights at one time, in percent."""

    at: datetime
    desired: int
    applied: int
    observed: float | None


class Memory:
    """The latest rollout of each ModelDeployment; the ones that moved last are kept."""

    def __init__(self) -> None:
        self._points: OrderedDict[Hashable, deque[Point]] = OrderedDict()
        self._rollouts: dict[Hashable, str] = {}

    def note(self, key: Hashable, mdep: Mapping[str, Any], at: datetime) -> None:
        """Remember the weight of a rollout that is under way."""
        rollout = inside(mdep, "status", "rollout")
        weight = inside(rollout, "weight")
        if not weight:
            return
        which = word(rollout, "id") + word(mdep, "status", "candidate", "hash")
        if self._rollouts.get(key) != which:
            self._points.pop(key, None)
            self._rollouts[key] = which
        self._points.setdefault(key, deque(maxlen=MOST_POINTS)).append(_point(weight, at))
        self._points.move_to_end(key)
        while len(self._points) > MOST_MODELS:
            forgotten, _ = self._points.popitem(last=False)
            self._rollouts.pop(forgotten, None)

    def points(self, key: Hashable) -> tuple[Point, ...]:
        """Tell what is remembered, oldest first."""
        return tuple(self._points.get(key, ()))


def _point(weight: Mapping[str, Any], at: datetime) -> Point:
    observed = word(weight, "observed")
    try:
        share = float(observed) if observed else None
    except ValueError:
        share = None
    return Point(at, number(weight, "desired"), number(weight, "applied"), share)
