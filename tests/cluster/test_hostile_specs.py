"""What the API server lets through and is hostile all the same (cases A2 to A13, A54).

Every name holds the number of its case.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.kubelet import SELECTOR
from tests.cluster.models import Models
from tests.kubeapi import CHILD_KINDS, Manifest, Refused, condition, eventually

URI = "https://models.example/1.onnx"
LONG = "m" * 39

pytestmark = pytest.mark.usefixtures("operator")


def test_a2_dots_in_a_path_stay_in_the_path(models: Models) -> None:
    models.apply(uri="https://models.example/../../etc/passwd")
    assert models.until("Ready")["status"]["model"]["uri"].endswith("/../../etc/passwd")
    assert not [
        c for c in models.api.children(models.namespace) if "passwd" in c["metadata"]["name"]
    ]


def test_a4_names_with_a_long_common_prefix_do_not_collide(models: Models) -> None:
    one, other = LONG + "a", LONG + "b"
    for name in (one, other):
        models.apply(name, replicas=2)
    for name in (one, other):
        models.until("Ready", name)
    children = models.api.children(models.namespace)
    names = [(c["kind"], c["metadata"]["name"]) for c in children]
    assert len(set(names)) == len(names) == 16
    assert max(len(name) for _, name in names) <= 63


def test_a6_every_script_of_the_world_passes_through(models: Models) -> None:
    text = "Ünï 模型 🚀 \u202e$(PATH) {{ .Values }}"
    models.apply(runtime={"env": [{"name": "GREETING", "value": text}],
                          "podAnnotations": {"team.example/note": text}})  # fmt: skip
    name = models.until("Ready")["status"]["stable"]["name"]
    deployment = models.child("Deployment", name)
    assert deployment is not None
    template = deployment["spec"]["template"]
    assert template["metadata"]["annotations"]["team.example/note"] == text
    env = template["spec"]["containers"][0]["env"]
    assert {"name": "GREETING", "value": text} in env


def test_a7_labels_of_the_resource_are_not_those_of_its_children(models: Models) -> None:
    theirs = {"app.kubernetes.io/managed-by": "Argo", "slipway.dev/model": "other"}
    manifest = _manifest(models, {"model": {"uri": URI}})
    manifest["metadata"]["labels"] = {**theirs, "argocd.argoproj.io/instance": "app"}
    models.api.apply(manifest)
    models.until("Ready")
    for child in models.api.children(models.namespace):
        labels = child["metadata"]["labels"]
        assert labels["app.kubernetes.io/managed-by"] == "slipway"
        assert labels["slipway.dev/model"] == "m"
        assert "argocd.argoproj.io/instance" not in labels


@pytest.mark.parametrize(
    "runtime",
    [
        pytest.param({"hostNetwork": True}, id="A8 hostNetwork"),
        pytest.param({"securityContext": {"privileged": True}}, id="A8 privileged"),
        pytest.param({"volumes": [{"name": "x", "hostPath": {"path": "/"}}]}, id="A8 hostPath"),
    ],
)
def test_what_has_no_field_does_not_reach_a_pod(models: Models, runtime: Manifest) -> None:
    manifest = _manifest(models, {"model": {"uri": URI}, "runtime": runtime})
    models.api.create(manifest)  # not strict, as kubectl is with --validate=false
    models.until("Ready")
    for pod in models.api.find("Pod", models.namespace):
        assert not pod["spec"].get("hostNetwork")
        assert not [v for v in pod["spec"]["volumes"] if "hostPath" in v]
        for container in pod["spec"]["containers"]:
            assert not container["securityContext"].get("privileged")


@pytest.mark.parametrize(
    "resources",
    [
        pytest.param({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}, id="A9 above the limit"),
        pytest.param({"limits": {"cpu": "-1"}}, id="A9 negative"),
    ],
)
def test_impossible_resources_are_refused_or_named(models: Models, resources: Manifest) -> None:
    """Refused at once where the schema can tell, else with the API server's words."""
    spec = {"model": {"uri": URI}, "runtime": {"nodeSelector": SELECTOR, "resources": resources}}
    try:
        models.api.apply(_manifest(models, spec))
    except Refused as refused:
        assert "resources" in str(refused)  # noqa: PT017 - both ends are right
        return
    found = eventually(
        lambda: c if (c := condition(models.get(), "Stalled")) and c["status"] == "True" else None,
        "it stalls, or settles",
        describe=lambda: models.get().get("status"),
    )
    assert found["reason"] == "InvalidPassthrough"
    assert any(word in found["message"] for word in ("cpu", "memory"))


@pytest.mark.parametrize(
    "resources",
    [
        pytest.param({"limits": {"memory": "1000000000000000"}}, id="A9 a petabyte"),
        pytest.param({"limits": {"cpu": "900000"}}, id="A9 more than there is"),
    ],
)
def test_what_no_node_has_is_said(models: Models, resources: Manifest) -> None:
    models.apply(runtime={"resources": resources})
    found = eventually(
        lambda: (models.get().get("status") or {}).get("lastFailure"),
        "the cause is told",
        describe=lambda: models.get().get("status"),
    )
    assert found["reason"] == "Unschedulable"
    assert "Insufficient" in found["message"]


def test_a9_zero_is_taken_as_it_is_meant(models: Models) -> None:
    models.apply(runtime={"resources": {"limits": {"cpu": "0"}}})
    models.until("Ready")


def test_a12_the_same_in_other_words_is_no_new_revision(models: Models) -> None:
    models.apply(serving={"threads": 2})
    before = models.until("Ready")["status"]["stable"]
    spec: dict[str, Any] = {
        "runtime": {"env": [], "podLabels": {}, "nodeSelector": SELECTOR},
        "serving": {"threads": 2, "batching": {}},
        "model": {"uri": URI},
    }
    applied = models.api.apply(_manifest(models, spec), manager="user")
    assert applied["metadata"]["generation"] == 2
    status = models.until("Ready")["status"]
    assert status["stable"] == before
    assert "candidate" not in status


def test_a13_selectors_of_children_never_change(models: Models) -> None:
    models.apply()
    name = models.until("Ready")["status"]["stable"]["name"]
    before = models.child("Deployment", name)
    assert before is not None
    with pytest.raises(Refused, match="field is immutable"):
        models.api.merge(
            "Deployment", models.namespace, name,
            {"spec": {"selector": {"matchLabels": {"slipway.dev/model": "x"}},
                      "template": {"metadata": {"labels": {"slipway.dev/model": "x"}}}}},
        )  # fmt: skip
    models.apply(replicas=2, runtime={"podLabels": {"team": "a"}})
    after = models.until("Ready")["status"]["stable"]
    assert after["name"] != name, "another pod is another revision, and has its own Deployment"
    kept = models.child("Deployment", name)
    assert kept is not None
    assert kept["spec"]["selector"] == before["spec"]["selector"]


def test_a54_the_largest_object_is_handled(models: Models) -> None:
    manifest = _manifest(
        models,
        {
            "model": {"uri": URI},
            "runtime": {
                "nodeSelector": SELECTOR,
                "env": [{"name": f"V{n}", "value": "x" * 4000} for n in range(60)],
            },
        },
    )
    manifest["metadata"]["annotations"] = {"team.example/notes": "x" * 250_000}
    models.api.apply(manifest)
    models.until("Ready", timeout_s=30)
    for kind in CHILD_KINDS:
        for child in models.api.find(kind, models.namespace):
            assert "team.example/notes" not in child["metadata"].get("annotations", {})


def _manifest(models: Models, spec: Manifest) -> Manifest:
    runtime = {"nodeSelector": SELECTOR, **spec.get("runtime", {})}
    return {
        "apiVersion": "slipway.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "m", "namespace": models.namespace},
        "spec": {**spec, "runtime": runtime},
    }
