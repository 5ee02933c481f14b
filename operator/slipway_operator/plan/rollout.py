"""Which revision serves, which one is being prepared, and what happens next.

Lives here: the choice of tracks and the steps from one revision to the next.
Stays out: rendering (`children.py`) and reporting (`status.py`).

Make before break: the candidate's model is verified, then all its pods are ready, then the apex
Service selects it, then it is committed as stable by one status write, and only after
`SCALE_DOWN_DELAY` the pods of the revision before it end. A crash between any two writes repeats a
step, never skips one. (Shifting traffic by weight has its states in `rollout.md` B5.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from slipway_operator.api.v1alpha1 import Spec
from slipway_operator.plan.clock import parse, timestamp
from slipway_operator.plan.names import Manifest, revision_name
from slipway_operator.plan.recovery import recovered, remembered
from slipway_operator.plan.revision import (
    Revision,
    next_number,
    read,
    revision_hash,
    revisioned,
)
from slipway_operator.plan.service import selected_revision
from slipway_operator.plan.snapshot import Snapshot
from slipway_operator.plan.supply import Supply, supply
from slipway_operator.plan.workload import pod_template

SCALE_DOWN_DELAY: Final = timedelta(seconds=60)
"""How long the revision before keeps its pods: open connections and slow proxies still use them."""


class State(StrEnum):
    """Where a rollout stands."""

    IDLE = "Idle"
    PREPARING = "Preparing"
    PROMOTING = "Promoting"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class Rollout:
    """The decision about one ModelDeployment."""

    state: State
    desired: str
    """Hash of the revision that the spec asks for."""
    stable: Revision | None
    candidate: Revision | None
    supply: Supply | None
    """Of the candidate, or of the stable revision when there is none."""
    others: tuple[Revision, ...]
    """Every other revision on record, newest first."""
    replicas: int
    """Replicas that a serving revision has: 0 when suspended."""
    deadline_passed: bool = False
    """The candidate's pods did not become ready in time, and it was aborted."""
    committed: bool = False
    """This very pass makes the stable revision stable."""

    @property
    def current(self) -> Revision:
        """The revision that the spec asks for."""
        found = self.candidate or self.stable
        if found is None:
            raise ValueError("a rollout has a stable revision or a candidate")
        return found

    @property
    def apex(self) -> Revision:
        """The revision that the apex Service selects."""
        if self.state is State.PROMOTING or self.stable is None:
            return self.current
        return self.stable


def decide(snapshot: Snapshot, spec: Spec) -> Rollout:
    """Choose the tracks and the next step."""
    raw = snapshot.mdep["spec"]
    desired = revision_hash(raw)
    records = _records(snapshot)
    stable = _stable(snapshot, records, desired, spec)
    if stable is not None:  # recovered perhaps: it must outlive the commit of its successor
        records = {**records, stable.hash: stable}
    replicas = 0 if spec.suspend else spec.replicas
    if stable is not None and stable.hash == desired:
        checked = supply(snapshot, stable)
        others = _others(records, stable, None)
        return Rollout(State.IDLE, desired, stable, None, checked, others, replicas)
    known = records.get(desired) or recovered(snapshot, desired, desired)
    candidate = known or _new(snapshot, spec, desired, records, stable)
    return _advance(snapshot, stable, candidate, records, replicas)


def _advance(
    snapshot: Snapshot,
    stable: Revision | None,
    candidate: Revision,
    records: Mapping[str, Revision],
    replicas: int,
) -> Rollout:
    checked = supply(snapshot, candidate)
    if checked.result is not None:
        candidate = candidate.resolved(checked.result)
    others = _others(records, stable, candidate)
    rollout = Rollout(State.PREPARING, candidate.hash, stable, candidate, checked, others, replicas)
    if stable is not None and checked.is_terminal:
        return replace(rollout, state=State.FAILED)
    workload = snapshot.child("Deployment", revision_name(snapshot.owner.name, candidate.hash))
    if stable is not None and _aborted(snapshot, candidate, workload):
        return replace(rollout, state=State.FAILED, deadline_passed=True)
    if workload is None or not is_complete(workload, replicas):
        return rollout
    if not is_selected(snapshot, candidate):
        return replace(rollout, state=State.PROMOTING)
    return _commit(snapshot, rollout, candidate, records)


def _commit(
    snapshot: Snapshot, rollout: Rollout, candidate: Revision, records: Mapping[str, Revision]
) -> Rollout:
    """Make the candidate stable. A revision that comes back is promoted anew."""
    promoted = candidate.promoted(timestamp(snapshot.now))
    return Rollout(
        State.IDLE,
        rollout.desired,
        stable=promoted,
        candidate=None,
        supply=rollout.supply,
        others=_others(records, promoted, None),
        replicas=rollout.replicas,
        committed=True,
    )


def _records(snapshot: Snapshot) -> dict[str, Revision]:
    found = (read(c) for c in snapshot.of_kind("ControllerRevision"))
    return {r.hash: r for r in found if r is not None}


def _stable(
    snapshot: Snapshot, records: Mapping[str, Revision], desired: str, spec: Spec
) -> Revision | None:
    """The stable revision: by the status, else (status lost) the one promoted last."""
    told = str((snapshot.status.get("stable") or {}).get("hash") or "")
    if told in records:
        return records[told]
    if told and (again := recovered(snapshot, told, desired)):
        return again
    if told == desired:
        return remembered(snapshot, _new(snapshot, spec, desired, records, None))
    promoted = [r for r in records.values() if r.promoted_at]
    return max(promoted, key=lambda r: (r.promoted_at, r.number), default=None)


def _new(
    snapshot: Snapshot,
    spec: Spec,
    desired: str,
    records: Mapping[str, Revision],
    stable: Revision | None,
) -> Revision:
    numbers = [r.number for r in records.values()]
    if stable is not None:
        numbers.append(stable.number)
    numbers += [int(h.get("revision", 0)) for h in snapshot.status.get("history") or ()]
    return Revision(
        hash=desired,
        number=next_number(numbers),
        spec=revisioned(snapshot.mdep["spec"]),
        pod_template=pod_template(snapshot.owner, desired, spec, snapshot.defaults),
    )


def _others(
    records: Mapping[str, Revision], stable: Revision | None, candidate: Revision | None
) -> tuple[Revision, ...]:
    tracks = {r.hash for r in (stable, candidate) if r is not None}
    rest = [r for r in records.values() if r.hash not in tracks]
    return tuple(sorted(rest, key=lambda r: (r.promoted_at, r.number), reverse=True))


def is_complete(workload: Manifest, replicas: int) -> bool:
    """Tell whether a Deployment has exactly `replicas` pods, all of its template and available."""
    status = workload.get("status") or {}
    return (
        status.get("observedGeneration", 0) >= workload["metadata"].get("generation", 0)
        and workload["spec"].get("replicas") == replicas
        and status.get("replicas", 0) == replicas
        and status.get("updatedReplicas", 0) == replicas
        and available(workload) == replicas
    )


def available(workload: Manifest | None) -> int:
    """Count a Deployment's available pods."""
    status: Mapping[str, Any] = (workload or {}).get("status") or {}
    return int(status.get("availableReplicas", 0))


def is_selected(snapshot: Snapshot, revision: Revision) -> bool:
    """Tell whether the live apex Service selects a revision."""
    apex = snapshot.child("Service", snapshot.owner.name)
    return apex is not None and selected_revision(apex) == revision.hash


def _aborted(snapshot: Snapshot, candidate: Revision, workload: Manifest | None) -> bool:
    """Aborted for its deadline: decided now, or earlier for this very revision."""
    rollout = snapshot.status.get("rollout") or {}
    same = (snapshot.status.get("desired") or {}).get("hash") == candidate.hash
    if (
        same
        and rollout.get("state") == State.FAILED
        and rollout.get("reason") == "ProgressDeadline"
    ):
        return True
    return workload is not None and deadline_exceeded(workload)


def deadline_exceeded(workload: Manifest) -> bool:
    """Tell whether Kubernetes has given the Deployment up."""
    return any(
        c.get("type") == "Progressing" and c.get("reason") == "ProgressDeadlineExceeded"
        for c in (workload.get("status") or {}).get("conditions") or ()
    )


def drained_at(rollout: Rollout) -> datetime | None:
    """When the pods of earlier revisions may end; None when there is no stable revision."""
    since = parse(rollout.stable.promoted_at) if rollout.stable else None
    return since + SCALE_DOWN_DELAY if since else None
