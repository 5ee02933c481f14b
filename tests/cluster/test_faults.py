"""The API server has a bad day; the end is the same as on a good one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.faultproxy import (
    EVERY,
    READS,
    WRITES,
    Cut,
    Delay,
    Expire,
    Fault,
    FaultProxy,
    Hang,
    Refuse,
    Swallow,
    answers,
    crash_at_write,
)
from tests.cluster.models import Models
from tests.cluster.operators import Operator
from tests.kubeapi import Manifest, eventually

SECOND = "https://models.example/2.onnx"
NO_LEASE = "^(?!.*/leases)"

pytestmark = pytest.mark.usefixtures("script")


@pytest.fixture
def proxy(kubeconfig: Path) -> Iterator[FaultProxy]:
    """The API server behind a proxy that can misbehave."""
    with FaultProxy(kubeconfig) as running:
        yield running


@pytest.fixture
def behind(proxy: FaultProxy, start: Callable[..., Operator]) -> Operator:
    """A ready operator that sees the API server only through the proxy."""
    return start(proxy.kubeconfig).until_ready()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(Delay(0.3), duration_s=6), id="slow"),
        pytest.param(Fault(answers.conflict(), verbs=WRITES, path=NO_LEASE, count=5), id="409"),
        pytest.param(
            Fault(answers.too_many_requests(1), verbs=WRITES, path=NO_LEASE, count=3), id="429"
        ),
        pytest.param(
            Fault(answers.internal_error(), verbs=WRITES, path=NO_LEASE, count=5), id="500"
        ),
        pytest.param(Fault(answers.unavailable(), duration_s=4), id="503 for everything"),
        pytest.param(Fault(Refuse(), duration_s=4), id="connections refused"),
        pytest.param(Fault(Hang(), verbs=WRITES, path="/deployments", count=1), id="a write hangs"),
        pytest.param(Fault(answers.unauthorized(), verbs=READS, count=1), id="401 once"),
        pytest.param(
            Fault(answers.forbidden("operator"), verbs=WRITES, path=NO_LEASE, duration_s=3),
            id="403 for a while",
        ),
    ],
)
def test_a_model_becomes_ready_through(
    models: Models, proxy: FaultProxy, behind: Operator, fault: Fault
) -> None:
    proxy.inject(fault)
    models.apply(replicas=2)
    status = models.until("Ready", timeout_s=60)["status"]
    assert status["stable"]["available"] == 2
    assert behind.process.poll() is None, "the operator never ended"


@pytest.mark.parametrize(
    "action", [pytest.param(Cut(), id="cut"), pytest.param(Expire(), id="410 Gone")]
)
def test_watches_that_end_are_taken_up_again(
    models: Models, proxy: FaultProxy, behind: Operator, action: Cut | Expire
) -> None:
    models.apply()
    models.until("Ready")
    for kind in ("modeldeployments", "deployments", "pods", "jobs", "services"):
        proxy.inject(Fault(action, path=f"/{kind}$"))
    models.apply(replicas=3)
    assert models.until("Ready", timeout_s=40)["status"]["stable"]["available"] == 3
    assert behind.process.poll() is None


def test_a_deletion_that_no_watch_tells_is_found_by_the_resync(
    models: Models, proxy: FaultProxy, start: Callable[..., Operator]
) -> None:
    operator = start(proxy.kubeconfig, resync_s="3").until_ready()
    models.apply()
    name = models.until("Ready")["status"]["stable"]["name"]
    proxy.inject(Fault(Swallow("DELETED", name=name), path="/services$", count=EVERY))
    before = models.child("Service", name)
    assert before is not None
    models.api.delete("Service", models.namespace, name)

    def back() -> bool:
        now = models.child("Service", name)
        return now is not None and now["metadata"]["uid"] != before["metadata"]["uid"]

    eventually(back, "the Service is back", timeout_s=20)
    eventually(lambda: operator.metric("slipway_watch_drift_total") >= 1, "the drift is counted")


@pytest.mark.parametrize(
    "forwarded", [pytest.param(False, id="lost"), pytest.param(True, id="done")]
)
@pytest.mark.parametrize("write", [1, 4, 8])
def test_a_crash_at_any_write_of_a_creation_ends_the_same(
    models: Models, proxy: FaultProxy, start: Callable[..., Operator], write: int, forwarded: bool
) -> None:
    first = start(proxy.kubeconfig).until_ready()
    for fault in crash_at_write(write, forwarded=forwarded, path=NO_LEASE):
        proxy.inject(fault)
    models.apply(replicas=2)
    eventually(lambda: len(proxy.requests(verbs=WRITES, path=NO_LEASE)) >= write, "the write came")
    first.kill()
    proxy.clear()
    start(proxy.kubeconfig).until_ready()
    status = models.until("Ready", timeout_s=40)["status"]
    assert (status["stable"]["revision"], status["stable"]["available"]) == (1, 2)
    assert _shape(models) == _EXPECTED


_EXPECTED = {
    "ConfigMap": 1, "ControllerRevision": 1, "Deployment": 1, "Job": 1, "PodDisruptionBudget": 1,
    "Service": 2, "ServiceAccount": 1,
}  # fmt: skip


def _shape(models: Models) -> dict[str, int]:
    children: list[Manifest] = models.api.children(models.namespace)
    kinds = [c["kind"] for c in children]
    return {k: kinds.count(k) for k in sorted(set(kinds))}
