"""The kinds the operator touches: their paths, and what it watches of them.

Lives here: the one table. RBAC in the chart and the watches in `engine/watch.py` follow it, and a
test holds the chart to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from slipway_operator.api import v1alpha1

_MANAGED: Final = "app.kubernetes.io/managed-by=slipway"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object."""

    group: str
    version: str
    kind: str
    plural: str
    is_watched: bool = True
    is_child: bool = True
    """Owned by a ModelDeployment and written by the operator."""
    label_selector: str | None = _MANAGED
    field_selector: str | None = None
    is_optional: bool = False
    """Of another project, which may not be installed."""
    health: str | None = None
    """Of a status that moves with every measurement: the one condition that is read."""
    is_shared: bool = False
    """Belongs to no ModelDeployment, and concerns all that name it."""
    is_namespaced: bool = True
    is_digested: bool = False
    """Little of it is kept, and only a change of that is news."""

    @property
    def group_path(self) -> str:
        """Path of what the API server has in this group and version."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @property
    def api_version(self) -> str:
        """Group and version as in an object."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str | None = None) -> str:
        """Path of one object, of a namespace's objects, or (without namespace) of all."""
        root = self.group_path
        if namespace:
            root += f"/namespaces/{quote(namespace, safe='')}"
        path = f"{root}/{self.plural}"
        return f"{path}/{quote(name, safe='')}" if name else path


MODEL_DEPLOYMENT: Final = Kind(
    v1alpha1.GROUP, v1alpha1.VERSION, v1alpha1.KIND, v1alpha1.PLURAL,
    is_child=False, label_selector=None,
)  # fmt: skip
CONTROLLER_REVISION: Final = Kind("apps", "v1", "ControllerRevision", "controllerrevisions")
JOB: Final = Kind("batch", "v1", "Job", "jobs")
CONFIG_MAP: Final = Kind("", "v1", "ConfigMap", "configmaps")
DEPLOYMENT: Final = Kind("apps", "v1", "Deployment", "deployments")
SERVICE: Final = Kind("", "v1", "Service", "services")
SERVICE_ACCOUNT: Final = Kind("", "v1", "ServiceAccount", "serviceaccounts")
DISRUPTION_BUDGET: Final = Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
AUTOSCALER: Final = Kind(
    "autoscaling",
    "v2",
    "HorizontalPodAutoscaler",
    "horizontalpodautoscalers",
    health="ScalingActive",
)
SCALED_OBJECT: Final = Kind(
    "keda.sh", "v1alpha1", "ScaledObject", "scaledobjects", is_optional=True, health="Ready"
)
POD_MONITOR: Final = Kind(
    "monitoring.coreos.com", "v1", "PodMonitor", "podmonitors", is_optional=True
)
_GATEWAY_API: Final = "gateway.networking.k8s.io"
HTTP_ROUTE: Final = Kind(_GATEWAY_API, "v1", "HTTPRoute", "httproutes", is_optional=True)
GRPC_ROUTE: Final = Kind(_GATEWAY_API, "v1", "GRPCRoute", "grpcroutes", is_optional=True)
GATEWAY: Final = Kind(
    _GATEWAY_API, "v1", "Gateway", "gateways", is_child=False, label_selector=None,
    is_optional=True, is_shared=True,
)  # fmt: skip
GATEWAY_CLASS: Final = Kind(
    _GATEWAY_API, "v1", "GatewayClass", "gatewayclasses", is_child=False, label_selector=None,
    is_optional=True, is_shared=True, is_namespaced=False,
)  # fmt: skip
# Kubernetes gives it the labels of its Service.
ENDPOINT_SLICE: Final = Kind(
    "discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", is_child=False, is_digested=True
)
POD: Final = Kind("", "v1", "Pod", "pods", is_child=False)
EVENT: Final = Kind(
    "", "v1", "Event", "events", is_child=False, label_selector=None,
    field_selector="involvedObject.kind=Pod,reason=FailedMount",
)  # fmt: skip
LEASE: Final = Kind(
    "coordination.k8s.io", "v1", "Lease", "leases", is_watched=False, is_child=False
)
CUSTOM_RESOURCE_DEFINITION: Final = Kind(
    "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions",
    is_watched=False, is_child=False, label_selector=None,
    field_selector=f"metadata.name={v1alpha1.PLURAL}.{v1alpha1.GROUP}",
)  # fmt: skip

KINDS: Final = (
    MODEL_DEPLOYMENT, CONTROLLER_REVISION, JOB, CONFIG_MAP, DEPLOYMENT, SERVICE, SERVICE_ACCOUNT,
    DISRUPTION_BUDGET, AUTOSCALER, SCALED_OBJECT, POD_MONITOR, HTTP_ROUTE, GRPC_ROUTE,
    GATEWAY, GATEWAY_CLASS, ENDPOINT_SLICE, POD, EVENT,
)  # fmt: skip
WATCHED: Final = tuple(k for k in KINDS if k.is_watched)
OPTIONAL: Final = tuple(k for k in KINDS if k.is_optional)
_BY_KIND: Final = {k.kind: k for k in (*KINDS, LEASE)}


def kind_of(manifest: dict[str, Any]) -> Kind:
    """Find the kind of an object.

    Raises:
        KeyError: it is none of ours.
    """
    return _BY_KIND[manifest["kind"]]


def by_name(kind: str) -> Kind:
    """Find a kind by its name.

    Raises:
        KeyError: it is none of ours.
    """
    return _BY_KIND[kind]


def pruned(kind: Kind, manifest: dict[str, Any]) -> dict[str, Any]:
    """Keep only what is read later: caches hold thousands of objects."""
    metadata = {k: v for k, v in manifest["metadata"].items() if k != "managedFields"}
    kept = {**manifest, "apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}
    if kind is POD:
        kept.pop("spec", None)
    elif kind is DEPLOYMENT:
        metadata["managedFields"] = _owners_of_replicas(manifest)
    elif kind is ENDPOINT_SLICE:
        return _counted(kept)
    elif kind.is_shared:
        return _judged(kept)
    elif kind.health:
        kept["status"] = {"conditions": _failing(kind, manifest)}
    return kept


def _counted(endpoint_slice: dict[str, Any]) -> dict[str, Any]:
    """Keep how many endpoints are ready; what is not told is ready, as Kubernetes says."""
    found = endpoint_slice.get("endpoints") or ()
    ready = [e for e in found if (e.get("conditions") or {}).get("ready") is not False]
    kept = {k: endpoint_slice[k] for k in ("apiVersion", "kind", "metadata", "addressType")}
    return {**kept, "ready": len(ready)}


def _judged(shared: dict[str, Any]) -> dict[str, Any]:
    """Keep what is said about a Gateway or a class of them, without when."""
    status = shared.get("status") or {}
    conditions = [
        {k: c.get(k, "") for k in ("type", "status", "reason", "message")}
        for c in status.get("conditions") or ()
    ]
    return {
        **{k: shared[k] for k in ("apiVersion", "kind", "metadata")},
        "spec": {"gatewayClassName": (shared.get("spec") or {}).get("gatewayClassName", "")},
        "status": {"conditions": conditions, "supportedFeatures": status.get("supportedFeatures")},
    }


def _failing(kind: Kind, manifest: dict[str, Any]) -> list[dict[str, Any]]:
    conditions = (manifest.get("status") or {}).get("conditions") or ()
    return [
        {k: str(c.get(k, "")) for k in ("type", "status", "reason", "message")}
        for c in conditions
        if c.get("type") == kind.health and c.get("status") == "False"
    ]


def _owners_of_replicas(deployment: dict[str, Any]) -> list[dict[str, Any]]:
    """Keep of `managedFields` only who owns `spec.replicas`."""
    entries = deployment["metadata"].get("managedFields") or ()
    return [
        {"manager": e.get("manager", "")}
        for e in entries
        if "f:replicas" in ((e.get("fieldsV1") or {}).get("f:spec") or {})
    ]
