"""The one entry: a snapshot in, everything to do out. Pure; equal input gives equal output."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError

from slipway_operator.api.v1alpha1 import Spec, parse_spec
from slipway_operator.plan import conditions as c
from slipway_operator.plan.children import Children, Resize, children, key
from slipway_operator.plan.clock import later, parse, timestamp
from slipway_operator.plan.conditions import Condition
from slipway_operator.plan.names import Manifest, poll_name
from slipway_operator.plan.polling import Polled, Polling, followed, polled, polling, reported
from slipway_operator.plan.progress import State
from slipway_operator.plan.rollout import Rollout, decide, drained_at, wakes_at
from slipway_operator.plan.sizing import FLOOR_HOLD_S, scaler_of
from slipway_operator.plan.snapshot import ChildKey, Snapshot
from slipway_operator.plan.status import status
from slipway_operator.plan.view import view

_TRACKS: Final = (
    "stable", "candidate", "desired", "rollout", "analysis", "model", "signature", "history",
)  # fmt: skip
_NORMAL: Final = "Normal"
_WARNING: Final = "Warning"


@dataclass(frozen=True, slots=True)
class Note:
    """An Event to record."""

    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A write that the API server refused."""

    reason: str
    message: str
    is_terminal: bool
    """Only another spec helps; otherwise it is tried again."""
    retry_after_s: float | None = None
    """When to try again; None: after a pause that doubles."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything to do for one ModelDeployment, in this order."""

    judge: tuple[Manifest, ...] = ()
    """To be judged by the API server without being written."""
    resize: tuple[Resize, ...] = ()
    apply: tuple[Manifest, ...] = ()
    delete: tuple[Manifest, ...] = ()
    """Live objects that ought not to exist."""
    status: Mapping[str, Any] | None = None
    requeue_after_s: float | None = None
    remarks: tuple[Note, ...] = ()
    """Events to record once it is written."""


def plan(snapshot: Snapshot) -> Plan:
    """Decide everything about one ModelDeployment."""
    try:
        spec = parse_spec(snapshot.mdep["spec"])
    except ValidationError as invalid:
        return Plan(status=_invalid(snapshot, invalid))
    found = polled(snapshot)
    snapshot = followed(snapshot, found)
    rollout = decide(snapshot, spec)
    wanted, looking = children(snapshot, spec, rollout), polling(snapshot, spec, found, rollout)
    kept = {("Job", poll_name(snapshot.owner.name))} if looking.is_kept else set[ChildKey]()
    return Plan(
        judge=wanted.judge,
        resize=wanted.resize,
        apply=(*wanted.apply, *([looking.job] if looking.job else ())),
        delete=_superfluous(snapshot, wanted.keep | kept),
        status=_with_polled(status(view(snapshot, spec, rollout)), found),
        requeue_after_s=_requeue(snapshot, rollout, spec, looking),
        remarks=_repairs(snapshot, wanted),
    )


def _with_polled(report: dict[str, Any], found: Polled) -> dict[str, Any]:
    told = reported(found)
    return {**report, "polled": told} if told else report


def _repairs(snapshot: Snapshot, wanted: Children) -> tuple[Note, ...]:
    """What was there, and somebody has deleted."""
    if not _was_settled(snapshot):
        return ()
    missing = (m for m in wanted.apply if snapshot.child(*key(m)) is None)
    return tuple(
        Note(_WARNING, "ChildRecreated", f"{m['kind']} {m['metadata']['name']!r} was gone")
        for m in missing
    )


def _was_settled(snapshot: Snapshot) -> bool:
    """Whether everything that this spec asks for had been made."""
    told = (c.READY, "True", snapshot.generation)
    found = snapshot.status.get("conditions") or ()
    is_ready = any((x["type"], x["status"], x.get("observedGeneration")) == told for x in found)
    return is_ready and (snapshot.status.get("rollout") or {}).get("state") == State.IDLE


def _superfluous(snapshot: Snapshot, kept: Collection[ChildKey]) -> tuple[Manifest, ...]:
    """What is to go; of a kind that seems to be missing nothing, for it may only seem so.

    A kind that the API server does not have has no objects; one whose CRD it has not read again
    after a start has, and they are wanted.
    """
    return tuple(
        live
        for found, live in sorted(snapshot.children.items())
        if found not in kept
        and found[0] not in snapshot.missing_kinds
        and not live["metadata"].get("deletionTimestamp")
    )


def _requeue(snapshot: Snapshot, rollout: Rollout, spec: Spec, looking: Polling) -> float | None:
    """When to look again though nothing has changed: a delay of ours runs out."""
    times: list[datetime] = [looking.due] if looking.due else []
    until = drained_at(rollout)
    if until and any(r.promoted_at for r in rollout.others) and not rollout.is_off:
        times.append(until)
    if scaler_of(spec) and rollout.stable and (since := parse(rollout.stable.promoted_at)):
        times += [t for t in [later(since, FLOOR_HOLD_S)] if t]
    times += wakes_at(rollout)
    if rollout.supply and rollout.supply.retry_at:
        times.append(rollout.supply.retry_at)
    ahead = [(t - snapshot.now).total_seconds() for t in times if t > snapshot.now]
    return min(ahead, default=None)


def _invalid(snapshot: Snapshot, error: ValidationError) -> dict[str, Any]:
    """Leave everything as it is and say which field is not understood."""
    first = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in ("spec", *first["loc"]))
    message = (
        f"{path}: {first['msg']}; this operator does not know it: correct the field,"
        " or upgrade the operator"
    )
    return with_problems(snapshot, snapshot.status, [Problem(c.INVALID_SPEC, message, True)])


def with_problems(
    snapshot: Snapshot, report: Mapping[str, Any], problems: Iterable[Problem]
) -> dict[str, Any]:
    """Add refused writes to a status: what could not be applied is not Ready."""
    worst = sorted(problems, key=lambda p: not p.is_terminal)
    if not worst:
        return dict(report)
    first, now = worst[0], timestamp(snapshot.now)
    kept = [
        Condition(old["type"], old["status"] == "True", old["reason"], old["message"])
        for old in report.get("conditions") or ()
        if old["type"] not in (c.READY, c.RECONCILING, c.STALLED)
    ]
    findings = [
        Condition(c.READY, False, first.reason, first.message),
        Condition(c.RECONCILING, not first.is_terminal, first.reason, first.message),
        Condition(c.STALLED, first.is_terminal, first.reason, first.message),
        *kept,
    ]
    before = snapshot.status.get("conditions") or ()
    return {
        **_without_commit(snapshot, report),
        "observedGeneration": snapshot.generation,
        "phase": "Degraded"
        if report.get("stable")
        else "Failed"
        if first.is_terminal
        else "Pending",
        "message": first.message,
        "summary": {**(report.get("summary") or {}), "ready": "False"},
        "conditions": c.merge(before, findings, snapshot.generation, now),
    }


def _without_commit(snapshot: Snapshot, report: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the tracks as they were: the record that makes a promotion last may be what was refused.

    The next pass promotes again.
    """
    old = snapshot.status
    if (old.get("stable") or {}).get("hash") == (report.get("stable") or {}).get("hash"):
        return dict(report)
    kept = {k: v for k, v in report.items() if k not in _TRACKS}
    return kept | {k: old[k] for k in _TRACKS if k in old}


def notes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Note]:
    """Tell what changed between two statuses, as Events: one per condition whose reason moved."""
    old = {x["type"]: x for x in before.get("conditions") or ()}
    found = []
    for new in after.get("conditions") or ():
        was = old.get(new["type"], {})
        moved = (was.get("status"), was.get("reason")) != (new["status"], new["reason"])
        if moved and (kind := _weight(new)):
            found.append(Note(kind, new["reason"], new["message"]))
    found += _rollout_notes(before, after)
    found += _poll_notes(before.get("polled") or {}, after.get("polled") or {})
    return list(dict.fromkeys(found))


def _rollout_notes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Note]:
    """What happens between the beginning of a rollout and its end, and what people asked for."""
    old, new = before.get("rollout") or {}, after.get("rollout") or {}
    if new.get("state") in _TOLD and _stretch(new) != _stretch(old):
        kind = _WARNING if new["state"] == "Aborting" else _NORMAL
        yield Note(kind, f"Rollout{new['state']}", str(after.get("message") or ""))
    if new.get("reason") == c.ROUTE_CONTESTED != old.get("reason"):
        yield Note(_WARNING, c.ROUTE_CONTESTED, str(new.get("message") or ""))
    action, answer = new.get("handledAction"), new.get("actionAnswer")
    if action and action != old.get("handledAction"):
        if answer:
            yield Note(_WARNING, "ActionIgnored", f"{action}: {answer}")
        else:
            yield Note(_NORMAL, "ActionTaken", str(action))


def _poll_notes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Note]:
    """What was found at the source, and what stood against looking."""
    digest, is_same = after.get("digest", ""), before.get("of", after.get("of")) == after.get("of")
    if is_same and digest != before.get("digest", ""):
        yield Note(_NORMAL, "SourceChanged", f"model.uri has {digest or 'its first bytes again'}")
    if (reason := after.get("reason")) and reason != before.get("reason"):
        yield Note(_WARNING, "PollFailed", f"model.poll: {reason}: {after.get('message', '')}")


_TOLD: Final = ("Preflight", "Shifting", "Baking", "Watching", "Aborting")


def _stretch(rollout: Mapping[str, Any]) -> tuple[Any, ...]:
    return rollout.get("id"), rollout.get("state"), rollout.get("step")


def _weight(condition: Mapping[str, Any]) -> str | None:
    """A transition worth an Event: news about Ready and the model, and everything that stalls."""
    is_true = condition["status"] == "True"
    match condition["type"]:
        case c.STALLED:
            return _WARNING if is_true else None
        case c.READY:
            waiting = condition["reason"] in (c.PODS_NOT_READY, c.SUPPLYING, c.ROLLING_OUT)
            return _NORMAL if is_true or waiting else _WARNING
        case c.MODEL_SUPPLIED:
            return _NORMAL if is_true else None
    return None
