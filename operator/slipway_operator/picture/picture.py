"""One ModelDeployment at a glance: a value with everything that is drawn, from what was read.

Lives here: choosing and wording. Fields that are missing, or that a newer operator writes in
another way, leave a gap and never an error.
Stays out: reading the cluster, and drawing (`cli/`, `ui/`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from pydantic import ValidationError

from slipway_operator.api.v1alpha1 import parse_spec
from slipway_operator.picture.verbs import Hint, hints
from slipway_operator.picture.words import age, clean, entries, inside, number, span, word
from slipway_operator.plan.clock import later, parse
from slipway_operator.plan.names import REVISION, SUPPLY_FOR, SUPPLY_REVISION
from slipway_operator.plan.policy import Policy, policy_of

Object = Mapping[str, Any]

MOST_PODS: Final = 20
MOST_EVENTS: Final = 8
MOST_HISTORY: Final = 20
_SHORT: Final = 4

Place = Literal["passed", "here", "ahead"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a rollout."""

    label: str
    place: Place
    detail: str


@dataclass(frozen=True, slots=True)
class Track:
    """A revision that has a role now."""

    role: str
    revision: str
    weight: int
    pods: str


@dataclass(frozen=True, slots=True)
class Check:
    """What one check says."""

    name: str
    verdict: str
    counts: str
    evidence: str
    message: str


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod."""

    name: str
    revision: str
    state: str
    restarts: int
    age: str


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition."""

    type: str
    status: str
    reason: str
    message: str
    age: str


@dataclass(frozen=True, slots=True)
class Event:
    """One Event, repeated ones once."""

    age: str
    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Past:
    """A revision that served."""

    revision: str
    hash: str
    version: str
    digest: str
    promoted: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that is shown of one ModelDeployment."""

    namespace: str
    name: str
    phase: str
    state: str
    message: str
    model: str
    endpoints: tuple[str, ...]
    tracks: tuple[Track, ...]
    weight: str
    """What the weight is made of; empty outside of a rollout."""
    steps: tuple[Step, ...]
    checks: tuple[Check, ...]
    pods: tuple[Pod, ...]
    conditions: tuple[Condition, ...]
    events: tuple[Event, ...]
    history: tuple[Past, ...]
    hints: tuple[Hint, ...]
    gaps: tuple[str, ...]
    """What could not be read, and why."""


def picture(
    mdep: Object,
    now: datetime,
    *,
    pods: Sequence[Object] = (),
    events: Sequence[Object] = (),
    gaps: Sequence[str] = (),
) -> Picture:
    """Draw up what there is to see."""
    status = inside(mdep, "status") or {}
    return Picture(
        namespace=word(mdep, "metadata", "namespace"),
        name=word(mdep, "metadata", "name"),
        phase=word(status, "phase") or "Pending",
        state=word(status, "rollout", "state"),
        message=_message(mdep),
        model=_model(status),
        endpoints=tuple(word(e, "url") for e in entries(status, "endpoints")),
        tracks=tuple(_tracks(status)),
        weight=_weight(inside(status, "rollout", "weight") or {}),
        steps=_steps(mdep, now),
        checks=tuple(map(_check, entries(status, "analysis"))),
        pods=tuple(_pods(pods, now)),
        conditions=tuple(_condition(c, now) for c in entries(status, "conditions")),
        events=tuple(_events(events, now)),
        history=tuple(_past(e, now) for e in entries(status, "history")[:MOST_HISTORY]),
        hints=hints(status),
        gaps=tuple(map(clean, gaps)),
    )


def _message(mdep: Object) -> str:
    status, generation = inside(mdep, "status"), inside(mdep, "metadata", "generation")
    text = word(status, "message")
    if inside(status, "observedGeneration") == generation and text:
        return text
    return f"the operator has not seen this spec yet{f'; before: {text}' if text else ''}"


def _model(status: Object) -> str:
    found = (word(status, "model", key) for key in ("uri", "version", "digest"))
    return "  ".join(text for text in found if text)


def _tracks(status: Object) -> Iterator[Track]:
    for role in ("stable", "candidate"):
        found = inside(status, role)
        if found:
            pods = f"{number(found, 'available')} of {number(found, 'replicas')} pods"
            yield Track(role, labelled(found), _percent(found), pods)


def _percent(track: Object) -> int:
    return min(100, max(0, number(track, "weight")))


def labelled(entry: object) -> str:
    """Name a revision: its number and the beginning of its hash."""
    return f"r{word(entry, 'revision')} {word(entry, 'hash')[:_SHORT]}"


def _weight(weight: Object) -> str:
    if not weight:
        return ""
    parts = [f"{number(weight, 'desired')} % asked for", f"{number(weight, 'applied')} % applied"]
    if observed := word(weight, "observed"):
        of = word(weight, "observedRequests")
        parts.append(f"{observed} % observed" + (f" of {of} requests" if of else ""))
    parts.append("settled" if inside(weight, "verified") is True else "moving")
    if mode := word(weight, "mode"):
        parts.append(f"by {mode}")
    if note := word(weight, "note"):
        parts.append(note)
    return ", ".join(parts)


def _steps(mdep: Object, now: datetime) -> tuple[Step, ...]:
    """The steps of the spec, and where the rollout stands among them."""
    policy, status = _policy(mdep), inside(mdep, "status") or {}
    if policy is None or not policy.steps:
        return ()
    state, at = word(status, "rollout", "state"), number(status, "rollout", "step")
    is_past = state in ("Promoting", "Watching")
    steps = [
        Step(label, _place(place, at, is_past), _step_detail(place, at, state, policy, status, now))
        for place, label in enumerate(_labels(mdep, policy), start=1)
    ]
    last: Place = "here" if is_past else "ahead"
    return (*steps, Step("100 %", last, _last_detail(state, policy, status, now)))


def _policy(mdep: Object) -> Policy | None:
    """None when the spec is of another release, and cannot be read."""
    try:
        return policy_of(parse_spec(dict(inside(mdep, "spec") or {})))
    except ValidationError:
        return None


def _labels(mdep: Object, policy: Policy) -> list[str]:
    wanted = entries(mdep, "spec", "rollout", "steps")
    if wanted and len(wanted) == len(policy.steps):
        return [_step_label(step) for step in wanted]
    return [f"{step.weight} %" for step in policy.steps]


def _step_label(step: Object) -> str:
    name = f"{word(step, 'name')} " if word(step, "name") else ""
    if "headers" in step:
        return f"{name}headers"
    if "mirrorPercent" in step:
        return f"{name}mirror {number(step, 'mirrorPercent')} %"
    return f"{name}{number(step, 'weight')} %"


def _place(place: int, at: int, is_past: bool) -> Place:
    if is_past or place < at:
        return "passed"
    return "here" if place == at else "ahead"


def _step_detail(
    place: int, at: int, state: str, policy: Policy, status: Object, now: datetime
) -> str:
    step = policy.steps[place - 1]
    hold = f"holds {span(step.hold_s)}" + (", then waits for approval" if step.is_manual else "")
    if place != at or state != "Baking":
        return hold
    return _left(inside(status, "rollout", "stepSince"), step.hold_s, now) or hold


def _last_detail(state: str, policy: Policy, status: Object, now: datetime) -> str:
    watch = f"watched for {span(policy.watch_s)}" if policy.watch_s else "not watched"
    if state != "Watching":
        return watch
    return _left(inside(status, "rollout", "since"), policy.watch_s, now) or watch


def _left(since: object, seconds: float, now: datetime) -> str:
    begun = parse(since)
    until = later(begun, seconds) if begun else None
    if until is None:
        return ""
    left = (until - now).total_seconds()
    return f"{span(left)} left" if left > 0 else "its time is over"


def _check(report: Object) -> Check:
    return Check(
        name=word(report, "name"),
        verdict=word(report, "verdict"),
        counts=_counts(report),
        evidence=_evidence(report),
        message=word(report, "message"),
    )


def _counts(report: Object) -> str:
    sides = [
        f"{role} {number(report, role, 'x')} of {number(report, role, 'n')}"
        for role in ("candidate", "stable")
        if inside(report, role)
    ]
    return ", ".join(sides)


def _evidence(report: Object) -> str:
    worse, fine = word(report, "eFail"), word(report, "ePass")
    return f"worse {worse}, fine {fine}" if worse or fine else ""


def _pods(pods: Iterable[Object], now: datetime) -> Iterator[Pod]:
    ordered = sorted(pods, key=lambda p: (_revision(p), word(p, "metadata", "name")))
    for pod in ordered[:MOST_PODS]:
        yield Pod(
            name=word(pod, "metadata", "name"),
            revision=_revision(pod)[:_SHORT],
            state=_pod_state(pod),
            restarts=sum(number(s, "restartCount") for s in _containers(pod)),
            age=age(inside(pod, "metadata", "creationTimestamp"), now),
        )


def _revision(pod: Object) -> str:
    labels = inside(pod, "metadata", "labels") or {}
    return clean(labels.get(REVISION) or labels.get(SUPPLY_REVISION))


def _containers(pod: Object) -> list[Object]:
    return [
        *entries(pod, "status", "initContainerStatuses"),
        *entries(pod, "status", "containerStatuses"),
    ]


def _pod_state(pod: Object) -> str:
    """What kubectl would call it; a pod of the supply step says so."""
    prefix = "supply: " if SUPPLY_FOR in (inside(pod, "metadata", "labels") or {}) else ""
    return prefix + _bare_state(pod)


def _bare_state(pod: Object) -> str:
    if inside(pod, "metadata", "deletionTimestamp"):
        return "Terminating"
    for container in _containers(pod):
        for state in ("waiting", "terminated"):
            reason = word(container, "state", state, "reason")
            if reason and reason != "Completed":
                return reason
    found = entries(pod, "status", "conditions")
    is_ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in found)
    return "Ready" if is_ready else word(pod, "status", "phase") or "Pending"


def _condition(found: Object, now: datetime) -> Condition:
    return Condition(
        word(found, "type"),
        word(found, "status"),
        word(found, "reason"),
        word(found, "message"),
        age(inside(found, "lastTransitionTime"), now),
    )


def _events(events: Iterable[Object], now: datetime) -> Iterator[Event]:
    newest = sorted(events, key=_last_seen, reverse=True)
    for event in newest[:MOST_EVENTS]:
        times = number(event, "count")
        yield Event(
            age(_last_seen(event), now),
            word(event, "type"),
            word(event, "reason"),
            word(event, "message") + (f" ({times} times)" if times > 1 else ""),
        )


def _last_seen(event: Object) -> str:
    names = ("lastTimestamp", "eventTime", "firstTimestamp")
    times = (*(word(event, n) for n in names), word(event, "metadata", "creationTimestamp"))
    return next((t for t in times if t), "")


def _past(entry: Object, now: datetime) -> Past:
    return Past(
        revision=f"r{word(entry, 'revision')}",
        hash=word(entry, "hash"),
        version=word(entry, "version"),
        digest=word(entry, "digest"),
        promoted=age(inside(entry, "promotedAt"), now),
        outcome=word(entry, "outcome"),
    )
