"""gRPC's messages to tensors: what is refused, and that refusing is cheap."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway_runtime.errors import InvalidRequest, RequestTooLarge, ServingError
from slipway_runtime.inference.request import InferenceResponse
from slipway_runtime.inference.signature import Signature, TensorSpec
from slipway_runtime.protocols import codec_proto, codec_tensorflow
from slipway_runtime.protocols.codec_binary import write_tensor
from slipway_runtime.protocols.dialect import Identity
from slipway_runtime.protocols.proto import open_inference_pb2 as pb
from slipway_runtime.protocols.proto import tensorflow_serving_pb2 as tf
from tests.unit.runtime.protocols.calls import request

LIMIT = 1000
OUTPUTS = (TensorSpec("y", "FP32", (-1,)), TensorSpec("z", "FP32", (-1,)))


def taking(*datatypes: str) -> Signature:
    return Signature(tuple(TensorSpec(f"x_{name}", name, (-1,)) for name in datatypes), OUTPUTS)


def typed(datatype: str, values: list[Any], field: str, size: int | None = None) -> Any:
    shape = [len(values) if size is None else size]
    return request(f"x_{datatype}", datatype, shape, contents={field: values})


def refused(message: pb.ModelInferRequest, signature: Signature) -> str:
    with pytest.raises(InvalidRequest) as caught:
        codec_proto.decode(message, signature)
    return str(caught.value)


@pytest.mark.parametrize(
    ("datatype", "field", "values"),
    [
        pytest.param("BOOL", "bool_contents", [True, False], id="BOOL"),
        pytest.param("UINT8", "uint_contents", [0, 255], id="UINT8"),
        pytest.param("INT8", "int_contents", [-128, 127], id="INT8"),
        pytest.param("INT16", "int_contents", [-(2**15), 2**15 - 1], id="INT16"),
        pytest.param("UINT64", "uint64_contents", [2**64 - 1], id="UINT64"),
        pytest.param("INT64", "int64_contents", [2**53 + 1, -(2**63)], id="INT64"),
        pytest.param("FP64", "fp64_contents", [0.1, float("inf")], id="FP64"),
    ],
)
def test_typed_contents_are_read(datatype: str, field: str, values: list[Any]) -> None:
    found = codec_proto.decode(typed(datatype, values, field), taking(datatype))
    assert found.request.inputs[f"x_{datatype}"].tolist() == values


def test_typed_words_are_read() -> None:
    message = typed("BYTES", ["é".encode(), b""], "bytes_contents")
    found = codec_proto.decode(message, taking("BYTES")).request.inputs["x_BYTES"]
    assert found.tolist() == ["é", ""]


@pytest.mark.parametrize(
    ("message", "signature", "expected"),
    [
        pytest.param(
            typed("INT8", [1, 300], "int_contents"),
            taking("INT8"),
            "data[1] is 300, expected an integer from -128 to 127",
            id="out of range",
        ),
        pytest.param(
            typed("UINT8", [1], "int_contents"),
            taking("UINT8"),
            "data in int_contents, expected uint_contents for UINT8",
            id="the wrong field",
        ),
        pytest.param(
            typed("FP16", [1], "fp32_contents"), taking("FP16"), "FP16 has no typed", id="FP16"
        ),
        pytest.param(
            typed("FP32", [1], "fp32_contents", 2), taking("FP32"), "element count", id="too few"
        ),
        pytest.param(
            typed("FP32", [], "fp32_contents", 2**30), taking("FP32"), "element count", id="none"
        ),
        pytest.param(
            typed("BYTES", [b"\xff"], "bytes_contents"), taking("BYTES"), "UTF-8", id="no UTF-8"
        ),
        pytest.param(pb.ModelInferRequest(), taking("FP32"), "inputs: missing", id="no inputs"),
        pytest.param(
            request("x_FP32", "FP32", [1], raw=[b"1234"], contents={"fp32_contents": [1]}),
            taking("FP32"),
            "has contents beside raw_input_contents",
            id="both forms",
        ),
        pytest.param(
            typed("FP32", [1], "fp32_contents"),
            taking("FP32", "INT8"),
            "'x_INT8' missing",
            id="an input missing",
        ),
        pytest.param(
            request("x_FP32", "FP32", [1], raw=[b"1234"], id="x" * 257),
            taking("FP32"),
            "id: 257 characters",
            id="a long id",
        ),
    ],
)
def test_bad_requests_are_told_why(
    message: pb.ModelInferRequest, signature: Signature, expected: str
) -> None:
    assert expected in refused(message, signature)


def test_outputs_are_selected_in_order_and_once() -> None:
    kind = pb.ModelInferRequest.InferRequestedOutputTensor
    message = request("x_FP32", "FP32", [1], raw=[b"1234"], outputs=[kind(name="z")])
    assert codec_proto.decode(message, taking("FP32")).request.outputs == (OUTPUTS[1],)
    message.outputs.add(name="z")
    assert "tensor 'z' occurs twice" in refused(message, taking("FP32"))


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        pytest.param(b"\x2a\x00" * 65, InvalidRequest, id="empty inputs"),
        pytest.param(b"\x3a\x00" * 65, InvalidRequest, id="empty raw contents"),
        pytest.param(b"\x78\x00" * 100_000, InvalidRequest, id="unknown fields"),
        pytest.param(b"\x2a\x90\x03" + b"\x22\x00" * 200, InvalidRequest, id="parameters"),
        pytest.param(b"\xff" * 20, InvalidRequest, id="an endless number"),
        pytest.param(b"\x2a\x05\x00", InvalidRequest, id="a length past the end"),
        pytest.param(b"\x2b", InvalidRequest, id="a group"),
        pytest.param(
            typed("FP32", [0] * 300, "fp32_contents").SerializeToString(),
            RequestTooLarge,
            id="typed data over the limit",
        ),
    ],
)
def test_a_flood_is_refused_before_it_is_parsed(raw: bytes, kind: type[ServingError]) -> None:
    with pytest.raises(kind):
        codec_proto.parse(raw, max_typed_bytes=LIMIT)


def test_raw_contents_are_no_typed_data() -> None:
    raw = request("x_FP32", "FP32", [1000], raw=[bytes(4000)]).SerializeToString()
    assert codec_proto.parse(raw, max_typed_bytes=LIMIT).inputs[0].name == "x_FP32"


@given(st.binary(max_size=60))
def test_no_bytes_do_anything_but_parse_or_be_refused(raw: bytes) -> None:
    for codec in (codec_proto, codec_tensorflow):
        try:
            codec.parse(raw, max_typed_bytes=LIMIT)
        except ServingError:
            continue


# --- TensorFlow Serving


def predict(datatype: str, dtype: str, shape: list[int], **fields: Any) -> tf.PredictRequest:
    proto = tf.TensorProto(dtype=dtype, **fields)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return tf.PredictRequest(inputs={f"x_{datatype}": proto})


def read(message: tf.PredictRequest, *datatypes: str) -> dict[str, Any]:
    parsed = codec_tensorflow.parse(message.SerializeToString(), max_typed_bytes=LIMIT)
    asked = codec_tensorflow.decode(parsed, taking(*datatypes), max_typed_bytes=LIMIT)
    return {name: tensor.tolist() for name, tensor in asked.request.inputs.items()}


@pytest.mark.parametrize(
    ("datatype", "dtype", "fields", "expected"),
    [
        pytest.param(
            "FP32",
            "DT_FLOAT",
            {"tensor_content": np.array([1, 2], np.float32).tobytes()},
            [1, 2],
            id="content",
        ),
        pytest.param("FP32", "DT_FLOAT", {"float_val": [1, 2]}, [1, 2], id="typed"),
        pytest.param("FP32", "DT_FLOAT", {"float_val": [3]}, [3, 3], id="the last one repeated"),
        pytest.param("FP16", "DT_HALF", {"half_val": [0x3C00, 0x4000]}, [1, 2], id="as bits"),
        pytest.param("BF16", "DT_BFLOAT16", {"half_val": [0x3F80, 0x4000]}, [1, 2], id="BF16"),
        pytest.param("UINT8", "DT_UINT8", {"int_val": [0, 255]}, [0, 255], id="small integers"),
        pytest.param("BYTES", "DT_STRING", {"string_val": [b"a", b""]}, ["a", ""], id="words"),
    ],
)
def test_tensorflow_tensors_are_read(
    datatype: str, dtype: str, fields: dict[str, Any], expected: list[Any]
) -> None:
    assert read(predict(datatype, dtype, [2], **fields), datatype) == {f"x_{datatype}": expected}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        pytest.param(predict("FP32", "DT_DOUBLE", [1]), "dtype 'DT_DOUBLE'", id="another dtype"),
        pytest.param(predict("FP32", "DT_FLOAT", [2]), "element count", id="no values"),
        pytest.param(
            predict("FP32", "DT_FLOAT", [2**30], float_val=[1]), "element count", id="a bomb"
        ),
        pytest.param(
            predict("FP32", "DT_FLOAT", [2], tensor_content=b"1234"), "4 bytes", id="short content"
        ),
        pytest.param(predict("FP32", "DT_FLOAT", [-1]), "shape [-1]", id="a free dimension"),
        pytest.param(predict("INT8", "DT_INT8", [1]), "input 'x_INT8': unknown", id="unknown"),
        pytest.param(tf.PredictRequest(), "'x_FP32' missing", id="nothing"),
    ],
)
def test_bad_tensorflow_requests_are_told_why(message: tf.PredictRequest, expected: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(message, "FP32")
    assert expected in str(caught.value)


def test_typed_tensorflow_data_is_bounded_and_content_is_not() -> None:
    with pytest.raises(RequestTooLarge):
        read(predict("FP32", "DT_FLOAT", [300], float_val=[0] * 300), "FP32")
    assert read(predict("FP32", "DT_FLOAT", [300], tensor_content=bytes(1200)), "FP32")


def test_tensorflow_answers_hold_content_or_words() -> None:
    words = np.array(["é"], object)
    response = InferenceResponse(
        ((OUTPUTS[0], np.array([0.5], np.float32)), (TensorSpec("w", "BYTES", (-1,)), words))
    )
    found = codec_tensorflow.encode(response, Identity("m", "7"))
    assert (found.model_spec.name, found.model_spec.version.value) == ("m", 7)
    assert found.outputs["y"].tensor_content == write_tensor(np.array([0.5], np.float32))
    assert list(found.outputs["w"].string_val) == ["é".encode()]
    assert [dim.size for dim in found.outputs["w"].tensor_shape.dim] == [1]
