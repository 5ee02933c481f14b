"""The Services: one per revision, never changed, and the apex that clients use.

The apex bears the name of the ModelDeployment and selects one revision; promotion and rollback move
that selector and nothing else. The admin port is in no Service.
"""

from __future__ import annotations

from typing import Final

from slipway_operator.api.v1alpha1 import Exposure, NodePorts, ServiceExposure
from slipway_operator.plan.names import (
    REVISION,
    Manifest,
    Owner,
    child,
    revision_name,
    revision_selector,
)

HTTP_SERVICE_PORT: Final = 80
GRPC_SERVICE_PORT: Final = 9000


def revision_service(owner: Owner, revision: str) -> Manifest:
    """Render the Service of one revision."""
    manifest = child("v1", "Service", owner, revision_name(owner.name, revision), revision=revision)
    manifest["spec"] = {
        "type": "ClusterIP",
        "selector": revision_selector(owner.name, revision),
        "ports": _ports(NodePorts()),
    }
    return manifest


def apex_service(owner: Owner, revision: str, exposure: Exposure | None) -> Manifest:
    """Render the Service that clients use, selecting `revision`."""
    wanted = (exposure.service if exposure else None) or ServiceExposure()
    manifest = child("v1", "Service", owner, owner.name, annotations=wanted.annotations)
    manifest["spec"] = {
        "type": wanted.type or "ClusterIP",
        "selector": revision_selector(owner.name, revision),
        "ports": _ports(wanted.node_ports or NodePorts()),
    }
    if wanted.load_balancer_class:
        manifest["spec"]["loadBalancerClass"] = wanted.load_balancer_class
    return manifest


def selected_revision(service: Manifest) -> str | None:
    """Read which revision a live apex Service selects."""
    selector = (service.get("spec") or {}).get("selector") or {}
    found = selector.get(REVISION)
    return found if isinstance(found, str) else None


def _ports(nodes: NodePorts) -> list[Manifest]:
    """REST and gRPC; gateways and meshes tell by `appProtocol` that the latter is HTTP/2."""
    return [
        _port("http", HTTP_SERVICE_PORT, "http", nodes.http),
        _port("grpc", GRPC_SERVICE_PORT, "kubernetes.io/h2c", nodes.grpc),
    ]


def _port(name: str, number: int, protocol: str, node_port: int | None) -> Manifest:
    port: Manifest = {
        "name": name,
        "port": number,
        "targetPort": name,
        "protocol": "TCP",
        "appProtocol": protocol,
    }
    return port if node_port is None else {**port, "nodePort": node_port}
