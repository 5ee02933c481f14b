"""A cluster that does odd things around a model (cases A18 to A36, A55 to A70).

Every name holds the number of its case.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest

from devcluster.cluster import Cluster
from tests.cluster.audit import writes
from tests.cluster.kubelet import Ready, Script, Starting, Waiting
from tests.cluster.models import Models
from tests.cluster.operators import Operator
from tests.kubeapi import Manifest, Refused, condition, eventually, told

SECOND = "https://models.example/2.onnx"
THIRD = "https://models.example/3.onnx"

pytestmark = pytest.mark.usefixtures("operator")


def _until(models: Models, kind: str, reason: str, *, timeout_s: float = 40) -> Manifest:
    def found() -> Manifest | None:
        now = condition(models.get(), kind)
        return now if now and now["reason"] == reason else None

    return eventually(
        found,
        f"{kind} {reason}",
        timeout_s=timeout_s,
        describe=lambda: models.get().get("status"),
    )


def test_a18_bad_after_bad_after_good_never_takes_the_good_one_down(
    models: Models, script: Script
) -> None:
    models.apply(replicas=2)
    good = models.until("Ready")["status"]["stable"]
    script.serve = Waiting("ImagePullBackOff")
    for uri in (SECOND, THIRD):
        models.apply(replicas=2, uri=uri)
        eventually(lambda: _fails(models, "ImagePullFailed"), "the cause is told",
                   describe=lambda: models.get()["status"])  # fmt: skip
        assert models.get()["status"]["stable"]["hash"] == good["hash"]
        assert told(models.get(), "Available")["status"] == "True"
    script.serve = Ready()
    models.apply(replicas=2)
    stable = models.until("Ready", timeout_s=60)["status"]["stable"]
    assert (stable["hash"], stable["available"]) == (good["hash"], 2)


def _fails(models: Models, reason: str) -> bool:
    """Whether the candidate of the present spec is said to fail."""
    now = models.get()
    status = now["status"]
    return (
        status["observedGeneration"] == now["metadata"]["generation"]
        and (status.get("lastFailure") or {}).get("reason") == reason
    )


def test_a21_pods_that_never_become_ready_are_never_promoted(
    models: Models, script: Script
) -> None:
    models.apply()
    good = models.until("Ready")["status"]["stable"]["hash"]
    script.serve = Starting()
    models.apply(uri=SECOND)
    _until(models, "Ready", "RollingOut")
    apex = models.child("Service", "m")
    assert apex is not None
    assert apex["spec"]["selector"]["slipway.dev/revision"] == good


def test_a27_the_next_of_the_same_name_starts_anew(models: Models) -> None:
    models.apply()
    before = models.until("Ready")
    models.api.delete("ModelDeployment", models.namespace, "m")
    models.apply()
    after = models.until("Ready", timeout_s=30)
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    owners = {
        r["uid"] for c in models.api.children(models.namespace)
        for r in c["metadata"]["ownerReferences"]
    }  # fmt: skip
    eventually(lambda: _owners(models) == {after["metadata"]["uid"]}, "the old ones are gone",
               timeout_s=30, describe=lambda: owners)  # fmt: skip


def _owners(models: Models) -> set[str]:
    children = models.api.children(models.namespace)
    return {r["uid"] for c in children for r in c["metadata"]["ownerReferences"]}


@pytest.mark.parametrize(
    ("policy", "stays"),
    [
        pytest.param("Orphan", True, id="A30 orphan"),
        pytest.param("Foreground", False, id="A30 foreground"),
        pytest.param("Background", False, id="A30 background"),
    ],
)
def test_every_way_to_delete_is_honoured(models: Models, policy: str, stays: bool) -> None:
    models.apply()
    name = models.until("Ready")["status"]["stable"]["name"]
    path = models.api.path("ModelDeployment", models.namespace, "m")
    models.api.send("DELETE", path, json={"propagationPolicy": policy})
    eventually(lambda: models.api.get("ModelDeployment", models.namespace, "m") is None, "gone",
               timeout_s=20)  # fmt: skip
    if not stays:
        eventually(lambda: models.child("Deployment", name) is None, "collected", timeout_s=20)
        return
    deployment = models.child("Deployment", name)
    assert deployment is not None
    assert not deployment["metadata"].get("ownerReferences")
    assert deployment["status"]["availableReplicas"] == 1


def test_a31_a_namespace_that_ends_is_left_in_peace(
    models: Models, cluster: Cluster, operator: Operator
) -> None:
    for name in ("a", "b"):
        models.apply(name)
    for name in ("a", "b"):
        models.until("Ready", name)
    mark = cluster.audit.mark()
    models.api.delete("Namespace", None, models.namespace)
    eventually(lambda: models.api.get("Namespace", None, models.namespace) is None, "it is gone",
               timeout_s=40)  # fmt: skip
    mine = [w for w in writes(cluster.audit, mark) if w.namespace == models.namespace]
    # Some twenty children are deleted one by one; each may be missed, judged and refused once.
    assert len(mine) <= 80, "no storm of writes that cannot succeed"
    assert operator.process.poll() is None


def test_a35_pods_that_a_quota_refuses_are_explained(models: Models) -> None:
    quota = {"hard": {"pods": "1"}}
    models.api.create(_object(models, "ResourceQuota", "q", spec=quota))
    eventually(lambda: (models.child("ResourceQuota", "q") or {}).get("status", {}).get("used"),
               "the quota is in force")  # fmt: skip
    models.apply(replicas=3)
    failure = eventually(
        lambda: (models.get().get("status") or {}).get("lastFailure"),
        "the cause is told",
        describe=lambda: models.get().get("status"),
    )
    assert failure["reason"] == "FailedCreate"
    assert "exceeded quota: q" in failure["message"]


def test_a36_pods_pass_the_restricted_level(models: Models) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    models.api.merge("Namespace", None, models.namespace, {"metadata": {"labels": labels}})
    models.apply()
    models.until("Ready")


def test_a36_a_limit_range_that_refuses_pods_is_named(models: Models) -> None:
    limits = {"limits": [{"type": "Container", "max": {"memory": "300Mi", "cpu": "4"}}]}
    models.api.create(_object(models, "LimitRange", "small", spec=limits))
    models.apply(runtime={"supplyResources": {"limits": {"memory": "100Mi", "cpu": "1"}}})
    failure = eventually(
        lambda: (models.get().get("status") or {}).get("lastFailure"),
        "the cause is told",
        describe=lambda: models.get().get("status"),
    )
    assert failure["reason"] == "FailedCreate"
    assert "maximum memory usage per Container is 300Mi" in failure["message"]


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(None, id="A55 wiped"),
        pytest.param(
            {"stable": {"revision": 7, "hash": "0123456789", "name": "m-0123456789",
                        "replicas": 9, "available": 9}},
            id="A55 another stable revision",
        ),
        pytest.param({"phase": "Healthy", "conditions": []}, id="A55 hollow"),
    ],
)  # fmt: skip
def test_a_status_that_somebody_wrote_is_rebuilt(models: Models, status: Manifest | None) -> None:
    models.apply(replicas=2)
    before = models.until("Ready")["status"]
    pods = {p["metadata"]["uid"] for p in models.api.find("Pod", models.namespace)}
    models.api.merge("ModelDeployment", models.namespace, "m", {"status": status}, "status")

    def rebuilt() -> bool:
        now = models.get().get("status") or {}
        return now.get("stable") == before["stable"] and now.get("phase") == "Healthy"

    eventually(rebuilt, "it is as before", describe=lambda: models.get().get("status"))
    assert pods <= {p["metadata"]["uid"] for p in models.api.find("Pod", models.namespace)}


def test_a57_a_webhook_that_does_not_answer_is_named_and_waited_for(models: Models) -> None:
    with _webhook_without_server(models):
        models.apply()
        ready = _until(models, "Ready", "ApplyFailed")
        assert "failed calling webhook" in ready["message"]
        assert told(models.get(), "Stalled")["status"] == "False"
    models.until("Ready", timeout_s=30)


@contextmanager
def _webhook_without_server(models: Models) -> Iterator[None]:
    """Another vendor's webhook for Services of this namespace, whose server is down."""
    name = f"down-{models.namespace}.slipway.test"
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["*"],
        "resources": ["services"],
    }
    models.api.create(
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [
                {
                    "name": name,
                    "clientConfig": {"url": "https://127.0.0.1:9/validate"},
                    "rules": [rule],
                    "namespaceSelector": {
                        "matchLabels": {"kubernetes.io/metadata.name": models.namespace}
                    },
                    "failurePolicy": "Fail",
                    "sideEffects": "None",
                    "timeoutSeconds": 1,
                    "admissionReviewVersions": ["v1"],
                }
            ],
        }
    )
    try:
        yield
    finally:
        models.api.delete("ValidatingWebhookConfiguration", None, name)


def test_a58_a_controller_that_rewrites_our_field_is_named_and_not_fought(
    models: Models, cluster: Cluster
) -> None:
    models.apply()
    models.until("Ready")
    mark = cluster.audit.mark()
    with _meddler(models):
        message = _until(models, "Ready", "Contested")["message"]
    assert "Service 'm': metadata.labels.slipway.dev/model is changed" in message
    assert "by 'meddler'" in message
    repairs = [
        w for w in writes(cluster.audit, mark)
        if w.namespace == models.namespace and w.resource == "services"
    ]  # fmt: skip
    assert 5 <= len(repairs) <= 9
    eventually(
        lambda: _warned(models, "Contested"), "an Event tells it, some time after the status"
    )
    models.until("Ready", timeout_s=30)
    assert len(_warned(models, "Contested")) == 1


def _warned(models: Models, reason: str) -> list[Manifest]:
    found = models.api.find("Event", models.namespace)
    return [e for e in found if e["reason"] == reason and e["type"] == "Warning"]


@contextmanager
def _meddler(models: Models) -> Iterator[None]:
    """A controller with another opinion of a label, and endless energy."""
    over = threading.Event()
    query = {"fieldManager": "meddler"}
    path = models.api.path("Service", models.namespace, "m")
    patch = {"metadata": {"labels": {"slipway.dev/model": "theirs"}}}
    headers = {"Content-Type": "application/merge-patch+json"}

    def meddle() -> None:
        while not over.wait(0.05):
            models.api.send("PATCH", path, json=patch, params=query, headers=headers)

    thread = threading.Thread(target=meddle, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a59_defaults_of_the_api_server_are_no_difference(
    models: Models, cluster: Cluster, operator: Operator
) -> None:
    models.apply(replicas=2)
    models.until("Ready")
    _until_still(models, operator)
    mark = cluster.audit.mark()
    for turn in range(5):  # each makes the operator compare everything again
        _touch(models, str(turn))
    _until_still(models, operator)
    assert _writes(models, cluster, mark) == []


def test_a60_a_secret_that_comes_late_is_waited_for(models: Models, script: Script) -> None:
    script.serve = Waiting("CreateContainerConfigError", 'secret "keys" not found')
    env = [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "a"}}}]
    models.apply(runtime={"env": env})
    stalled = _until(models, "Stalled", "CreateContainerConfigError")
    assert 'secret "keys" not found' in stalled["message"]
    before = models.get()["status"]["candidate"]["hash"]
    script.serve = Ready()  # as the kubelet does when the Secret is there
    assert models.until("Ready")["status"]["stable"]["hash"] == before, "no new revision"


def test_a61_a_claim_that_is_not_bound_is_named(models: Models, script: Script) -> None:
    script.serve = None
    models.apply()
    # Before it is bound, the scheduler would overwrite what is written here.
    pod = eventually(lambda: _bound_pod(models), "the pod is bound to its node")
    text = "pod has unbound immediate PersistentVolumeClaims"
    unbound = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
               "message": text}  # fmt: skip
    status = {"status": {"phase": "Pending", "conditions": [unbound]}}
    models.api.merge("Pod", models.namespace, pod["metadata"]["name"], status, "status")
    failure = eventually(lambda: models.get()["status"].get("lastFailure"), "it is told")
    assert (failure["reason"], failure["message"]) == ("Unschedulable", text)


def _bound_pod(models: Models) -> Manifest | None:
    return next((p for p in _serving_pods(models) if p["spec"].get("nodeName")), None)


def test_a62_a_drain_takes_one_pod_at_a_time(models: Models, script: Script) -> None:
    models.apply(replicas=2)
    models.until("Ready")
    budgets = models.api.find("PodDisruptionBudget", models.namespace)
    assert [b["spec"]["unhealthyPodEvictionPolicy"] for b in budgets] == ["AlwaysAllow"]
    eventually(lambda: models.api.find("PodDisruptionBudget", models.namespace)[0]
               .get("status", {}).get("disruptionsAllowed") == 1, "one may go")  # fmt: skip
    script.serve = Starting()  # the replacement takes its time
    first, second = (p["metadata"]["name"] for p in _serving_pods(models))
    _evict(models, first)
    with pytest.raises(Refused, match="disruption budget"):
        _evict(models, second)
    script.serve = Ready()
    models.apply(replicas=1)
    models.until("Ready")
    eventually(lambda: not models.api.find("PodDisruptionBudget", models.namespace),
               "nothing stands in the way of a drain at one replica")  # fmt: skip


def _serving_pods(models: Models) -> list[Manifest]:
    return models.api.find("Pod", models.namespace, "slipway.dev/model=m")


def _evict(models: Models, pod: str) -> None:
    models.api.send(
        "POST",
        models.api.path("Pod", models.namespace, pod) + "/eviction",
        json={"apiVersion": "policy/v1", "kind": "Eviction",
              "metadata": {"name": pod, "namespace": models.namespace}},
    )  # fmt: skip


def test_a69_ten_thousand_updates_a_minute_are_coalesced(
    models: Models, cluster: Cluster, operator: Operator
) -> None:
    models.apply()
    models.until("Ready")
    _until_still(models, operator)
    mark, before = cluster.audit.mark(), operator.metric("slipway_reconcile_total")
    updates = 160
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(_touch, models, str(turn)) for turn in range(updates)]:
            done.result()
    _until_still(models, operator)
    assert _writes(models, cluster, mark) == []
    # The namespaces of other tests are on their way out, and count here, too.
    assert operator.metric("slipway_reconcile_total") - before <= 2.5 * updates
    assert operator.metric("slipway_queue_depth") == 0


def test_a70_its_own_status_writes_start_no_loop(
    models: Models, cluster: Cluster, operator: Operator
) -> None:
    mark, before = cluster.audit.mark(), operator.metric("slipway_reconcile_total")
    models.apply()
    models.until("Ready")
    _until_still(models, operator)
    status = [w for w in writes(cluster.audit, mark)
              if w.namespace == models.namespace and w.subresource == "status"]  # fmt: skip
    assert len(status) <= 8
    assert operator.metric("slipway_reconcile_total") - before <= 60


def _touch(models: Models, value: str) -> None:
    note = {"metadata": {"annotations": {"team.example/touched": value}}}
    models.api.merge("ModelDeployment", models.namespace, "m", note)


def _writes(models: Models, cluster: Cluster, mark: datetime) -> list[Any]:
    return [
        w for w in writes(cluster.audit, mark)
        if w.namespace == models.namespace and w.resource != "leases"
    ]  # fmt: skip


def _until_still(models: Models, operator: Operator) -> None:
    """Wait until the operator has seen the newest version and has nothing left to do."""
    seen: list[float] = []

    def still() -> bool:
        seen.append(operator.metric("slipway_reconcile_total"))
        return len(seen) > 6 and len(set(seen[-6:])) == 1

    eventually(still, "the operator is still", timeout_s=20)


def _object(models: Models, kind: str, name: str, **more: Any) -> Manifest:
    metadata = {"name": name, "namespace": models.namespace}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **more}


def test_a68_what_is_not_watched_is_not_touched(
    models: Models, start: Callable[..., Operator]
) -> None:
    other = start(watch_namespaces="kube-public").until_ready()
    eventually(lambda: other.is_leading, "it leads")
    models.apply()
    models.until("Ready")  # by the shared one
    assert other.metric("slipway_reconcile_total") == 0
    assert other.metric("slipway_cached_objects") == 0
