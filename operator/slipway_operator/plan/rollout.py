"""Which revision serves, which one is being prepared, and what happens next.

Lives here: the choice of tracks and the steps from one revision to the next.
Stays out: rendering (`children.py`) and reporting (`status.py`).

Make before break: the candidate's model is verified, then all its pods are ready, then the apex
Service selects it, then it is committed as stable by one status write, and only after
`SCALE_DOWN_DELAY_S` the pods of the revision before it end. A crash between any two writes repeats
a step, never skips one. (Shifting traffic by weight has its states in `rollout.md` B5.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from slipway_operator.api.v1alpha1 import Spec
from slipway_operator.plan.clock import later, parse, timestamp
from slipway_operator.plan.conditions import PROGRESS_DEADLINE
from slipway_operator.plan.names import Manifest
from slipway_operator.plan.recovery import recovered
from slipway_operator.plan.revision import Revision, revision_hash
from slipway_operator.plan.sizing import Size, Sizes, desired_replicas, sizes
from slipway_operator.plan.snapshot import Snapshot
from slipway_operator.plan.supply import Supply, supply
from slipway_operator.plan.tracks import (
    Records,
    available,
    is_selected,
    new_revision,
    others,
    records,
    stable_revision,
    workload_of,
)
from slipway_operator.plan.workload import PROGRESS_DEADLINE_S

SCALE_DOWN_DELAY_S: Final = 60
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
    sizes: Sizes
    """How many pods each track has."""
    deadline_passed: bool = False
    """The candidate's pods did not become ready in time, and it was aborted."""

    @property
    def current(self) -> Revision:
        """The revision that the spec asks for."""
        found = self.candidate or self.stable
        if found is None:
            raise ValueError("a rollout has a stable revision or a candidate")
        return found

    @property
    def size(self) -> Size:
        """How many pods the revision that the spec asks for has."""
        return self.sizes.stable if self.candidate is None else self.sizes.candidate

    @property
    def apex(self) -> Revision:
        """The revision that the apex Service selects."""
        if self.state is State.PROMOTING or self.stable is None:
            return self.current
        return self.stable


def decide(snapshot: Snapshot, spec: Spec) -> Rollout:
    """Choose the tracks and the next step."""
    desired = revision_hash(snapshot.mdep["spec"])
    known: Records = records(snapshot)
    stable = stable_revision(snapshot, known, desired, spec)
    if stable is not None:  # recovered perhaps: it must outlive the commit of its successor
        known = {**known, stable.hash: stable}
    if stable is not None and stable.hash == desired:
        return _rest(snapshot, stable, known, sizes(snapshot, spec, stable))
    candidate = known.get(desired) or recovered(snapshot, desired, desired)
    candidate = candidate or new_revision(snapshot, spec, desired, known, stable)
    both = sizes(snapshot, spec, stable, candidate)
    return _advance(snapshot, stable, candidate, known, both)


def _rest(snapshot: Snapshot, stable: Revision, known: Records, both: Sizes) -> Rollout:
    checked = supply(snapshot, stable)
    if checked.result is not None:
        stable = stable.resolved(checked.result)
    rest = others(known, stable, None)
    return Rollout(State.IDLE, stable.hash, stable, None, checked, rest, both)


def _advance(
    snapshot: Snapshot,
    stable: Revision | None,
    candidate: Revision,
    known: Records,
    both: Sizes,
) -> Rollout:
    checked = supply(snapshot, candidate)
    if checked.result is not None:
        candidate = candidate.resolved(checked.result)
    rest = others(known, stable, candidate)
    rollout = Rollout(State.PREPARING, candidate.hash, stable, candidate, checked, rest, both)
    if stable is not None and checked.is_terminal:
        return replace(rollout, state=State.FAILED)
    workload = workload_of(snapshot, candidate)
    if workload is not None and _may_serve(snapshot, stable, workload, both.candidate):
        if not is_selected(snapshot, candidate):
            return replace(rollout, state=State.PROMOTING)
        return _commit(snapshot, rollout, candidate, known)
    if stable is not None and _is_late(snapshot, candidate, workload):
        return replace(rollout, state=State.FAILED, deadline_passed=True)
    return rollout


def _may_serve(snapshot: Snapshot, stable: Revision | None, workload: Manifest, size: Size) -> bool:
    """All pods are ready; or some are, and the stable revision has none (fix forward)."""
    if is_complete(workload, size):
        return True
    is_down = stable is not None and not available(workload_of(snapshot, stable))
    return bool(is_down and not size.is_off and available(workload))


def _commit(snapshot: Snapshot, rollout: Rollout, candidate: Revision, known: Records) -> Rollout:
    """Make the candidate stable. A revision that comes back is promoted anew."""
    promoted = candidate.promoted(timestamp(snapshot.now))
    return replace(
        rollout,
        state=State.IDLE,
        stable=promoted,
        candidate=None,
        others=others(known, promoted, None),
        # What it was prepared with it keeps; with the next pass the status tells that floor.
        sizes=Sizes(rollout.sizes.candidate, rollout.sizes.candidate),
    )


def is_complete(workload: Manifest, size: Size) -> bool:
    """Tell whether a Deployment has the pods of a size, all of its template and available.

    Above a floor an autoscaler adds pods all the time: those that are starting are not missing.
    """
    status = workload.get("status") or {}
    if status.get("observedGeneration", 0) < workload["metadata"].get("generation", 0):
        return False
    wanted, ready = size.replicas, available(workload)
    if size.is_floor:
        return desired_replicas(workload) >= wanted and ready >= wanted
    return (
        workload["spec"].get("replicas") == wanted
        and status.get("replicas", 0) == wanted
        and status.get("updatedReplicas", 0) == wanted
        and ready == wanted
    )


def _is_late(snapshot: Snapshot, candidate: Revision, workload: Manifest | None) -> bool:
    """The deadline has passed: now, or earlier for this very revision."""
    told = snapshot.status.get("rollout") or {}
    is_told = (snapshot.status.get("desired") or {}).get("hash") == candidate.hash
    if is_told and told.get("state") == State.FAILED and told.get("reason") == PROGRESS_DEADLINE:
        return True
    if workload is None:
        return False
    until = deadline_of(snapshot) if is_told else None
    return deadline_exceeded(workload) or (until is not None and snapshot.now >= until)


def deadline_of(snapshot: Snapshot) -> datetime | None:
    """When the rollout in progress is given up, by our own clock.

    Kubernetes does not watch the progress of a Deployment that was complete once, such as that of
    a revision which comes back.
    """
    told = snapshot.status.get("rollout") or {}
    since = parse(told.get("since"))
    is_running = told.get("state") in (State.PREPARING, State.PROMOTING)
    return later(since, PROGRESS_DEADLINE_S) if since and is_running else None


def deadline_exceeded(workload: Manifest) -> bool:
    """Tell whether Kubernetes has given the Deployment up."""
    return any(
        c.get("type") == "Progressing" and c.get("reason") == "ProgressDeadlineExceeded"
        for c in (workload.get("status") or {}).get("conditions") or ()
    )


def drained_at(rollout: Rollout) -> datetime | None:
    """When the pods of earlier revisions may end; None when there is no stable revision."""
    since = parse(rollout.stable.promoted_at) if rollout.stable else None
    return later(since, SCALE_DOWN_DELAY_S) if since else None
