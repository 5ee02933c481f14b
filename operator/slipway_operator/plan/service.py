"""The Services: one per revision, never changed, and the apex that clients use.

The apex bears the name of the ModelDeployment and selects one revision, or during the steps of a
rollout both tracks; promotion and rollback move that selector and nothing else. The admin port is
in no Service.
"""

from __future__ import annotations

from typing import Final

from slipway_operator.api.v1alpha1 import Exposure, NodePorts, ServiceExposure
from slipway_operator.plan.names import (
    MODEL,
    REVISION,
    Manifest,
    Owner,
    child,
    revision_name,
    revision_selector,
)
from slipway_operator.plan.revision import GRPC, REST, Revision

HTTP_SERVICE_PORT: Final = 80
GRPC_SERVICE_PORT: Final = 9000


def revision_service(owner: Owner, revision: Revision) -> Manifest:
    """Render the Service of one revision."""
    name = revision_name(owner.name, revision.hash)
    manifest = child("v1", "Service", owner, name, revision=revision.hash)
    manifest["spec"] = {
        "type": "ClusterIP",
        "selector": revision_selector(owner.name, revision.hash),
        "ports": _ports(revision, NodePorts()),
    }
    return manifest


def apex_service(
    owner: Owner, revision: Revision, exposure: Exposure | None, *, is_shared: bool = False
) -> Manifest:
    """Render the Service that clients use, with the ports that a revision has.

    Args:
        owner: the ModelDeployment.
        revision: it alone is selected, unless the Service is shared.
        exposure: as the spec says.
        is_shared: all serving pods are selected, those of both tracks.
    """
    wanted = (exposure.service if exposure else None) or ServiceExposure()
    manifest = child("v1", "Service", owner, owner.name, annotations=wanted.annotations)
    manifest["spec"] = {
        "type": wanted.type or "ClusterIP",
        "selector": {MODEL: owner.name}
        if is_shared
        else revision_selector(owner.name, revision.hash),
        "ports": _ports(revision, wanted.node_ports or NodePorts()),
    }
    if wanted.load_balancer_class:
        manifest["spec"]["loadBalancerClass"] = wanted.load_balancer_class
    return manifest


def selected_revision(service: Manifest) -> str | None:
    """Read which revision a live apex Service selects."""
    selector = (service.get("spec") or {}).get("selector") or {}
    found = selector.get(REVISION)
    return found if isinstance(found, str) else None


def _ports(revision: Revision, nodes: NodePorts) -> list[Manifest]:
    """REST and gRPC; gateways and meshes tell by `appProtocol` that the latter is HTTP/2."""
    ports = {
        REST: _port("http", HTTP_SERVICE_PORT, "http", nodes.http),
        GRPC: _port("grpc", GRPC_SERVICE_PORT, "kubernetes.io/h2c", nodes.grpc),
    }
    return [port for protocol, port in ports.items() if protocol in revision.protocols]


def _port(name: str, number: int, protocol: str, node_port: int | None) -> Manifest:
    port: Manifest = {
        "name": name,
        "port": number,
        "targetPort": name,
        "protocol": "TCP",
        "appProtocol": protocol,
    }
    return port if node_port is None else {**port, "nodePort": node_port}
