"""The status: what is reported, from the snapshot and the decision.

Lives here: conditions, columns and sentences. The truth table is `rollout.md` B4.
Stays out: deciding anything (`rollout.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from slipway_operator.plan import conditions as c
from slipway_operator.plan.autoscaler import SCALED_OBJECT, trouble
from slipway_operator.plan.clock import timestamp
from slipway_operator.plan.conditions import Condition
from slipway_operator.plan.evidence import identity, reported
from slipway_operator.plan.gateways import GRPC_ROUTE, HTTP_ROUTE
from slipway_operator.plan.history import history
from slipway_operator.plan.names import Manifest, revision_name, scale_selector
from slipway_operator.plan.pods import PodFailure, first_failure, supply_pods
from slipway_operator.plan.policy import Strategy
from slipway_operator.plan.progress import AT_REST, STEPPING, State, written
from slipway_operator.plan.revision import GRPC, REST, Revision
from slipway_operator.plan.rollout import Rollout
from slipway_operator.plan.routes import live_routes, outside
from slipway_operator.plan.scene import deadline_exceeded, is_complete
from slipway_operator.plan.security import authentication_of
from slipway_operator.plan.service import GRPC_SERVICE_PORT
from slipway_operator.plan.sizing import bounds, is_held, objective_of, scaler_of
from slipway_operator.plan.snapshot import Snapshot
from slipway_operator.plan.story import (
    analysis,
    applied,
    candidate_text,
    gate_ready,
    rollout_ready,
    traffic,
    weight_of,
)
from slipway_operator.plan.tracks import available
from slipway_operator.plan.transition import kept_until
from slipway_operator.plan.view import View, label

_RESTING: Final = frozenset({State.IDLE, State.PREFLIGHT, *STEPPING})
"""States that without pods nothing happens in."""


_TOLD_BY_MACHINE: Final = frozenset(
    {
        c.ABORTED_BY_USER, c.ANALYSIS_FAILED, c.CANDIDATE_DOWN, c.POST_PROMOTION,
        c.PREFLIGHT_FAILED, c.PREFLIGHT_UNAVAILABLE, c.PROGRESS_DEADLINE,
    }
)  # fmt: skip
"""Causes that the pods do not show any more when a rollout has failed."""


_ASLEEP: Final = "scaled to zero by KEDA; one of its triggers brings the model back"


_MISSING: Final = (
    f"spec.autoscaling.keda: the cluster has no kind {SCALED_OBJECT!r} of keda.sh/v1alpha1, so"
    " nothing scales the pods; install KEDA, or remove spec.autoscaling.keda"
)


def status(seen: View) -> dict[str, Any]:
    """Write the whole status."""
    snapshot, rollout = seen.snapshot, seen.rollout
    now = timestamp(snapshot.now)
    findings = list(_conditions(seen))
    ready = findings[0]
    weight = applied(seen)
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
        report["endpoints"] = _endpoints(snapshot, rollout)
    if rollout.stable:
        report["stable"] = _track(rollout.stable, seen.stable, seen, weight=100 - weight)
        report |= _model(rollout.stable)
    if rollout.candidate:
        report["candidate"] = _track(rollout.candidate, seen.candidate, seen, weight=weight)
    if rollout.findings and (rollout.policy.steps or rollout.policy.watch_s):
        report["analysis"] = [reported(f) for f in rollout.findings]
        report["rollout"]["analysisOf"] = identity(rollout.current.hash, rollout.progress.attempt)
    if capacity := _capacity(seen):
        report["capacity"] = capacity
    if past := history(rollout, snapshot.status):
        report["history"] = past
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
    if moved := traffic(seen):
        yield moved
    if weight_of(seen):
        yield analysis(seen)
    if authentication_of(seen.spec) or not seen.enforcement.is_complete:
        yield _authentication(seen)


def _authentication(seen: View) -> Condition:
    """Tell whether every pod asks for credentials as the spec says."""
    found, asked = seen.enforcement, authentication_of(seen.spec)
    what = f"credentials of type {asked.type}" if asked else "no credentials any more"
    if found.is_complete:
        text = (
            f"every pod asks for {what}" if found.pods else f"there is no pod; each asks for {what}"
        )
        return Condition(c.AUTHENTICATION_ENFORCED, True, c.CREDENTIALS_REQUIRED, text)
    text = (
        f"{found.changed} of {found.pods} pods ask for {what}; until they are replaced, the others"
        " answer as before"
    )
    if seen.failure:
        text += f"; pod {seen.failure.pod}: {seen.failure.reason}: {seen.failure.message}"
    return Condition(c.AUTHENTICATION_ENFORCED, False, c.AUTHENTICATION_PENDING, text)


def _ready(seen: View) -> Condition:
    rollout = seen.rollout
    if rollout.state is State.FAILED:
        return Condition(c.READY, False, c.ROLLOUT_ABORTED, _aborted_text(seen))
    if rollout.state in _RESTING and seen.is_off:
        return Condition(c.READY, True, c.SUSPENDED, _off_text(seen))
    if seen.scaler_is_missing:
        return Condition(c.READY, False, c.AUTOSCALER_MISSING, _MISSING)
    if found := rollout_ready(seen):
        return found
    if rollout.state is State.IDLE and (found := gate_ready(seen)):
        return found
    if rollout.state is State.IDLE and not seen.enforcement.is_complete:
        return Condition(c.READY, False, c.AUTHENTICATION_PENDING, _authentication(seen).message)
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
    if ready.status or stalled.status or ready.reason == c.PINNED:
        return Condition(c.RECONCILING, False, c.SETTLED, "nothing is in progress")
    return Condition(c.RECONCILING, True, ready.reason, ready.message)


def _stalled(seen: View) -> Condition:
    rollout, supply = seen.rollout, seen.rollout.supply
    if rollout.state is State.FAILED:
        return Condition(c.STALLED, True, c.ROLLOUT_ABORTED, _aborted_text(seen))
    if supply and supply.result is None and supply.is_terminal:
        return Condition(c.STALLED, True, supply.reason, supply.message)
    if not rollout.stable and rollout.is_overdue:
        text = f"{rollout.progress.message or _progress(seen)[1]}; its deadline has passed"
        return Condition(c.STALLED, True, c.PROGRESS_DEADLINE, text)
    if seen.scaler_is_missing and not seen.is_off:
        return Condition(c.STALLED, True, c.AUTOSCALER_MISSING, _MISSING)
    if rollout.standing and rollout.standing.is_stuck:
        return Condition(c.STALLED, True, rollout.standing.reason, rollout.standing.message)
    if (
        rollout.state is State.IDLE
        and not seen.enforcement.is_complete
        and seen.failure
        and seen.failure.is_stuck
    ):
        return Condition(c.STALLED, True, seen.failure.reason, _authentication(seen).message)
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
    if rollout.deadline_passed:
        cause += ", and its deadline has passed"
    elif rollout.progress.reason in _TOLD_BY_MACHINE:
        cause = f"{rollout.progress.reason}: {rollout.progress.message}"
    stable = label(rollout.stable) if rollout.stable else "none"
    pods = available(seen.stable)
    text = f"{cause}; revision {stable} goes on serving with {pods} ready pods"
    until = _kept_until(seen)
    return f"{text}; the pods of the aborted one are kept until {until}" if until else text


def _kept_until(seen: View) -> str:
    """When the pods of an aborted candidate end that are kept; empty when there are none."""
    until = kept_until(seen.rollout.progress, seen.rollout.policy)
    return timestamp(until) if until and seen.rollout.sizes.candidate.replicas else ""


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


def _summary(seen: View, ready: Condition) -> dict[str, str]:
    rollout = seen.rollout
    counts = str(available(seen.stable)) if rollout.stable else ""
    if rollout.candidate:
        counts += f"{'+' if counts else ''}{available(seen.candidate)}"
    return {
        "ready": "True" if ready.status else "False",
        "stable": label(rollout.stable) if rollout.stable else "",
        "candidate": candidate_text(seen),
        "replicas": f"{counts}/{seen.wanted}",
    }


def _desired(rollout: Rollout) -> dict[str, str]:
    progress = rollout.progress
    pin = {"pinnedBy": progress.pinned_by, "pinnedFrom": progress.pinned_from}
    return {"hash": rollout.desired, **(pin if progress.pinned else {})}


def _total(snapshot: Snapshot) -> int:
    return sum(
        int((d.get("status") or {}).get("replicas", 0)) for d in snapshot.of_kind("Deployment")
    )


def _endpoints(snapshot: Snapshot, rollout: Rollout) -> list[dict[str, Any]]:
    """Inside the cluster, and by which hostnames and path through a gateway."""
    found = []
    for entry in _inside(snapshot, rollout.apex):
        hostnames = outside(rollout.gate, entry["type"]) if rollout.gate else []
        found.append({**entry, **({"external": hostnames} if hostnames else {})})
    return found


def _inside(snapshot: Snapshot, revision: Revision) -> list[dict[str, str]]:
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
    if stable.result.framework:
        model["framework"] = stable.result.framework
    if conversion := stable.result.conversion:
        model["sourceDigest"] = conversion.source_digest
        model["framework"] = conversion.framework
        model["parity"] = conversion.parity()
        if conversion.optimization:
            model["optimization"] = conversion.optimization.manifest()
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
    if weight := weight_of(seen):
        report["weight"] = weight
    if generations := _generations(seen.snapshot, rollout):
        report["route"] = generations
    if rollout.stable and rollout.stable.promoted_at:
        report["promotedAt"] = rollout.stable.promoted_at
    if floors := _floors(seen):
        report["capacityFloor"] = floors
    if until := _kept_until(seen):
        report["keptUntil"] = until
    return report


def _generations(snapshot: Snapshot, rollout: Rollout) -> dict[str, int]:
    if rollout.gate is None:
        return {}
    return {
        _GENERATION[route["kind"]]: int(route["metadata"].get("generation", 0))
        for route in live_routes(snapshot)
    }


_GENERATION: Final = {HTTP_ROUTE: "httpGeneration", GRPC_ROUTE: "grpcGeneration"}


def _floors(seen: View) -> dict[str, int]:
    """The floors that outlive a pass: of a rollout, and of the time after it."""
    rollout = seen.rollout
    floors = {}
    if rollout.stable and rollout.sizes.stable.is_floor and _is_floor_kept(seen):
        floors["stable"] = rollout.sizes.stable.replicas
    if rollout.candidate and rollout.sizes.candidate.is_floor:
        floors["candidate"] = rollout.sizes.candidate.replicas
    elif rollout.candidate and rollout.full.candidate.is_floor and _is_exchanged(rollout):
        floors["candidate"] = rollout.full.candidate.replicas
    return floors


def _is_floor_kept(seen: View) -> bool:
    """After a promotion; and while a gateway takes load from it that an abort would bring back."""
    rollout = seen.rollout
    is_moving = rollout.gate and rollout.candidate and rollout.state not in AT_REST
    return bool(is_moving) or (
        rollout.stable is not None and is_held(seen.snapshot, rollout.stable)
    )


def _is_exchanged(rollout: Rollout) -> bool:
    """Tell whether the candidate has no pods yet because the stable revision has to go first."""
    is_recreated = rollout.policy.strategy is Strategy.RECREATE and rollout.stable is not None
    return is_recreated and rollout.state is State.PREPARING


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
