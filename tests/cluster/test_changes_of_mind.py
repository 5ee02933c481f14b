"""Users who change their mind in the middle of a rollout, on a real API server (A14 to A17, A56).

The same is lived through in simulation; run by `make test-faults`.
"""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.cluster.kubelet import Script, Supplied
from tests.cluster.models import Models
from tests.cluster.test_rollouts import (
    OTHER,
    ROLLOUT,
    SECOND,
    _act,
    _replicas,
    _selector,
    _until,
)
from tests.kubeapi import Manifest, eventually

pytestmark = [pytest.mark.long, pytest.mark.timeout(300), pytest.mark.usefixtures("operator")]

THIRD: Final = "https://models.example/3.onnx"
FIFTH: Final = {"weight": 20, "hold": "1s", "approval": "Manual"}
WAITING: Final = {**ROLLOUT, "steps": [FIFTH, {"weight": 50, "hold": "1s"}]}
LONG: Final = {**ROLLOUT, "steps": [FIFTH, {"weight": 50, "hold": "10m"}]}


def _waiting(
    models: Models, script: Script, rollout: Manifest = WAITING
) -> tuple[Manifest, Manifest]:
    """Serve a first revision, and let a second one wait with a fifth of the traffic."""
    models.apply(replicas=4, rollout=rollout)
    first: Manifest = models.until("Ready")["status"]["stable"]
    script.supply = Supplied(OTHER)
    models.apply(replicas=4, rollout=rollout, uri=SECOND)
    second: Manifest = _until(models, "Paused", 1)["candidate"]
    return first, second


def _gone(models: Models, track: Manifest) -> None:
    """Of a revision that never served only the record is kept."""
    eventually(
        lambda: models.child("Deployment", track["name"]) is None, "its pods end", timeout_s=40
    )


def test_a14_and_a16_another_model_and_more_pods_at_once(models: Models, script: Script) -> None:
    first, second = _waiting(models, script)
    script.supply = Supplied("sha256:" + "ef" * 32)
    models.apply(replicas=5, rollout=WAITING, uri=THIRD)
    eventually(lambda: _replicas(models, first) == 5, "stable is scaled at once")
    third = eventually(
        lambda: s["candidate"] if (s := _until(models, "Paused", 1))["candidate"]["revision"] == 3
        else None,
        "the third is the candidate, from its first step", timeout_s=60,
    )  # fmt: skip
    _gone(models, second)
    assert models.get()["status"]["stable"]["hash"] == first["hash"]
    _act(models, "approve", third)
    assert _until(models, "Idle")["stable"]["revision"] == 3
    reasons = {h["revision"]: h.get("reason") for h in models.get()["status"]["history"]}
    assert reasons[2] == "Superseded"


def test_a15_the_model_before_is_asked_for_again(models: Models, script: Script) -> None:
    first, second = _waiting(models, script)
    models.apply(replicas=4, rollout=WAITING)
    eventually(
        lambda: _selector(models).get("slipway.dev/revision") == first["hash"],
        "the candidate has no traffic",
    )
    assert _until(models, "Idle")["stable"]["hash"] == first["hash"]
    models.until("Ready")
    _gone(models, second)
    assert _replicas(models, first) == 4


def test_a17_fifty_toggles_end_with_the_last(models: Models, script: Script) -> None:
    _, second = _waiting(models, script, LONG)
    weights = set()
    for number in range(50):
        patch: dict[str, Any] = {"spec": {"rollout": {"paused": number % 2 == 0}}}
        models.api.merge("ModelDeployment", models.namespace, "m", patch)
        status = models.get()["status"]
        weights.add((status["candidate"]["weight"], status["rollout"]["weight"]["desired"]))
    assert weights == {(20, 20)}, "no toggle moves traffic"
    _act(models, "approve", second)
    _until(models, "Baking", 2)
    patch = {"spec": {"rollout": {"paused": True}}}
    models.api.merge("ModelDeployment", models.namespace, "m", patch)
    _act(models, "abort", second, nonce=2)
    assert _until(models, "Failed")["rollout"]["reason"] == "AbortedByUser"


def test_a56_a_step_that_does_not_exist_is_corrected(models: Models, script: Script) -> None:
    _, second = _waiting(models, script)
    models.api.merge(
        "ModelDeployment", models.namespace, "m", {"status": {"rollout": {"step": 9}}}, "status"
    )
    eventually(lambda: models.get()["status"]["rollout"]["step"] == 1, "it is the first again")
    _act(models, "approve", second)
    assert _until(models, "Idle")["stable"]["hash"] == second["hash"]
