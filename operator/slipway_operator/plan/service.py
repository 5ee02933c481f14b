"""The Services: one per revision, never changed, and the apex that clients use.

The apex bears the name of the ModelDeployment and selects one revision; promotion and rollback move
that selector and nothing else. The admin port is in no Service.
"""

from __future__ import annotations

from slipway_operator.api.v1alpha1 import Exposure, ServiceExposure
from slipway_operator.plan.names import (
    REVISION,
    Manifest,
    Owner,
    child,
    revision_name,
    revision_selector,
)

HTTP_SERVICE_PORT = 80


def revision_service(owner: Owner, revision: str) -> Manifest:
    """Render the Service of one revision."""
    manifest = child("v1", "Service", owner, revision_name(owner.name, revision), revision=revision)
    manifest["spec"] = {
        "type": "ClusterIP",
        "selector": revision_selector(owner.name, revision),
        "ports": [_http_port()],
    }
    return manifest


def apex_service(owner: Owner, revision: str, exposure: Exposure | None) -> Manifest:
    """Render the Service that clients use, selecting `revision`."""
    wanted = (exposure.service if exposure else None) or ServiceExposure()
    manifest = child("v1", "Service", owner, owner.name, annotations=wanted.annotations)
    manifest["spec"] = {
        "type": wanted.type or "ClusterIP",
        "selector": revision_selector(owner.name, revision),
        "ports": [_http_port(wanted.node_ports.http if wanted.node_ports else None)],
    }
    if wanted.load_balancer_class:
        manifest["spec"]["loadBalancerClass"] = wanted.load_balancer_class
    return manifest


def selected_revision(service: Manifest) -> str | None:
    """Read which revision a live apex Service selects."""
    selector = (service.get("spec") or {}).get("selector") or {}
    found = selector.get(REVISION)
    return found if isinstance(found, str) else None


def _http_port(node_port: int | None = None) -> Manifest:
    port: Manifest = {
        "name": "http",
        "port": HTTP_SERVICE_PORT,
        "targetPort": "http",
        "protocol": "TCP",
        "appProtocol": "http",
    }
    return port if node_port is None else {**port, "nodePort": node_port}
