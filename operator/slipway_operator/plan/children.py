"""The objects that ought to exist, in the order they are written, and those that ought not.

Lives here: which children a decision needs. Their shapes are in `workload.py`, `service.py`,
`serving.py` and `revision.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from slipway_operator.api.pipeline import Pipeline
from slipway_operator.api.v1alpha1 import Model, Runtime, Spec
from slipway_operator.plan import conditions as c
from slipway_operator.plan.autoscaler import HPA, SCALED_OBJECT, autoscaler, kind_of_scaler
from slipway_operator.plan.evaluation import (
    evaluation_drafts,
    evaluation_jobs,
    evaluations_kept,
)
from slipway_operator.plan.monitoring import POD_MONITOR, pod_monitor
from slipway_operator.plan.names import Manifest, revision_name
from slipway_operator.plan.policy import policy_of
from slipway_operator.plan.progress import State
from slipway_operator.plan.revision import Revision, SupplyResult, record
from slipway_operator.plan.rollout import Rollout, drained_at
from slipway_operator.plan.routes import live_routes, routes
from slipway_operator.plan.security import authentication_of
from slipway_operator.plan.service import apex_service, revision_service
from slipway_operator.plan.serving import serving_configmap
from slipway_operator.plan.sizing import Size, bounds, desired_replicas, resized, scaler_of
from slipway_operator.plan.snapshot import ChildKey, Snapshot
from slipway_operator.plan.tracks import workload_of
from slipway_operator.plan.traffic import Route, is_used
from slipway_operator.plan.workload import (
    deployment,
    disruption_budget,
    service_account,
    supply_job,
)

ABORTED_LIMIT: Final = 3
"""Revisions that never served whose records are kept for looking at."""
_ANY_RESULT: Final = SupplyResult("sha256:" + "0" * 64, "ONNX", 0, {})
_WITH_PASSTHROUGH: Final = ("Deployment", HPA, SCALED_OBJECT)


@dataclass(frozen=True, slots=True)
class Resize:
    """A number of pods to write on behalf of an autoscaler, which owns it afterwards."""

    live: Manifest
    """The Deployment as it was seen."""
    replicas: int


@dataclass(frozen=True, slots=True)
class Children:
    """What ought to exist."""

    resize: tuple[Resize, ...]
    """Before anything is applied: a Deployment that lets go of `replicas` must not fall to 1."""
    judge: tuple[Manifest, ...]
    """What is written only when the model has verified: whether it would be accepted can be told
    before, and a mistake in a block that is passed on to Kubernetes should be."""
    apply: tuple[Manifest, ...]
    """In order: each needs only those before it; what moves traffic comes last."""
    keep: frozenset[ChildKey]
    """Everything that ought to exist, written or not; any other owned object goes."""


def children(snapshot: Snapshot, spec: Spec, rollout: Rollout) -> Children:
    """Say what ought to exist."""
    wanted = list(_wanted(snapshot, spec, rollout))
    once = [m for m in wanted if not _is_settled(snapshot, m)]
    keep = {key(m) for m in wanted} | {("Job", name) for name in _record_names(snapshot, rollout)}
    keep |= set(_lingering(snapshot, rollout))
    keep |= set(evaluations_kept(snapshot, rollout.candidate, rollout.progress))
    keep |= {key(route) for route in live_routes(snapshot) if _is_kept(rollout)}
    if rollout.supply and rollout.supply.restart:
        keep.discard(("Job", revision_name(snapshot.owner.name, rollout.current.hash)))
    return Children(
        resize=tuple(_resizes(snapshot, rollout)),
        judge=(*_judged(snapshot, spec, rollout), *_drafts(snapshot, rollout)),
        apply=tuple(once),
        keep=frozenset(keep),
    )


def _judged(snapshot: Snapshot, spec: Spec, rollout: Rollout) -> Iterator[Manifest]:
    current = rollout.current
    if current.result is not None or (rollout.supply and rollout.supply.is_terminal):
        return
    assumed = current.resolved(_ANY_RESULT)
    for manifest in _workload(snapshot, spec, assumed, _size(snapshot, rollout, current)):
        if manifest["kind"] in _WITH_PASSTHROUGH:
            yield manifest


def _drafts(snapshot: Snapshot, rollout: Rollout) -> Iterator[Manifest]:
    """Jobs of checks: a mistake in one is better known before its step begins."""
    if rollout.stable and rollout.candidate:
        tracks = rollout.stable, rollout.candidate
        yield from evaluation_drafts(snapshot, rollout.policy, *tracks, rollout.progress)


def _evaluations(snapshot: Snapshot, rollout: Rollout) -> Iterator[Manifest]:
    if rollout.stable and rollout.candidate:
        tracks = rollout.stable, rollout.candidate
        yield from evaluation_jobs(snapshot, rollout.policy, *tracks, rollout.progress)


def _resizes(snapshot: Snapshot, rollout: Rollout) -> Iterator[Resize]:
    for revision in _tracks(rollout):
        live = workload_of(snapshot, revision)
        replicas = resized(live, _size(snapshot, rollout, revision))
        if live is not None and replicas is not None:
            yield Resize(live, replicas)


def _tracks(rollout: Rollout) -> list[Revision]:
    return [r for r in (rollout.stable, rollout.candidate) if r is not None]


def _record_names(snapshot: Snapshot, rollout: Rollout) -> Iterator[str]:
    for revision in (rollout.stable, rollout.candidate, *_history(rollout)):
        if revision is not None:
            yield revision_name(snapshot.owner.name, revision.hash)


def key(manifest: Manifest) -> ChildKey:
    """Kind and name of an object."""
    return manifest["kind"], manifest["metadata"]["name"]


def _is_settled(snapshot: Snapshot, manifest: Manifest) -> bool:
    """A Job's template and an immutable ConfigMap cannot change: once there, they stay."""
    return manifest["kind"] in ("Job", "ConfigMap") and key(manifest) in snapshot.children


def _wanted(snapshot: Snapshot, spec: Spec, rollout: Rollout) -> Iterator[Manifest]:
    owner = snapshot.owner
    yield service_account(owner)
    for revision in _recorded(rollout):
        yield record(owner, revision)
    tracks = _tracks(rollout)
    for revision in (*tracks, *_history(rollout)):
        yield from _supply(snapshot, rollout, revision)
    for revision in tracks:
        yield from _workload(snapshot, spec, revision, _size(snapshot, rollout, revision))
    for revision in _history(rollout):
        size = Size(_draining(snapshot, rollout, revision))
        yield from _workload(snapshot, spec, revision, size)
    if _is_monitored(spec) and POD_MONITOR not in snapshot.missing_kinds:
        yield pod_monitor(owner)
    yield from _routes(snapshot, rollout)
    yield from _evaluations(snapshot, rollout)
    is_shared = rollout.route is Route.SHARED and rollout.gate is None
    yield apex_service(owner, rollout.apex, spec.exposure, is_shared=is_shared)


def _routes(snapshot: Snapshot, rollout: Rollout) -> Iterator[Manifest]:
    gate, split = rollout.gate, rollout.split
    if gate is None or split is None or gate.trouble is not None:
        return
    if all(revision.result is not None for revision, _ in split.shares):  # else without a Service
        yield from routes(snapshot.owner, gate, split)


def _is_kept(rollout: Rollout) -> bool:
    """What cannot be written as it is wanted stays as it is; but not what is somebody else's."""
    trouble = rollout.gate.trouble if rollout.gate else None
    return trouble is not None and trouble.reason != c.HOSTNAME_CONFLICT


def _is_monitored(spec: Spec) -> bool:
    return spec.monitoring is None or spec.monitoring.pod_monitor is not False


def _recorded(rollout: Rollout) -> Iterator[Revision]:
    if rollout.stable:
        yield rollout.stable
    if rollout.candidate:
        yield rollout.candidate
    yield from _history(rollout)
    yield from [r for r in rollout.others if not r.promoted_at][:ABORTED_LIMIT]


def _history(rollout: Rollout) -> list[Revision]:
    """Promoted revisions that stay restorable, newest first."""
    served = [r for r in rollout.others if r.promoted_at and r.result is not None]
    return served[: rollout.policy.history_limit]


def _supply(snapshot: Snapshot, rollout: Rollout, revision: Revision) -> Iterator[Manifest]:
    """The Job stays as long as its revision can serve, so that a rollback fetches nothing.

    Deleting the Job of a model that did not verify is the way to try again. What was given up has
    the Job that it had, to be looked at, and gets no other.
    """
    if revision is rollout.current and rollout.supply and rollout.supply.restart:
        return
    if rollout.state is State.FAILED and revision is rollout.candidate:
        return
    spec = _recorded_spec(revision)
    if spec is not None:
        yield supply_job(snapshot.owner, revision, snapshot.defaults, spec)


def _recorded_spec(revision: Revision) -> Spec | None:
    """Read a recorded spec; one of another version of the operator must not stop the upkeep."""
    try:
        return Spec(
            model=Model.model_validate(revision.spec.get("model")),
            pipeline=Pipeline.model_validate(revision.spec.get("pipeline") or {}),
            runtime=Runtime.model_validate(revision.spec.get("runtime") or {}),
        )
    except ValidationError:
        return None


def _size(snapshot: Snapshot, rollout: Rollout, revision: Revision) -> Size:
    if revision is not rollout.candidate:
        return rollout.sizes.stable
    size = rollout.sizes.candidate
    return size if size.replicas else Size(_selected_replicas(snapshot, rollout, revision))


def _draining(snapshot: Snapshot, rollout: Rollout, revision: Revision) -> int:
    """An earlier revision keeps the pods it has until the delay is over; it never gets new ones."""
    until = drained_at(rollout)
    if until is None or snapshot.now >= until:
        return _selected_replicas(snapshot, rollout, revision)
    return _live_replicas(snapshot, rollout, revision)


def _selected_replicas(snapshot: Snapshot, rollout: Rollout, revision: Revision) -> int:
    """The apex is written last: what it still selects keeps its pods until the next pass."""
    if not is_used(snapshot, revision):
        return 0
    return _live_replicas(snapshot, rollout, revision)


def _lingering(snapshot: Snapshot, rollout: Rollout) -> Iterator[ChildKey]:
    """What would go, but may still have traffic: it stays as it is for one more pass."""
    for revision in rollout.others:
        live = workload_of(snapshot, revision)
        if live is not None and _selected_replicas(snapshot, rollout, revision):
            name = live["metadata"]["name"]
            yield from ((kind, name) for kind in ("Deployment", "Service", "ConfigMap", HPA))


def _live_replicas(snapshot: Snapshot, rollout: Rollout, revision: Revision) -> int:
    if rollout.is_off:
        return 0
    return desired_replicas(workload_of(snapshot, revision))


def _workload(snapshot: Snapshot, spec: Spec, revision: Revision, size: Size) -> Iterator[Manifest]:
    if revision.result is None:  # nothing is deployed that was not verified
        return
    owner = snapshot.owner
    yield serving_configmap(owner, revision)
    yield revision_service(owner, revision)
    deadline_s = policy_of(spec).progress_deadline_s
    replicas = None if size.is_floor else size.replicas
    yield deployment(owner, revision, replicas, deadline_s, authentication_of(spec))
    scaling, most = scaler_of(spec), size.replicas
    if size.is_floor and scaling is not None:
        most = bounds(scaling)[1]
        if kind_of_scaler(scaling) not in snapshot.missing_kinds:
            yield autoscaler(owner, revision.hash, scaling, size.replicas)
    if most > 1:
        yield disruption_budget(owner, revision.hash)
