"""What the status is made from: the snapshot, the decision, and what both say at a glance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from slipway_operator.api.v1alpha1 import Spec
from slipway_operator.plan import conditions as c
from slipway_operator.plan.autoscaler import kind_of_scaler
from slipway_operator.plan.names import Manifest
from slipway_operator.plan.pods import PodFailure, first_failure, refused_pods, serving_pods
from slipway_operator.plan.revision import Revision
from slipway_operator.plan.rollout import Rollout
from slipway_operator.plan.security import Enforcement, authentication_of, enforcement, missing
from slipway_operator.plan.sizing import desired_replicas, scaler_of
from slipway_operator.plan.snapshot import Snapshot
from slipway_operator.plan.tracks import available, workload_of
from slipway_operator.plan.traffic import Route

_SHORT: Final = 4


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
    def enforcement(self) -> Enforcement:
        """How many pods ask for the credentials that the spec asks for, or for none."""
        asked = authentication_of(self.spec)
        return enforcement(self.snapshot.of_kind("Deployment"), asked)

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
    return View(snapshot, rollout, stable, candidate, _explained(failure, snapshot, spec), spec)


def _explained(failure: PodFailure | None, snapshot: Snapshot, spec: Spec) -> PodFailure | None:
    """Name the field that a volume comes from, where the kubelet only knows the volume."""
    asked = authentication_of(spec)
    if failure is None or failure.reason != c.MOUNT_FAILED or asked is None:
        return failure
    told = missing(asked, failure.message, snapshot.owner.namespace)
    return failure if told is None else replace(failure, message=told)


def label(revision: Revision) -> str:
    """Name a revision for people: its number and the beginning of its hash."""
    return f"r{revision.number} {revision.hash[:_SHORT]}"
