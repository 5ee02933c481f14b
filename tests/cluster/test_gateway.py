"""Weights of requests through a real Gateway, answered by real runtimes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from devcluster.cluster import Cluster
from tests.cluster.gateways import (
    GATEWAY,
    Channel,
    Client,
    addresses,
    deaf,
    gateway,
    runtimes,
)
from tests.cluster.kubelet import Ready, Script, Supplied
from tests.cluster.models import Models
from tests.cluster.operators import Operator
from tests.cluster.test_rollouts import OTHER, SECOND, _act, _until
from tests.kubeapi import Api, Manifest, condition, eventually, told

_CRDS: Final = [f"{kind}.gateway.networking.k8s.io" for kind in ("httproutes", "grpcroutes")]
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
def channel(gated: Cluster, models: Models) -> Iterator[Channel]:
    """Asks over gRPC by the test's hostname."""
    found = Channel(gated, f"{models.namespace}.test")
    yield found
    found.close()


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
    first, ask = serve(models, script, pods, **rollout)
    ask()
    return first


def serve(
    models: Models,
    script: Script,
    pods: tuple[str, str],
    grpc: Manifest | None = None,
    **rollout: Any,
) -> tuple[Manifest, Callable[[], None]]:
    """Serve a first revision through a Gateway; tell how to ask for a second one."""
    gateway(models.api, models.namespace)
    spec: dict[str, Any] = {
        "replicas": 4,
        "rollout": {**ROLLOUT, **rollout},
        "exposure": exposed(models, **({"grpc": grpc} if grpc else {})),
    }
    script.serve = Ready(address=pods[0])
    models.apply(**spec)
    first: Manifest = models.until("Ready")["status"]["stable"]
    script.by_revision = {first["hash"]: Ready(address=pods[0])}

    def ask() -> None:
        script.serve, script.supply = Ready(address=pods[1]), Supplied(OTHER)
        models.apply(**spec, uri=SECOND)

    return first, ask


def _route(models: Models) -> Manifest:
    found = models.child("HTTPRoute", "m")
    assert found is not None
    return found


@pytest.fixture
def install_gateway_api(cluster: Cluster, api: Api) -> Callable[[], None]:
    """Lack the kinds, wherever a run before has installed them; tell how to install them."""
    was_there = "traefik" in cluster.processes()
    for name in _CRDS:
        api.delete("CustomResourceDefinition", None, name)
    eventually(
        lambda: not any(api.get("CustomResourceDefinition", None, name) for name in _CRDS),
        "the kinds are gone",
    )

    def install() -> None:
        cluster.up(metrics_server=False, traefik=True)
        if was_there:  # its watches have failed meanwhile, and wait long before they try again
            cluster.restart("traefik")

    return install


# First: the others install what this one must not find. Installing takes a busy machine long.
@pytest.mark.timeout(300)
def test_a64_without_the_gateway_api_nothing_else_is_chosen_in_silence(
    install_gateway_api: Callable[[], None], start: Callable[..., Operator], models: Models
) -> None:
    start(discovery_s="1").until_ready()
    models.apply(exposure=exposed(models), rollout=ROLLOUT)
    eventually(
        lambda: (condition(models.get(), "Stalled") or {}).get("reason") == "GatewayAPIMissing",
        "it says what is missing",
    )
    assert told(models.get(), "Ready")["status"] == "False"
    assert models.get()["status"]["phase"] in ("Failed", "Degraded")
    assert "external" not in models.get()["status"].get("endpoints", [{}])[0]
    install_gateway_api()
    gateway(models.api, models.namespace)
    ready = models.until("Ready", timeout_s=60)
    assert ready["status"]["endpoints"][0]["external"] == [f"{models.namespace}.test"]
    assert told(ready, "Stalled")["status"] == "False"


@pytest.mark.usefixtures("operator")
def test_weights_are_exact_and_no_request_fails(
    client: Client, channel: Channel, models: Models, script: Script, pods: tuple[str, str]
) -> None:
    steps = [{"weight": 10, "hold": "8s"}, {"weight": 50, "hold": "8s"}]
    first = begin(models, script, pods, steps=steps)
    eventually(lambda: client.ask() == "v1", "the proxy has learnt of the first route")
    with client.asking() as load:
        status = _until(models, "Baking", 1)
        assert status["rollout"]["weight"]["mode"] == "Gateway"
        assert abs(load.next(200)["v2"] - 20) <= 4
        assert abs(channel.shares(100)["v2"] - 10) <= 1, "calls of one channel, not connections"
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


@pytest.mark.usefixtures("operator")
def test_who_sends_a_header_tries_it_first(
    client: Client, channel: Channel, models: Models, script: Script, pods: tuple[str, str]
) -> None:
    step = {"headers": [{"name": "X-Tester", "value": "yes"}], "approval": "Manual", "hold": "1s"}
    begin(models, script, pods, steps=[step, {"weight": 50, "hold": "60s"}])
    status = _until(models, "Paused", 1)
    assert (status["rollout"]["reason"], status["rollout"]["weight"]["desired"]) == (
        "AwaitingApproval", 0,
    )  # fmt: skip
    assert client.shares(20) == {"v1": 20}
    assert client.shares(20, **{"X-Tester": "yes"}) == {"v2": 20}
    assert client.shares(20, **{"X-Tester": "no"}) == {"v1": 20}
    assert (channel.ask(), channel.ask(**{"x-tester": "yes"})) == ("v1", "v2")
    _act(models, "approve", status["candidate"])
    after = _until(models, "Baking", 2)
    assert abs(client.shares(100)["v2"] - 50) <= 2
    assert client.ask(**{"X-Tester": "yes"}) in ("v1", "v2"), "the header means nothing any more"
    _act(models, "abort", after["candidate"], nonce=2)
    _until(models, "Failed")
    assert client.shares(20, **{"X-Tester": "yes"}) == {"v1": 20}


@pytest.mark.usefixtures("operator")
def test_grpc_has_a_route_and_hostnames_of_its_own(
    client: Client, gated: Cluster, models: Models, script: Script, pods: tuple[str, str]
) -> None:
    own = f"grpc.{models.namespace}.test"
    steps = [{"weight": 10, "hold": "1s", "approval": "Manual"}]
    _, ask = serve(
        models,
        script,
        pods,
        grpc={"mode": "GRPCRoute", "hostnames": [own]},
        steps=steps,
        watch="0s",
    )
    with closing(Channel(gated, own)) as channel:
        ask()
        status = _until(models, "Paused", 1)
        assert set(status["rollout"]["route"]) == {"httpGeneration", "grpcGeneration"}
        assert abs(channel.shares(100)["v2"] - 10) <= 1
        assert abs(client.shares(100)["v2"] - 10) <= 1
        with closing(Channel(gated, f"{models.namespace}.test")) as other:
            assert other.ask().startswith("status "), "REST's hostname has no gRPC"
        _act(models, "approve", status["candidate"])
        _until(models, "Idle")
        assert (channel.shares(20), client.shares(20)) == ({"v2": 20}, {"v2": 20})


@pytest.mark.usefixtures("operator")
def test_a26_of_two_models_the_older_has_the_hostname(gated: Cluster, models: Models) -> None:
    gateway(models.api, models.namespace)
    models.apply("older", exposure=exposed(models))
    created = datetime.fromisoformat(
        models.until("Ready", "older")["metadata"]["creationTimestamp"]
    )
    # Kubernetes counts an age in whole seconds; of one second the uid decides.
    eventually(lambda: datetime.now(UTC) >= created + timedelta(seconds=1), "a second is over")
    models.apply("younger", exposure=exposed(models))
    eventually(
        lambda: (
            (condition(models.get("younger"), "Stalled") or {}).get("reason") == "HostnameConflict"
        ),
        "the younger one is told",
    )
    text = told(models.get("younger"), "Stalled")["message"]
    assert f"belong to ModelDeployment {models.namespace}/older, which is older" in text
    assert models.child("HTTPRoute", "younger") is None
    assert told(models.get("older"), "Ready")["status"] == "True"
    models.api.delete("ModelDeployment", models.namespace, "older")
    models.until("Ready", "younger")


@pytest.mark.usefixtures("operator")
def test_a26_a_route_of_somebody_else_has_the_hostname(gated: Cluster, models: Models) -> None:
    gateway(models.api, models.namespace)
    own = f"grpc.{models.namespace}.test"
    foreign = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "foreign", "namespace": models.namespace},
        "spec": {
            "parentRefs": [{"name": GATEWAY}],
            "hostnames": [own],
            "rules": [{"backendRefs": [{"name": "m", "port": 80}]}],
        },
    }
    models.api.apply(foreign)
    models.apply(exposure=exposed(models, grpc={"mode": "GRPCRoute", "hostnames": [own]}))
    eventually(
        lambda: (condition(models.get(), "Ready") or {}).get("reason") == "HostnameConflict",
        "the Gateway's refusal is told", describe=lambda: models.child("GRPCRoute", "m-grpc"),
    )  # fmt: skip
    assert "does not take GRPCRoute 'm-grpc'" in told(models.get(), "TrafficVerified")["message"]
    models.api.delete("HTTPRoute", models.namespace, "foreign")
    models.until("Ready")


@pytest.mark.usefixtures("operator")
def test_a_gateway_that_comes_late_is_waited_for(gated: Cluster, models: Models) -> None:
    models.apply(exposure=exposed(models))
    eventually(
        lambda: (condition(models.get(), "Ready") or {}).get("reason") == "GatewayNotReady",
        "it says what it waits for",
    )
    assert told(models.get(), "Available")["status"] == "True", "inside the cluster it is reached"
    gateway(models.api, models.namespace)
    models.until("Ready")


@pytest.mark.usefixtures("operator")
def test_a_weight_that_nobody_confirms_does_not_count(
    gated: Cluster, client: Client, models: Models, script: Script, pods: tuple[str, str]
) -> None:
    steps = [{"weight": 50, "hold": "1s", "approval": "Manual"}]
    traffic = {"settle": "2s", "verifyTimeout": "6s"}
    first, ask = serve(models, script, pods, steps=steps, traffic=traffic)
    with deaf(gated):
        ask()
        status = _until(models, "Shifting", 1)
        assert (status["candidate"]["weight"], status["rollout"]["weight"]["verified"]) in (
            (0, False), (50, False),
        )  # fmt: skip
        status = _until(models, "Paused", 1)
        assert status["rollout"]["reason"] == "TrafficUnverified"
        assert status["rollout"]["weight"]["desired"] == 0
        eventually(lambda: _weights(models) == {first["name"]: 100}, "the weight is taken back")
    _act(models, "approve", status["candidate"])
    status = eventually(
        lambda: found if (found := _until(models, "Paused", 1))["rollout"]["reason"]
        == "AwaitingApproval" else None,
        "the step is held, and waits for approval",
    )  # fmt: skip
    assert status["rollout"]["weight"]["verified"] is True
    assert abs(client.shares(100)["v2"] - 50) <= 2


def _weights(models: Models) -> dict[str, int]:
    refs = [ref for rule in _route(models)["spec"]["rules"] for ref in rule["backendRefs"]]
    return {ref["name"]: ref["weight"] for ref in refs}
