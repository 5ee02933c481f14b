"""Fixtures of the tests against a real API server with real controllers; the kubelet is played."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from devcluster.cluster import Cluster
from tests.cluster.faultproxy import FaultProxy
from tests.cluster.kubelet import Kubelet, Script
from tests.cluster.models import Models
from tests.cluster.operators import ROOT, Operator
from tests.kubeapi import Api, Manifest, eventually

NAME: Final = os.environ.get("SLIPWAY_TEST_CLUSTER", "test")
CRD: Final = ROOT / "crds" / "slipway.dev_modeldeployments.yaml"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The tests' own Kubernetes, brought up once per run and left to the runner."""
    found = Cluster(NAME)
    found.up(metrics_server=False)
    return found


@pytest.fixture(scope="session")
def kubeconfig(cluster: Cluster) -> Path:
    """The administrator's kubeconfig."""
    return cluster.kubeconfig


@pytest.fixture(scope="session")
def api(kubeconfig: Path) -> Iterator[Api]:
    """The API server with our CRD, and no operator but the tests' own."""
    client = Api(kubeconfig)
    crd = yaml.safe_load(CRD.read_text())
    client.apply(crd)
    eventually(
        lambda: is_established(
            client.get("CustomResourceDefinition", None, crd["metadata"]["name"])
        ),
        "the CRD is established",
    )
    yield client
    client.http.close()


def is_established(crd: Manifest | None) -> bool:
    """Tell whether the API server serves a CRD."""
    conditions = (crd or {}).get("status", {}).get("conditions") or ()
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


@pytest.fixture(scope="session")
def kubelet(api: Api, cluster: Cluster) -> Iterator[Kubelet]:
    """The played node; its thread has connections of its own."""
    own = Api(cluster.kubeconfig)
    with Kubelet(own, str(cluster.host_ip)) as played:
        yield played
    own.http.close()


@pytest.fixture
def namespace(api: Api) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"t{os.getpid()}-{next(_numbers)}"
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    api.delete("Namespace", None, name)


@pytest.fixture
def script(kubelet: Kubelet, namespace: str) -> Script:
    """What becomes of the pods in the test's namespace."""
    return kubelet.script(namespace)


@pytest.fixture
def start(kubeconfig: Path, namespace: str, tmp_path: Path) -> Iterator[Callable[..., Operator]]:
    """Start operators that look after the test's namespace; all are ended afterwards."""
    started: list[Operator] = []

    def begin(kubeconfig: Path = kubeconfig, **more: Any) -> Operator:
        log = tmp_path / f"operator-{len(started) + 1}.log"
        started.append(Operator(kubeconfig, namespace, log, **more))
        return started[-1]

    yield begin
    for operator in started:
        _put_away(operator)


@pytest.fixture(scope="module")
def operator(
    api: Api, kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    """One ready operator for the whole cluster, shared by a module: starting one takes seconds."""
    log = tmp_path_factory.mktemp("operator") / "shared.log"
    running = Operator(kubeconfig, "", log, lease_namespace="default").until_ready()
    yield running
    assert running.end() == 0, running.tail()
    _put_away(running)


def _put_away(operator: Operator) -> None:
    if operator.process.poll() is None:
        operator.kill()
    assert "reconcile crashed" not in operator.log.read_text(), operator.tail()


@pytest.fixture
def models(
    api: Api, namespace: str, script: Script, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> Models:
    """ModelDeployments in the test's namespace, and a kubelet that lets everything succeed."""
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    return Models(api, namespace)


@pytest.fixture(scope="module")
def shared_proxy(kubeconfig: Path) -> Iterator[FaultProxy]:
    """The API server behind a proxy that can misbehave."""
    with FaultProxy(kubeconfig) as running:
        yield running


@pytest.fixture
def proxy(shared_proxy: FaultProxy) -> Iterator[FaultProxy]:
    """The same, without the faults of the test before."""
    shared_proxy.clear()
    yield shared_proxy
    shared_proxy.clear()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the cluster."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)
