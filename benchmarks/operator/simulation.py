"""The cluster of the measurement: nodes and pods played by KWOK, ModelDeployments in namespaces.

Lives here: making and asking. Stays out: what is measured (`measures.py`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import yaml

from devcluster.addons import kwok_program
from devcluster.cluster import Cluster
from tests.cluster.conftest import CRD, is_established
from tests.kubeapi import Api, Manifest, eventually

STAGES: Final = Path(__file__).with_name("stages.yaml")
SELECTOR: Final = {"slipway.dev/bench": "kwok"}
_NODES: Final = 10
_PER_NAMESPACE: Final = 200
_SENDERS: Final = 4
_FAKE: Final = {"kwok.x-k8s.io/node": "fake"}


@contextmanager
def kwok(kubeconfig: Path, log: Path) -> Iterator[None]:
    """Play the annotated nodes and their pods."""
    command = [
        str(kwok_program()), f"--kubeconfig={kubeconfig}", f"--config={STAGES}",
        "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
        "--node-lease-duration-seconds=40", "--cidr=10.0.0.1/8",
    ]  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield
        if process.poll() is not None:
            raise RuntimeError(f"kwok ended with {process.returncode}; see {log}")
    finally:
        process.terminate()
        process.wait(timeout=20)


def prepare(api: Api) -> None:
    """Install the CRD and make the nodes."""
    crd = yaml.safe_load(CRD.read_text())
    api.apply(crd)
    name = crd["metadata"]["name"]
    eventually(
        lambda: is_established(api.get("CustomResourceDefinition", None, name)), "the CRD is there"
    )
    for number in range(_NODES):
        _make_node(api, f"kwok-{number}")


def _make_node(api: Api, name: str) -> None:
    labels = {"kubernetes.io/hostname": name, **SELECTOR}
    api.create(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels, "annotations": _FAKE},
        }
    )
    capacity = {"cpu": "100k", "memory": "100Ti", "pods": "100k"}
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    ready = {"type": "Ready", "status": "True", "reason": "Played", "lastHeartbeatTime": now}
    status = {"conditions": [ready], "capacity": capacity, "allocatable": capacity}
    api.merge("Node", None, name, {"status": status}, "status")


def pause(cluster: Cluster, component: str) -> None:
    """Let a component of the cluster stand still until the cluster is taken down."""
    os.kill(cluster.processes()[component].pid, signal.SIGSTOP)


class Fleet:
    """The ModelDeployments."""

    def __init__(self, api: Api, size: int) -> None:
        self.api, self.size = api, size
        self.namespaces = [f"bench-{n}" for n in range(-(-size // _PER_NAMESPACE))]
        self.names = [(self.namespaces[n // _PER_NAMESPACE], f"model-{n:05d}") for n in range(size)]

    def create(self, count: int | None = None) -> None:
        """Create all of them, or the first few, from several senders at once."""
        for name in self.namespaces:
            self.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        with ThreadPoolExecutor(_SENDERS) as pool:
            for done in [pool.submit(self._create, *name) for name in self.names[:count]]:
                done.result()

    def _create(self, namespace: str, name: str) -> None:
        self.api.create(
            {
                "apiVersion": "slipway.dev/v1alpha1",
                "kind": "ModelDeployment",
                "metadata": {"namespace": namespace, "name": name},
                "spec": {
                    "model": {"uri": "https://models.example/model.onnx"},
                    "runtime": {"nodeSelector": SELECTOR},
                },
            }
        )

    def ready(self) -> int:
        """How many are Ready."""
        return sum(map(_is_ready, self._items()))

    def _items(self) -> Iterator[Manifest]:
        query = {"resourceVersion": "0"}  # from the API server's memory, all at once
        yield from self.api.send("GET", self.api.path("ModelDeployment"), params=query)["items"]

    def scale(self, namespace: str, name: str, replicas: int) -> None:
        """Change the number of replicas."""
        self.api.merge("ModelDeployment", namespace, name, {"spec": {"replicas": replicas}})

    def children(self) -> int:
        """How many objects the ModelDeployments own."""
        return sum(len(self.api.children(name)) for name in self.namespaces)


def _is_ready(mdep: Manifest) -> bool:
    conditions = (mdep.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
