"""One tensor, one answer, whatever wire it comes by: ours against ONNX Runtime called directly."""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnxruntime
import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import helper

from slipway_runtime.inference.datatypes import DTYPES
from slipway_runtime.inference.request import InferenceResponse
from slipway_runtime.inference.session import Cancellation, Session
from slipway_runtime.inference.signature import TensorSpec
from slipway_runtime.protocols import codec_json, codec_proto, codec_tensorflow
from slipway_runtime.protocols.asked import Asked
from slipway_runtime.protocols.codec_binary import read_tensor, write_tensor
from slipway_runtime.protocols.described_v1 import TF_DATATYPES
from slipway_runtime.protocols.dialect import Identity
from slipway_runtime.protocols.head import Head
from slipway_runtime.protocols.proto import open_inference_pb2 as pb
from slipway_runtime.protocols.proto import tensorflow_serving_pb2 as tf
from slipway_runtime.protocols.v1 import V1
from tests.unit.runtime import models

Tensors = Mapping[str, np.ndarray]
ME = Identity("m", "7")
COMPUTED = {"Neg": ("FP32", "FP64", "INT32", "INT64"), "Abs": ("FP32", "UINT8", "INT8", "INT64")}
TYPED = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


@dataclass(frozen=True)
class Model:
    """A graph of one or two nodes: `a` → `y`, and `b` → `z` where there is a second."""

    first: tuple[str, str]
    second: tuple[str, str] | None
    rank: int

    @property
    def parts(self) -> list[tuple[str, str, str, str]]:
        names = [("a", "y", *self.first)]
        return names if self.second is None else [*names, ("b", "z", *self.second)]


@cache
def loaded(model: Model) -> tuple[Session, Any]:
    axes = [f"d{axis}" for axis in range(model.rank)]
    graph = models.model_of(
        [helper.make_node(op, [source], [target]) for source, target, op, _ in model.parts],
        [models.tensor(source, name, axes) for source, _, _, name in model.parts],
        [models.tensor(target, name, axes) for _, target, _, name in model.parts],
    )
    with tempfile.TemporaryDirectory() as folder:
        path = models.saved(graph, Path(folder) / "model.onnx")
        session = Session(path, threads=1)
    raw = graph.SerializeToString()
    return session, onnxruntime.InferenceSession(raw, providers=["CPUExecutionProvider"])


def operators() -> st.SearchStrategy[tuple[str, str]]:
    """An operator and a datatype that ONNX Runtime has a kernel for."""
    same = st.tuples(st.just("Identity"), st.sampled_from(sorted(DTYPES)))
    computed = [
        st.tuples(st.just(op), st.sampled_from(datatypes)) for op, datatypes in COMPUTED.items()
    ]
    return same | st.one_of(computed)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Model, dict[str, np.ndarray]]:
    rank = draw(st.integers(0, 3))
    model = Model(draw(operators()), draw(st.none() | operators()), rank)
    assume({name for *_, name in model.parts} != {"BF16", "BYTES"})  # refused at load
    shape = draw(hnp.array_shapes(min_dims=rank, max_dims=rank, min_side=0, max_side=3))
    return model, {source: draw(tensors(name, shape)) for source, _, _, name in model.parts}


def tensors(datatype: str, shape: tuple[int, ...]) -> st.SearchStrategy[np.ndarray]:
    if datatype == "BF16":
        return hnp.arrays(np.uint16, shape).map(lambda bits: bits.view(ml_dtypes.bfloat16))
    if datatype == "BYTES":
        text = st.text(st.characters(codec="utf-8"), max_size=4)
        return hnp.arrays(object, shape, elements=text)
    return hnp.arrays(DTYPES[datatype], shape)


def directly(model: Model, inputs: Tensors) -> dict[str, np.ndarray]:
    """ONNX Runtime's own answer; it gives bfloat16 back unread, and only Identity has any."""
    _, session = loaded(model)
    if any(name == "BF16" for _, _, _, name in model.parts):
        function: dict[str, Callable[..., Any]] = {"Identity": np.copy, "Neg": np.negative}
        return {
            target: function.get(op, np.abs)(inputs[source])
            for source, target, op, _ in model.parts
        }
    names = [target for _, target, _, _ in model.parts]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def answered(model: Model, asked: Asked) -> InferenceResponse:
    session, _ = loaded(model)
    outputs = asked.request.outputs
    results = session.run(asked.request.inputs, [spec.name for spec in outputs], Cancellation())
    return InferenceResponse(tuple(zip(outputs, results, strict=True)))


def spec_of(model: Model, name: str) -> TensorSpec:
    session, _ = loaded(model)
    return session.signature.input(name)


def by_json(model: Model, inputs: Tensors) -> dict[str, np.ndarray]:
    entries = [
        {
            "name": name,
            "datatype": spec_of(model, name).datatype,
            "shape": tensor.shape,
            "data": orjson.Fragment(codec_json.flat_data(tensor)),
        }
        for name, tensor in inputs.items()
    ]
    body = orjson.dumps({"inputs": entries}, option=orjson.OPT_SERIALIZE_NUMPY)
    asked = codec_json.decode(body, loaded(model)[0].signature)
    written = codec_json.encode(
        answered(model, asked), asked.forms, model_name="m", model_version="7"
    )
    return {output["name"]: _from_json(output) for output in json.loads(written.body)["outputs"]}


def _from_json(output: dict[str, Any]) -> np.ndarray:
    dtype, values = DTYPES[output["datatype"]], output["data"]
    if dtype.kind not in "biuO":  # bfloat16 is of no kind that numpy knows
        values = np.array([float(value) for value in values])
        return values.astype(dtype).reshape(output["shape"])
    return np.array(values, dtype).reshape(output["shape"])


def by_binary(model: Model, inputs: Tensors) -> dict[str, np.ndarray]:
    parts = {name: write_tensor(tensor) for name, tensor in inputs.items()}
    entries = [
        {
            "name": name,
            "datatype": spec_of(model, name).datatype,
            "shape": inputs[name].shape,
            "parameters": {"binary_data_size": len(part)},
        }
        for name, part in parts.items()
    ]
    text = json.dumps({"inputs": entries, "parameters": {"binary_data_output": True}}).encode()
    body = text + b"".join(parts.values())
    asked = codec_json.decode(body, loaded(model)[0].signature, len(text))
    written = codec_json.encode(
        answered(model, asked), asked.forms, model_name="m", model_version="7"
    )
    position, found = written.json_bytes or 0, {}
    for output in json.loads(written.body[:position])["outputs"]:
        end = position + output["parameters"]["binary_data_size"]
        raw, shape = written.body[position:end], tuple(output["shape"])
        found[output["name"]] = read_tensor(TensorSpec("y", output["datatype"], ()), raw, shape)
        position = end
    assert position == len(written.body)
    return found


def by_grpc(model: Model, inputs: Tensors, *, raw: bool) -> dict[str, np.ndarray]:
    message = pb.ModelInferRequest(model_name="m")
    for name, tensor in inputs.items():
        datatype = spec_of(model, name).datatype
        entry = message.inputs.add(name=name, datatype=datatype, shape=tensor.shape)
        if raw:
            message.raw_input_contents.append(write_tensor(tensor))
        else:
            values = tensor.reshape(-1).tolist()
            flat = [word.encode() for word in values] if datatype == "BYTES" else values
            getattr(entry.contents, TYPED[datatype]).extend(flat)
    parsed = codec_proto.parse(message.SerializeToString(), max_typed_bytes=2**20)
    asked = codec_proto.decode(parsed, loaded(model)[0].signature)
    answer = codec_proto.encode(answered(model, asked), asked.forms, ME)
    return {
        output.name: read_tensor(TensorSpec("y", output.datatype, ()), content, tuple(output.shape))
        for output, content in zip(answer.outputs, answer.raw_output_contents, strict=True)
    }


def by_tensorflow(model: Model, inputs: Tensors) -> dict[str, np.ndarray]:
    message = tf.PredictRequest()
    for name, tensor in inputs.items():
        proto = message.inputs[name]
        datatype = spec_of(model, name).datatype
        proto.dtype = tf.DataType.Value(TF_DATATYPES[datatype])  # type: ignore[assignment]  # an int is right
        for size in tensor.shape:
            proto.tensor_shape.dim.add(size=size)
        if datatype == "BYTES":
            proto.string_val.extend(word.encode() for word in tensor.reshape(-1).tolist())
        else:
            proto.tensor_content = write_tensor(tensor)
    parsed = codec_tensorflow.parse(message.SerializeToString(), max_typed_bytes=2**20)
    signature = loaded(model)[0].signature
    asked = codec_tensorflow.decode(parsed, signature, max_typed_bytes=2**20)
    answer = codec_tensorflow.encode(answered(model, asked), ME)
    found = {}
    for spec in signature.outputs:
        proto = answer.outputs[spec.name]
        shape = tuple(dim.size for dim in proto.tensor_shape.dim)
        if spec.datatype == "BYTES":
            words = np.empty(len(proto.string_val), object)
            words[:] = [word.decode() for word in proto.string_val]
            found[spec.name] = words.reshape(shape)
        else:
            found[spec.name] = read_tensor(spec, proto.tensor_content, shape)
    return found


def same(found: Tensors, expected: Tensors, *, bits: bool) -> None:
    """Bit for bit where the wire has bits; else by value, one NaN being like another."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        if tensor.dtype.kind == "O":
            assert found[name].tolist() == tensor.tolist()
        elif bits:
            assert found[name].tobytes() == tensor.tobytes()
        else:
            kind = np.dtype(np.float64) if tensor.dtype == DTYPES["BF16"] else tensor.dtype
            with np.errstate(invalid="ignore"):  # a NaN may be one that signals
                here, there = found[name].astype(kind), tensor.astype(kind)
            np.testing.assert_array_equal(here, there)
            if kind.kind == "f":
                assert (np.signbit(here) == np.signbit(there))[~np.isnan(there)].all()


@settings(max_examples=150)
@given(cases())
def test_all_wires_answer_what_onnxruntime_computes(
    case: tuple[Model, dict[str, np.ndarray]],
) -> None:
    model, inputs = case
    expected = directly(model, inputs)
    same(by_binary(model, inputs), expected, bits=True)
    same(by_grpc(model, inputs, raw=True), expected, bits=True)
    same(by_tensorflow(model, inputs), expected, bits=True)
    same(by_json(model, inputs), expected, bits=False)
    if all(name in TYPED for _, _, _, name in model.parts):
        # A NaN may change its payload where a wire makes a float of a float.
        same(by_grpc(model, inputs, raw=False), expected, bits=False)


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.just(4)),
        elements=st.floats(-1e6, 1e6, width=32),
    )
)
def test_v1_answers_the_same_by_rows_and_by_columns(rows: np.ndarray) -> None:
    graph = models.affine().SerializeToString()
    direct = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    [expected] = direct.run(None, {"x": rows})
    with tempfile.TemporaryDirectory() as folder:
        session = Session(models.saved(models.affine(), Path(folder) / "m.onnx"), threads=1)
    for key, answer_key in (("instances", "predictions"), ("inputs", "outputs")):
        asked = V1().decode(json.dumps({key: rows.tolist()}).encode(), Head(), session.signature)
        results = session.run(asked.request.inputs, ["scores"], Cancellation())
        response = InferenceResponse(((session.signature.outputs[0], results[0]),))
        found = json.loads(V1().encode(response, asked, ME).body)[answer_key]
        np.testing.assert_array_equal(np.array(found, np.float32), expected)


@pytest.mark.parametrize("datatype", sorted(DTYPES))
def test_every_datatype_has_a_session(datatype: str) -> None:
    model = Model(("Identity", datatype), None, 1)
    values = {"BYTES": ["é", ""], "BOOL": [True, False]}.get(datatype, [0, 1])
    tensor = np.array(values, DTYPES[datatype])
    same(by_binary(model, {"a": tensor}), {"y": tensor}, bits=True)
