"""Where models come from, and what is said when one cannot be had.

Everything is applied at once, and each test looks at its own: the causes take seconds to show.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pytest
import yaml

from tests.e2e.conftest import Place
from tests.e2e.files import CORRUPT, classifier, direct, multiplier, request, with_list
from tests.e2e.models import Models
from tests.e2e.registry import Registry
from tests.kubeapi import Manifest, condition, eventually, told

_TOLD_WITHIN_S: Final = 45
"""On a machine of its own it takes a third of that."""
_WRONG: Final = "sha256:" + "0" * 64
_PYTHON: Final = "/opt/slipway/bin/python"
_ROWS: Final = np.array([[1.5, -2.0], [0.0, 7.25]], dtype=np.float32)
_MISSPELT: Final = [{"name": "SLIPWAY_RUNTIME_NOSUCH", "value": "1"}]
_WAITING: Final = frozenset({"SupplyingModel", "Fetching"})


@dataclass(frozen=True, slots=True)
class Stage:
    """One namespace with good models and bad ones."""

    models: Models
    files: str
    """URL of a web server in the cluster."""
    registry: Registry
    told_s: dict[str, float]
    """How long after its making a ModelDeployment named its cause, in seconds."""


@pytest.fixture(scope="module")
def stage(place: Place, images: dict[str, str], registry: Registry) -> Iterator[Stage]:
    """Apply everything that cannot be had, and wait until each has said why."""
    with place() as models:
        files = _serve_files(models, images["runtime"])
        bad = _apply_bad(models, files, registry)
        yield Stage(models, files, registry, _until_told(models, bad))


def _serve_files(models: Models, image: str) -> str:
    models.publish("files", multiplier(3))
    command = [_PYTHON, "-m", "http.server", "8000", "--directory", "/files"]
    models.run_pod("files", image, command, "files", {})
    port = {"port": 80, "targetPort": 8000}
    models.api.create(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "files", "namespace": models.namespace},
            "spec": {"selector": {"app": "files"}, "ports": [port]},
        }
    )
    return f"http://files.{models.namespace}.svc"


def _apply_bad(models: Models, files: str, registry: Registry) -> dict[str, float]:
    good = models.publish("good", multiplier(2))
    uris = {
        "wrong-digest": good,
        "missing-configmap": "configmap://missing/model.onnx",
        "missing-key": "configmap://good/other.onnx",
        "corrupt": models.publish("corrupt", CORRUPT),
        "list": models.publish("list", with_list()),
        "not-found": f"{files}/other.onnx",
        "unreachable": "http://nowhere.invalid/model.onnx",
        "no-artifact": f"oci://{registry.address}/models/nothing:1",
    }
    begun = {}
    for name, uri in uris.items():
        model = {"digest": _WRONG} if name == "wrong-digest" else {}
        models.apply(name, uri=uri, model=model)
        begun[name] = time.monotonic()
    models.apply("misspelt", uri=good, runtime={"env": _MISSPELT})
    return begun | {"misspelt": time.monotonic()}


def _until_told(models: Models, begun: dict[str, float]) -> dict[str, float]:
    told: dict[str, float] = {}

    def all_told() -> bool:
        for name in begun.keys() - told.keys():
            ready = condition(models.get(name), "Ready")
            if ready and ready["reason"] not in _WAITING:
                told[name] = time.monotonic() - begun[name]
        return begun.keys() == told.keys()

    eventually(
        all_told, "all name their cause", timeout_s=60, describe=lambda: begun.keys() - told.keys()
    )
    return told


@pytest.mark.parametrize(
    ("name", "reason", "cause", "remedy"),
    [
        pytest.param(
            "wrong-digest", "DigestMismatch", f"expected {_WRONG}", "give the new digest",
            id="another digest than promised",
        ),
        pytest.param(
            "missing-key", "NotFound", "ConfigMap 'good' has no key 'other.onnx'",
            "expected one of model.onnx", id="no such key in the ConfigMap",
        ),
        pytest.param(
            "corrupt", "InvalidModel", "it cannot be parsed", "expected an ONNX model",
            id="bytes that are no model",
        ),
        pytest.param(
            "list", "Unsupported", "output 'y' is seq(tensor(float))", "expected a tensor",
            id="an output of lists",
        ),
        pytest.param(
            "not-found", "NotFound", "answers 404", "check the URI", id="no such file on the server"
        ),
        pytest.param(
            "no-artifact", "NotFound", "answers 404", "check the URI",
            id="no such artifact in the registry",
        ),
        pytest.param(
            "misspelt", "InvalidConfig", "SLIPWAY_RUNTIME_NOSUCH is not a setting", "known are",
            id="a setting that the runtime does not know",
        ),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_had_names_cause_and_remedy(
    stage: Stage, name: str, reason: str, cause: str, remedy: str
) -> None:
    mdep = stage.models.get(name)
    stalled = condition(mdep, "Stalled")
    assert stalled is not None
    assert (stalled["status"], stalled["reason"]) == ("True", reason), yaml.safe_dump(mdep)
    assert cause in stalled["message"]
    assert remedy in stalled["message"]
    assert told(mdep, "Ready")["reason"] == "ModelNotSupplied"
    assert mdep["status"]["phase"] == "Failed"
    assert _deployments(stage, name) == []
    assert stage.told_s[name] < _TOLD_WITHIN_S


@pytest.mark.parametrize(
    ("name", "reason", "cause", "remedy"),
    [
        pytest.param(
            "missing-configmap", "NotFound", "ConfigMap 'missing' does not exist", "create it",
            id="no such ConfigMap",
        ),
        pytest.param(
            "unreachable", "Unavailable", "nowhere.invalid", "check that the store can be reached",
            id="a host that is not there",
        ),
    ],
)  # fmt: skip
def test_what_may_pass_is_tried_again(
    stage: Stage, name: str, reason: str, cause: str, remedy: str
) -> None:
    mdep = stage.models.get(name)
    supplied, reconciling = condition(mdep, "ModelSupplied"), condition(mdep, "Reconciling")
    assert supplied is not None
    assert reconciling is not None
    assert (supplied["status"], supplied["reason"]) == ("False", reason), yaml.safe_dump(mdep)
    assert reconciling["status"] == "True"
    assert cause in reconciling["message"]
    assert remedy in reconciling["message"]
    assert told(mdep, "Stalled")["status"] == "False"
    assert _deployments(stage, name) == []
    assert stage.told_s[name] < _TOLD_WITHIN_S


def _deployments(stage: Stage, name: str) -> list[Manifest]:
    return stage.models.api.find("Deployment", stage.models.namespace, f"slipway.dev/model={name}")


def test_a_configmap_that_comes_later_is_found(stage: Stage) -> None:
    stage.models.publish("missing", multiplier(5))
    stage.models.until("Ready", "missing-configmap", timeout_s=90)
    _answers_like(stage.models, "missing-configmap", multiplier(5))


def test_a_model_comes_from_a_web_server(stage: Stage) -> None:
    stage.models.apply("web", uri=f"{stage.files}/model.onnx")
    stage.models.until("Ready", "web")
    _answers_like(stage.models, "web", multiplier(3))


def test_a_model_comes_from_a_registry(stage: Stage) -> None:
    uri = stage.registry.push("models/multiplier", "4", multiplier(4))
    stage.models.apply("oci", uri=uri)
    stage.models.until("Ready", "oci")
    _answers_like(stage.models, "oci", multiplier(4))


def test_a_classifier_with_a_zipmap_answers_in_tensors(stage: Stage) -> None:
    """What is served lies beside what was published, and the digest is that of the latter."""
    model = classifier(zipmap=True)
    stage.models.apply("zipmap", uri=stage.models.publish("zipmap", model))
    mdep = stage.models.until("Ready", "zipmap")
    assert mdep["status"]["model"]["digest"] == f"sha256:{hashlib.sha256(model).hexdigest()}"
    rows = np.array([[0.5], [2.5]], dtype=np.float32)
    answer = stage.models.infer(request(rows, "X"), "zipmap").raise_for_status().json()
    found = {output["name"]: output for output in answer["outputs"]}["output_probability"]
    wanted = direct(classifier(zipmap=False), rows)["probabilities"]
    assert (found["datatype"], found["shape"]) == ("FP32", [2, 2])
    assert np.allclose(found["data"], wanted.ravel(), atol=1e-6)


def _answers_like(models: Models, name: str, model: bytes) -> None:
    answer = models.infer(request(_ROWS), name).raise_for_status().json()
    assert answer["outputs"][0]["data"] == direct(model, _ROWS)["y"].ravel().tolist()
