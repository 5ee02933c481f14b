"""How many pods a revision has, and who decides: the spec, or an autoscaler above a floor.

Lives here: sizes of both tracks, and when `replicas` of a Deployment changes hands.
Stays out: the shape of the autoscalers (`autoscaler.py`).

An autoscaler may move a revision between a floor and `maxReplicas`; the floor is what the operator
moves. While a candidate is prepared its floor is as many pods as the stable revision has, so that
traffic never moves to fewer. The floor is held for `FLOOR_HOLD_S` after the promotion: until then
the autoscaler's memory is of pods without traffic, and it would take them away at once.
Examples, with minReplicas 2, maxReplicas 10 and 7 pods of the stable revision: the candidate's
floor is 7; five minutes after its promotion it is 2; with maxReplicas 5 it is 5.
Source: `rollout.md` B8, A6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from slipway_operator.api.fields import seconds
from slipway_operator.api.managers import FIELD_MANAGER
from slipway_operator.api.scaling import Autoscaling
from slipway_operator.api.v1alpha1 import Spec
from slipway_operator.plan.capacity import Objective
from slipway_operator.plan.clock import later, parse
from slipway_operator.plan.names import Manifest
from slipway_operator.plan.revision import Revision
from slipway_operator.plan.snapshot import Snapshot
from slipway_operator.plan.tracks import workload_of

FLOOR_HOLD_S: Final = 300
"""The scale-down stabilisation of a HorizontalPodAutoscaler, in which it forgets idle pods."""
_MIN_REPLICAS: Final = 1
_MAX_REPLICAS: Final = 10
_PERCENTILE: Final = 99


@dataclass(frozen=True, slots=True)
class Size:
    """How many pods: exactly `replicas`, or at least so many where an autoscaler decides."""

    replicas: int
    is_floor: bool = False

    @property
    def is_off(self) -> bool:
        """Whether there are to be no pods at all."""
        return not self.replicas and not self.is_floor


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of the two tracks."""

    stable: Size
    candidate: Size
    demand: int = 0
    """Pods that all requests need, whatever the autoscaler may have; 0: as many as it has."""


def scaler_of(spec: Spec) -> Autoscaling | None:
    """Tell what scales the pods; None when the spec says how many there are."""
    scaling = spec.autoscaling
    return None if scaling is None or scaling.external else scaling


def bounds(scaling: Autoscaling) -> tuple[int, int]:
    """Fewest and most pods, the defaults applied.

    >>> bounds(Autoscaling(min_replicas=2)), bounds(Autoscaling(max_replicas=3))
    ((2, 10), (1, 3))
    """
    lowest = _MIN_REPLICAS if scaling.min_replicas is None else scaling.min_replicas
    return lowest, scaling.max_replicas or _MAX_REPLICAS


def sizes(
    snapshot: Snapshot,
    spec: Spec,
    stable: Revision | None,
    candidate: Revision | None = None,
    *,
    is_gated: bool = False,
) -> Sizes:
    """Decide how many pods the tracks have.

    Args:
        snapshot: what is seen.
        spec: what is wished.
        stable: the revision that serves.
        candidate: the one that is to follow.
        is_gated: traffic moves by weights: meanwhile the stable revision's autoscaler sees its load
            fall, but what it had at the beginning is still needed.
    """
    if spec.suspend:
        return Sizes(Size(0), Size(0))
    scaling = scaler_of(spec)
    if scaling is None:
        return Sizes(Size(spec.replicas), Size(spec.replicas))
    lowest, highest = bounds(scaling)
    floor = max(lowest, _held(snapshot, stable), recommended(snapshot, spec))
    need = max(1, floor, desired_replicas(workload_of(snapshot, stable) if stable else None))
    need = max(need, _announced(snapshot, candidate))
    if is_gated:
        need = max(need, _held_by_rollout(snapshot, candidate))
    if candidate is not None:
        floor = max(1, floor)  # nothing is scaled to zero while a rollout runs
    return Sizes(Size(min(floor, highest), True), Size(min(need, highest), True), need)


def objective_of(spec: Spec) -> Objective | None:
    """Read the latency objective; None without one, or without pods to keep it."""
    scaling = None if spec.suspend else scaler_of(spec)
    wanted = scaling.latency_objective if scaling else None
    if scaling is None or wanted is None:
        return None
    percentile = wanted.percentile or _PERCENTILE
    return Objective(percentile, seconds(wanted.target), bounds(scaling)[1])


def recommended(snapshot: Snapshot, spec: Spec) -> int:
    """Pods that the latency objective needs, as last told; 0 when there is none."""
    if objective_of(spec) is None:
        return 0
    if snapshot.capacity is not None:
        return snapshot.capacity.recommended
    return int((snapshot.status.get("capacity") or {}).get("recommended") or 0)


def _held(snapshot: Snapshot, stable: Revision | None) -> int:
    """The floor that a promoted revision keeps for some time."""
    told = snapshot.status.get("stable") or {}
    if stable is None or told.get("hash") != stable.hash:
        return 0
    return _floors(snapshot, "stable") if is_held(snapshot, stable) else 0


def is_held(snapshot: Snapshot, stable: Revision) -> bool:
    """Tell whether a promotion is too recent for the autoscaler to know the load."""
    since = parse(stable.promoted_at)
    until = later(since, FLOOR_HOLD_S) if since else None
    return until is not None and snapshot.now < until


def _announced(snapshot: Snapshot, candidate: Revision | None) -> int:
    """The floor of this very rollout so far: it only rises."""
    told = snapshot.status.get("candidate") or {}
    if candidate is None or told.get("hash") != candidate.hash:
        return 0
    return _floors(snapshot, "candidate")


def _held_by_rollout(snapshot: Snapshot, candidate: Revision | None) -> int:
    """The floor that the stable revision has had since this very rollout began."""
    told = snapshot.status.get("candidate") or {}
    if candidate is None or told.get("hash") != candidate.hash:
        return 0
    return _floors(snapshot, "stable")


def _floors(snapshot: Snapshot, track: str) -> int:
    floors = (snapshot.status.get("rollout") or {}).get("capacityFloor") or {}
    return int(floors.get(track) or 0)


def desired_replicas(workload: Manifest | None) -> int:
    """Replicas that a live Deployment asks for, whoever decided; 0 when there is none."""
    spec: dict[str, Any] = (workload or {}).get("spec") or {}
    return int(spec.get("replicas") or 0)


def resized(live: Manifest | None, size: Size) -> int | None:
    """Replicas that must be written on behalf of an autoscaler; None when nothing need be.

    Two cases: the field is still ours alone, and to drop it would reset it to 1; or there are fewer
    pods than the floor, and the autoscaler would be slow to see it, or never wake up from zero.
    """
    if live is None or not size.is_floor:
        return None
    desired = desired_replicas(live)
    owners = {m.get("manager") for m in live["metadata"].get("managedFields") or ()}
    if desired < size.replicas or owners == {FIELD_MANAGER}:
        return max(desired, size.replicas)
    return None
