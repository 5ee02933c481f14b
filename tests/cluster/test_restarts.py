"""The operator ends and comes back: nothing is lost, nothing is written twice."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from devcluster.cluster import Cluster
from tests.cluster.audit import writes
from tests.cluster.faultproxy import FaultProxy
from tests.cluster.models import Models
from tests.cluster.operators import Operator, skewed
from tests.kubeapi import Api, eventually


def test_a59_a_restart_writes_nothing_but_the_lease(
    models: Models, start: Callable[..., Operator], cluster: Cluster
) -> None:
    operator = start().until_ready()
    for name in ("a", "b", "c"):
        models.apply(name, replicas=2)
    for name in ("a", "b", "c"):
        models.until("Ready", name)
    _until_quiet(operator)
    versions = _versions(models.api, models.namespace)
    operator.end()
    mark = cluster.audit.mark()
    again = start().until_ready()
    eventually(lambda: again.is_leading, "it leads")
    eventually(lambda: again.metric("slipway_reconcile_total") >= 3, "it has looked at all")
    _until_quiet(again)
    found = [w for w in writes(cluster.audit, mark) if w.namespace == models.namespace]
    assert {w.resource for w in found} == {"leases"}
    assert _versions(models.api, models.namespace) == versions


def test_a29_a_deletion_needs_no_operator(models: Models, start: Callable[..., Operator]) -> None:
    operator = start().until_ready()
    models.apply()
    models.until("Ready")
    assert "finalizers" not in models.get()["metadata"]
    operator.kill()
    models.api.delete("ModelDeployment", models.namespace, "m")
    assert models.api.get("ModelDeployment", models.namespace, "m") is None
    eventually(lambda: not models.api.children(models.namespace), "all is gone", timeout_s=30)


def test_a66_another_version_of_the_operator_restarts_no_pod(
    models: Models, start: Callable[..., Operator], cluster: Cluster
) -> None:
    operator = start().until_ready()
    models.apply(replicas=2)
    models.until("Ready")
    _until_quiet(operator)
    versions = _versions(models.api, models.namespace)
    operator.end()
    newer = start(runtime_image="registry.test/slipway-runtime:next").until_ready()
    eventually(lambda: newer.metric("slipway_reconcile_total") >= 1, "it has looked")
    _until_quiet(newer)
    assert _versions(models.api, models.namespace) == versions


@pytest.mark.long
@pytest.mark.parametrize(
    "skew", [pytest.param("+10m", id="A51 ahead"), pytest.param("-10m", id="A51 behind")]
)
def test_a_clock_that_is_wrong_changes_nothing(
    models: Models, proxy: FaultProxy, start: Callable[..., Operator], skew: str
) -> None:
    """Behind the proxy, because certificates would rightly be refused."""
    right = start(proxy.kubeconfig).until_ready()
    eventually(lambda: right.is_leading, "the right clock leads")
    wrong = start(proxy.kubeconfig, environment=skewed(skew)).until_ready()
    models.apply(replicas=2)
    models.until("Ready")
    assert not wrong.is_leading, "a Lease is not older for a clock that is ahead"
    right.kill()
    models.apply(uri="https://models.example/2.onnx", replicas=2)
    status = models.until("Ready", timeout_s=30)["status"]
    assert wrong.metric("slipway_leader") == 1
    assert (status["stable"]["revision"], status["stable"]["available"]) == (2, 2)


def _until_quiet(operator: Operator) -> None:
    """Wait until the queue is empty and stays so over two looks."""
    seen = [-1.0]

    def quiet() -> bool:
        now = operator.metric("slipway_reconcile_total")
        same = now == seen[0] and operator.metric("slipway_queue_depth") == 0
        seen[0] = now
        time.sleep(0.5)  # two looks are half a second apart
        return same

    eventually(quiet, "the operator is quiet", timeout_s=30)


def _versions(api: Api, namespace: str) -> dict[str, str]:
    objects = [*api.children(namespace), *api.find("ModelDeployment", namespace)]
    return {
        f"{o['kind']}/{o['metadata']['name']}": o["metadata"]["resourceVersion"] for o in objects
    }
