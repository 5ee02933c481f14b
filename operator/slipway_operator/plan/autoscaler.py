"""The autoscalers: one per serving revision, on the revision's own Deployment.

Lives here: the shape of HorizontalPodAutoscaler and ScaledObject. Two revisions have two
autoscalers with disjoint selectors: one over both would judge each by the other's load.
Stays out: the floor (`sizing.py`).
"""

from __future__ import annotations

import math
from typing import Final

from slipway_operator.api.fields import seconds
from slipway_operator.api.scaling import Autoscaling, Keda
from slipway_operator.plan.names import Manifest, Owner, child, revision_name
from slipway_operator.plan.sizing import bounds
from slipway_operator.plan.snapshot import Snapshot

HPA: Final = "HorizontalPodAutoscaler"
SCALED_OBJECT: Final = "ScaledObject"

_CPU: Final[Manifest] = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
}
_POLLING: Final = "30s"
_COOLDOWN: Final = "300s"
_OFF: Final = "ScalingDisabled"
"""The HorizontalPodAutoscaler's reason where there are no pods: nothing is wrong."""


def kind_of_scaler(scaling: Autoscaling) -> str:
    """Name the kind that scales the pods."""
    return SCALED_OBJECT if scaling.keda else HPA


def trouble(snapshot: Snapshot, revision: str, scaling: Autoscaling) -> str:
    """Say in its own words why the autoscaler of a revision does not scale; empty when it does."""
    name = revision_name(snapshot.owner.name, revision)
    live = snapshot.child(kind_of_scaler(scaling), name) or {}
    for condition in (live.get("status") or {}).get("conditions") or ():
        if condition["status"] == "False" and condition["reason"] != _OFF:
            return f"{condition['reason']}: {condition['message']}"
    return ""


def autoscaler(owner: Owner, revision: str, scaling: Autoscaling, floor: int) -> Manifest:
    """Render what scales a revision between `floor` and `maxReplicas`."""
    if scaling.keda:
        return _scaled_object(owner, revision, scaling, scaling.keda, floor)
    return _hpa(owner, revision, scaling, floor)


def _hpa(owner: Owner, revision: str, scaling: Autoscaling, floor: int) -> Manifest:
    name = revision_name(owner.name, revision)
    manifest = child("autoscaling/v2", HPA, owner, name, revision=revision)
    manifest["spec"] = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "minReplicas": max(1, floor),
        "maxReplicas": bounds(scaling)[1],
        "metrics": list(scaling.metrics or [_CPU]),
    }
    if scaling.behavior:
        manifest["spec"]["behavior"] = scaling.behavior
    return manifest


def _scaled_object(
    owner: Owner, revision: str, scaling: Autoscaling, keda: Keda, floor: int
) -> Manifest:
    name = revision_name(owner.name, revision)
    manifest = child("keda.sh/v1alpha1", SCALED_OBJECT, owner, name, revision=revision)
    manifest["spec"] = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "minReplicaCount": floor,
        "maxReplicaCount": bounds(scaling)[1],
        "pollingInterval": math.ceil(seconds(keda.polling_interval or _POLLING)),
        "cooldownPeriod": math.ceil(seconds(keda.cooldown_period or _COOLDOWN)),
        "triggers": list(keda.triggers),
    }
    if scaling.behavior:
        own = {"horizontalPodAutoscalerConfig": {"behavior": scaling.behavior}}
        manifest["spec"]["advanced"] = own
    return manifest
