"""A ModelDeployment's life: served, changed, repaired, scaled, suspended, deleted."""

from __future__ import annotations

import pytest

from tests.cluster.kubelet import DIGEST, Ready, Script, Starting, Supplied
from tests.cluster.models import Models
from tests.kubeapi import CHILD_KINDS, COLUMNS, Manifest, Refused, condition, eventually, told

SECOND = "https://models.example/2.onnx"
OTHER = "sha256:" + "cd" * 32

pytestmark = pytest.mark.usefixtures("operator")


def test_a_model_is_served_and_the_status_says_so(models: Models) -> None:
    models.apply()
    status = models.until("Ready")["status"]
    name = status["stable"]["name"]
    assert status["observedGeneration"] == 1
    assert status["phase"] == "Healthy"
    assert status["model"] == {
        "uri": "https://models.example/1.onnx",
        "digest": DIGEST,
        "format": "ONNX",
        "sizeBytes": 4416,
    }
    assert status["signature"]["inputs"] == [{"name": "X", "datatype": "FP32", "shape": [-1, 64]}]
    assert status["summary"] == {
        "ready": "True", "stable": f"r1 {name[2:6]}", "candidate": "", "replicas": "1/1",
    }  # fmt: skip
    host = f"m.{models.namespace}.svc"
    assert status["endpoints"] == [
        {"type": "REST", "url": f"http://{host}"},
        {"type": "GRPC", "url": f"{host}:9000"},
    ]
    kinds = sorted(c["kind"] for c in models.api.children(models.namespace))
    assert kinds == [
        "ConfigMap", "ControllerRevision", "Deployment", "Job", "Service", "Service",
        "ServiceAccount",
    ]  # fmt: skip


def test_the_first_status_comes_within_a_second(models: Models) -> None:
    models.apply()
    # A second on a machine of its own; here others may use it, too.
    eventually(lambda: condition(models.get(), "Ready"), "there is a status", timeout_s=3)


def test_kubectl_shows_and_waits(models: Models) -> None:
    models.apply()
    waited = models.kubectl("wait", "--for=condition=Ready", "mdep/m", "--timeout=20s")
    assert waited.returncode == 0, waited.stderr
    shown = models.kubectl("get", "mdep").stdout.splitlines()
    assert shown[0].split() == COLUMNS
    assert shown[1].split()[:3] == ["m", "True", "Healthy"]


def test_the_digest_stands_in_the_pods(models: Models) -> None:
    models.apply()
    name = models.until("Ready")["status"]["stable"]["name"]
    deployment = models.child("Deployment", name)
    assert deployment is not None
    notes = deployment["spec"]["template"]["metadata"]["annotations"]
    assert notes["slipway.dev/model-digest"] == DIGEST


@pytest.mark.parametrize("kind", [*CHILD_KINDS, "apex Service"])
def test_a22_a_deleted_child_comes_back_within_five_seconds(models: Models, kind: str) -> None:
    scaled: Manifest = (
        {"autoscaling": {"minReplicas": 2}} if kind == "HorizontalPodAutoscaler" else {}
    )
    models.apply(replicas=2, **scaled)
    before = models.until("Ready")["status"]
    apex = kind == "apex Service"
    kind = "Service" if apex else kind
    owned = [c for c in models.api.children(models.namespace) if c["kind"] == kind]
    victim = next(c for c in owned if (c["metadata"]["name"] == "m") == apex)
    name, uid = victim["metadata"]["name"], victim["metadata"]["uid"]
    models.api.delete(kind, models.namespace, name)

    def again() -> bool:
        found = models.child(kind, name)
        return found is not None and found["metadata"]["uid"] != uid

    eventually(
        again,
        f"{kind} {name} is back",
        timeout_s=5,
        describe=lambda: (models.child(kind, name), models.get()["status"]),
    )
    after = models.until("Ready")["status"]
    assert after["stable"]["revision"] == before["stable"]["revision"]
    assert after["model"] == before["model"]
    eventually(
        lambda: any(
            (e["reason"], e["message"]) == ("ChildRecreated", f"{kind} {name!r} was gone")
            for e in models.api.find("Event", models.namespace)
        ),
        "an Event tells of it",
    )


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        pytest.param(
            "Service", {"spec": {"selector": {"slipway.dev/revision": "x"}}}, id="A23 selector"
        ),
        pytest.param("Deployment", {"spec": {"replicas": 5}}, id="A24 replicas"),
        pytest.param(
            "Deployment", {"metadata": {"ownerReferences": None}}, id="A23 owner reference removed"
        ),
        pytest.param(
            "ServiceAccount", {"automountServiceAccountToken": True}, id="token of the pods"
        ),
        pytest.param("Service", {"spec": {"selector": {"tier": "x"}}}, id="one selector key more"),
        pytest.param(
            "Service",
            {"metadata": {"labels": {"app.kubernetes.io/managed-by": "Helm"}}},
            id="the label that we watch by",
        ),
        pytest.param(
            "ControllerRevision", {"metadata": {"ownerReferences": None}}, id="owner of record"
        ),
        pytest.param("Job", {"metadata": {"ownerReferences": None}}, id="owner of job"),
        pytest.param(
            "ControllerRevision",
            {"metadata": {"labels": {"slipway.dev/revision": "x"}}},
            id="A13 label",
        ),
    ],
)
def test_a_changed_field_of_ours_is_put_back(models: Models, kind: str, patch: Manifest) -> None:
    models.apply()
    models.until("Ready")
    before = next(c for c in models.api.children(models.namespace) if c["kind"] == kind)
    name = before["metadata"]["name"]
    models.api.merge(kind, models.namespace, name, patch)

    def repaired() -> bool:
        after = models.child(kind, name)
        return after is not None and _owned(after) == _owned(before)

    eventually(
        repaired, f"{kind} is as before", timeout_s=5, describe=lambda: models.child(kind, name)
    )


def _owned(manifest: Manifest) -> Manifest:
    meta = manifest["metadata"]
    kept = {
        k: v for k, v in manifest.items() if k not in ("metadata", "status", "kind", "apiVersion")
    }
    return {**kept, "labels": meta["labels"], "owners": meta.get("ownerReferences")}


def test_a_record_that_lost_its_notes_takes_nothing_down(models: Models) -> None:
    models.apply()
    name = models.until("Ready")["status"]["stable"]["name"]
    before = models.child("Deployment", name)
    assert before is not None
    lost = {"slipway.dev/supply-result": None, "slipway.dev/promoted-at": None}
    models.api.merge(
        "ControllerRevision", models.namespace, name, {"metadata": {"annotations": lost}}
    )

    def restored() -> bool:
        record = models.child("ControllerRevision", name)
        return record is not None and lost.keys() <= record["metadata"]["annotations"].keys()

    eventually(restored, "the notes are back", timeout_s=5)
    after = models.child("Deployment", name)
    assert after is not None
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["availableReplicas"] == 1


def test_a55_a_lost_status_takes_nothing_down(models: Models, script: Script) -> None:
    models.apply(replicas=1)
    models.until("Ready")
    models.api.merge("ModelDeployment", models.namespace, "m", {"status": None}, "status")
    script.serve = Starting()
    models.apply(replicas=3, runtime={"podAnnotations": {"try": "2"}})
    status = eventually(
        lambda: found if "candidate" in (found := models.get()["status"]) else None, "a candidate"
    )
    assert status["stable"]["available"] == 1
    script.serve = Ready()
    assert models.until("Ready")["status"]["stable"]["available"] == 3


def test_a23_fields_of_others_are_left_alone(models: Models) -> None:
    models.apply()
    name = models.until("Ready")["status"]["stable"]["name"]
    patch = {"metadata": {"annotations": {"team.example/cost": "42"}}}
    models.api.merge("Deployment", models.namespace, name, patch)
    models.apply(replicas=2)
    models.until("Ready")
    deployment = models.child("Deployment", name)
    assert deployment is not None
    assert deployment["metadata"]["annotations"]["team.example/cost"] == "42"


def test_two_tools_own_items_of_one_list(models: Models) -> None:
    models.apply(runtime={"env": [{"name": "A", "value": "1"}]})
    own = {"runtime": {"env": [{"name": "B", "value": "2"}]}}
    models.api.apply(
        {
            "apiVersion": "slipway.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": "m", "namespace": models.namespace},
            "spec": own,
        },
        manager="platform",
    )
    name = models.until("Ready")["status"]["stable"]["name"]
    deployment = models.child("Deployment", name)
    assert deployment is not None
    env = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    given = [entry for entry in env if entry["name"] in ("A", "B")]
    assert given == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]

    with pytest.raises(Refused, match=r"runtime\.env: duplicate entries"):
        models.apply(runtime={"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]})


def test_a_new_revision_takes_over_only_when_all_its_pods_are_ready(
    models: Models, script: Script
) -> None:
    models.apply(replicas=2)
    first = models.until("Ready")["status"]["stable"]
    script.supply, script.serve = Supplied(OTHER), Starting()
    models.apply(replicas=2, uri=SECOND)
    candidate = eventually(
        lambda: (models.get()["status"].get("candidate") or {}).get("replicas") == 2,
        "the candidate has its pods",
    )
    assert candidate
    status = models.get()["status"]
    assert _selected(models) == first["hash"]
    assert status["stable"]["available"] == 2
    assert told(models.get(), "Ready")["reason"] == "RollingOut"
    assert told(models.get(), "Available")["status"] == "True"
    script.serve = Ready()
    after = models.until("Ready")["status"]
    assert after["stable"]["revision"] == 2
    assert after["model"]["digest"] == OTHER
    assert _selected(models) == after["stable"]["hash"]
    old = models.child("Deployment", first["name"])
    assert old is not None, "the revision before stays restorable"
    assert old["spec"]["replicas"] == 2, "its pods stay until proxies have forgotten them"


def _selected(models: Models) -> str:
    apex = models.child("Service", "m")
    assert apex is not None
    revision: str = apex["spec"]["selector"]["slipway.dev/revision"]
    return revision


def test_going_back_needs_no_second_fetch(models: Models, script: Script) -> None:
    models.apply()
    first = models.until("Ready")["status"]["stable"]
    script.supply = Supplied(OTHER)
    models.apply(uri=SECOND)
    models.until("Ready")
    script.supply = None  # no supply step can succeed any more
    models.apply()
    status = models.until("Ready")["status"]
    assert (status["stable"]["revision"], status["stable"]["hash"]) == (1, first["hash"])
    assert status["model"]["digest"] == DIGEST


def test_scaling_starts_no_rollout(models: Models) -> None:
    models.apply()
    before = models.until("Ready")["status"]["stable"]
    scaled = models.kubectl("scale", "mdep/m", "--replicas=3")
    assert scaled.returncode == 0, scaled.stderr
    after = models.until("Ready")["status"]
    assert after["stable"]["hash"] == before["hash"]
    assert after["summary"]["replicas"] == "3/3"
    assert models.api.find("PodDisruptionBudget", models.namespace)


@pytest.mark.parametrize(
    "spec",
    [pytest.param({"suspend": True}, id="suspend"), pytest.param({"replicas": 0}, id="zero")],
)
def test_no_pods_when_suspended_or_scaled_to_zero(models: Models, spec: Manifest) -> None:
    models.apply()
    models.until("Ready")
    models.apply(**spec)
    status = models.until("Ready")["status"]
    assert status["phase"] == "Suspended"
    assert told(models.get(), "Available")["status"] == "False"
    eventually(
        lambda: not models.api.find("Pod", models.namespace, "slipway.dev/model=m"), "no pods"
    )
    models.apply()
    assert models.until("Available")["status"]["stable"]["available"] == 1


def test_deleting_leaves_nothing_behind(models: Models) -> None:
    models.apply(replicas=2)
    models.until("Ready")
    models.api.delete("ModelDeployment", models.namespace, "m")
    eventually(
        lambda: not models.api.children(models.namespace), "all children are gone", timeout_s=30
    )
    eventually(
        lambda: not models.api.find("Pod", models.namespace), "all pods are gone", timeout_s=30
    )
