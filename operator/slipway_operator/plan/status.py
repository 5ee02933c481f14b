"""The status: what is reported, from the snapshot and the decision.

Lives here: conditions, columns and sentences. The truth table is `rollout.md` B4.
Stays out: deciding anything (`rollout.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from slipway_operator.api.v1alpha1 import Spec
from slipway_operator.plan import conditions as c
from slipway_operator.plan.autoscaler import SCALED_OBJECT, kind_of_scaler, trouble
from slipway_operator.plan.clock import timestamp
from slipway_operator.plan.conditions import Condition
from slipway_operator.plan.machine import step_of
from slipway_operator.plan.names import Manifest, revision_name, scale_selector
from slipway_operator.plan.pods import (
    PodFailure,
    first_failure,
    refused_pods,
    serving_pods,
    supply_pods,
)
from slipway_operator.plan.progress import STEPPING, State, written
from slipway_operator.plan.ratio import percent
from slipway_operator.plan.revision import GRPC, REST, Revision
from slipway_operator.plan.rollout import Rollout, deadline_exceeded, is_complete
from slipway_operator.plan.service import GRPC_SERVICE_PORT
from slipway_operator.plan.sizing import bounds, desired_replicas, is_held, objective_of, scaler_of
from slipway_operator.plan.snapshot import Snapshot
from slipway_operator.plan.tracks import available, workload_of
from slipway_operator.plan.traffic import Route

_SHORT: Final = 4
_RESTING: Final = frozenset({State.IDLE, *STEPPING})
"""States that without pods nothing happens in."""
_TOLD_BY_MACHINE: Final = frozenset(
    {c.ABORTED_BY_USER, c.ANALYSIS_FAILED, c.CANDIDATE_DOWN, c.POST_PROMOTION}
)
"""Causes that the pods do not show any more when a rollout has failed."""
_ASLEEP: Final = "scaled to zero by KEDA; one of its triggers brings the model back"
_MISSING: Final = (
    f"spec.autoscaling.keda: the cluster has no kind {SCALED_OBJECT!r} of keda.sh/v1alpha1, so"
    " nothing scales the pods; install KEDA, or remove spec.autoscaling.keda"
)


@dataclass(frozen=True, slots=True)
class View:
    """What the sentences are made from."""

    snapshot: Snapshot
    rollout: Rollout
    stable: Manifest | None
    """The stable revision's Deployment."""
    candidate: Manifest | None
    failure: PodFailure | None
    """Of the revision that the spec asks for."""
    spec: Spec

    @property
    def current(self) -> Manifest | None:
        """The Deployment of the revision that the spec asks for."""
        return self.candidate if self.rollout.candidate else self.stable

    @property
    def wanted(self) -> int:
        """Pods that the revision which the spec asks for is to have now."""
        size = self.rollout.size
        moved = desired_replicas(self.current) if size.is_floor else 0
        return max(size.replicas, moved)

    @property
    def sleeps(self) -> bool:
        """Whether an autoscaler has taken the last pod away, as it may."""
        size = self.rollout.size
        return size.is_floor and self.wanted == 0 and self.current is not None

    @property
    def scaler_is_missing(self) -> bool:
        """Whether the kind that is to scale the pods is not installed."""
        scaling = scaler_of(self.spec)
        return scaling is not None and kind_of_scaler(scaling) in self.snapshot.missing_kinds

    @property
    def serving(self) -> int:
        """Available pods of what the apex Service selects."""
        if self.rollout.route is Route.SHARED:
            return available(self.stable) + available(self.candidate)
        apex = self.rollout.apex
        return available(self.stable if apex is self.rollout.stable else self.candidate)

    @property
    def has_apex(self) -> bool:
        """Whether the Service that clients use exists and is ours."""
        return self.snapshot.child("Service", self.snapshot.owner.name) is not None

    @property
    def is_off(self) -> bool:
        """Suspended, or zero replicas."""
        return self.rollout.is_off


def view(snapshot: Snapshot, spec: Spec, rollout: Rollout) -> View:
    """Gather what the status is made from."""
    stable = workload_of(snapshot, rollout.stable) if rollout.stable else None
    candidate = workload_of(snapshot, rollout.candidate) if rollout.candidate else None
    failure = first_failure(snapshot, serving_pods(snapshot, rollout.current.hash))
    failure = failure or refused_pods(candidate if rollout.candidate else stable)
    return View(snapshot, rollout, stable, candidate, failure, spec)


def status(seen: View) -> dict[str, Any]:
    """Write the whole status."""
    snapshot, rollout = seen.snapshot, seen.rollout
    now = timestamp(snapshot.now)
    findings = list(_conditions(seen))
    ready = findings[0]
    weight = _applied(seen)
    report: dict[str, Any] = {
        "observedGeneration": snapshot.generation,
        "phase": _phase(seen, findings),
        "message": ready.message,
        "summary": _summary(seen, ready),
        "replicas": _total(snapshot),
        "selector": scale_selector(snapshot.owner.name),
        "desired": _desired(rollout),
        "rollout": _rollout(seen),
        "conditions": c.merge(
            snapshot.status.get("conditions") or (), findings, snapshot.generation, now
        ),
    }
    if seen.has_apex:
        report["endpoints"] = _endpoints(snapshot, rollout.apex)
    if rollout.stable:
        report["stable"] = _track(rollout.stable, seen.stable, seen, weight=100 - weight)
        report |= _model(rollout.stable)
    if rollout.candidate:
        report["candidate"] = _track(rollout.candidate, seen.candidate, seen, weight=weight)
    if capacity := _capacity(seen):
        report["capacity"] = capacity
    if history := _history(rollout):
        report["history"] = history
    if last := _last_failure(seen, now):
        report["lastFailure"] = last
    return report


def _conditions(seen: View) -> Iterator[Condition]:
    ready, stalled = _ready(seen), _stalled(seen)
    yield ready
    yield _available(seen)
    yield _reconciling(ready, stalled)
    yield stalled
    yield _supplied(seen)


def _ready(seen: View) -> Condition:
    rollout = seen.rollout
    if rollout.state is State.FAILED:
        return Condition(c.READY, False, c.ROLLOUT_ABORTED, _aborted_text(seen))
    if rollout.state in _RESTING and seen.is_off:
        return Condition(c.READY, True, c.SUSPENDED, _off_text(seen))
    if seen.scaler_is_missing:
        return Condition(c.READY, False, c.AUTOSCALER_MISSING, _MISSING)
    if found := _rollout_ready(seen):
        return found
    if rollout.state is State.IDLE and seen.stable and is_complete(seen.stable, rollout.size):
        if seen.sleeps:
            return Condition(c.READY, True, c.SCALED_TO_ZERO, _ASLEEP)
        text = (
            f"revision {label(rollout.current)} serves with"
            f" {available(seen.stable)} of {seen.wanted} replicas{_scaled_text(seen)}"
        )
        return Condition(c.READY, True, c.SERVING, text)
    reason, text = _progress(seen)
    if rollout.stable and rollout.candidate:
        return Condition(c.READY, False, c.ROLLING_OUT, text)
    return Condition(c.READY, False, reason, text)


def _rollout_ready(seen: View) -> Condition | None:
    """Ready while something special is going on; None when nothing is."""
    rollout = seen.rollout
    match rollout.state:
        case State.IDLE if rollout.progress.pinned:
            text = (
                f"revision {label(rollout.current)} serves because of the action"
                f" {rollout.progress.pinned_by!r}; the next change of spec ends that"
            )
            return Condition(c.READY, False, c.PINNED, text)
        case State.PAUSED:
            return Condition(c.READY, False, c.PAUSED, _paused_text(seen))
        case State.WATCHING if seen.candidate and is_complete(seen.candidate, rollout.size):
            until = rollout.progress.until(rollout.progress.since, rollout.policy.watch_s)
            text = (
                f"revision {label(rollout.current)} serves with {available(seen.candidate)} of"
                f" {seen.wanted} replicas; watching until {_time(until)}, while"
                f" {_stable_label(seen)} keeps its pods"
            )
            return Condition(c.READY, True, c.SERVING, text)
        case State.SHIFTING | State.BAKING:
            return Condition(c.READY, False, c.ROLLING_OUT, _step_text(seen))
        case State.ABORTING:
            text = f"{rollout.progress.reason}: {rollout.progress.message}; traffic goes back"
            return Condition(c.READY, False, c.ROLLING_OUT, text)
    return None


def _paused_text(seen: View) -> str:
    progress = seen.rollout.progress
    where = _step_text(seen) if progress.step else f"revision {label(seen.rollout.current)}"
    return f"{where}; paused: {progress.reason}: {progress.message}"


def _step_text(seen: View) -> str:
    """Where a step stands; the numbers in it move only when the situation does."""
    rollout, progress = seen.rollout, seen.rollout.progress
    text = (
        f"revision {label(rollout.current)} at {_applied(seen)} % (step {progress.step} of"
        f" {len(rollout.policy.steps)}, weight {progress.weight}):"
        f" {available(seen.candidate)} of {seen.wanted} pods are ready"
    )
    if progress.state is State.BAKING:
        until = progress.until(progress.step_since, step_of(progress, rollout.policy).hold_s)
        text += f"; holds until {_time(until)}"
    return text


def _time(at: datetime | None) -> str:
    return timestamp(at) if at else "further notice"


def _stable_label(seen: View) -> str:
    return f"revision {label(seen.rollout.stable)}" if seen.rollout.stable else "nothing"


def _progress(seen: View) -> tuple[str, str]:
    """Reason and sentence of what is still missing of the revision that the spec asks for."""
    supply, current = seen.rollout.supply, seen.rollout.current
    if supply and supply.result is None:
        reason = c.SUPPLYING if supply.reason == c.FETCHING else c.MODEL_NOT_SUPPLIED
        return reason, f"revision {label(current)}: {supply.message}"
    text = (
        f"revision {label(current)}: {available(seen.current)} of"
        f" {seen.wanted} replicas are ready{_scaled_text(seen)}"
    )
    if seen.failure is None:
        return c.PODS_NOT_READY, text
    return (
        c.PODS_FAILING,
        f"{text}; pod {seen.failure.pod}: {seen.failure.reason}: {seen.failure.message}",
    )


def _scaled_text(seen: View) -> str:
    scaling = scaler_of(seen.spec)
    if scaling is None or not seen.rollout.size.is_floor:
        return ""
    lowest, highest = bounds(scaling)
    text = f"autoscaled from {lowest} to {highest}; spec.replicas is ignored"
    if why := trouble(seen.snapshot, seen.rollout.current.hash, scaling):
        text += f"; the autoscaler does not scale: {why}"
    return f" ({text})"


def _available(seen: View) -> Condition:
    if seen.is_off:
        return Condition(c.AVAILABLE, False, c.SUSPENDED, _off_text(seen))
    if seen.serving == 0 and seen.sleeps:
        return Condition(c.AVAILABLE, False, c.SCALED_TO_ZERO, _ASLEEP)
    if seen.serving == 0:
        return Condition(c.AVAILABLE, False, c.NO_PODS, "no pod is ready, requests fail")
    if not seen.has_apex:
        name = seen.snapshot.owner.name
        return Condition(c.AVAILABLE, False, c.NO_SERVICE, f"there is no Service {name!r} of ours")
    text = f"revision {label(seen.rollout.apex)} answers with {seen.serving} ready pods"
    return Condition(c.AVAILABLE, True, c.SERVING, text)


def _reconciling(ready: Condition, stalled: Condition) -> Condition:
    if ready.status or stalled.status:
        return Condition(c.RECONCILING, False, c.SETTLED, "nothing is in progress")
    return Condition(c.RECONCILING, True, ready.reason, ready.message)


def _stalled(seen: View) -> Condition:
    rollout, supply = seen.rollout, seen.rollout.supply
    if rollout.state is State.FAILED:
        return Condition(c.STALLED, True, c.ROLLOUT_ABORTED, _aborted_text(seen))
    if supply and supply.result is None and supply.is_terminal:
        return Condition(c.STALLED, True, supply.reason, supply.message)
    if seen.scaler_is_missing and not seen.is_off:
        return Condition(c.STALLED, True, c.AUTOSCALER_MISSING, _MISSING)
    if not rollout.stable and not seen.is_off:
        if seen.failure and seen.failure.is_stuck:
            return Condition(c.STALLED, True, seen.failure.reason, seen.failure.message)
        if seen.candidate and deadline_exceeded(seen.candidate):
            return Condition(c.STALLED, True, c.PROGRESS_DEADLINE, _progress(seen)[1])
    return Condition(c.STALLED, False, c.SETTLED, "nothing stands in the way")


def _supplied(seen: View) -> Condition:
    supply = seen.rollout.supply
    if supply is None:
        return Condition(c.MODEL_SUPPLIED, False, c.FETCHING, "the model is going to be fetched")
    return Condition(c.MODEL_SUPPLIED, supply.result is not None, supply.reason, supply.message)


def _aborted_text(seen: View) -> str:
    rollout = seen.rollout
    cause = _progress(seen)[1]
    if rollout.progress.reason in _TOLD_BY_MACHINE:
        cause = f"{rollout.progress.reason}: {rollout.progress.message}"
    if rollout.deadline_passed:
        cause += ", and its deadline has passed"
    stable = label(rollout.stable) if rollout.stable else "none"
    pods = available(seen.stable)
    return f"{cause}; revision {stable} goes on serving with {pods} ready pods"


def _off_text(seen: View) -> str:
    suspended = seen.snapshot.mdep["spec"].get("suspend")
    return "suspended: there are no pods" if suspended else "spec.replicas is 0: there are no pods"


def _phase(seen: View, findings: list[Condition]) -> str:
    by_type = {f.type: f for f in findings}
    if seen.rollout.state is State.FAILED:
        return "Degraded"
    if by_type[c.STALLED].status:
        return "Failed" if seen.rollout.stable is None else "Degraded"
    if by_type[c.READY].reason in _PHASES:
        return _PHASES[by_type[c.READY].reason]
    if by_type[c.READY].status:
        return "Suspended" if by_type[c.READY].reason == c.SUSPENDED else "Healthy"
    if seen.rollout.candidate is None:
        return "Degraded"
    waiting = seen.rollout.supply is None or seen.rollout.supply.result is None
    return "Pending" if seen.rollout.stable is None and waiting else "Progressing"


_PHASES: Final = {c.PAUSED: "Paused", c.PINNED: "RollingBack"}


def _applied(seen: View) -> int:
    """Percent of the requests that the candidate gets now, as the live Service has it."""
    match seen.rollout.live:
        case Route.SHARED:
            stable, candidate = available(seen.stable), available(seen.candidate)
            return percent(candidate, stable + candidate)
        case Route.CANDIDATE if seen.rollout.candidate and seen.rollout.stable:
            return 100
    return 0


def _summary(seen: View, ready: Condition) -> dict[str, str]:
    rollout = seen.rollout
    counts = str(available(seen.stable)) if rollout.stable else ""
    if rollout.candidate:
        counts += f"{'+' if counts else ''}{available(seen.candidate)}"
    return {
        "ready": "True" if ready.status else "False",
        "stable": label(rollout.stable) if rollout.stable else "",
        "candidate": _candidate_text(seen),
        "replicas": f"{counts}/{seen.wanted}",
    }


def _candidate_text(seen: View) -> str:
    rollout = seen.rollout
    if rollout.candidate is None:
        return ""
    weight = f" {_applied(seen)}%" if rollout.progress.weight and rollout.stable else ""
    return f"{label(rollout.candidate)}{weight}"


def _desired(rollout: Rollout) -> dict[str, str]:
    progress = rollout.progress
    pin = {"pinnedBy": progress.pinned_by, "pinnedFrom": progress.pinned_from}
    return {"hash": rollout.desired, **(pin if progress.pinned else {})}


def label(revision: Revision) -> str:
    """Name a revision for people: its number and the beginning of its hash."""
    return f"r{revision.number} {revision.hash[:_SHORT]}"


def _total(snapshot: Snapshot) -> int:
    return sum(
        int((d.get("status") or {}).get("replicas", 0)) for d in snapshot.of_kind("Deployment")
    )


def _endpoints(snapshot: Snapshot, revision: Revision) -> list[dict[str, str]]:
    host = f"{snapshot.owner.name}.{snapshot.owner.namespace}.svc"
    urls = {REST: f"http://{host}", GRPC: f"{host}:{GRPC_SERVICE_PORT}"}  # as channels want it
    return [{"type": p, "url": url} for p, url in urls.items() if p in revision.protocols]


def _track(
    revision: Revision, workload: Manifest | None, seen: View, *, weight: int
) -> dict[str, Any]:
    wanted = (workload or {}).get("spec", {}).get("replicas", 0)
    return {
        "revision": revision.number,
        "hash": revision.hash,
        "name": revision_name(seen.snapshot.owner.name, revision.hash),
        "replicas": int(wanted or 0),
        "available": available(workload),
        "weight": weight,
    }


def _model(stable: Revision) -> dict[str, Any]:
    if stable.result is None:
        return {}
    model = {
        "uri": stable.uri,
        "digest": stable.result.digest,
        "format": stable.result.format,
        "sizeBytes": stable.result.size_bytes,
    }
    if stable.version:
        model["version"] = stable.version
    report: dict[str, Any] = {"model": model}
    if stable.result.signature:
        report["signature"] = dict(stable.result.signature)
    return report


def _rollout(seen: View) -> dict[str, Any]:
    rollout = seen.rollout
    report: dict[str, Any] = {
        "id": f"{rollout.current.number}-{rollout.progress.attempt}",
        **written(rollout.progress),
    }
    if weight := _weight(seen):
        report["weight"] = weight
    if rollout.stable and rollout.stable.promoted_at:
        report["promotedAt"] = rollout.stable.promoted_at
    if floors := _floors(seen):
        report["capacityFloor"] = floors
    return report


def _weight(seen: View) -> dict[str, Any]:
    """What is wished, what is so, and whether it was left the time to come about."""
    progress = seen.rollout.progress
    if not progress.weight or seen.rollout.stable is None:
        return {}
    is_settled = progress.state in (State.BAKING, State.WATCHING) or bool(
        progress.state is State.PAUSED and progress.step_since
    )
    report: dict[str, Any] = {
        "desired": progress.weight,
        "applied": _applied(seen),
        "verified": is_settled,
    }
    if progress.state in STEPPING:
        report["mode"] = "ReplicaRatio"
    return report | ({"note": progress.note} if progress.note else {})


def _floors(seen: View) -> dict[str, int]:
    """The floors that outlive a pass: of a rollout, and of the time after it."""
    rollout = seen.rollout
    floors = {}
    if rollout.stable and rollout.sizes.stable.is_floor and is_held(seen.snapshot, rollout.stable):
        floors["stable"] = rollout.sizes.stable.replicas
    if rollout.candidate and rollout.sizes.candidate.is_floor:
        floors["candidate"] = rollout.sizes.candidate.replicas
    return floors


def _capacity(seen: View) -> dict[str, Any] | None:
    """What was told last stays until something else is told: it is no gauge."""
    if objective_of(seen.spec) is None:
        return None
    found, old = seen.snapshot.capacity, seen.snapshot.status.get("capacity")
    if found is None or (old and old.get("recommended") == found.recommended):
        return old
    return {
        "lambda": f"{found.arrival_rate:.1f}",
        "mu": f"{found.service_rate:.1f}",
        "utilizationPercent": found.utilization_percent,
        "recommended": found.recommended,
        "reason": found.reason,
    }


def _history(rollout: Rollout) -> list[dict[str, Any]]:
    return [
        {
            "revision": r.number,
            "hash": r.hash,
            "digest": r.result.digest if r.result else "",
            "version": r.version,
            "promotedAt": r.promoted_at,
            "outcome": "Promoted",
        }
        for r in rollout.others
        if r.promoted_at
    ]


def _last_failure(seen: View, now: str) -> dict[str, Any] | None:
    """The newest failure; an old one stays to be read, with the time it was first seen."""
    old: dict[str, Any] | None = seen.snapshot.status.get("lastFailure")
    found = seen.failure or _stuck_supply(seen)
    if found is None:
        return old
    report: dict[str, Any] = {"reason": found.reason, "message": found.message, "pod": found.pod}
    if found.exit_code is not None:
        report["exitCode"] = found.exit_code
    same = old is not None and all(
        old.get(k) == report.get(k) for k in ("reason", "pod", "message")
    )
    return {**report, "time": old["time"] if old and same and "time" in old else now}


def _stuck_supply(seen: View) -> PodFailure | None:
    """Why a pod of the supply step does not start; how one ended, the step itself tells."""
    supply = seen.rollout.supply
    if supply is None or supply.result is not None:
        return None
    found = supply_pods(seen.snapshot, seen.rollout.current.hash)
    waiting = [p for p in found if (p.get("status") or {}).get("phase") == "Pending"]
    return first_failure(seen.snapshot, waiting)
