"""A pipeline from the YAML to the answer: files and table rows over every wire that has them."""

from __future__ import annotations

import base64
import io
import json
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
from PIL import Image

from tests.unit.runtime import models
from tests.unit.runtime.processes import Serving, runtime, serving, serving_document

SIZE = 8
CLASSES = ["red", "green", "blue"]
RANDOM = np.random.default_rng(3)


def mean_of_channels() -> Any:
    """An image classifier: the brightest colour."""
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["x"], ["a"]),
            helper.make_node("Flatten", ["a"], ["scores"]),
        ],
        "colours",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def sum_of_columns() -> Any:
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["x", "axis"], ["total"], keepdims=0)],
        "sum",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("total", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor("axis", TensorProto.INT64, [1], [1])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


IMAGES = {
    "preprocess": [
        {"decodeImage": {}},
        {"resize": {"width": SIZE, "height": SIZE}},
        {"transpose": {"to": "NCHW"}},
        {"scale": {"factor": "1/255"}},
        {"normalize": {"mean": ["0.485", "0.456", "0.406"], "std": ["0.229", "0.224", "0.225"]}},
    ],
    "postprocess": [{"softmax": {}}, {"labels": {"names": CLASSES, "topK": 3}}],
}
TABLE = {
    "preprocess": [
        {"columns": {"features": [{"name": "age"}, {"name": "port", "datatype": "BYTES"}]}},
        {"impute": {"columns": ["age"], "value": 30}},
        {"impute": {"columns": ["port"], "text": "S"}},
        {"oneHot": {"columns": ["port"], "categories": ["C", "Q", "S"]}},
        {"scale": {"factor": 10}},
    ]
}


def manifest(folder: Path, model: Any, pipeline: Any) -> Path:
    onnx.save(model, str(folder / "model.onnx"))
    document = {
        "apiVersion": "slipway.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "m"},
        "spec": {"model": {"uri": f"file://{folder}/model.onnx"}, "pipeline": pipeline},
    }
    path = folder / "m.yaml"
    path.write_text(yaml.safe_dump(document), "utf-8")
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    path = manifest(tmp_path_factory.mktemp("images"), mean_of_channels(), IMAGES)
    with serving("-f", path) as server:
        server.wait_for("ready")
        yield server


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    path = manifest(tmp_path_factory.mktemp("rows"), sum_of_columns(), TABLE)
    with serving("-f", path) as server:
        server.wait_for("ready")
        yield server


def photo(kind: str = "JPEG") -> bytes:
    pixels = RANDOM.integers(0, 256, (61, 47, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def reference(file: bytes) -> dict[str, float]:
    """What Pillow, numpy and ONNX Runtime alone make of a file: probabilities by label."""
    with Image.open(io.BytesIO(file)) as image:
        pixels = np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    tensor = (pixels.astype(np.float32) / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    session = ort.InferenceSession(mean_of_channels().SerializeToString())
    [scores] = session.run(None, {"x": tensor.transpose(2, 0, 1)[None].astype(np.float32)})
    grown = np.exp(scores[0] - scores[0].max())
    return dict(zip(CLASSES, (grown / grown.sum()).tolist(), strict=True))


def check(labels: list[str], probabilities: list[float], file: bytes) -> None:
    wanted = reference(file)
    assert labels == sorted(wanted, key=lambda label: -wanted[label])
    assert np.allclose(probabilities, [wanted[label] for label in labels], atol=1e-5)


def ask(url: str, **options: Any) -> Any:
    answer = httpx.post(url, trust_env=False, timeout=30, **options)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_file_is_the_request(images: Serving, kind: str) -> None:
    file = photo(kind)
    head = {"content-type": f"image/{kind.lower()}"}
    found = ask(f"{images.url}/predict", content=file, headers=head)["outputs"]
    check(found["label"][0], found["probability"][0], file)


def test_a_form_with_a_file_is_one_too(images: Serving) -> None:
    file = photo()
    found = ask(f"{images.url}/predict", files={"file": ("x.jpg", file)})["outputs"]
    check(found["label"][0], found["probability"][0], file)


def test_v2_takes_files_as_bytes_and_as_base64(images: Serving) -> None:
    files = [photo(), photo("PNG")]
    words = np.empty(2, object)
    words[:] = files
    raw = b"".join(len(file).to_bytes(4, "little") + file for file in files)
    head = {"name": "image", "datatype": "BYTES", "shape": [2]}
    text = json.dumps({"inputs": [{**head, "parameters": {"binary_data_size": len(raw)}}]}).encode()
    url = f"{images.url}/v2/models/m/infer"
    headers = {"inference-header-content-length": str(len(text))}
    binary = ask(url, content=text + raw, headers=headers)
    data = [base64.b64encode(file).decode() for file in files]
    plain = ask(url, json={"inputs": [{**head, "data": data}]})
    for answer in (binary, plain):
        found = {output["name"]: output["data"] for output in answer["outputs"]}
        for n, file in enumerate(files):
            check(found["label"][3 * n : 3 * n + 3], found["probability"][3 * n : 3 * n + 3], file)


def test_tensorflow_servings_form_takes_files(images: Serving) -> None:
    file = photo()
    row = {"b64": base64.b64encode(file).decode()}
    [found] = ask(f"{images.url}/v1/models/m:predict", json={"instances": [row]})["predictions"]
    check(found["label"], found["probability"], file)


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"no image", "no image"), (photo()[:100], "image"), (b"", "image")],
)
def test_what_is_no_image_is_the_clients_fault(
    images: Serving, content: bytes, expected: str
) -> None:
    url, head = f"{images.url}/predict", {"content-type": "image/jpeg"}
    answer = httpx.post(url, content=content, headers=head, trust_env=False)
    assert (answer.status_code, expected in answer.text) == (400, True), answer.text


def test_the_metadata_says_what_clients_send(images: Serving) -> None:
    found = httpx.get(f"{images.url}/v2/models/m", trust_env=False).json()
    assert found["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    assert [output["name"] for output in found["outputs"]] == ["label", "probability"]


def test_rows_with_gaps_and_categories(rows: Serving) -> None:
    table = [{"age": 20, "port": "C"}, {"age": None, "port": None}, {"age": 1.5, "port": "?"}]
    found = ask(f"{rows.url}/v1/models/m:predict", json={"instances": table})
    assert found["predictions"] == [210.0, 310.0, 15.0]
    by_column = {"age": [20, None, 1.5], "port": ["C", None, "?"]}
    found = ask(f"{rows.url}/predict", json={"inputs": by_column})
    assert found["outputs"]["total"] == [210.0, 310.0, 15.0]
    tensors = [
        {"name": "age", "datatype": "FP32", "shape": [2], "data": [None, 2]},
        {"name": "port", "datatype": "BYTES", "shape": [2], "data": ["Q", None]},
    ]
    found = ask(f"{rows.url}/v2/models/m/infer", json={"inputs": tensors})
    assert found["outputs"][0]["data"] == [310.0, 30.0]


def test_a_column_that_is_not_imputed_has_no_gaps(tmp_path: Path) -> None:
    plain = {"preprocess": [*TABLE["preprocess"][:1], *TABLE["preprocess"][2:]]}
    with serving("-f", manifest(tmp_path, sum_of_columns(), plain)) as server:
        server.wait_for("ready")
        url = f"{server.url}/predict"
        body = {"inputs": {"age": [None], "port": ["C"]}}
        assert httpx.post(url, json=body, trust_env=False).status_code == 400


def test_fetch_makes_one_file_of_both_and_tells_what_clients_send(tmp_path: Path) -> None:
    path = manifest(tmp_path, mean_of_channels(), IMAGES)
    spec = yaml.safe_load(path.read_text("utf-8"))["spec"]
    config = {
        "name": "m", "namespace": "n", "revision": "0123456789", "revisionNumber": 1, **spec,
    }  # fmt: skip
    (tmp_path / "serving.json").write_text(json.dumps(config))
    message = tmp_path / "message"
    ended = runtime(
        "fetch", "--config", tmp_path / "serving.json", "--into", tmp_path / "out",
        "--termination-message", message, "--resolve", "--allow-file",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    told = json.loads(message.read_text())["result"]["signature"]
    assert told["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "model.onnx", ".fused.onnx", "model.json",
    }  # fmt: skip


def test_a_pipeline_goes_with_a_model_of_several_files(tmp_path: Path) -> None:
    """It names its data as before, and so has to lie where the model does."""
    folder, message = tmp_path / "source" / "v1" / "onnx", tmp_path / "message"
    models.with_data(folder)
    pipeline = {"preprocess": [{"scale": {"factor": 2}}], "postprocess": [{"softmax": {}}]}
    document = serving_document("pvc://models/v1/", pipeline=pipeline)
    (tmp_path / "job.json").write_text(json.dumps(document))
    arguments = ("--into", tmp_path / "out", "--source-dir", tmp_path / "source",
                 "--termination-message", message)  # fmt: skip
    ended = runtime("fetch", "--config", tmp_path / "job.json", *arguments, "--resolve")
    assert ended.returncode == 0, ended.stderr
    document["digest"] = json.loads(message.read_text())["result"]["digest"]
    (tmp_path / "serving.json").write_text(json.dumps(document))
    with serving("--config", tmp_path / "serving.json", "--model-dir", tmp_path / "out") as server:
        server.wait_for("ready")
        rows = [[0.5, -1.0, 2.0, 0.25]]
        found = ask(f"{server.url}/v1/models/digits:predict", json={"instances": rows})
    session = ort.InferenceSession(models.affine().SerializeToString())
    [scores] = session.run(None, {"x": 2 * np.array(rows, np.float32)})
    grown = np.exp(scores[0] - scores[0].max())
    assert np.allclose(found["predictions"][0], grown / grown.sum(), atol=1e-6)


def test_a_pipeline_that_does_not_fit_is_terminal_and_named(tmp_path: Path) -> None:
    path = manifest(tmp_path, mean_of_channels(), {"preprocess": [{"cast": {"to": "INT64"}}]})
    ended = runtime("serve", "-f", path)
    assert ended.returncode == 10
    assert "pipeline.preprocess: ends with INT64" in ended.stderr


def test_a_laptop_takes_a_file_in_place_of_the_configmap(tmp_path: Path) -> None:
    """One YAML for a laptop and a cluster, whose ConfigMap `kubectl create` makes of that file."""
    place = {"configMap": {"name": "classes", "key": "labels.txt"}}
    after = [{"softmax": {}}, {"labels": {**place, "topK": 3}}]
    path = manifest(tmp_path, mean_of_channels(), {**IMAGES, "postprocess": after})
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"{name}\n" for name in CLASSES))
    with serving("-f", path, "--labels", labels) as server:
        server.wait_for("ready")
        file = photo()
        head = {"content-type": "image/jpeg"}
        found = ask(f"{server.url}/predict", content=file, headers=head)["outputs"]
        check(found["label"][0], found["probability"][0], file)
    refused = runtime("serve", "-f", path)
    assert refused.returncode == 2
    assert "give the file with --labels FILE" in refused.stderr
