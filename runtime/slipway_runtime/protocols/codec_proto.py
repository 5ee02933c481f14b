"""V2 requests and answers as protocol buffers: gRPC's form.

Pure. Requests hold their tensors all in typed `contents` or all in `raw_input_contents`; answers
are always raw, because tritonclient reads no other. Bytes are scanned before they are parsed: a
message of two-byte fields costs a hundred times its size once it is objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import prod
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError

from slipway_runtime.errors import InvalidRequest, InvalidTensor, RequestTooLarge, shown
from slipway_runtime.inference.datatypes import DTYPES, Tensor
from slipway_runtime.inference.request import InferenceRequest, InferenceResponse
from slipway_runtime.inference.signature import Signature, TensorSpec
from slipway_runtime.protocols.asked import (
    Asked,
    OutputForm,
    output_form,
    outputs_of,
    repeated,
    timeout_of,
)
from slipway_runtime.protocols.codec_binary import decoded_word, read_tensor, write_tensor
from slipway_runtime.protocols.codec_json import MAX_ID_CHARACTERS, MAX_PARAMETERS, MAX_TENSORS
from slipway_runtime.protocols.dialect import Identity
from slipway_runtime.protocols.proto import open_inference_pb2 as pb
from slipway_runtime.protocols.protobuf_scan import fields

_TYPED: Final[Mapping[str, str]] = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""The field of each datatype; FP16 and BF16 have none."""

_PARAMETERS, _INPUTS, _OUTPUTS, _RAW = 4, 5, 6, 7
_CONTENTS: Final = 5
_MAX_PARTS: Final = 8 * MAX_TENSORS
_MAX_FIELDS: Final = 16 + 2 * MAX_PARAMETERS
"""Fields of one tensor: its name, datatype, dimensions and parameters."""


def parse(raw: bytes, *, max_typed_bytes: int) -> pb.ModelInferRequest:
    """Parse a request, once its size as objects is known to be bounded.

    Args:
        raw: the message as it came.
        max_typed_bytes: the most that all typed contents may hold, as for JSON; raw contents are
            bounded by the message.

    Raises:
        InvalidRequest: no such message, or too many parts.
        RequestTooLarge: more in typed contents than allowed.
    """
    try:
        _check_parts(memoryview(raw), max_typed_bytes)
        return pb.ModelInferRequest.FromString(raw)
    except DecodeError as err:
        raise InvalidRequest("message: no valid ModelInferRequest") from err


def decode(message: pb.ModelInferRequest, signature: Signature) -> Asked:
    """Read an inference request.

    Raises:
        InvalidRequest: naming the field, what it holds and what was expected.
    """
    if len(message.id) > MAX_ID_CHARACTERS:
        raise InvalidRequest(
            f"id: {len(message.id)} characters, expected at most {MAX_ID_CHARACTERS}"
        )
    wanted = list(_wanted(message.outputs, signature))
    request = InferenceRequest(
        inputs=_inputs(message, signature),
        outputs=tuple(spec for spec, _ in wanted),
        id=message.id,
    )
    return Asked(
        request,
        tuple(form for _, form in wanted),
        timeout_of(_plain(message.parameters)) if message.parameters else None,
    )


def encode(
    response: InferenceResponse, forms: tuple[OutputForm, ...], identity: Identity
) -> pb.ModelInferResponse:
    """Write an answer; its tensors are raw, in the order of its outputs."""
    answer = pb.ModelInferResponse(
        model_name=identity.model_name,
        model_version=identity.model_version,
        id=response.id or "",
    )
    for output in outputs_of(response, forms):
        answer.outputs.add(name=output.name, datatype=output.datatype, shape=output.tensor.shape)
        answer.raw_output_contents.append(write_tensor(output.tensor))
    return answer


def _check_parts(raw: memoryview, max_typed_bytes: int) -> None:
    counts = {_PARAMETERS: 0, _INPUTS: 0, _OUTPUTS: 0, _RAW: 0}
    typed_bytes = 0
    for count, (field, content) in enumerate(fields(raw)):
        if count >= _MAX_PARTS:
            raise InvalidRequest(f"message: more than {_MAX_PARTS} fields")
        if field not in counts:
            continue
        counts[field] += 1
        if counts[field] > MAX_TENSORS:
            raise InvalidRequest(f"message: more than {MAX_TENSORS} of field {field}")
        if field in (_INPUTS, _OUTPUTS):
            typed_bytes += _typed_bytes(content, is_input=field == _INPUTS)
    if typed_bytes > max_typed_bytes:
        raise RequestTooLarge(
            f"contents: {typed_bytes} bytes of typed data, expected at most {max_typed_bytes}; "
            "send raw_input_contents, or raise serving.maxJSONBytes"
        )


def _typed_bytes(tensor: memoryview, *, is_input: bool) -> int:
    found = 0
    for count, (field, content) in enumerate(fields(tensor)):
        if count >= _MAX_FIELDS:
            raise InvalidRequest(f"message: a tensor of more than {_MAX_FIELDS} fields")
        if is_input and field == _CONTENTS:
            found += len(content)
    return found


def _inputs(message: pb.ModelInferRequest, signature: Signature) -> Mapping[str, Tensor]:
    raw = message.raw_input_contents
    if not message.inputs:
        raise InvalidRequest("inputs: missing, expected a list of tensors")
    if raw:
        _check_entries(len(raw), [tensor.name for tensor in message.inputs])
    tensors: dict[str, Tensor] = {}
    for index, tensor in enumerate(message.inputs):
        spec = signature.input(tensor.name)
        shape = spec.check(tensor.datatype, list(tensor.shape))
        if spec.name in tensors:
            raise repeated("inputs", [spec.name, spec.name])
        if not raw:
            tensors[spec.name] = _typed(spec, tensor, shape)
        elif tensor.HasField("contents"):
            raise InvalidTensor(
                f"input {shown(spec.name)}: has contents beside raw_input_contents, "
                "expected one of them"
            )
        else:
            tensors[spec.name] = read_tensor(spec, raw[index], shape)
    signature.check_complete(tensors)
    return tensors


def _check_entries(entries: int, inputs: list[str]) -> None:
    """Every input has its entry: say which one is where they part."""
    if entries == len(inputs):
        return
    which = (
        f"input {shown(inputs[entries])} has none"
        if entries < len(inputs)
        else f"input {shown(inputs[-1])} is the last"
    )
    raise InvalidRequest(f"raw_input_contents: {entries} entries, expected {len(inputs)}; {which}")


def _typed(spec: TensorSpec, tensor: Any, shape: tuple[int, ...]) -> Tensor:
    field = _TYPED.get(spec.datatype)
    where = f"input {shown(spec.name)}"
    if field is None:
        raise InvalidTensor(f"{where}: {spec.datatype} has no typed contents, expected raw")
    others = [found.name for found, _ in tensor.contents.ListFields() if found.name != field]
    if others:
        raise InvalidTensor(f"{where}: data in {others[0]}, expected {field} for {spec.datatype}")
    values = getattr(tensor.contents, field)
    if len(values) != prod(shape):
        raise InvalidTensor(
            f"{where}: element count of {field} is {len(values)}, expected {prod(shape)} "
            f"for shape {list(shape)}"
        )
    if spec.datatype == "BYTES":
        words = np.empty(len(values), np.object_)
        words[:] = [decoded_word(spec, index, word) for index, word in enumerate(values)]
        return words.reshape(shape)
    return narrowed(where, np.array(values, _WIDE.get(spec.datatype)), spec).reshape(shape)


_WIDE: Final[Mapping[str, type[np.generic]]] = {
    "BOOL": np.bool_,
    "UINT8": np.uint32,
    "UINT16": np.uint32,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int32,
    "INT16": np.int32,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP32": np.float32,
    "FP64": np.float64,
}


def narrowed(where: str, values: Tensor, spec: TensorSpec) -> Tensor:
    """Bring the wide integers of a typed field to their datatype.

    Raises:
        InvalidTensor: one does not fit.
    """
    dtype = DTYPES[spec.datatype]
    if dtype == values.dtype:
        return values
    limits = np.iinfo(dtype)
    wrong = (values < limits.min) | (values > limits.max)
    if wrong.any():
        index = int(wrong.argmax())
        raise InvalidTensor(
            f"{where}: data[{index}] is {values[index]}, expected an integer from {limits.min} "
            f"to {limits.max} for {spec.datatype}"
        )
    return values.astype(dtype)


def _wanted(
    entries: Iterable[Any], signature: Signature
) -> Iterator[tuple[TensorSpec, OutputForm]]:
    seen: set[str] = set()
    for index, entry in enumerate(entries):
        spec = signature.output(entry.name)
        if spec.name in seen:
            raise repeated("outputs", [spec.name, spec.name])
        seen.add(spec.name)
        yield spec, output_form(f"outputs[{index}].parameters", _plain(entry.parameters), False)
    if not seen:
        yield from ((spec, OutputForm()) for spec in signature.outputs)


def _plain(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The values of parameters; one that is not set is none."""
    chosen = {name: value.WhichOneof("parameter_choice") for name, value in parameters.items()}
    return {name: getattr(parameters[name], kind) for name, kind in chosen.items() if kind}
