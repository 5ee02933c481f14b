"""The operator ends at the worst moment; the next one ends where it would have (A46 to A49)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cluster.faultproxy import (
    EVERY,
    WRITES,
    Delay,
    Fault,
    FaultProxy,
    Swallow,
    crash_at_write,
)
from tests.cluster.kubelet import Script, Supplied
from tests.cluster.models import Models
from tests.cluster.operators import Operator
from tests.kubeapi import Manifest, eventually

NO_LEASE = "^(?!.*/leases)"
APEX = "/services/m$"
SECOND = "https://models.example/2.onnx"
OTHER = "sha256:" + "cd" * 32
CANARY = {
    "steps": [{"weight": 50, "hold": "1s"}],
    "watch": "1s",
    "scaleDownDelay": "1s",
    "traffic": {"settle": "1s"},
}
"""All states of a rollout, each as short as it can be."""


def test_a49_a_sigterm_between_two_writes_tears_nothing(
    models: Models, proxy: FaultProxy, start: Callable[..., Operator]
) -> None:
    first = start(proxy.kubeconfig).until_ready()
    eventually(lambda: first.is_leading, "it leads")
    proxy.inject(Fault(Delay(0.2), verbs=WRITES, path=NO_LEASE, count=EVERY))
    models.apply(replicas=2)
    eventually(lambda: len(proxy.requests(verbs=WRITES, path=NO_LEASE)) >= 3, "it is at work")
    assert first.end() == 0
    lease = models.api.get("Lease", models.namespace, "slipway-operator")
    assert lease is not None
    assert not lease["spec"].get("holderIdentity")
    written = proxy.requests(verbs=WRITES, path=NO_LEASE)
    assert [r for r in written if r.status is None] == [], "every write was waited for"
    proxy.clear()
    start(proxy.kubeconfig).until_ready()
    models.until("Ready")
    assert _shape(models) == _EXPECTED


def test_a46_a_deletion_that_no_watch_tells_is_found_by_the_resync(
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
    "forwarded", [pytest.param(False, id="A48 lost"), pytest.param(True, id="A48 done")]
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


def test_a_crash_while_traffic_moves_ends_the_same(
    models: Models, proxy: FaultProxy, script: Script, start: Callable[..., Operator]
) -> None:
    """The write that shares traffic is lost; that of the cut is done, and nobody hears of it."""
    operator = start(proxy.kubeconfig).until_ready()
    models.apply(replicas=2, rollout=CANARY)
    first = models.until("Ready")["status"]["stable"]
    script.supply = Supplied(OTHER)
    for write, forwarded in ((1, False), (2, True)):
        for fault in crash_at_write(write, forwarded=forwarded, path=APEX):
            proxy.inject(fault)
        mark = proxy.mark()
        models.apply(replicas=2, rollout=CANARY, uri=SECOND)
        _until_written(proxy, mark, write)
        operator.kill()
        proxy.clear()
        operator = start(proxy.kubeconfig).until_ready()
    status = eventually(
        lambda: now if (now := models.get()["status"])["rollout"]["state"] == "Idle" else None,
        "the rollout is over", describe=lambda: models.get()["status"],
    )  # fmt: skip
    assert (status["stable"]["revision"], status["stable"]["available"]) == (2, 2)
    apex = models.child("Service", "m")
    assert apex is not None
    assert apex["spec"]["selector"]["slipway.dev/revision"] == status["stable"]["hash"]
    eventually(lambda: _replicas(models, first) == 0, "the pods before end", timeout_s=20)
    assert _shape(models) == {**_EXPECTED, **_TWICE}


def _until_written(proxy: FaultProxy, mark: int, number: int) -> None:
    eventually(
        lambda: len(proxy.requests(verbs=WRITES, path=APEX, after=mark)) >= number,
        f"write {number} of the Service",
    )


def _replicas(models: Models, track: Manifest) -> int:
    workload = models.child("Deployment", track["name"])
    assert workload is not None
    return int(workload["spec"]["replicas"])


_EXPECTED = {
    "ConfigMap": 1, "ControllerRevision": 1, "Deployment": 1, "Job": 1, "PodDisruptionBudget": 1,
    "Service": 2, "ServiceAccount": 1,
}  # fmt: skip
_TWICE = {
    "ConfigMap": 2, "ControllerRevision": 2, "Deployment": 2, "Job": 2, "PodDisruptionBudget": 1,
    "Service": 3,
}  # fmt: skip
"""With a revision before the present one, to go back to."""


def _shape(models: Models) -> dict[str, int]:
    children: list[Manifest] = models.api.children(models.namespace)
    kinds = [c["kind"] for c in children]
    return {k: kinds.count(k) for k in sorted(set(kinds))}
