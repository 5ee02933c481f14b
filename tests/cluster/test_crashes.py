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
from tests.cluster.models import Models
from tests.cluster.operators import Operator
from tests.kubeapi import Manifest, eventually

NO_LEASE = "^(?!.*/leases)"


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


_EXPECTED = {
    "ConfigMap": 1, "ControllerRevision": 1, "Deployment": 1, "Job": 1, "PodDisruptionBudget": 1,
    "Service": 2, "ServiceAccount": 1,
}  # fmt: skip


def _shape(models: Models) -> dict[str, int]:
    children: list[Manifest] = models.api.children(models.namespace)
    kinds = [c["kind"] for c in children]
    return {k: kinds.count(k) for k in sorted(set(kinds))}
