"""From counters to recommendations, over time. Pure: what was read and when are arguments.

Lives here: the difference of two readings, what is remembered of them, and when a new
recommendation is told.
Stays out: reading (`engine/scrape.py`) and the queueing model (`capacity.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Final

from slipway_operator.plan.capacity import Capacity, Objective, Window, recommend

WINDOWS: Final = 20
"""How many windows a recommendation is made from: five minutes of them."""
HOLD_S: Final = 300.0
"""A recommendation falls only when nothing higher was recommended for this long."""
TELL_EVERY_S: Final = 60.0
"""Recommendations are told at most this often: each is a write of the status."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The counters of one pod at one moment; all of them only rise while its process lives."""

    requests: float
    """That were answered or refused because of the server's state; not the client's mistakes."""
    inferences: float
    queue_s: float
    executions: float
    execution_s: float
    busy_s: float
    answered: float
    """Requests whose time is in `request_s`."""
    request_s: float
    execution_buckets: tuple[tuple[float, float], ...] = ()
    """Upper edge in seconds and executions up to it, the edges rising."""


_COUNTERS: Final = tuple(f.name for f in fields(Reading) if f.name != "execution_buckets")

Readings = Mapping[str, Reading]
"""By pod uid."""


def window(before: Readings, after: Readings, seconds: float) -> Window | None:
    """Tell what happened between two readings; None when no pod is in both.

    A pod whose counters fell has started anew, and is left out: nothing is guessed.
    """
    pairs = [(before[uid], now) for uid, now in after.items() if uid in before]
    grown = [(old, new) for old, new in pairs if _has_grown(old, new)]
    if not grown or seconds <= 0:
        return None

    def total(name: str) -> float:
        return float(sum(getattr(new, name) - getattr(old, name) for old, new in grown))

    inferences, answered = total("inferences"), total("answered")
    inside = (total("queue_s") + total("execution_s")) / inferences if inferences else 0.0
    whole = total("request_s") / answered if answered else 0.0
    return Window(
        seconds=seconds,
        pods=len(grown),
        requests=total("requests"),
        inferences=inferences,
        executions=total("executions"),
        execution_s=total("execution_s"),
        busy_s=total("busy_s"),
        overhead_s=max(0.0, whole - inside),
        scv=_variation([(old.execution_buckets, new.execution_buckets) for old, new in grown]),
    )


def _has_grown(old: Reading, new: Reading) -> bool:
    return all(getattr(new, name) >= getattr(old, name) for name in _COUNTERS)


Buckets = tuple[tuple[float, float], ...]


def _variation(pairs: list[tuple[Buckets, Buckets]]) -> float:
    """Squared coefficient of variation, each execution taken for the middle of its bucket."""
    counts: dict[float, float] = {}
    for old, new in pairs:
        known = dict(old)
        for edge, count in new:
            counts[edge] = counts.get(edge, 0.0) + count - known.get(edge, 0.0)
    total, first, second, below, so_far = 0.0, 0.0, 0.0, 0.0, 0.0
    for edge, up_to in sorted(counts.items()):
        middle = (below + edge) / 2 if edge != float("inf") else below
        number, so_far = up_to - so_far, up_to
        total, first, second = total + number, first + number * middle, second + number * middle**2
        below = edge
    if total <= 0 or first <= 0:
        return 0.0
    # In this order: the square of a tiny number is 0.
    return max(0.0, second / first * (total / first) - 1)


@dataclass(frozen=True, slots=True)
class Meter:
    """What is remembered of one ModelDeployment."""

    revision: str = ""
    read_at: float = 0.0
    readings: Readings = field(default_factory=dict)
    windows: tuple[Window, ...] = ()
    widest: Window | None = None
    """The window with the largest batches: without it, what batches cost would be forgotten."""
    recommended: tuple[tuple[float, int], ...] = ()
    """Time and number, newest last."""
    told: Capacity | None = None
    told_at: float = float("-inf")

    def read(self, revision: str, readings: Readings, now: float) -> Meter:
        """Take the next readings in; those of another revision begin anew."""
        known = (
            self
            if revision == self.revision
            else Meter(revision, recommended=self.recommended, told=self.told, told_at=self.told_at)
        )
        seen = window(known.readings, readings, now - known.read_at)
        known = replace(known, read_at=now, readings=readings)
        if seen is None:
            return known
        widest = max((w for w in (known.widest, seen) if w is not None), key=lambda w: w.batch)
        return replace(known, windows=(*known.windows, seen)[-WINDOWS:], widest=widest)

    def judged(self, objective: Objective, now: float, floor: int) -> Meter:
        """Recommend, and tell it when it is new and the last telling is long enough ago.

        Args:
            objective: what is wanted.
            now: the time of the readings.
            floor: what was told before this memory began; it holds for `HOLD_S`, too.
        """
        old = () if self.widest is None or self.widest in self.windows else (self.widest,)
        found = recommend((*old, *self.windows), objective) if self.windows else None
        if found is None:
            return self
        known = self.recommended or ((now, floor),)
        recent = tuple((at, n) for at, n in known if now - at < HOLD_S)
        recent = (*recent, (now, found.recommended))
        meter = replace(self, recommended=recent)
        held = min(objective.most, max(n for _, n in recent))
        if held > found.recommended:
            reason = f"{found.reason}; {held} were needed within the last five minutes"
            found = replace(found, recommended=held, reason=reason)
        is_new = self.told is None or self.told.recommended != held
        if not is_new or now - self.told_at < TELL_EVERY_S:
            return meter
        return replace(meter, told=found, told_at=now)
