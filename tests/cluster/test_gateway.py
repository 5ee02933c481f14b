"""Weights of requests through a real Gateway, answered by real runtimes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from devcluster.cluster import Cluster
from tests.cluster.gateways import GATEWAY, Client, addresses, gateway, runtimes
from tests.cluster.kubelet import Ready, Script, Supplied
from tests.cluster.models import Models
from tests.cluster.test_rollouts import OTHER, SECOND, _until
from tests.kubeapi import Manifest, eventually, told

ROLLOUT: Final = {
    "steps": [{"weight": 10, "hold": "2s"}, {"weight": 50, "hold": "2s"}],
    "watch": "2s",
    "scaleDownDelay": "2s",
    "traffic": {"settle": "3s"},
}


@pytest.fixture(scope="module")
def gated(cluster: Cluster) -> Cluster:
    """The same cluster, with the Gateway API and Traefik; once there, they stay."""
    cluster.up(metrics_server=False, traefik=True)
    return cluster


@pytest.fixture(scope="module")
def pods(gated: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Addresses at which two versions are served."""
    first, second = addresses(gated)
    with runtimes(tmp_path_factory.mktemp("runtimes"), {first: "v1", second: "v2"}):
        yield first, second


@pytest.fixture
def client(gated: Cluster, models: Models) -> Iterator[Client]:
    """Asks by the test's hostname."""
    found = Client(gated, f"{models.namespace}.test")
    yield found
    found.close()


def exposed(models: Models, **more: Any) -> Manifest:
    """Clients come in by a hostname of the test's own."""
    found = {"parentRefs": [{"name": GATEWAY}], "hostnames": [f"{models.namespace}.test"], **more}
    return {"gateway": found}


def begin(models: Models, script: Script, pods: tuple[str, str], **rollout: Any) -> Manifest:
    """Serve a first revision through a Gateway, and ask for a second one."""
    gateway(models.api, models.namespace)
    spec: dict[str, Any] = {
        "replicas": 4,
        "rollout": {**ROLLOUT, **rollout},
        "exposure": exposed(models),
    }
    script.serve = Ready(address=pods[0])
    models.apply(**spec)
    first: Manifest = models.until("Ready")["status"]["stable"]
    script.by_revision = {first["hash"]: Ready(address=pods[0])}
    script.serve, script.supply = Ready(address=pods[1]), Supplied(OTHER)
    models.apply(**spec, uri=SECOND)
    return first


def _route(models: Models) -> Manifest:
    found = models.child("HTTPRoute", "m")
    assert found is not None
    return found


@pytest.mark.usefixtures("operator")
def test_weights_are_exact_and_no_request_fails(
    client: Client, models: Models, script: Script, pods: tuple[str, str]
) -> None:
    steps = [{"weight": 10, "hold": "8s"}, {"weight": 50, "hold": "8s"}]
    first = begin(models, script, pods, steps=steps)
    eventually(lambda: client.ask() == "v1", "the proxy has learnt of the first route")
    with client.asking() as load:
        status = _until(models, "Baking", 1)
        assert status["rollout"]["weight"]["mode"] == "Gateway"
        assert abs(load.next(200)["v2"] - 20) <= 4
        _until(models, "Baking", 2)
        assert abs(load.next(200)["v2"] - 100) <= 4
        _until(models, "Watching")
        assert load.next(50) == {"v2": 50}
        after = _until(models, "Idle")
        load.next(20)
    assert load.failures == {}
    assert after["stable"]["hash"] != first["hash"]
    assert told(models.get(), "TrafficVerified")["status"] == "True"
    named = {ref["name"] for r in _route(models)["spec"]["rules"] for ref in r["backendRefs"]}
    assert named == {after["stable"]["name"]}
