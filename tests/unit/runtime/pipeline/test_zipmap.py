"""Classifiers that end in a ZipMap: the tensor before it is served, the classes are kept."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import yaml
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from slipway_runtime.pipeline.zipmap import flatten
from slipway_runtime.supply.digest import file_digest
from tests.unit.runtime import models
from tests.unit.runtime.processes import Serving, infer_body, runtime, serving, serving_document

RANDOM = np.random.default_rng(11)
ROWS = RANDOM.normal(size=(90, 4)).astype(np.float32)
NAMES = np.array(["cat", "dog", "écu"])
CLASSES = "slipway.dev/classes."


def trained(kind: Any, targets: Any) -> tuple[Any, Any]:
    """A classifier, and what skl2onnx exports of it by default."""
    classifier = kind.fit(ROWS, targets)
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # skl2onnx's own
        return classifier, to_onnx(classifier, ROWS[:1], target_opset={"": 12, "ai.onnx.ml": 1})


@pytest.fixture(scope="module")
def animals() -> tuple[Any, Any]:
    return trained(LogisticRegression(), NAMES[np.arange(90) % 3])


@pytest.mark.parametrize(
    ("kind", "targets", "expected"),
    [
        pytest.param(LogisticRegression(), NAMES[np.arange(90) % 3], list(NAMES), id="names"),
        pytest.param(LogisticRegression(), np.arange(90) % 2, [0, 1], id="two numbers"),
        pytest.param(
            RandomForestClassifier(5), np.arange(90) % 3 * 10, [0, 10, 20], id="trees, numbers"
        ),
    ],
)
def test_the_tensor_before_it_is_what_scikit_learn_predicts(
    kind: Any, targets: Any, expected: list[Any]
) -> None:
    classifier, model = trained(kind, targets)
    assert flatten(model)
    onnx.checker.check_model(model)
    session = ort.InferenceSession(model.SerializeToString())
    label, probabilities = session.run(None, {"X": ROWS})
    assert label.tolist() == classifier.predict(ROWS).tolist()
    assert np.allclose(probabilities, classifier.predict_proba(ROWS), atol=1e-5)
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told[f"{CLASSES}output_probability"]) == expected
    output = session.get_outputs()[1]
    assert (output.name, output.shape[1]) == ("output_probability", len(expected))


def test_nothing_else_of_a_model_is_changed() -> None:
    model = models.affine()
    before = model.SerializeToString()
    assert (flatten(model), model.SerializeToString()) == (False, before)


def test_what_the_file_says_of_itself_stays() -> None:
    model = models.zipmap()
    helper.set_model_props(model, {"accuracy": "0.97", f"{CLASSES}output_probability": "a lie"})
    assert flatten(model)
    assert {prop.key: prop.value for prop in model.metadata_props} == {
        "accuracy": "0.97",
        f"{CLASSES}output_probability": "[0, 1]",
    }


def test_a_model_of_one_domain_gets_the_other() -> None:
    """CatBoost imports ai.onnx.ml alone."""
    model = models.zipmap()
    del model.opset_import[0]
    assert flatten(model)
    session = ort.InferenceSession(model.SerializeToString())
    [found] = session.run(None, {"p": ROWS[:, :2]})
    assert (found == ROWS[:, :2]).all()


def test_one_row_without_a_batch_dimension_stays_one() -> None:
    model = models.zipmap()
    model.graph.input[0].CopyFrom(models.tensor("p", "FP32", [2]))
    assert flatten(model)
    session = ort.InferenceSession(model.SerializeToString())
    assert session.get_outputs()[0].shape == [2]


def test_maps_that_another_node_reads_are_left() -> None:
    model = models.zipmap()
    model.graph.node.append(helper.make_node("Identity", ["output_probability"], ["more"]))
    assert not flatten(model)


def test_of_many_classes_the_first_are_kept() -> None:
    model = models.zipmap(*(f"class {number}" for number in range(3000)))
    assert flatten(model)
    [told] = model.metadata_props
    kept = json.loads(told.value)
    assert len(told.value) <= 4096
    assert kept == [f"class {number}" for number in range(len(kept))]
    assert len(kept) > 200
    assert model.graph.output[0].type.tensor_type.shape.dim[1].dim_value == 3000


@pytest.fixture(scope="module")
def file(animals: tuple[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.saved(animals[1], tmp_path_factory.mktemp("zipmap") / "animals.onnx")


def test_inspect_tells_the_signature_that_is_served(file: Path) -> None:
    done = runtime("inspect", file)
    assert done.returncode == 0, done.stderr
    assert "output     output_probability  FP32  [-1, 3]\n" in done.stdout
    assert f"digest     {file_digest(file)}\n" in done.stdout


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def asked(server: Serving, name: str) -> dict[str, Any]:
    server.wait_for("ready")
    body = infer_body("X", "FP32", [2, 4], ROWS[:2].ravel().tolist())
    answer = httpx.post(f"{server.url}/v2/models/{name}/infer", json=body, trust_env=False)
    assert answer.status_code == 200, answer.text
    return {output["name"]: output for output in answer.json()["outputs"]}


def test_a_laptop_serves_the_file(file: Path, animals: tuple[Any, Any], own_cache: Path) -> None:
    with serving(file) as server:
        found = asked(server, "animals")
        digest = server.status()["digest"]
    wanted = animals[0].predict_proba(ROWS[:2])
    assert found["output_probability"]["shape"] == [2, 3]
    assert np.allclose(found["output_probability"]["data"], wanted.ravel(), atol=1e-5)
    assert digest == file_digest(file)
    assert [each.name for each in file.parent.iterdir()] == ["animals.onnx"]


def test_a_pipeline_goes_on_from_the_tensor(
    file: Path, animals: tuple[Any, Any], own_cache: Path
) -> None:
    labels = {"labels": {"names": NAMES.tolist(), "topK": 3, "output": "output_probability"}}
    spec = {"model": {"uri": file.as_uri()}, "pipeline": {"postprocess": [labels]}}
    kind = {"apiVersion": "slipway.dev/v1alpha1", "kind": "ModelDeployment"}
    manifest = own_cache / "m.yaml"
    manifest.write_text(yaml.safe_dump({**kind, "metadata": {"name": "m"}, "spec": spec}))
    with serving("-f", manifest) as server:
        found = asked(server, "m")
        told = httpx.get(f"{server.url}/v2/models/m", trust_env=False).json()["properties"]
    wanted = animals[0].predict_proba(ROWS[:2])
    best = NAMES[np.argsort(-wanted, 1)]
    assert found["label"]["data"] == best.ravel().tolist()
    # The model is of opset 12, and was converted on the way.
    assert json.loads(told[f"{CLASSES}output_probability"]) == NAMES.tolist()


def test_a_load_on_request_does_the_same(file: Path, own_cache: Path) -> None:
    path = own_cache / "animals.onnx"
    path.write_bytes(models.affine().SerializeToString())
    with serving(path, "--allow-repository") as server:
        server.wait_for("ready")
        path.write_bytes(file.read_bytes())
        load = f"{server.url}/v2/repository/models/animals/load"
        answer = httpx.post(load, json={}, trust_env=False, timeout=60)
        assert answer.status_code == 200, answer.text
        found = asked(server, "animals")
        assert server.status()["digest"] == file_digest(file)
    assert found["output_probability"]["shape"] == [2, 3]


@pytest.fixture(params=["resolve", "by digest"])
def fetched(request: pytest.FixtureRequest, file: Path, tmp_path: Path) -> Iterator[Path]:
    """What a supply step leaves behind: the Job's, and that of a pod."""
    resolve = request.param == "resolve"
    document = serving_document(file.as_uri(), digest=file_digest(file))
    config = tmp_path / "serving.json"
    config.write_text(json.dumps(document))
    into = tmp_path / "models"
    options = ("--allow-file", *(["--resolve"] if resolve else []))
    done = runtime("fetch", "--config", config, "--into", into, *options)
    assert done.returncode == 0, done.stderr
    yield tmp_path
    facts = json.loads((into / "model.json").read_text())
    assert (facts["digest"], facts["fused"]) == (file_digest(file), True)
    told = facts["signature"]["outputs"][1] if resolve else None
    assert told in (None, {"name": "output_probability", "datatype": "FP32", "shape": [-1, 3]})
    assert (into / "model.onnx").read_bytes() == file.read_bytes()


def test_a_pod_serves_what_was_fetched(fetched: Path, animals: tuple[Any, Any]) -> None:
    config, into = fetched / "serving.json", fetched / "models"
    with serving("--config", config, "--model-dir", into) as server:
        found = asked(server, "digits")
    wanted = animals[0].predict_proba(ROWS[:2])
    assert np.allclose(found["output_probability"]["data"], wanted.ravel(), atol=1e-5)


def test_weights_in_another_file_come_along(tmp_path: Path, own_cache: Path) -> None:
    """A laptop's file keeps its folder to itself: the whole goes into the cache."""
    path = models.with_data(tmp_path / "folder")
    model = onnx.load(str(path), load_external_data=False)
    model.graph.node.append(
        helper.make_node(
            "ZipMap", ["scores"], ["maps"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2]
        )
    )
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    element = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    maps = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, element))
    model.graph.output[0].CopyFrom(helper.make_value_info("maps", maps))
    models.saved(model, path)
    assert runtime("inspect", path).returncode == 0
    with serving(path) as server:
        server.wait_for("ready")
        told = httpx.get(f"{server.url}/v2/models/model", trust_env=False).json()["outputs"]
    assert told == [{"name": "maps", "datatype": "FP32", "shape": [-1, 3]}]


IMPORTED = """\
import sys
from slipway_runtime.__main__ import main
main(["fetch", "--config", sys.argv[1], "--into", sys.argv[2], "--allow-file"])
print(*sorted({"onnx", "onnxruntime", "numpy", "google.protobuf"} & sys.modules.keys()))
"""


def test_a_pod_whose_model_has_none_imports_nothing_for_it(
    tmp_path: Path, affine_model: Path
) -> None:
    document = serving_document(affine_model.as_uri(), digest=file_digest(affine_model))
    config = tmp_path / "serving.json"
    config.write_text(json.dumps(document))
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, str(config), str(tmp_path / "models")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == ""
