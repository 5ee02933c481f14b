"""Model files: good ones, and some that nobody can serve."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from demo.model import HeldOut, train

Floats = npt.NDArray[np.float32]
KEY: Final = "model.onnx"
CORRUPT: Final = b"\x08\x0aThese bytes were a model once."


@dataclass(frozen=True, slots=True)
class Digits:
    """The demonstration's classifiers."""

    first: bytes
    second: bytes
    held_out: HeldOut


def digit_models() -> Digits:
    """Train both."""
    return Digits(*train())


def multiplier(factor: float) -> bytes:
    """Make a model that multiplies rows of two numbers."""
    shape: list[str | int | None] = ["rows", 2]
    node = helper.make_node("Mul", ["x", "factor"], ["y"])
    graph = helper.make_graph(
        [node],
        "multiplier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [helper.make_tensor("factor", TensorProto.FLOAT, [1], [factor])],
    )
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def padded(model: bytes, size_bytes: int) -> bytes:
    """Make a model larger, by a text that nobody reads."""
    proto = onnx.ModelProto.FromString(model)
    proto.doc_string = "x" * size_bytes
    data: bytes = proto.SerializeToString()
    return data


def in_two_files(model: bytes) -> dict[str, bytes]:
    """Move a model's numbers into a file of their own."""
    proto = onnx.ModelProto.FromString(model)
    weight = proto.graph.initializer[0]
    numbers = numpy_helper.to_array(weight).tobytes()
    weight.ClearField("float_data")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "numbers.bin"
    return {"model.onnx": proto.SerializeToString(), "numbers.bin": numbers}


def classifier(*, zipmap: bool) -> bytes:
    """Make a classifier; with a ZipMap, as skl2onnx exports by default, it answers in maps."""
    x = np.array([[0.0], [1.0], [2.0], [3.0]], dtype=np.float32)
    model = LogisticRegression().fit(x, [0, 0, 1, 1])
    options = None if zipmap else {id(model): {"zipmap": False}}
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # skl2onnx's own
        proto = to_onnx(model, x[:1], options=options, target_opset=18)
    data: bytes = proto.SerializeToString()
    return data


def with_list() -> bytes:
    """Make a model whose answer is a list of tensors, which no protocol has."""
    node = helper.make_node("SequenceConstruct", ["x"], ["y"])
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows"])
    answer = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "list", [value], [answer])
    opset = [helper.make_opsetid("", 18)]
    data: bytes = helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString()
    return data


def direct(model: bytes, rows: Floats) -> dict[str, Any]:
    """Ask ONNX Runtime itself: the outputs by name."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: rows}), strict=True))


def request(rows: Floats, name: str = "x") -> dict[str, Any]:
    """Write a request of the open inference protocol."""
    tensor = {"name": name, "datatype": "FP32", "shape": list(rows.shape)}
    return {"inputs": [{**tensor, "data": rows.ravel().tolist()}]}
