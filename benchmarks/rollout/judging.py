"""From what clients noted and what the status said to figures and a verdict. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from benchmarks.rollout.cases import POINTS, ROLLED_BACK_S, Act, Bad, Case, Mode

OK: Final = "ok"
_PER_CONNECTION: Final = ("rest-kept", "grpc")
"""Wires that keep their connections, which a Service does not move."""
_EDGE_S: Final = 0.5
"""A weight counts from so long after it was told until so long before the next."""
_FEWEST: Final = 100
"""Requests without which a share says nothing."""


@dataclass(frozen=True, slots=True)
class Request:
    """What became of one request."""

    sent_s: float
    took_s: float
    wire: str
    revision: str
    outcome: str

    @property
    def answered_s(self) -> float:
        """When."""
        return self.sent_s + self.took_s

    @property
    def is_failed(self) -> bool:
        """Whether the client did not get what it asked for."""
        return self.outcome != OK


@dataclass(frozen=True, slots=True)
class Look:
    """What the cluster said at a time."""

    at_s: float
    state: str
    step: int
    reason: str
    applied: int | None
    """Percent of the candidate; None while nothing is verified."""
    stable: str
    candidate: str
    desired: str
    serving: int
    """Ready pods of the revision that was stable when the case began."""
    pods: tuple[tuple[str, int], ...]
    """Uid and restarts of the candidate's pods."""

    @classmethod
    def read(cls, raw: dict[str, Any]) -> Self:
        """Read one that was kept."""
        return cls(**{**raw, "pods": tuple((uid, n) for uid, n in raw["pods"])})


@dataclass(frozen=True, slots=True)
class Share:
    """Of the requests in a time, how many the candidate got."""

    applied: int
    measured: float
    requests: int

    @property
    def is_near(self) -> bool:
        """Whether it is what the status says."""
        return abs(self.applied - self.measured) <= POINTS


@dataclass(frozen=True, slots=True)
class Figures:
    """What a case has shown."""

    end: str
    reason: str
    requests: int
    harmed: int
    failed: int
    """By the machinery: not by what the candidate itself answered."""
    detected_s: float | None
    """From the first bad answer to the candidate's last one."""
    left_s: float | None
    """From an accepted rollback to the last answer of the version that is left."""
    left_kept_s: float | None
    """The same, over connections that clients keep."""
    capacity: float
    """The fewest ready pods of the stable revision, as a share of what it is to have."""
    reloaded: int
    """Pods of a promoted candidate that did not outlive the promotion as they were."""
    shares: tuple[Share, ...]

    def json(self) -> dict[str, Any]:
        """The figures for a file."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Course:
    """All that is known of one case."""

    before: str
    """The revision that was stable."""
    candidate: str
    replicas: int
    accepted_s: float
    """When the API server had taken what was asked for."""
    requests: Sequence[Request]
    looks: Sequence[Look]


def judged(case: Case, mode: Mode, course: Course) -> Figures:
    """Count and time."""
    last = course.looks[-1]
    bad = [r for r in course.requests if _is_bad(r, case, course.candidate)]
    failed = [r for r in course.requests if r.is_failed and r not in bad]
    left = _left(course, _moved(mode)) if case.act is Act.ROLL_BACK else None
    kept = _left(course, _PER_CONNECTION) if case.act is Act.ROLL_BACK else None
    return Figures(
        end=last.state,
        reason=last.reason,
        requests=len(course.requests),
        harmed=len(bad),
        failed=len(failed),
        detected_s=_detected(course, bad, _moved(mode)),
        left_s=left,
        left_kept_s=kept,
        capacity=_capacity(course, case),
        reloaded=_reloaded(course.looks),
        shares=tuple(_shares(course, mode)),
    )


def faults(case: Case, mode: Mode, course: Course, found: Figures) -> list[str]:
    """Say which musts are missed; none is a pass."""
    told = []
    promoted = course.candidate if case.ends == "Idle" else course.before
    stable = course.looks[-1].stable
    if found.end != case.ends or stable != promoted:
        told.append(f"ended {found.end} with {stable} stable, expected {case.ends} with {promoted}")
    if case.reason and found.reason != case.reason:
        told.append(f"reason {found.reason or 'none'}, expected {case.reason}")
    if found.failed:
        told.append(f"{found.failed} requests failed by the machinery, expected 0")
    if case.is_tried and found.harmed:
        told.append(f"{found.harmed} answers harmed clients, expected 0")
    if case.detected_s and (found.detected_s is None or found.detected_s >= case.detected_s):
        told.append(f"detected after {found.detected_s} s, expected below {case.detected_s:.0f}")
    if case.act is Act.ROLL_BACK and (found.left_s is None or found.left_s > ROLLED_BACK_S):
        told.append(f"left after {found.left_s} s, expected at most {ROLLED_BACK_S:.0f}")
    if found.capacity < 1:
        told.append(f"stable had {found.capacity:.0%} of its pods, expected all")
    if case.ends == "Idle" and found.reloaded:
        told.append(f"{found.reloaded} pods were loaded again, expected 0")
    if mode is Mode.GATEWAY:
        told += [f"share {s.measured:.1f} %, applied {s.applied} %" for s in found.shares
                 if not s.is_near]  # fmt: skip
    return told


def _moved(mode: Mode) -> tuple[str, ...]:
    """Wires whose requests go where traffic is sent at once."""
    return ("rest-new",) if mode is Mode.SERVICE else ("rest-new", *_PER_CONNECTION)


def _is_bad(request: Request, case: Case, candidate: str) -> bool:
    if case.bad is Bad.NONE:
        return False
    if request.revision == candidate:
        return case.bad is Bad.ALL or request.is_failed
    return case.crashes and request.is_failed and not request.revision


def _detected(course: Course, bad: Sequence[Request], wires: Sequence[str]) -> float | None:
    if not bad:
        return None
    answers = _times(course.requests, course.candidate, wires)
    last = max([*answers, *(r.answered_s for r in bad if r.wire in wires)], default=None)
    first = min(r.answered_s for r in bad)
    return None if last is None else round(max(0.0, last - first), 2)


def _left(course: Course, wires: Sequence[str]) -> float | None:
    """When the version that is rolled back gave its last answer."""
    answers = _times(course.requests, course.before, wires)
    return round(max(answers) - course.accepted_s, 2) if answers else None


def _times(requests: Iterable[Request], revision: str, wires: Sequence[str]) -> list[float]:
    return [r.answered_s for r in requests if r.revision == revision and r.wire in wires]


def _capacity(course: Course, case: Case) -> float:
    """Until another revision is stable, the one before has all its pods."""
    looks = [look for look in course.looks if look.stable == course.before]
    if case.act is Act.ROLL_BACK or not looks:
        return 1.0
    return min(look.serving for look in looks) / course.replicas


def _reloaded(looks: Sequence[Look]) -> int:
    before = [look for look in looks if look.state in ("Shifting", "Baking")]
    after = [look for look in looks if look.state in ("Promoting", "Watching")]
    if not before or not after:
        return 0
    return len(set(before[-1].pods) - set(after[-1].pods))


def _shares(course: Course, mode: Mode) -> Iterable[Share]:
    """Of each stretch of verified weight, over the wires that follow it."""
    for begin_s, end_s, applied in _stretches(course.looks):
        found = [r for r in course.requests if r.wire in _moved(mode) and r.revision
                 and begin_s + _EDGE_S <= r.sent_s <= end_s - _EDGE_S]  # fmt: skip
        if len(found) >= _FEWEST:
            mine = sum(r.revision == course.candidate for r in found)
            yield Share(applied, round(100 * mine / len(found), 1), len(found))


def _stretches(looks: Sequence[Look]) -> Iterable[tuple[float, float, int]]:
    begin: Look | None = None
    for before, look in itertools.pairwise(looks):
        weight = before.applied if before.state == "Baking" else None
        if begin is None and weight is not None:
            begin = before
        is_other = look.state != "Baking" or look.applied != weight
        if begin is not None and weight is not None and is_other:
            yield begin.at_s, before.at_s, weight
            begin = None
