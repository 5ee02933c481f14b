"""Hard-swish in pieces is served as one, with the same answers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from slipway_runtime.inference.session import Session
from slipway_runtime.onnx_scan import has_hard_swish, is_rewritten
from slipway_runtime.pipeline.hardswish import join
from slipway_runtime.supply.digest import file_digest
from tests.unit.runtime import models
from tests.unit.runtime.processes import infer_body, runtime, serving, serving_document

SHAPE: models.Shape = ["n", 8, 6, 6]
PICTURES = np.random.default_rng(3).normal(0, 4, (2, 8, 6, 6)).astype(np.float32)
Tail = Callable[[], list[Any]]
_node = helper.make_node


def divided_product() -> list[Any]:
    """As PaddleOCR's models have it."""
    return [_node("Mul", ["x", "t"], ["m"]), _node("Div", ["m", "six"], ["y"])]


def scaled_product() -> list[Any]:
    """As Keras's have it."""
    return [_node("Mul", ["t", "x"], ["m"]), _node("Mul", ["m", "sixth"], ["y"])]


def product_of_divided() -> list[Any]:
    """As older PyTorch exports have it; the first node is hard-sigmoid, which comes alone, too."""
    return [_node("Div", ["t", "six"], ["m"]), _node("Mul", ["x", "m"], ["y"])]


def product_of_scaled() -> list[Any]:
    return [_node("Mul", ["sixth", "t"], ["m"]), _node("Mul", ["x", "m"], ["y"])]


TAILS: list[Tail] = [divided_product, scaled_product, product_of_divided, product_of_scaled]


def convolution(
    tail: Tail, *, opset: int = 17, rank: int = 1, numbers: Mapping[str, float] = {}
) -> Any:
    """`y = hardswish(conv(pictures))`, in pieces; `numbers` are other constants."""
    of = {"three": 3.0, "low": 0.0, "high": 6.0, "six": 6.0, "sixth": 1 / 6, **numbers}
    scalars = [
        numpy_helper.from_array(np.full([1] * rank, of[name], np.float32), name)
        for name in ("three", "six", "sixth")
    ]
    bounds = [
        numpy_helper.from_array(np.array(of[name], np.float32), name) for name in ("low", "high")
    ]
    kernel = np.random.default_rng(5).normal(0, 1, (8, 8, 3, 3)).astype(np.float32)
    clip = _node("Clip", ["s", "low", "high"], ["t"])
    if opset < 11:
        clip, bounds = _node("Clip", ["s"], ["t"], min=of["low"], max=of["high"]), []
    model = models.model_of(
        [
            _node("Conv", ["pictures", "kernel"], ["x"], pads=[1, 1, 1, 1]),
            _node("Add", ["x", "three"], ["s"]),
            clip,
            *tail(),
        ],
        [models.tensor("pictures", "FP32", SHAPE)],
        [models.tensor("y", "FP32", SHAPE)],
        [numpy_helper.from_array(kernel, "kernel"), *scalars, *bounds],
    )
    model.opset_import[0].version = opset
    return model


def operators(model: Any) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def predicted(model: Any) -> Any:
    return ort.InferenceSession(model.SerializeToString()).run(None, {"pictures": PICTURES})[0]


@pytest.mark.parametrize("opset", [8, 17])
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("tail", TAILS)
def test_the_answers_stay(tail: Tail, rank: int, opset: int) -> None:
    model = convolution(tail, rank=rank, opset=opset)
    before = predicted(model)
    assert join(model) == 1
    onnx.checker.check_model(model, full_check=True)
    assert operators(model) == {"Conv": 1, "HardSigmoid": 1, "Mul": 1}
    assert np.allclose(predicted(model), before, rtol=1e-6, atol=1e-6)


def test_each_of_many_is_found() -> None:
    model = convolution(divided_product)
    nodes = list(model.graph.node)
    for index in range(3):
        more = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        for node in more:
            node.output[0] += f"{index}"
            node.input[0] = {"pictures": "y", "x": "x0", "m": "m0", "s": "s0"}[node.input[0]]
            for number, name in enumerate(node.input):
                known = {"x0": f"x{index}", "s0": f"s{index}", "m0": f"m{index}", "t": f"t{index}"}
                node.input[number] = known.get(name, name)
        more[0].input[0] = "y" if index == 0 else f"y{index - 1}"
        model.graph.node.extend(more)
    model.graph.output[0].name = "y2"
    before = predicted(model)
    assert join(model) == 4
    assert operators(model) == {"Conv": 4, "HardSigmoid": 4, "Mul": 4}
    assert np.allclose(predicted(model), before, rtol=1e-5, atol=1e-3)


def is_left(model: Any) -> bool:
    before = model.SerializeToString()
    return join(model) == 0 and model.SerializeToString() == before


@pytest.mark.parametrize(
    "numbers", [{"three": 2.5}, {"low": -1.0}, {"high": 5.0}, {"six": 5.0}, {"three": -3.0}]
)
def test_other_numbers_are_something_else(numbers: Mapping[str, float]) -> None:
    assert is_left(convolution(divided_product, numbers=numbers))


@pytest.mark.parametrize("name", ["s", "t", "m"])
@pytest.mark.parametrize("tail", [divided_product, product_of_divided])
def test_what_somebody_else_reads_is_kept(name: str, tail: Tail) -> None:
    read = convolution(tail)
    read.graph.node.append(_node("Identity", [name], ["more"]))
    told = convolution(tail)
    told.graph.output.append(models.tensor(name, "FP32", SHAPE))
    if (tail, name) == (product_of_divided, "m"):
        assert (join(read), join(told)) == (1, 1)  # hard-sigmoid, which is what both want
        assert predicted(read).shape == PICTURES.shape
    else:
        assert is_left(read)
        assert is_left(told)


def test_a_constant_that_adds_dimensions_is_left() -> None:
    assert is_left(convolution(divided_product, rank=5))
    vague = convolution(divided_product)
    vague.graph.node[0].CopyFrom(_node("Identity", ["pictures"], ["x"]))
    assert is_left(vague)


def test_constants_that_a_request_may_change_are_left() -> None:
    model = convolution(divided_product)
    model.graph.input.append(models.tensor("six", "FP32", [1]))
    assert is_left(model)


def test_other_types_are_left() -> None:
    model = convolution(divided_product)
    for tensor in model.graph.initializer:
        wide = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
    assert is_left(model)


def test_a_graph_inside_a_node_may_read_anything() -> None:
    model = convolution(divided_product)
    model.graph.node.extend(models.counting().graph.node)
    assert is_left(model)


def test_before_opset_6_nothing_is_done() -> None:
    assert is_left(convolution(divided_product, opset=5))


@pytest.mark.parametrize("inputs", [[], ["x"], ["x", "three", "six"]])
@pytest.mark.parametrize("index", range(5))
def test_malformed_nodes_are_left(index: int, inputs: list[str]) -> None:
    model = convolution(divided_product)
    node = model.graph.node[index]
    del node.input[:], node.output[1:]
    node.input.extend(inputs)
    assert join(model) in (0, 1)
    del model.graph.node[index].output[:]
    assert join(model) == 0


def test_the_file_tells_whether_to_look(tmp_path: Path) -> None:
    path = models.saved(convolution(divided_product), tmp_path / "m.onnx")
    assert has_hard_swish(path)
    assert [is_rewritten(path, level) for level in ("None", "Basic", "Extended", "All")] == [
        False, False, True, True,
    ]  # fmt: skip
    assert not has_hard_swish(models.saved(models.affine(), path))


def test_weights_in_other_files_are_left_there(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(
        convolution(divided_product), str(path), save_as_external_data=True, size_threshold=64
    )
    assert not has_hard_swish(path)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "models"
    folder.mkdir()
    return models.saved(convolution(divided_product), folder / "net.onnx")


def asked(url: str, name: str) -> Any:
    body = infer_body("pictures", "FP32", list(PICTURES.shape), PICTURES.ravel().tolist())
    answer = httpx.post(f"{url}/v2/models/{name}/infer", json=body, trust_env=False)
    assert answer.status_code == 200, answer.text
    [output] = answer.json()["outputs"]
    return np.array(output["data"], np.float32).reshape(output["shape"])


@pytest.fixture
def served_by(file: Path, tmp_path: Path) -> dict[str, list[str]]:
    """Command lines of a pod, by level; each has got the file that it serves."""
    found = {}
    for level in ("All", "Basic"):
        document = serving_document(file.as_uri(), digest=file_digest(file))
        document["model"]["optimization"] = {"graph": level}
        config, into = tmp_path / f"{level}.json", tmp_path / level
        config.write_text(json.dumps(document))
        done = runtime("fetch", "--config", config, "--into", into, "--allow-file", "--resolve")
        assert done.returncode == 0, done.stderr
        assert (into / "model.onnx").read_bytes() == file.read_bytes()
        found[level] = ["--config", str(config), "--model-dir", str(into)]
    return found


def test_a_pod_serves_it_in_one_piece_unless_told_otherwise(
    served_by: dict[str, list[str]], tmp_path: Path
) -> None:
    rewritten = [sorted(path.name for path in (tmp_path / level).iterdir()) for level in served_by]
    assert len(rewritten[0]) == len(rewritten[1]) + 1
    found = {}
    for level, command in served_by.items():
        with serving(*command) as server:
            server.wait_for("ready")
            found[level] = asked(server.url, "digits")
    assert np.allclose(found["All"], found["Basic"], rtol=1e-5, atol=1e-5)


def test_a_laptop_serves_it(file: Path) -> None:
    with serving(file) as server:
        server.wait_for("ready")
        found, digest = asked(server.url, "net"), server.status()["digest"]
    assert np.allclose(found, predicted(onnx.load(str(file))), rtol=1e-5, atol=1e-5)
    assert digest == file_digest(file)


def test_optimize_saves_it_in_one_piece(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "fast.onnx"
    done = runtime("optimize", file, "-o", out, "--graph", "Extended")
    assert done.returncode == 0, done.stderr
    assert "Clip" not in operators(onnx.load(str(out)))
    assert Session(out, threads=1).signature == Session(file, threads=1).signature
