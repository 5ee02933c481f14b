"""What goes wrong is said, within fifteen seconds, with the cause and what to do."""

from __future__ import annotations

import pytest

from tests.cluster.kubelet import Crashing, Play, Ready, Script, Supplied, SupplyFails, Waiting
from tests.cluster.models import Models
from tests.kubeapi import Manifest, condition, eventually, told

SECOND = "https://models.example/2.onnx"

pytestmark = pytest.mark.usefixtures("operator")


def _until(models: Models, kind: str, reason: str) -> Manifest:
    def found() -> Manifest | None:
        now = condition(models.get(), kind)
        return now if now and now["reason"] == reason else None

    return eventually(found, f"{kind} {reason}", describe=lambda: models.get().get("status"))


@pytest.mark.parametrize(
    "reason", ["DigestMismatch", "NotFound", "AccessDenied", "InvalidModel", "Unsupported"]
)
def test_a19_a_model_that_does_not_verify_is_never_deployed(
    models: Models, script: Script, reason: str
) -> None:
    script.supply = SupplyFails(reason, "model.uri: got this, expected that; do so")
    models.apply()
    stalled = _until(models, "Stalled", reason)
    assert stalled["status"] == "True"
    assert "expected that; do so" in stalled["message"]
    assert "delete the Job" in stalled["message"]
    assert told(models.get(), "ModelSupplied")["status"] == "False"
    assert models.get()["status"]["phase"] == "Failed"
    assert not models.api.find("Deployment", models.namespace)


def test_deleting_the_job_tries_again(models: Models, script: Script) -> None:
    script.supply = SupplyFails("NotFound")
    models.apply()
    _until(models, "Stalled", "NotFound")
    script.supply = Supplied()
    job = models.api.find("Job", models.namespace)[0]["metadata"]["name"]
    models.api.delete("Job", models.namespace, job)
    models.until("Ready")


def test_a19_a_passing_cause_is_tried_again(models: Models, script: Script) -> None:
    script.supply = SupplyFails("Unavailable", "no answer from models.example", is_terminal=False)
    models.apply()
    supplied = _until(models, "ModelSupplied", "Unavailable")
    assert "trying again" in supplied["message"]
    assert told(models.get(), "Stalled")["status"] == "False"
    script.supply = Supplied()
    models.until("Ready", timeout_s=40)  # the Job controller's own pause is ten seconds and more


def test_a19_a_cause_that_does_not_pass_ends_a_rollout_in_its_time(
    models: Models, script: Script
) -> None:
    models.apply()
    first = models.until("Ready")["status"]["stable"]
    script.supply = SupplyFails("Unavailable", "no answer from models.example", is_terminal=False)
    models.apply(uri=SECOND, rollout={"strategy": "BlueGreen", "progressDeadline": "10s"})
    stalled = _until(models, "Stalled", "RolloutAborted")
    assert "the model was not there in time: Unavailable: no answer" in stalled["message"]
    status = models.get()["status"]
    assert (status["stable"]["hash"], status["stable"]["available"]) == (first["hash"], 1)
    assert status["rollout"]["reason"] == "ProgressDeadline"
    script.supply = Supplied()
    models.apply(uri=SECOND, rollout={"strategy": "BlueGreen", "watch": "0s"})
    action = f"slipway.dev/rollout-action=retry @{status['candidate']['hash']} #1"
    models.kubectl("annotate", "--overwrite", "mdep/m", action)
    eventually(
        lambda: models.get()["status"]["stable"]["hash"] != first["hash"] or None,
        "the second revision is stable",
        timeout_s=120,  # the Job controller's own pauses are long after some failures
        describe=lambda: models.get().get("status"),
    )


def test_a60_a_missing_configmap_is_named(models: Models, script: Script) -> None:
    script.supply = None
    models.apply(uri="configmap://digits/model.onnx")
    pods = eventually(
        lambda: models.api.find("Pod", models.namespace) or None, "the supply pod exists"
    )
    _record_mount_failure(models, pods[0], 'configmap "digits" not found')
    ready = _until(models, "Ready", "ModelNotSupplied")
    assert "ConfigMap 'digits' does not exist" in ready["message"]
    assert "create it" in ready["message"]
    assert told(models.get(), "Reconciling")["status"] == "True"
    assert not models.api.find("Deployment", models.namespace)


def _record_mount_failure(models: Models, pod: Manifest, text: str) -> None:
    """Record what the kubelet records."""
    meta = pod["metadata"]
    about = {"kind": "Pod", "namespace": models.namespace, "name": meta["name"], "uid": meta["uid"]}
    models.api.create(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": models.namespace, "name": f"{meta['name']}.mount"},
            "involvedObject": about,
            "type": "Warning",
            "reason": "FailedMount",
            "message": f'MountVolume.SetUp failed for volume "source" : {text}',
        }
    )


def test_a18_a_bad_second_version_leaves_the_first_serving(models: Models, script: Script) -> None:
    models.apply()
    first = models.until("Ready")["status"]["stable"]
    script.supply = SupplyFails("DigestMismatch", "got x, expected y")
    models.apply(uri=SECOND)
    stalled = _until(models, "Stalled", "RolloutAborted")
    assert "got x, expected y" in stalled["message"]
    status = models.get()["status"]
    assert (status["stable"]["hash"], status["stable"]["available"]) == (first["hash"], 1)
    assert told(models.get(), "Available")["status"] == "True"
    assert status["phase"] == "Degraded"
    assert len(models.api.find("Deployment", models.namespace)) == 1
    models.apply()  # going back ends it
    models.until("Ready")


@pytest.mark.parametrize(
    ("play", "reason", "expected"),
    [
        pytest.param(
            Waiting("ImagePullBackOff"), "ImagePullFailed", "runtime.image", id="A18 image"
        ),
        pytest.param(Waiting("InvalidImageName"), "InvalidImageName", "runtime.image", id="name"),
        pytest.param(
            Waiting("CreateContainerConfigError", 'secret "x" not found'),
            "CreateContainerConfigError", 'secret "x" not found', id="A60 secret",
        ),
        pytest.param(
            Crashing(1, "no such file"), "CrashLoopBackOff", "no such file", id="A20 crash"
        ),
        pytest.param(Crashing(137, "", "OOMKilled"), "OOMKilled", "memory limit", id="A20 memory"),
    ],
)  # fmt: skip
def test_pods_that_cannot_serve_are_explained(
    models: Models, script: Script, play: Play, reason: str, expected: str
) -> None:
    script.serve = play
    models.apply()
    assert expected in _until(models, "Stalled", reason)["message"]
    last = models.get()["status"]["lastFailure"]
    assert last["reason"] == reason
    assert expected in last["message"]
    script.serve = Ready()
    models.until("Ready")


def test_a25_a_foreign_object_of_the_same_name_is_not_taken_over(models: Models) -> None:
    foreign = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "m", "namespace": models.namespace},
        "spec": {"selector": {"app": "theirs"}, "ports": [{"port": 80}]},
    }
    models.api.create(foreign)
    models.apply()
    stalled = _until(models, "Stalled", "NameConflict")
    assert "Service 'm' exists" in stalled["message"]
    theirs = models.child("Service", "m")
    assert theirs is not None
    assert theirs["spec"]["selector"] == {"app": "theirs"}
    available = eventually(lambda: condition(models.get(), "Available"), "it tells")
    assert available["reason"] in ("NoService", "NoReadyPods")
    assert "endpoints" not in models.get()["status"]
    models.api.delete("Service", models.namespace, "m")
    models.until("Ready", timeout_s=30)


def test_what_kubernetes_refuses_is_passed_on(models: Models) -> None:
    models.apply(runtime={"tolerations": [{"operator": "Perhaps"}]})
    stalled = _until(models, "Stalled", "InvalidPassthrough")
    assert "tolerations" in stalled["message"]
    assert "Perhaps" in stalled["message"]


def test_a_misspelt_field_of_a_passthrough_block_is_named(models: Models) -> None:
    models.apply(runtime={"env": [{"name": "A", "valu": "x"}]})
    stalled = _until(models, "Stalled", "InvalidPassthrough")
    assert "valu" in stalled["message"]


def test_a35_a_quota_is_named_and_when_it_is_lifted_the_work_goes_on(models: Models) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "q", "namespace": models.namespace},
        "spec": {"hard": {"services": "0"}},
    }
    models.api.create(quota)
    eventually(
        lambda: (models.child("ResourceQuota", "q") or {}).get("status", {}).get("used"),
        "the quota is in force",
    )
    models.apply()
    ready = _until(models, "Ready", "ApplyFailed")
    assert "exceeded quota" in ready["message"]
    models.api.delete("ResourceQuota", models.namespace, "q")
    models.until("Ready", timeout_s=40)


def test_events_tell_the_story_once(models: Models) -> None:
    models.apply()
    models.until("Ready")

    def reasons() -> list[str] | None:
        told = [e for e in models.api.find("Event", models.namespace) if _is_ours(e)]
        found = [e["reason"] for e in told]
        return found if "Serving" in found else None

    found = eventually(reasons, "there is an event for Serving")
    assert len(found) == len(set(found))


def _is_ours(event: Manifest) -> bool:
    return bool(event["involvedObject"]["kind"] == "ModelDeployment")
