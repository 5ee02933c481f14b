"""What is asked: each model's input, its request on each wire, and what each wire answers.

Lives here: bodies and answers. Pure; the inputs are random with a fixed seed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from slipway_runtime.protocols.proto import open_inference_pb2 as pb

Wire = Literal["json", "binary", "grpc", "plain"]
"""Of the Open Inference Protocol: JSON, binary tensors, gRPC. `plain` is the naive servers' own."""

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]

MODELS: Final = ("digits", "mlp", "cls", "minilm")
HEADER_LENGTH: Final = "Inference-Header-Content-Length"

_DATATYPES: Final = {"float32": "FP32", "int64": "INT64"}
_DTYPES: Final = {"FP32": "<f4", "INT64": "<i8"}
_DECIMALS: Final = 5


@dataclass(frozen=True, slots=True)
class Workload:
    """One load: a model, a wire, and how many requests are under way at a time."""

    model: str
    wire: Wire
    concurrency: int

    @property
    def name(self) -> str:
        """How records and gates call it, `digits-json-c8`."""
        return f"{self.model}-{self.wire}-c{self.concurrency}"


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request: path, body, headers."""

    path: str
    body: bytes
    headers: Mapping[str, str]


def inputs(model: str) -> dict[str, Array]:
    """One row of input for a model, in decimals that JSON carries without loss."""
    random = np.random.default_rng(7)
    match model:
        case "digits":
            return {"X": random.integers(0, 17, (1, 64)).astype(np.float32)}
        case "mlp":
            return {"x": _uniform(random, (1, 784))}
        case "cls":
            return {"x": _uniform(random, (1, 3, 48, 192))}
        case "minilm":
            ids = random.integers(1000, 20000, (1, 64))
            return {"input_ids": ids, "attention_mask": np.ones((1, 64), np.int64)}
    raise ValueError(f"model: got {model!r}, expected one of {', '.join(MODELS)}")


def _uniform(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.round(random.uniform(-1, 1, shape), _DECIMALS).astype(np.float32)


def request(model: str, wire: Wire) -> Request:
    """The request of a model on a wire; for gRPC the body is the framed message."""
    tensors = inputs(model)
    path = f"/v2/models/{model}/infer"
    as_json = {"Content-Type": "application/json"}
    match wire:
        case "json":
            return Request(path, _json({"inputs": _described(tensors, with_data=True)}), as_json)
        case "binary":
            return _binary(path, tensors)
        case "grpc":
            message = grpc_message(model).SerializeToString()
            frame = b"\0" + len(message).to_bytes(4, "big") + message
            headers = {"content-type": "application/grpc", "te": "trailers"}
            return Request("/inference.GRPCInferenceService/ModelInfer", frame, headers)
        case "plain":
            (array,) = tensors.values()
            rows = {"inputs": [_numbers(row) for row in array.reshape(len(array), -1)]}
            return Request(f"/predict/{model}", _json(rows), as_json)


def grpc_message(model: str) -> pb.ModelInferRequest:
    """The message of a model's gRPC request, with raw contents."""
    message = pb.ModelInferRequest(model_name=model)
    for name, array in inputs(model).items():
        message.inputs.add(name=name, datatype=_DATATYPES[array.dtype.name], shape=array.shape)
        message.raw_input_contents.append(array.tobytes())
    return message


def _binary(path: str, tensors: Tensors) -> Request:
    described = _described(tensors, with_data=False)
    head = _json({"inputs": described, "parameters": {"binary_data_output": True}})
    body = head + b"".join(array.tobytes() for array in tensors.values())
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
    return Request(path, body, headers)


def _described(tensors: Tensors, *, with_data: bool) -> list[dict[str, Any]]:
    described = []
    for name, array in tensors.items():
        tensor: dict[str, Any] = {"name": name, "shape": list(array.shape)}
        tensor["datatype"] = _DATATYPES[array.dtype.name]
        if with_data:
            tensor["data"] = _numbers(array.ravel())
        else:
            tensor["parameters"] = {"binary_data_size": array.nbytes}
        described.append(tensor)
    return described


def _numbers(array: Array) -> list[Any]:
    if array.dtype.kind == "i":
        return [int(number) for number in array]
    return [round(number, _DECIMALS) for number in map(float, array)]


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def answer(wire: Wire, body: bytes, headers: Mapping[str, str]) -> dict[str, Array]:
    """Read the tensors of an answer; they come flat, because servers differ in shapes of labels.

    Args:
        wire: what the request was sent on; not `grpc`, whose message is read by `grpc_answer`.
        body: the answer's body.
        headers: its headers, names in lower case.
    """
    length = headers.get(HEADER_LENGTH.lower())
    if wire == "plain":
        outputs = json.loads(body)["outputs"]
        return {name: np.asarray(rows).ravel() for name, rows in outputs.items()}
    head = json.loads(body[: int(length)] if length else body)
    rest, found = body[int(length) :] if length else b"", {}
    for tensor in head["outputs"]:
        if "data" in tensor:
            found[tensor["name"]] = np.asarray(tensor["data"]).ravel()
        else:
            size = tensor["parameters"]["binary_data_size"]
            found[tensor["name"]] = np.frombuffer(rest[:size], _DTYPES[tensor["datatype"]])
            rest = rest[size:]
    return found


def grpc_answer(message: pb.ModelInferResponse) -> dict[str, Array]:
    """Read the tensors of a gRPC answer, raw or typed; they come flat."""
    found = {}
    for index, tensor in enumerate(message.outputs):
        if message.raw_output_contents:
            raw = message.raw_output_contents[index]
            found[tensor.name] = np.frombuffer(raw, _DTYPES[tensor.datatype])
        else:
            contents, is_float = tensor.contents, tensor.datatype == "FP32"
            typed = list(contents.fp32_contents if is_float else contents.int64_contents)
            found[tensor.name] = np.asarray(typed)
    return found


def difference(found: Tensors, expected: Tensors) -> str | None:
    """Say how an answer differs from ONNX Runtime's own, or None where it is the same.

    Equal means within 1e-4 and 0.1 %: frameworks may compute a batch in another order.
    """
    if set(found) != set(expected):
        return f"outputs: got {sorted(found)}, expected {sorted(expected)}"
    for name, array in expected.items():
        if found[name].size != array.size:
            return f"output {name!r}: got {found[name].size} numbers, expected {array.size}"
        if not np.allclose(found[name], array.ravel(), rtol=1e-3, atol=1e-4):
            worst = float(np.max(np.abs(found[name] - array.ravel())))
            return f"output {name!r}: differs from ONNX Runtime by up to {worst:.3g}"
    return None
