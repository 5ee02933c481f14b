"""Hostile cases of rollouts: impossible steps, rivals for a name, a deletion in the middle."""

from __future__ import annotations

from typing import Any, Final

import pytest

from devcluster.cluster import Cluster
from tests.cluster.gateways import GATEWAY, gateway
from tests.cluster.kubelet import Script, Supplied
from tests.cluster.models import Models
from tests.kubeapi import Manifest, Refused, eventually, told

SECOND: Final = "https://models.example/2.onnx"
OTHER: Final = "sha256:" + "cd" * 32
GOOD: Final = {"weight": 20, "hold": "60s"}


@pytest.fixture(scope="module")
def gated(cluster: Cluster) -> Cluster:
    """The same cluster, with the Gateway API and Traefik; once there, they stay."""
    cluster.up(metrics_server=False, traefik=True)
    return cluster


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        pytest.param([{"weight": -1}], "greater than or equal to 1", id="A11 below"),
        pytest.param([{"weight": 0}], "greater than or equal to 1", id="A11 zero"),
        pytest.param([{"weight": 100}], "less than or equal to 99", id="A11 the whole"),
        pytest.param([{"weight": 101}], "less than or equal to 99", id="A11 above"),
        pytest.param([{"weight": "NaN"}], "expected numeric", id="A11 no number"),
        pytest.param([{"weight": 20.5}], "integer", id="A11 a fraction"),
        pytest.param([{"weight": None, "headers": None}], "weight: Invalid value", id="A11 null"),
        pytest.param([{}], "exactly one of", id="A11 nothing"),
        pytest.param([GOOD, GOOD], "weights that rise", id="A11 not above the one before"),
        pytest.param([GOOD, {"weight": 10}], "weights that rise", id="A11 below the one before"),
        pytest.param([{"weight": n} for n in range(1, 22)], "at most 20", id="A11 21 steps"),
        pytest.param([GOOD] * 1000, "at most 20", id="A11 a thousand steps"),
        pytest.param([{**GOOD, "hold": "0s"}], "1s to 168h", id="A11 no hold"),
        pytest.param([{**GOOD, "hold": "-1s"}], "hold", id="A11 a negative hold"),
        pytest.param([{**GOOD, "hold": "10y"}], "hold", id="A11 ten years"),
        pytest.param([{**GOOD, "hold": "87600h"}], "1s to 168h", id="A11 ten years in hours"),
        pytest.param({"weight": 20}, "expected list", id="A11 no list"),
    ],
)
def test_a11_an_impossible_step_is_refused(models: Models, steps: Any, expected: str) -> None:
    with pytest.raises(Refused) as refused:
        models.apply(rollout={"steps": steps})
    assert refused.value.status == 422 or "failed to create typed patch" in str(refused.value)
    assert expected in str(refused.value)


@pytest.mark.parametrize(
    ("rollout", "expected"),
    [
        ({"onAbort": "Keep", "strategy": "Recreate"}, "rollout.onAbort"),
        ({"abortKeep": "5m"}, "rollout.abortKeep: it needs onAbort Keep"),
        ({"onAbort": "Keep", "abortKeep": "1s"}, "rollout.abortKeep: expected 1m to 168h"),
        ({"analysis": {"checks": [{"name": "q", "type": "PromQL", "max": 1}]}},
         "PromQL needs query and max"),
        ({"analysis": {"checks": [{"name": "q", "type": "PromQL", "query": "x{{pod}}",
                                   "max": 1}]}}, "in double braces only"),
        ({"analysis": {"checks": [{"name": "r", "type": "Restarts", "max": "2"}]}},
         "max of Restarts"),
        ({"analysis": {"checks": [{"name": "j", "type": "Job"}]}}, "configMap to Job"),
        ({"strategy": "BlueGreen", "analysis": {"checks": [
            {"name": "j", "type": "Job", "configMap": {"name": "a", "key": "b"}}]}},
         "Job runs in steps"),
        ({"analysis": {"prometheus": {"address": "file:///etc/passwd"}}}, "address"),
        ({"analysis": {"prometheus": {"address": "http://u:p@h:9090"}}}, "address"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused(
    models: Models, rollout: Manifest, expected: str
) -> None:
    with pytest.raises(Refused, match=r".") as refused:
        models.apply(rollout=rollout)
    assert expected in str(refused.value)


def test_every_kind_of_check_is_taken(models: Models) -> None:
    checks = [
        {"name": "q", "type": "PromQL", "query": 'x{r="{{candidate}}"}', "max": "0.5"},
        {"name": "p", "type": "PromQL", "query": "y", "max": 3},
        {"name": "r", "type": "Restarts", "max": 0},
        {"name": "j", "type": "Job", "configMap": {"name": "a", "key": "b"}},
    ]
    analysis = {"checks": checks, "prometheus": {"address": "https://[fd00::1]:9090/prefix"}}
    models.apply(rollout={"analysis": analysis, "onAbort": "Keep", "abortKeep": "5m"})


@pytest.mark.usefixtures("operator")
def test_a26_of_two_that_claim_a_child_the_older_one_keeps_it(models: Models) -> None:
    models.apply("m")
    first = models.until("Ready")["status"]["stable"]
    models.apply(first["name"])  # whose apex Service would be the revision's of the other
    stalled = told(models.until("Stalled", first["name"]), "Stalled")
    assert stalled["reason"] == "NameConflict"
    assert f"Service '{first['name']}' exists" in stalled["message"]
    assert told(models.get(first["name"]), "Ready")["status"] == "False"
    assert told(models.until("Ready"), "Ready")["reason"] == "Serving"
    service = models.child("Service", first["name"])
    assert service is not None
    assert service["metadata"]["ownerReferences"][0]["name"] == "m"


@pytest.mark.usefixtures("gated", "operator")
def test_a26_of_two_that_claim_a_hostname_the_older_one_has_it(models: Models) -> None:
    gateway(models.api, models.namespace)
    parents = [{"name": GATEWAY}]
    exposure = {"gateway": {"parentRefs": parents, "hostnames": [f"{models.namespace}.test"]}}
    both = [models.apply(name, exposure=exposure)["metadata"] for name in ("a", "b")]
    first, second = sorted(both, key=lambda meta: (meta["creationTimestamp"], meta["uid"]))
    older, younger = first["name"], second["name"]
    stalled = told(models.until("Stalled", younger), "Stalled")
    assert stalled["reason"] == "HostnameConflict"
    assert f"{models.namespace}/{older}" in stalled["message"]
    assert told(models.get(younger), "Ready")["status"] == "False"
    models.until("Ready", older)
    assert models.child("HTTPRoute", older) is not None
    eventually(lambda: models.child("HTTPRoute", younger) is None, "it has no route")
    models.api.delete("ModelDeployment", models.namespace, older)
    models.until("Ready", younger, timeout_s=60)


def _begin(models: Models, script: Script, **rollout: Any) -> Manifest:
    """Serve a first revision, ask for a second one, and wait for its first step."""
    wanted = {"steps": [{"weight": 50, "hold": "1h"}], "traffic": {"settle": "0s"}, **rollout}
    models.apply(replicas=2, rollout=wanted)
    models.until("Ready")
    script.supply = Supplied(OTHER)
    models.apply(replicas=2, rollout=wanted, uri=SECOND)

    def baking() -> Manifest | None:
        status: Manifest = models.get()["status"]
        return status if status["rollout"]["state"] == "Baking" else None

    return eventually(
        baking, "the step has begun", timeout_s=60, describe=lambda: str(models.get()["status"])
    )


@pytest.mark.usefixtures("operator")
def test_a28_a_deletion_in_the_middle_of_a_rollout_takes_everything_along(
    models: Models, script: Script
) -> None:
    metadata = {"name": "judge", "namespace": models.namespace}
    text = "spec: {template: {spec: {containers: [{name: main, image: judge}]}}}"
    models.api.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"job": text}}
    )
    check = {"name": "j", "type": "Job", "configMap": {"name": "judge", "key": "job"}}
    _begin(models, script, analysis={"checks": [check]})
    eventually(
        lambda: len(models.api.find("Job", models.namespace)) == 3, "two supplied, one judges"
    )
    models.api.delete("ModelDeployment", models.namespace, "m")
    eventually(
        lambda: not models.api.children(models.namespace), "nothing is left", timeout_s=30,
        describe=lambda: [o["metadata"]["name"] for o in models.api.children(models.namespace)],
    )  # fmt: skip
    assert models.child("ConfigMap", "judge") is not None, "the user's own stays"
    script.supply = Supplied()
    models.apply()
    assert models.until("Ready")["status"]["stable"]["revision"] == 1, "as if it had never been"


@pytest.mark.usefixtures("operator")
def test_the_pods_of_an_aborted_candidate_are_kept(models: Models, script: Script) -> None:
    candidate = _begin(models, script, onAbort="Keep", scaleDownDelay="0s")["candidate"]
    action = f"slipway.dev/rollout-action=abort @{candidate['hash']} #1"
    done = models.kubectl("annotate", "--overwrite", "mdep/m", action)
    assert done.returncode == 0, done.stderr

    def failed() -> Manifest | None:
        found = models.get()
        return found if found["status"]["rollout"]["state"] == "Failed" else None

    found = eventually(failed, "it is aborted", timeout_s=40)
    until = found["status"]["rollout"]["keptUntil"]
    assert f"kept until {until}" in found["status"]["message"]
    workload, apex = models.child("Deployment", candidate["name"]), models.child("Service", "m")
    assert workload is not None
    assert apex is not None
    assert workload["spec"]["replicas"] == 2
    assert apex["spec"]["selector"]["slipway.dev/revision"] == found["status"]["stable"]["hash"]
    done = models.kubectl(
        "patch", "mdep", "m", "--type=merge", '-p={"spec":{"rollout":{"onAbort":"ScaleDown"}}}'
    )
    assert done.returncode == 0, done.stderr
    eventually(
        lambda: (models.child("Deployment", candidate["name"]) or {})["spec"]["replicas"] == 0,
        "they end when nobody wants to keep them",
    )
    eventually(lambda: "keptUntil" not in models.get()["status"]["rollout"], "nothing is promised")
