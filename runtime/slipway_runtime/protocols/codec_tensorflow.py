"""TensorFlow Serving's `PredictRequest` and `PredictResponse`.

Pure. Tensors come as `tensor_content`, which is read as raw bytes, or in the typed field of their
datatype; fewer values than the shape holds mean that the last one is repeated. Datatypes have to be
the model's.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError

from slipway_runtime.errors import InvalidRequest, InvalidTensor, RequestTooLarge, shown
from slipway_runtime.inference.datatypes import DTYPES, Tensor
from slipway_runtime.inference.request import LABEL, InferenceRequest, InferenceResponse
from slipway_runtime.inference.signature import Signature, TensorSpec
from slipway_runtime.protocols.asked import Asked, repeated
from slipway_runtime.protocols.codec_binary import decoded_word, read_tensor, write_tensor
from slipway_runtime.protocols.codec_json import MAX_TENSORS
from slipway_runtime.protocols.codec_proto import narrowed
from slipway_runtime.protocols.described_v1 import SIGNATURE_NAME, TF_DATATYPES
from slipway_runtime.protocols.dialect import Identity
from slipway_runtime.protocols.proto import tensorflow_serving_pb2 as tf
from slipway_runtime.protocols.protobuf_scan import fields

_FIELDS: Final[Mapping[str, tuple[str, type[np.generic]]]] = {
    "BOOL": ("bool_val", np.bool_),
    "UINT8": ("int_val", np.int32),
    "UINT16": ("int_val", np.int32),
    "UINT32": ("uint32_val", np.uint32),
    "UINT64": ("uint64_val", np.uint64),
    "INT8": ("int_val", np.int32),
    "INT16": ("int_val", np.int32),
    "INT32": ("int_val", np.int32),
    "INT64": ("int64_val", np.int64),
    "FP16": ("half_val", np.int32),
    "BF16": ("half_val", np.int32),
    "FP32": ("float_val", np.float32),
    "FP64": ("double_val", np.float64),
}
_INPUTS, _VALUE, _CONTENT = 2, 2, 4
_MAX_FIELDS: Final = 256
_MAX_HEAD_FIELDS: Final = 16
"""A tensor's content comes among its first fields; what comes before is small."""


def parse(raw: bytes, *, max_typed_bytes: int) -> tf.PredictRequest:
    """Parse a request, once its size as objects is known to be bounded.

    Raises:
        InvalidRequest: no such message, or too many parts.
        RequestTooLarge: more in typed fields than allowed.
    """
    try:
        _check_parts(memoryview(raw), max_typed_bytes)
        return tf.PredictRequest.FromString(raw)
    except DecodeError as err:
        raise InvalidRequest("message: no valid PredictRequest") from err


def decode(message: tf.PredictRequest, signature: Signature, *, max_typed_bytes: int) -> Asked:
    """Read a request.

    Raises:
        InvalidRequest: naming the input, what it holds and what was expected.
    """
    tensors: dict[str, Tensor] = {}
    for name, proto in message.inputs.items():
        spec = signature.input(name)
        tensors[spec.name] = _tensor(spec, proto, max_typed_bytes)
    signature.check_complete(tensors)
    names = list(message.output_filter)
    if len(set(names)) != len(names):
        raise repeated("output_filter", names)
    outputs = tuple(signature.output(name) for name in names) or signature.outputs
    return Asked(InferenceRequest(tensors, outputs))


def encode(response: InferenceResponse, identity: Identity) -> tf.PredictResponse:
    """Write the answer."""
    answer = tf.PredictResponse()
    answer.model_spec.CopyFrom(spec_of(identity))
    for spec, tensor in response.outputs:
        proto = tf.TensorProto(dtype=TF_DATATYPES[spec.datatype])
        for size in tensor.shape:
            proto.tensor_shape.dim.add(size=size)
        if spec.datatype == "BYTES":
            proto.string_val.extend(str(word).encode() for word in tensor.reshape(-1).tolist())
        else:
            proto.tensor_content = write_tensor(tensor)
        answer.outputs[spec.name].CopyFrom(proto)
    return answer


def spec_of(identity: Identity) -> tf.ModelSpec:
    """Who answers, in TensorFlow's words."""
    spec = tf.ModelSpec(name=identity.model_name, signature_name=SIGNATURE_NAME)
    spec.version.value = int(identity.model_version)
    return spec


def version_of(spec: tf.ModelSpec) -> str | None:
    """The version that is asked for; None for the latest, which 0 means too."""
    if spec.WhichOneof("version_choice") == "version_label":
        return f"{LABEL}{spec.version_label}"
    return str(spec.version.value) if spec.version.value else None


def _check_parts(raw: memoryview, max_typed_bytes: int) -> None:
    typed_bytes = 0
    for count, (number, content) in enumerate(fields(raw)):
        if count >= _MAX_FIELDS:
            raise InvalidRequest(f"message: more than {_MAX_FIELDS} fields")
        if number == _INPUTS:
            typed_bytes += _typed_bytes(content)
    if typed_bytes > max_typed_bytes:
        raise RequestTooLarge(
            f"inputs: {typed_bytes} bytes of typed data, expected at most {max_typed_bytes}; "
            "send tensor_content, or raise serving.maxJSONBytes"
        )


def _typed_bytes(entry: memoryview) -> int:
    found = len(entry)
    for _, (number, content) in zip(range(_MAX_HEAD_FIELDS), fields(entry), strict=False):
        if number == _VALUE:
            for _, (inner, data) in zip(range(_MAX_HEAD_FIELDS), fields(content), strict=False):
                found -= len(data) if inner == _CONTENT else 0
    return found


def _tensor(spec: TensorSpec, proto: Any, max_typed_bytes: int) -> Tensor:
    where = f"input {shown(spec.name)}"
    wanted = TF_DATATYPES[spec.datatype]
    if proto.dtype != tf.DataType.Value(wanted):
        found = (
            tf.DataType.Name(proto.dtype) if proto.dtype in tf.DataType.values() else proto.dtype
        )
        raise InvalidTensor(f"{where}: dtype {shown(found)}, expected {wanted}")
    if len(proto.tensor_shape.dim) > MAX_TENSORS or proto.tensor_shape.unknown_rank:
        raise InvalidTensor(f"{where}: tensor_shape is unknown, expected {list(spec.shape)}")
    shape = spec.check(spec.datatype, [dim.size for dim in proto.tensor_shape.dim])
    if spec.datatype == "BYTES":
        return _words(spec, proto.string_val, shape)
    if proto.tensor_content:
        return read_tensor(spec, proto.tensor_content, shape)
    field, kind = _FIELDS[spec.datatype]
    values = np.array(getattr(proto, field), kind)
    count, expected = values.size, prod(shape)
    repeated_bytes = expected * DTYPES[spec.datatype].itemsize
    if count != expected and not (0 < count < expected and repeated_bytes <= max_typed_bytes):
        raise InvalidTensor(
            f"{where}: element count of {field} is {count}, expected {expected} "
            f"for shape {list(shape)}"
        )
    if field == "half_val":
        values = values.astype(np.uint16).view(DTYPES[spec.datatype])
    else:
        values = narrowed(where, values, spec)
    if count < expected:
        values = np.concatenate([values, np.repeat(values[-1:], expected - count)])
    return values.reshape(shape)


def _words(spec: TensorSpec, values: Any, shape: tuple[int, ...]) -> Tensor:
    if len(values) != prod(shape):
        raise InvalidTensor(
            f"input {shown(spec.name)}: element count of string_val is {len(values)}, "
            f"expected {prod(shape)} for shape {list(shape)}"
        )
    words = np.empty(len(values), np.object_)
    words[:] = [decoded_word(spec, index, word) for index, word in enumerate(values)]
    return words.reshape(shape)
