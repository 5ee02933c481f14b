"""The number of pods changes hands without a pod less, and then the operator keeps off it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cluster.kubelet import Script, Supplied
from tests.cluster.models import Models
from tests.cluster.operators import Operator
from tests.kubeapi import Api, Manifest, condition, eventually, told

SECOND = "https://models.example/2.onnx"
HPA = "HorizontalPodAutoscaler"
NOTHING = {"type": "Utilization", "averageUtilization": 0}


def _ready(models: Models, **spec: Any) -> str:
    """Apply, wait, and name the stable revision's objects."""
    models.apply(**spec)
    name: str = models.until("Ready")["status"]["stable"]["name"]
    return name


def _deployment(models: Models, name: str) -> Manifest:
    found = models.child("Deployment", name)
    assert found is not None
    return found


def _owners(deployment: Manifest) -> set[str]:
    """Field managers that own the number of pods."""
    return {
        e["manager"]
        for e in deployment["metadata"]["managedFields"]
        if "f:replicas" in e["fieldsV1"].get("f:spec", {})
    }


def _replica_set(models: Models) -> Manifest:
    (found,) = models.api.find("ReplicaSet", models.namespace)
    return found


def _let_go(models: Models, name: str) -> Manifest:
    """Wait until the operator no longer owns the number of pods."""
    return eventually(
        lambda: d if "slipway-operator" not in _owners(d := _deployment(models, name)) else None,
        "the operator lets go of replicas",
        describe=lambda: _deployment(models, name)["metadata"]["managedFields"],
    )


@pytest.mark.usefixtures("operator")
def test_a10_switching_to_autoscaling_costs_no_pod(models: Models) -> None:
    name = _ready(models, replicas=4)
    assert _owners(_deployment(models, name)) == {"slipway-operator"}
    before = _replica_set(models)
    models.apply(replicas=4, autoscaling={"minReplicas": 2, "maxReplicas": 6})
    after = _let_go(models, name)
    # A change of its number of pods, however short, would have counted the generation up.
    assert _replica_set(models)["metadata"]["generation"] == before["metadata"]["generation"]
    assert after["spec"]["replicas"] == 4
    scaler = eventually(lambda: models.child(HPA, name), "the autoscaler exists")
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (2, 6)
    assert scaler["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 70
    assert "spec.replicas is ignored" in models.until("Ready")["status"]["message"]


@pytest.mark.usefixtures("operator")
def test_a10_what_an_autoscaler_decides_stays(models: Models) -> None:
    name = _ready(models, autoscaling={"minReplicas": 2, "maxReplicas": 6})
    _let_go(models, name)
    assert models.kubectl("scale", f"deployment/{name}", "--replicas=5").returncode == 0
    scaled = _deployment(models, name)
    models.apply(
        autoscaling={"minReplicas": 2, "maxReplicas": 7},
        exposure={"service": {"annotations": {"pass": "two"}}},
    )
    eventually(
        lambda: (models.child("Service", "m") or {})["metadata"]["annotations"].get("pass"),
        "the next pass is over",
    )
    assert _deployment(models, name)["metadata"]["generation"] == scaled["metadata"]["generation"]
    assert models.until("Ready")["status"]["summary"]["replicas"].endswith("/5")


@pytest.mark.usefixtures("operator")
def test_a63_an_autoscaler_without_metrics_is_told_and_takes_nothing_down(models: Models) -> None:
    name = _ready(models, autoscaling={"minReplicas": 2})
    message = eventually(
        lambda: m if "does not scale: Failed" in (m := models.get()["status"]["message"]) else None,
        "the autoscaler's trouble is told",
        timeout_s=60,
        describe=lambda: models.child(HPA, name),
    )
    assert "metrics" in message
    assert models.until("Ready")["status"]["stable"]["available"] == 2


@pytest.mark.usefixtures("operator")
def test_a_higher_floor_is_there_at_once_and_a_fixed_number_is_exact_again(
    models: Models,
) -> None:
    name = _ready(models, autoscaling={})
    models.apply(autoscaling={"minReplicas": 3})
    eventually(lambda: _deployment(models, name)["spec"]["replicas"] == 3, "three", timeout_s=3)
    models.apply(replicas=2)
    assert models.until("Ready")["status"]["summary"]["replicas"] == "2/2"
    eventually(lambda: models.child(HPA, name) is None, "the autoscaler is gone")


@pytest.mark.usefixtures("operator")
def test_a_new_revision_takes_over_with_as_many_pods_as_the_load_has_called_for(
    models: Models, script: Script
) -> None:
    scaling = {"minReplicas": 1, "maxReplicas": 6}
    first = _ready(models, autoscaling=scaling)
    _let_go(models, first)
    assert models.kubectl("scale", f"deployment/{first}", "--replicas=5").returncode == 0
    eventually(lambda: models.get()["status"]["stable"]["available"] == 5, "five pods")
    script.supply = Supplied("sha256:" + "cd" * 32)
    models.apply(uri=SECOND, autoscaling=scaling)
    status = models.until("Ready")["status"]
    assert status["stable"]["available"] == 5
    assert status["stable"]["name"] != first
    floor = eventually(
        lambda: models.get()["status"]["rollout"].get("capacityFloor"), "the floor is told"
    )
    assert floor == {"stable": 5}
    assert _deployment(models, first)["spec"]["replicas"] == 5  # it drains, and gets no fewer
    assert [a["metadata"]["name"] for a in models.api.find(HPA, models.namespace)] == [
        status["stable"]["name"]
    ]


@pytest.mark.usefixtures("operator")
def test_suspending_is_exact_under_autoscaling_and_ends(models: Models) -> None:
    name = _ready(models, autoscaling={"minReplicas": 2})
    models.apply(autoscaling={"minReplicas": 2}, suspend=True)
    eventually(lambda: _deployment(models, name)["spec"]["replicas"] == 0, "no pods")
    eventually(lambda: models.child(HPA, name) is None, "no autoscaler")
    models.apply(autoscaling={"minReplicas": 2})
    models.until("Available")
    eventually(lambda: models.get()["status"]["stable"]["available"] == 2, "both pods are back")


@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize(
    ("autoscaling", "expected"),
    [
        pytest.param(
            {"metrics": [{"type": "Resource", "resource": {"name": "cpu"}}]},
            "must set either",
            id="metric without target",
        ),
        pytest.param(
            {"metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": NOTHING}}]},
            "must be greater than 0",
            id="A10 target of nothing",
        ),
        pytest.param({"metrics": [{"typo": 1}]}, "typo", id="unknown field"),
        pytest.param({"behavior": {"scaleDown": {"policies": []}}}, "policies", id="behavior"),
    ],
)
def test_what_kubernetes_refuses_of_a_passed_block_is_told_in_its_words(
    models: Models, autoscaling: Manifest, expected: str
) -> None:
    name = _ready(models)
    models.apply(autoscaling=autoscaling)
    stalled = eventually(
        lambda: (
            found
            if (found := condition(models.get(), "Stalled")) and found["status"] == "True"
            else None
        ),
        "Stalled",
    )
    assert stalled["reason"] == "InvalidPassthrough"
    assert expected in stalled["message"]
    assert _deployment(models, name)["status"]["availableReplicas"] == 1


@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({"runtime": {"env": [{"name": "A", "valu": "x"}]}}, "valu", id="of the pods"),
        pytest.param({"autoscaling": {"metrics": [{"typo": 1}]}}, "typo", id="of the autoscaler"),
    ],
)
def test_it_is_told_before_the_model_has_been_fetched(
    models: Models, script: Script, spec: Manifest, expected: str
) -> None:
    script.supply = None  # the supply step never ends
    models.apply(**spec)
    stalled = eventually(
        lambda: (
            found
            if (found := condition(models.get(), "Stalled")) and found["status"] == "True"
            else None
        ),
        "Stalled",
        timeout_s=5,
    )
    assert stalled["reason"] == "InvalidPassthrough"
    assert expected in stalled["message"]
    models.apply()
    eventually(lambda: (condition(models.get(), "Stalled") or {}).get("status") == "False", "good")


@pytest.mark.usefixtures("operator")
def test_external_is_the_scale_subresource(models: Models) -> None:
    _ready(models, replicas=1, autoscaling={"external": True})
    assert models.kubectl("scale", "mdep/m", "--replicas=3").returncode == 0
    assert models.until("Ready")["status"]["summary"]["replicas"] == "3/3"


@pytest.fixture
def no_keda(api: Api) -> Iterator[None]:
    """A cluster without KEDA, and without what the test has installed of it afterwards."""
    assert api.get("CustomResourceDefinition", None, "scaledobjects.keda.sh") is None
    yield
    api.delete("CustomResourceDefinition", None, "scaledobjects.keda.sh")


@pytest.mark.usefixtures("script", "no_keda")
def test_keda_may_come_later(models: Models, start: Callable[..., Operator]) -> None:
    start(discovery_s="1").until_ready()
    triggers = [{"type": "cron", "metadata": {"desiredReplicas": "2"}}]
    models.apply(autoscaling={"minReplicas": 0, "keda": {"triggers": triggers}})
    eventually(
        lambda: (condition(models.get(), "Stalled") or {}).get("reason") == "AutoscalerMissing",
        "the missing KEDA is told",
    )
    eventually(lambda: models.get()["status"].get("stable"), "the model serves all the same")
    assert told(models.get(), "Ready")["status"] == "False"
    models.api.apply(_keda_crd())
    stable = models.until("Ready", timeout_s=30)["status"]["stable"]
    found = eventually(lambda: models.child("ScaledObject", stable["name"]), "KEDA gets its object")
    assert found["spec"]["triggers"] == triggers
    models.apply()
    eventually(lambda: models.child("ScaledObject", stable["name"]) is None, "it is gone")


def _keda_crd() -> Manifest:
    """The kind as the API server needs it to store ScaledObjects; KEDA itself does not run."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    names = {"kind": "ScaledObject", "plural": "scaledobjects", "listKind": "ScaledObjectList"}
    version = {
        "name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema},
    }  # fmt: skip
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "scaledobjects.keda.sh"},
        "spec": {
            "group": "keda.sh", "scope": "Namespaced", "names": names, "versions": [version],
        },
    }  # fmt: skip
