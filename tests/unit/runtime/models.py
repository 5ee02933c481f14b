"""Small ONNX models, built where they are needed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = Sequence[int | str]

ONNX_TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}


def saved(model: Any, path: Path) -> Path:
    """Write a model and return where."""
    onnx.save(model, str(path))
    return path


def digest(model: Any) -> str:
    """What `saved` writes hashes to this."""
    return f"sha256:{hashlib.sha256(model.SerializeToString()).hexdigest()}"


def tensor(name: str, datatype: str, shape: Shape) -> Any:
    return helper.make_tensor_value_info(name, ONNX_TYPES[datatype], list(shape))


def model_of(
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    weights: Sequence[Any] = (),
    *,
    producer: str = "tests",
) -> Any:
    graph = helper.make_graph(list(nodes), "graph", list(inputs), list(outputs), list(weights))
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
        producer_name=producer,
    )


def affine(columns: int = 4, classes: int = 3) -> Any:
    """`scores = x @ w`, one row per request row."""
    weights = np.arange(columns * classes, dtype=np.float32).reshape(columns, classes) / 7
    return model_of(
        [helper.make_node("MatMul", ["x", "w"], ["scores"])],
        [tensor("x", "FP32", ["batch", columns])],
        [tensor("scores", "FP32", ["batch", classes])],
        [numpy_helper.from_array(weights, "w")],
    )


def identity(*datatypes: str, shape: Shape = ("n",)) -> Any:
    """One input and one output per datatype: `in_FP32` → `out_FP32`."""
    return model_of(
        [helper.make_node("Identity", [f"in_{name}"], [f"out_{name}"]) for name in datatypes],
        [tensor(f"in_{name}", name, shape) for name in datatypes],
        [tensor(f"out_{name}", name, shape) for name in datatypes],
    )


def negating(name: str) -> Any:
    """`y = -x`, two columns; its input is named as asked."""
    return model_of(
        [helper.make_node("Neg", [name], ["y"])],
        [tensor(name, "FP32", ["n", 2])],
        [tensor("y", "FP32", ["n", 2])],
    )


def joined() -> Any:
    """`y = concat(a, b)` along the rows' columns: both batches must be equal."""
    return model_of(
        [helper.make_node("Concat", ["a", "b"], ["y"], axis=1)],
        [tensor("a", "FP32", ["batch", 1]), tensor("b", "FP32", ["batch", 1])],
        [tensor("y", "FP32", ["batch", 2])],
    )


def counting() -> Any:
    """Loop `n` times: an inference that takes as long as its input says."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["still"]),
            helper.make_node("Add", ["total", "one"], ["more"]),
        ],
        "body",
        [tensor("i", "INT64", []), tensor("go_on", "BOOL", []), tensor("total", "INT64", [1])],
        [tensor("still", "BOOL", []), tensor("more", "INT64", [1])],
    )
    return model_of(
        [
            helper.make_node("Squeeze", ["n"], ["trips"]),
            helper.make_node("Loop", ["trips", "yes", "zero"], ["total_out"], body=body),
        ],
        [tensor("n", "INT64", [1])],
        [tensor("total_out", "INT64", [1])],
        [
            numpy_helper.from_array(np.array(True), "yes"),
            numpy_helper.from_array(np.array([0], np.int64), "zero"),
            numpy_helper.from_array(np.array([1], np.int64), "one"),
        ],
    )


def zipmap(*classes: str) -> Any:
    """A classifier as skl2onnx exports it by default: its scores are a sequence of maps."""
    keys: dict[str, Any] = {"classlabels_int64s": [0, 1]}
    if classes:
        keys = {"classlabels_strings": list(classes)}
    scores = helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, len(classes) or 2])
    key = TensorProto.STRING if classes else TensorProto.INT64
    mapped = helper.make_map_type_proto(key, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    output = helper.make_value_info("output_probability", helper.make_sequence_type_proto(mapped))
    node = helper.make_node(
        "ZipMap",
        ["p"],
        ["output_probability"],
        domain="ai.onnx.ml",
        **keys,
    )
    graph = helper.make_graph([node], "graph", [scores], [output])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def sequence() -> Any:
    """Its answer is a list of tensors, which no protocol has."""
    model = model_of(
        [helper.make_node("SequenceConstruct", ["x"], ["y"])], [tensor("x", "FP32", ["n"])], []
    )
    model.graph.output.append(helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None))
    return model


def mapped() -> Any:
    """It is asked with a map from words to numbers, which no protocol has."""
    kind = helper.make_map_type_proto(
        TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    )
    node = helper.make_node(
        "DictVectorizer", ["x"], ["y"], domain="ai.onnx.ml", string_vocabulary=["a", "b"]
    )
    model = model_of([node], [helper.make_value_info("x", kind)], [tensor("y", "FP32", [1, 2])])
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    return model


def with_data(folder: Path, name: str = "model.onnx") -> Path:
    """The affine model, whose weights lie in a file beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    weight = affine().graph.initializer[0]
    (folder / "weights.bin").write_bytes(weight.raw_data)
    return saved(external("weights.bin"), folder / name)


def external(location: str) -> Any:
    """A model whose weights claim to lie in another file."""
    model = affine()
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", location
    return model
