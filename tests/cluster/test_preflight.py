"""Preflights against a real API server and real runtimes: pass, fail, and what cannot be made."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import pytest
from onnx import helper, numpy_helper

from devcluster.cluster import Cluster
from tests.cluster.kubelet import Ready, Script, Supplied
from tests.cluster.models import Models
from tests.cluster.operators import Operator
from tests.kubeapi import Api, Manifest, Refused, eventually, told
from tests.unit.runtime import models as onnx_models
from tests.unit.runtime.processes import serving

SECOND: Final = "https://models.example/2.onnx"
WRONG: Final = Ready(address="127.0.79.2")
"""A candidate that never gets a request needs no address that other machines could use."""
_PORT: Final = 8082
_ROW: Final = [1.0, 0.0, 0.0, 2.0]
_WEIGHTS: Final = np.arange(12, dtype=np.float32).reshape(4, 3) / 7
_SCORES: Final = (np.array([_ROW], np.float32) @ _WEIGHTS).ravel().tolist()
SAMPLES: Final = json.dumps([{
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": _ROW}],
    "outputs": [{"name": "scores", "datatype": "FP32", "shape": [1, 3], "data": _SCORES}],
}])  # fmt: skip
SOURCE: Final = {"samples": {"configMap": {"name": "samples", "key": "samples.json"}}}
ROLLOUT: Final = {
    "steps": [{"weight": 50, "hold": "2s"}],
    "watch": "0s",
    "scaleDownDelay": "2s",
    "traffic": {"settle": "1s"},
    "preflight": {"golden": {}, "warmupRequests": 5},
}


def _negative() -> Any:
    """The model `affine` with a minus."""
    return onnx_models.model_of(
        [
            helper.make_node("MatMul", ["x", "w"], ["z"]),
            helper.make_node("Neg", ["z"], ["scores"]),
        ],
        [onnx_models.tensor("x", "FP32", ["batch", 4])],
        [onnx_models.tensor("scores", "FP32", ["batch", 3])],
        [numpy_helper.from_array(_WEIGHTS, "w")],
    )


@pytest.fixture(scope="module", autouse=True)
def runtimes(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Iterator[None]:
    """Two runtimes: one where pods are unless told otherwise, one with another model than that."""
    folder = tmp_path_factory.mktemp("models")
    for name, model in (("good", onnx_models.affine()), ("wrong", _negative())):
        (folder / name).mkdir()
        onnx_models.saved(model, folder / name / "m.onnx")
    with (
        serving(folder / "good" / "m.onnx", host=str(cluster.host_ip), admin_port=_PORT) as good,
        serving(folder / "wrong" / "m.onnx", host=WRONG.address, admin_port=_PORT) as wrong,
    ):
        good.wait_for("ready")
        wrong.wait_for("ready")
        yield


def _samples(api: Api, namespace: str) -> None:
    api.create(
        {
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "samples", "namespace": namespace},
            "data": {"samples.json": SAMPLES},
        }
    )  # fmt: skip


def _begin(models: Models, script: Script, candidate: Ready) -> Manifest:
    """Serve a first revision, and ask for a second one."""
    script.serve = Ready()
    models.apply(replicas=2, rollout=ROLLOUT, model=SOURCE)
    first: Manifest = models.until("Ready")["status"]["stable"]
    script.supply = Supplied("sha256:" + "cd" * 32)
    script.serve = candidate
    models.apply(replicas=2, rollout=ROLLOUT, model=SOURCE, uri=SECOND)
    return first


def _until(models: Models, state: str) -> Manifest:
    def reached() -> Manifest | None:
        status: Manifest = models.get()["status"]
        return status if status["rollout"]["state"] == state else None

    return eventually(reached, state, timeout_s=60, describe=lambda: str(models.get()["status"]))


def _selector(models: Models) -> Manifest:
    apex = models.child("Service", "m")
    assert apex is not None
    selector: Manifest = apex["spec"]["selector"]
    return selector


@pytest.mark.usefixtures("operator")
def test_a_candidate_that_answers_as_expected_is_promoted(
    api: Api, models: Models, script: Script
) -> None:
    _samples(api, models.namespace)
    _begin(models, script, Ready())
    status = _until(models, "Baking")
    assert status["rollout"]["preflight"].startswith("1 of 1 answers compared, largest difference")
    assert "5 requests warmed each of" in status["rollout"]["preflight"]
    eventually(
        lambda: models.get()["status"]["stable"]["revision"] == 2, "it is promoted", timeout_s=60
    )


@pytest.mark.usefixtures("operator")
def test_a_candidate_that_answers_wrongly_never_gets_a_request(
    api: Api, models: Models, script: Script
) -> None:
    _samples(api, models.namespace)
    first = _begin(models, script, WRONG)
    seen: set[str] = set()

    def is_over() -> bool:
        seen.add(_selector(models).get("slipway.dev/revision", "both"))
        return bool(models.get()["status"]["rollout"]["state"] == "Failed")

    eventually(is_over, "it is refused", timeout_s=60)
    status = models.get()["status"]
    assert seen == {first["hash"]}
    assert status["rollout"]["reason"] == "PreflightFailed"
    assert "sample 1: output 'scores': got -" in status["rollout"]["message"]
    assert told(models.get(), "Stalled")["reason"] == "RolloutAborted"
    assert told(models.get(), "Available")["status"] == "True"


@pytest.mark.usefixtures("operator")
def test_a_preflight_without_samples_waits_for_them(
    api: Api, models: Models, script: Script
) -> None:
    first = _begin(models, script, Ready())
    status = _until(models, "Paused")
    assert status["rollout"]["reason"] == "PreflightUnavailable"
    assert "ConfigMap 'samples' does not exist in namespace" in status["rollout"]["message"]
    assert _selector(models)["slipway.dev/revision"] == first["hash"]
    _samples(api, models.namespace)
    eventually(
        lambda: models.get()["status"]["stable"]["revision"] == 2, "it goes on", timeout_s=60
    )


def test_a_preflight_outlives_the_operator(
    start: Callable[..., Operator], models: Models, script: Script, api: Api
) -> None:
    before = start().until_ready()
    _begin(models, script, WRONG)
    _until(models, "Preflight")
    before.kill()
    _samples(api, models.namespace)
    start().until_ready()
    assert _until(models, "Failed")["rollout"]["reason"] == "PreflightFailed"


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        pytest.param(
            {"rollout": {"preflight": {}}}, "rollout.preflight: sends model.samples; set it",
            id="nothing to send",
        ),
        pytest.param(
            {"model": SOURCE, "rollout": {
                "strategy": "Recreate", "preflight": {"golden": {"compareTo": "Stable"}}}},
            "rollout.preflight.golden.compareTo: with the strategy Recreate", id="nobody beside it",
        ),
        pytest.param(
            {"model": SOURCE, "rollout": {"preflight": {"golden": {"atol": "-1"}}}},
            "spec.rollout.preflight.golden.atol", id="no tolerance",
        ),
    ],
)  # fmt: skip
def test_what_is_refused(models: Models, spec: dict[str, Any], text: str) -> None:
    with pytest.raises(Refused) as refused:
        models.apply(**spec)
    assert text in str(refused.value)
