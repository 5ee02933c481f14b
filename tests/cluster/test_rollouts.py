"""Canaries on a real API server: promoted, sent back, waiting for people, without an operator."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import pytest

from devcluster.cluster import Cluster
from tests.cluster.counters import Counters
from tests.cluster.gateways import addresses
from tests.cluster.kubelet import Crashing, Ready, Script, Supplied
from tests.cluster.models import Models
from tests.cluster.operators import Operator
from tests.kubeapi import Manifest, eventually, told

SECOND: Final = "https://models.example/2.onnx"
OTHER: Final = "sha256:" + "cd" * 32
ROLLOUT: Final = {
    "steps": [{"weight": 20, "hold": "2s"}, {"weight": 50, "hold": "2s"}],
    "watch": "2s",
    "scaleDownDelay": "2s",
    "traffic": {"settle": "1s"},
}


def _begin(models: Models, script: Script, **changes: Any) -> Manifest:
    """Serve a first revision with four pods, and ask for a second one."""
    rollout = {k: v for k, v in {**ROLLOUT, **changes}.items() if v is not None}
    models.apply(replicas=4, rollout=rollout)
    first: Manifest = models.until("Ready")["status"]["stable"]
    script.supply = Supplied(OTHER)
    models.apply(replicas=4, rollout=rollout, uri=SECOND)
    return first


def _until(models: Models, state: str, step: int | None = None) -> Manifest:
    def reached() -> Manifest | None:
        status: Manifest = models.get()["status"]
        rollout = status["rollout"]
        same = rollout["state"] == state and step in (None, rollout.get("step"))
        return status if same else None

    return eventually(
        reached, f"{state} {step or ''}", timeout_s=60, describe=lambda: str(models.get()["status"])
    )


def _selector(models: Models) -> Manifest:
    apex = models.child("Service", "m")
    assert apex is not None
    selector: Manifest = apex["spec"]["selector"]
    return selector


def _replicas(models: Models, track: Manifest) -> int:
    workload = models.child("Deployment", track["name"])
    assert workload is not None
    return int(workload["spec"]["replicas"])


def _act(models: Models, verb: str, track: Manifest, nonce: int = 1) -> None:
    text = f"slipway.dev/rollout-action={verb} @{track['hash']} #{nonce}"
    done = models.kubectl("annotate", "--overwrite", "mdep/m", text)
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("operator")
def test_a_good_candidate_is_promoted_step_by_step(models: Models, script: Script) -> None:
    first = _begin(models, script)
    with models.watched() as told_by_kubectl:
        second = _promoted_step_by_step(models, first)
        eventually(lambda: " 4/4 " in told_by_kubectl()[-1], "the last line is told")
        lines = told_by_kubectl()
    one, two = (f"r{t['revision']} {t['hash'][:4]}" for t in (first, second))
    story = list(dict.fromkeys(_chapter(line, one, two) for line in lines))
    assert [chapter for chapter in story if chapter in _STORY] == _STORY, story


_STORY: Final = [
    ("False", "Progressing", "stable", "candidate 20%"),
    ("False", "Progressing", "stable", "candidate 50%"),
    ("True", "Healthy", "stable", "candidate 100%"),
    ("True", "Healthy", "candidate"),
]
"""What kubectl tells in any case; how many lines come in between, the controllers' pace says."""


def _chapter(line: str, one: str, two: str) -> tuple[str, ...]:
    """A line of `kubectl get --watch` without numbers of pods: ready, phase, and the tracks."""
    named = line.replace(one, "stable").replace(two, "candidate")
    return tuple(re.split(r"\s{2,}", named.split(" http")[0].strip())[1:-1])


def _promoted_step_by_step(models: Models, first: Manifest) -> Manifest:
    """Look at every step on the way; tell what is stable in the end."""
    status = _until(models, "Baking", 1)
    assert status["rollout"]["weight"] == {
        "desired": 20, "applied": 20, "verified": True, "mode": "ReplicaRatio",
    }  # fmt: skip
    assert (status["stable"]["weight"], status["candidate"]["weight"]) == (80, 20)
    assert _selector(models) == {"slipway.dev/model": "m"}, "both tracks share the Service"
    second = _until(models, "Baking", 2)["candidate"]
    assert (_replicas(models, first), _replicas(models, second)) == (4, 4)
    watching = _until(models, "Watching")
    assert _selector(models)["slipway.dev/revision"] == second["hash"]
    assert told(models.get(), "Ready")["status"] == "True"
    assert watching["stable"]["hash"] == first["hash"], "not committed yet"
    after = _until(models, "Idle")
    assert after["stable"]["hash"] == second["hash"]
    eventually(lambda: _replicas(models, first) == 0, "the pods before end", timeout_s=20)
    promoted: Manifest = after["stable"]
    return promoted


@pytest.mark.usefixtures("operator")
def test_a_crashing_candidate_is_sent_back(models: Models, script: Script) -> None:
    first = _begin(models, script)
    second = _until(models, "Baking", 1)["candidate"]
    script.by_revision[second["hash"]] = Ready(restarts=2)
    status = _until(models, "Failed")
    assert status["rollout"]["reason"] == "AnalysisFailed"
    assert _selector(models)["slipway.dev/revision"] == first["hash"]
    assert told(models.get(), "Stalled")["reason"] == "RolloutAborted"
    assert told(models.get(), "Available")["status"] == "True"
    eventually(lambda: _replicas(models, second) == 0, "its pods end", timeout_s=20)
    assert _replicas(models, first) == 4


def _judged(
    models: Models, script: Script, cluster: Cluster, errors: float
) -> tuple[Counters, Manifest]:
    """Begin a rollout of a candidate whose pods answer with a share of errors."""
    old, new = addresses(cluster)  # of loopback there are no EndpointSlices
    counters = Counters({old: 0.01, new: errors})
    script.serve = Ready(address=old)
    checks = [{"name": "errors", "type": "ErrorRate"}]
    analysis = {"interval": "5s", "checks": checks}
    steps = [{"weight": 50, "hold": "3s"}]
    first = _begin(models, script, steps=steps, analysis=analysis, watch="0s")
    second = eventually(lambda: models.get()["status"].get("candidate"), "there is a candidate")
    script.by_revision = {second["hash"]: Ready(address=new)}
    return counters, first


@pytest.mark.usefixtures("operator")
def test_a_candidate_that_fails_requests_is_sent_back_by_the_evidence(
    models: Models, script: Script, cluster: Cluster
) -> None:
    counters, first = _judged(models, script, cluster, errors=0.5)
    with counters:
        status = _until(models, "Failed")
    assert status["rollout"]["reason"] == "AnalysisFailed"
    (check,) = status["analysis"]
    assert (check["name"], check["verdict"]) == ("errors", "Fail")
    assert check["candidate"]["x"] > check["stable"]["x"]
    assert _selector(models)["slipway.dev/revision"] == first["hash"]


@pytest.mark.usefixtures("operator")
def test_a_candidate_is_promoted_on_evidence(
    models: Models, script: Script, cluster: Cluster
) -> None:
    counters, _ = _judged(models, script, cluster, errors=0.01)
    with counters:
        baking = _until(models, "Baking", 1)
        assert baking["rollout"]["weight"]["applied"] == 50
        promoting = _until(models, "Promoting")
    assert "withoutEvidence" not in promoting["rollout"]
    assert [c["verdict"] for c in promoting["analysis"]] in (["Pass"], ["Running"])
    assert _until(models, "Idle")["stable"]["revision"] == 2


@pytest.mark.usefixtures("operator")
def test_without_traffic_a_judged_step_waits(models: Models, script: Script) -> None:
    _begin(models, script, analysis={"interval": "5s"})
    _until(models, "Baking", 1)
    waiting = eventually(
        lambda: models.get()["status"].get("analysis"), "the checks speak", timeout_s=20
    )
    assert {c["verdict"] for c in waiting if c["name"] != "restarts"} == {"NoData"}
    assert _until(models, "Baking", 1), "though its hold of 2 s is over"


@pytest.mark.usefixtures("operator")
def test_people_pause_approve_and_abort(models: Models, script: Script) -> None:
    steps = [{"weight": 20, "hold": "1s", "approval": "Manual"}, {"weight": 50, "hold": "60s"}]
    first = _begin(models, script, steps=steps)
    waiting = _until(models, "Paused", 1)
    second = waiting["candidate"]
    assert waiting["rollout"]["reason"] == "AwaitingApproval"
    assert waiting["phase"] == "Paused"
    _act(models, "approve", first)
    eventually(
        lambda: models.get()["status"]["rollout"].get("actionAnswer"), "the wrong one is ignored"
    )
    _act(models, "approve", second)
    _until(models, "Baking", 2)
    models.apply(replicas=4, rollout={**ROLLOUT, "steps": steps, "paused": True}, uri=SECOND)
    _until(models, "Paused", 2)
    _act(models, "abort", second, nonce=2)
    status = _until(models, "Failed")
    assert status["rollout"]["reason"] == "AbortedByUser"
    assert _selector(models)["slipway.dev/revision"] == first["hash"]
    _act(models, "retry", second, nonce=3)
    assert _until(models, "Paused")["rollout"]["id"].endswith("-2")


@pytest.mark.usefixtures("operator")
def test_a_rollback_by_action_lasts_until_the_spec_changes(models: Models, script: Script) -> None:
    first = _begin(models, script, strategy="BlueGreen", steps=None)
    eventually(
        lambda: models.get()["status"]["stable"]["revision"] == 2, "the second serves", timeout_s=30
    )
    second = _until(models, "Idle")["stable"]
    _act(models, f"rollback:{first['hash']}", second)
    eventually(
        lambda: told(models.get(), "Ready")["reason"] == "PinnedToRevision",
        "the first serves again", timeout_s=30,
    )  # fmt: skip
    status = models.get()["status"]
    assert (status["phase"], status["stable"]["revision"]) == ("RollingBack", 1)
    assert status["desired"]["hash"] == first["hash"]
    assert models.get()["spec"]["model"]["uri"] == SECOND, "the spec is the user's"
    models.apply(replicas=4, rollout={"strategy": "BlueGreen"}, uri="https://models.example/3.onnx")
    eventually(
        lambda: (models.get()["status"].get("candidate") or {}).get("revision") == 3,
        "another spec ends it",
    )


@pytest.mark.usefixtures("operator")
def test_a_quota_of_one_is_kept(models: Models, script: Script) -> None:
    rollout = {"strategy": "Recreate", "watch": "0s", "traffic": {"settle": "0s"}}
    models.apply(rollout=rollout)
    first = models.until("Ready")["status"]["stable"]
    script.supply = Supplied(OTHER)
    models.apply(rollout=rollout, uri=SECOND)
    most = 0

    def is_over() -> bool:
        nonlocal most
        pods = models.api.find("Pod", models.namespace, "slipway.dev/model=m")
        most = max(most, len(pods))
        return bool(models.get()["status"]["stable"]["revision"] == 2)

    eventually(is_over, "the second serves", timeout_s=30)
    assert most == 1
    assert _replicas(models, first) == 0


@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize(
    ("crashes", "expected"),
    [
        pytest.param(False, {1: 0, 2: 3}, id="and takes over"),
        pytest.param(True, {1: 3, 2: 0}, id="and gives its place back"),
    ],
)
def test_what_replaces_autoscaled_pods_has_as_many(
    models: Models, script: Script, crashes: bool, expected: dict[int, int]
) -> None:
    rollout = {"strategy": "Recreate", "watch": "0s", "traffic": {"settle": "0s"}}
    scaling = {"minReplicas": 1, "maxReplicas": 4}
    spec: dict[str, Any] = {"rollout": rollout, "autoscaling": scaling}
    models.apply(**spec)
    first = models.until("Ready")["status"]["stable"]
    scaled = models.kubectl("scale", f"deployment/{first['name']}", "--replicas=3")
    assert scaled.returncode == 0, scaled.stderr  # as an autoscaler would
    eventually(lambda: models.get()["status"]["stable"]["available"] == 3, "three pods")
    if crashes:
        script.serve = Crashing(12, "the model cannot be loaded")
        script.by_revision[first["hash"]] = Ready()
    script.supply = Supplied(OTHER)
    models.apply(**spec, uri=SECOND)
    floor = eventually(
        lambda: models.get()["status"]["rollout"].get("capacityFloor", {}).get("candidate"),
        "the floor is told",
    )
    assert floor == 3

    def pods() -> dict[int, int]:
        found = models.api.find("Deployment", models.namespace)
        numbers = [int(d["metadata"]["annotations"]["slipway.dev/revision-number"]) for d in found]
        ready = [d.get("status", {}).get("availableReplicas", 0) for d in found]
        return dict(zip(numbers, ready, strict=True))

    _until(models, "Failed" if crashes else "Idle")  # pods that are ending are still counted before
    eventually(lambda: pods() == expected, f"{expected}", timeout_s=60, describe=pods)
    eventually(
        lambda: len(models.api.find("HorizontalPodAutoscaler", models.namespace)) == 1,
        "one autoscaler is left",
    )


@pytest.mark.parametrize("state", ["Shifting", "Baking", "Watching"])
def test_a_rollout_outlives_the_operator(
    start: Callable[..., Operator], models: Models, script: Script, state: str
) -> None:
    before = start().until_ready()
    first = _begin(models, script)
    _until(models, state)
    before.kill()
    start().until_ready()
    after = _until(models, "Idle")
    assert after["stable"]["revision"] == 2
    assert told(models.get(), "Ready")["status"] == "True"
    eventually(lambda: _replicas(models, first) == 0, "the pods before end", timeout_s=20)
