"""Model files that are broken, hostile, or just not for us."""

import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from slipway_runtime.errors import InvalidModel, SupplyError, Unsupported
from slipway_runtime.supply.validate import inspected, outcome, validated
from tests.unit.runtime import models


def test_a_good_model_is_described(affine_model: Path) -> None:
    signature, framework = validated(affine_model, timeout_s=60)
    assert framework == "tests"
    assert signature.model_dump(exclude_none=True) == {
        "inputs": ({"name": "x", "datatype": "FP32", "shape": (-1, 4)},),
        "outputs": ({"name": "scores", "datatype": "FP32", "shape": (-1, 3)},),
    }


def refused(kind: type[SupplyError], folder: Path, content: Any) -> str:
    path = folder / "model.onnx"
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    with pytest.raises(kind) as caught:
        inspected(path)
    assert str(folder) not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"", "the file is empty", id="empty"),
        pytest.param(b"garbage" * 1000, "it cannot be parsed", id="garbage"),
        pytest.param(
            b"<html>Sign in</html>", "it looks like an HTML or XML document", id="a web page"
        ),
        pytest.param(
            b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer", id="LFS"
        ),
        pytest.param(models.affine().SerializeToString()[:-20], "model: ", id="truncated"),
    ],
)
def test_what_is_no_model_is_invalid(tmp_path: Path, content: bytes, expected: str) -> None:
    assert expected in refused(InvalidModel, tmp_path, content)


@pytest.mark.parametrize(
    ("location", "kind", "expected"),
    [
        ("../secret", InvalidModel, "outside of its folder"),
        ("a/../../secret", InvalidModel, "outside of its folder"),
        ("/dev/zero", InvalidModel, "outside of its folder"),
        ("/proc/self/environ", InvalidModel, "outside of its folder"),
        (".hidden", InvalidModel, "outside of its folder"),
        ("*/_ORT_MEM_ADDR_/*", InvalidModel, "where no file can be"),
        ("a\\secret", InvalidModel, "where no file can be"),
        ("weights.bin", Unsupported, "in a file that is not beside the model"),
        ("x" * 5000, Unsupported, "in a file that is not beside the model"),
    ],
)
def test_data_that_is_not_beside_the_model_is_never_read(
    tmp_path: Path, location: str, kind: type[SupplyError], expected: str
) -> None:
    text = refused(kind, tmp_path, models.external(location))
    assert text.startswith(f"model: tensor 'w' keeps its data {expected}")
    assert location not in text


def test_c12_data_beside_the_model_is_loaded(tmp_path: Path) -> None:
    path = models.with_data(tmp_path)
    signature, _ = validated(path, timeout_s=60)
    assert [tensor.name for tensor in signature.inputs] == ["x"]


def test_data_in_other_files_is_found_inside_subgraphs(tmp_path: Path) -> None:
    branch = models.external("../secret").graph
    model = models.model_of(
        [helper.make_node("If", ["go"], ["y"], then_branch=branch, else_branch=branch)],
        [models.tensor("go", "BOOL", [])],
        [models.tensor("y", "FP32", ["n", 3])],
    )
    assert "outside of its folder" in refused(InvalidModel, tmp_path, model)


def huge() -> Any:
    model = models.affine()
    model.graph.initializer[0].dims[:] = [2**31, 2**31]
    return model


def newer() -> Any:
    model = models.affine()
    model.opset_import[0].version = 99
    return model


def unknown_operator() -> Any:
    model = models.affine()
    model.graph.node[0].op_type = "Teleport"
    return model


def without_outputs() -> Any:
    model = models.affine()
    del model.graph.output[:]
    return model


def cyclic() -> Any:
    model = models.affine()
    model.graph.node.append(helper.make_node("Identity", ["scores"], ["w"]))
    return model


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(huge(), id="weights of 2**62 elements in 48 bytes"),
        pytest.param(newer(), id="an opset of the future"),
        pytest.param(unknown_operator(), id="an unknown operator"),
        pytest.param(without_outputs(), id="no outputs"),
        pytest.param(cyclic(), id="a graph that is no graph"),
    ],
)
def test_models_that_break_the_rules_are_invalid(tmp_path: Path, model: Any) -> None:
    assert refused(InvalidModel, tmp_path, model).startswith("model: ")


def test_a_bomb_that_goes_off_at_run_time_is_found_by_the_warm_up(tmp_path: Path) -> None:
    shape = numpy_helper.from_array(np.array([2**20, 2**20], np.int64), "shape")
    bomb = models.model_of(
        [
            helper.make_node("Expand", ["x", "shape"], ["big"]),
            helper.make_node("ReduceSum", ["big"], ["y"], keepdims=0),
        ],
        [models.tensor("x", "FP32", [1])],
        [models.tensor("y", "FP32", [])],
        [shape],
    )
    path = models.saved(bomb, tmp_path / "model.onnx")
    with pytest.raises(InvalidModel, match="warm-up on zeros failed"):
        validated(path, timeout_s=60)


def test_a_zipmap_is_looked_through(tmp_path: Path) -> None:
    path = models.saved(models.zipmap(), tmp_path / "model.onnx")
    signature, _ = validated(path, timeout_s=60)
    assert [(o.name, o.datatype, o.shape) for o in signature.outputs] == [
        ("output_probability", "FP32", (-1, 2))
    ]


def test_a_list_of_tensors_is_refused(tmp_path: Path) -> None:
    path = models.saved(models.sequence(), tmp_path / "model.onnx")
    with pytest.raises(Unsupported, match=r"output 'y' is seq\(tensor\(float\)\), expected"):
        validated(path, timeout_s=60)


def test_a_datatype_that_no_wire_carries_is_refused(tmp_path: Path) -> None:
    model = models.identity("FP32")
    model.opset_import[0].version, model.ir_version = 21, 10
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT8E4M3FN
    assert "tensor(float8e4m3fn)" in refused(Unsupported, tmp_path, model)


def test_bfloat16_beside_words_is_refused(tmp_path: Path) -> None:
    model = models.identity("BF16", "BYTES")
    assert "bfloat16 and of strings" in refused(Unsupported, tmp_path, model)


def test_a_model_that_never_ends_is_stopped(tmp_path: Path) -> None:
    model = models.counting()
    forever = numpy_helper.from_array(np.array(10**12, np.int64), "forever")
    model.graph.initializer.append(forever)
    model.graph.node[1].input[0] = "forever"
    path = models.saved(model, tmp_path / "model.onnx")
    with pytest.raises(InvalidModel, match="not checked, loaded and run once within 3s"):
        validated(path, timeout_s=3)


def test_a_model_that_kills_its_reader_is_invalid() -> None:
    done = subprocess.CompletedProcess([], -signal.SIGSEGV, b"", b"")
    with pytest.raises(InvalidModel, match="ended in SIGSEGV"):
        outcome(done)


def test_a_reader_that_says_nothing_has_found_no_model() -> None:
    done = subprocess.CompletedProcess([], 1, b"", b"Traceback")
    with pytest.raises(InvalidModel, match="ended with exit code 1 and no result"):
        outcome(done)


def test_zero_may_be_a_number_that_a_model_cannot_take(tmp_path: Path) -> None:
    dividing = models.model_of(
        [helper.make_node("Div", ["one", "x"], ["y"])],
        [models.tensor("x", "INT32", [1])],
        [models.tensor("y", "INT32", [1])],
        [numpy_helper.from_array(np.array([1], np.int32), "one")],
    )
    path = models.saved(dividing, tmp_path / "model.onnx")
    assert validated(path, timeout_s=60)[0].inputs[0].name == "x"
