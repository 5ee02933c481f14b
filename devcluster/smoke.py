"""Use every part of a cluster once: controllers, scheduler, kubelet, containerd, kube-proxy, DNS.

A Deployment of the pause image must become available, and a fresh Service must answer by its
NodePort and by its name. All objects carry the round's name, so nothing of an earlier round helps.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

from devcluster.addons import pause_reference
from devcluster.cluster import Cluster
from devcluster.kube import answers, condition_is
from devcluster.progress import wait_until

TIMEOUT_S = 60.0


def check(cluster: Cluster, name: str) -> None:
    """Make the objects, wait until all of them work, and delete them.

    Raises:
        DevclusterError: names what did not work in time, and the log to read.
    """
    client = cluster.client
    client.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": _objects(cluster, name)}))
    try:
        _wait_for_pod(cluster, name)
        _wait_for_service(cluster, name)
    finally:
        kinds = "deployment,service,endpointslice"
        client.kubectl("delete", kinds, f"--selector=smoke={name}", "--wait=false")

    def gone() -> bool:
        return not _pods(cluster, name)

    log = cluster.log("kubelet")
    wait_until(gone, f"the pod of {name} to be deleted", timeout_s=TIMEOUT_S, log=log)


def query(name: str) -> bytes:
    """A DNS question for the IPv4 address of a name, on the wire (RFC 1035, section 4)."""
    header = struct.pack(">HHHHHH", 1, 0x0100, 1, 0, 0, 0)
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return header + labels + b"\0" + struct.pack(">HH", 1, 1)


def answer_count(reply: bytes) -> int:
    """How many records a DNS reply carries; none for an error."""
    _, flags, _, answered, _, _ = struct.unpack(">HHHHHH", reply[:12])
    return answered if flags & 0xF == 0 else 0


def _wait_for_pod(cluster: Cluster, name: str) -> None:
    path = f"/apis/apps/v1/namespaces/default/deployments/{name}"

    def available() -> bool:
        return condition_is(cluster.client.get(path), "Available")

    what = f"Deployment {name} to be available"
    wait_until(available, what, timeout_s=TIMEOUT_S, log=cluster.log("kubelet"))


def _wait_for_service(cluster: Cluster, name: str) -> None:
    service = cluster.client.get(f"/api/v1/namespaces/default/services/{name}") or {}
    port = service["spec"]["ports"][0]["nodePort"]

    def proxied() -> bool:
        return answers(f"https://{cluster.node_ip}:{port}/readyz")

    def resolved() -> bool:
        return _resolves(cluster.node_ip, f"{name}.default.svc.cluster.local")

    log = cluster.log("kube-proxy")
    wait_until(proxied, f"NodePort {port} of Service {name}", timeout_s=TIMEOUT_S, log=log)
    log = cluster.log("coredns")
    wait_until(resolved, f"the name of Service {name}", timeout_s=TIMEOUT_S, log=log)


def _resolves(server: str, name: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.settimeout(1)
        try:
            channel.sendto(query(name), (server, 53))
            return answer_count(channel.recv(512)) > 0
        except OSError:
            return False


def _pods(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    path = f"/api/v1/namespaces/default/pods?labelSelector=smoke%3D{name}"
    # No answer is not "no pods".
    pods: list[dict[str, Any]] = (cluster.client.get(path) or {"items": [{}]})["items"]
    return pods


def _objects(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    labels = {"smoke": name}
    container = {
        "name": "pause",
        "image": pause_reference(),
        "imagePullPolicy": "IfNotPresent",
        "resources": {"limits": {"cpu": "50m", "memory": "32Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    deployment = {"selector": {"matchLabels": labels}, "template": pod}
    port = {"name": "https", "port": 443, "targetPort": 6443, "protocol": "TCP"}
    # The one server that is sure to be there is the API server itself.
    endpoints = {
        "addressType": "IPv4",
        "endpoints": [{"addresses": [cluster.node_ip], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
    }
    owned = labels | {"kubernetes.io/service-name": name}
    service = {"type": "NodePort", "ports": [port]}
    return [
        _object("apps/v1", "Deployment", name, labels) | {"spec": deployment},
        _object("v1", "Service", name, labels) | {"spec": service},
        _object("discovery.k8s.io/v1", "EndpointSlice", name, owned) | endpoints,
    ]


def _object(api_version: str, kind: str, name: str, labels: dict[str, str]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default", "labels": labels}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}
