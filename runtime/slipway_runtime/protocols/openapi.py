"""The OpenAPI description: inference, of the model served, every other path, and refusals.

Pure. While nothing is loaded it describes any model. Every request has an example that can be sent.

Source: Open Inference Protocol, "Inference"; Triton, "Binary Tensor Data Extension"; TensorFlow
Serving, "RESTful API"; datatypes from `inference/datatypes.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from slipway_runtime.inference.datatypes import DTYPES, kind_of
from slipway_runtime.inference.signature import Signature, TensorSpec
from slipway_runtime.protocols.examples import (
    MAX_WRITTEN,
    elements,
    plain_request,
    v1_request,
    v2_request,
)
from slipway_runtime.protocols.predict import TorchServe
from slipway_runtime.protocols.routes import Told

OPENAPI_VERSION: Final = "3.1.0"

_TENSOR: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": {"type": "string", "enum": list(DTYPES)},
        "parameters": {
            "type": ["object", "null"],
            "description": "With `binary_data_size` the bytes of the tensor follow the JSON.",
        },
        "data": {"type": "array", "items": {}, "description": "Row-major, nested or flat."},
    },
}
_REQUEST: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        # Generated clients write null for what is left out.
        "id": {"type": ["string", "null"]},
        "parameters": {"type": ["object", "null"]},
        "inputs": {"type": "array", "items": _TENSOR},
        "outputs": {
            "type": ["array", "null"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string"},
                    "parameters": {"type": ["object", "null"]},
                },
            },
        },
    },
}
_RESPONSE: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["model_name", "model_version", "outputs"],
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string", "description": "The number of the revision."},
        "id": {"type": "string"},
        "outputs": {"type": "array", "items": _TENSOR},
    },
}
_ERROR: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string"}},
}
_ERRORS: Final = {
    "400": "the request breaks a rule of the protocol or the model's signature",
    "404": "unknown model or version",
    "408": "the body did not arrive in time",
    "413": "the body is over the limit",
    "415": "the body is compressed in a way that is not read",
    "429": "more is waiting than may wait",
    "500": "the model could not compute an answer",
    "503": "loading or draining",
    "504": "no answer within the request timeout",
}


_V1: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"instances": {"type": ["array", "null"], "items": {}}, "inputs": {}},
}
_PLAIN: Final[dict[str, Any]] = {"oneOf": [{"type": "object"}, {"type": "array", "items": {}}]}
_PREDICTIONS: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"predictions": {}, "outputs": {}},
}
_PREDICTION: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"prediction": {}, "outputs": {"type": "object"}},
}
_JSON: Final = "application/json"
_UNHEALTHY: Final = {"500": {"description": "loading or draining"}}
_ANSWERED: Final = {"description": "the answer", "content": {_JSON: {"schema": {}}}}
_PARAMETER: Final = re.compile(r"{(\w+)}")
_NO_WORD: Final = re.compile(r"\W")


def infer_paths(name: str, version: str, signature: Signature | None) -> dict[str, dict[str, Any]]:
    """Every path that answers inferences.

    Args:
        name: of the model, the only one there is.
        version: the same.
        signature: what it takes and gives; None while nothing is loaded.
    """
    asked = _Asked(name, version, signature)
    v2 = asked.operation("Inference", _v2_schema(signature), _answer_schema(signature), v2_request)
    v1 = asked.operation(
        "Prediction by rows (`instances`) or by columns (`inputs`)", _V1, _PREDICTIONS, v1_request
    )
    plain = asked.operation("Prediction from nested lists", _PLAIN, _PREDICTION, plain_request)
    torchserve = asked.operation("Prediction (TorchServe)", _PLAIN, {}, plain_request)
    return {
        "/v2/models/{model}/infer": asked.at(v2, "model"),
        "/v2/models/{model}/versions/{version}/infer": asked.at(v2, "model", "version"),
        "/v1/models/{model}:predict": asked.at(v1, "model"),
        "/v1/models/{model}/versions/{version}:predict": asked.at(v1, "model", "version"),
        "/predict": asked.at(plain),
        "/v1/predict": asked.at(plain),
        "/predictions/{model}": asked.at(torchserve, "model", verbs=TorchServe.verbs),
        "/predictions/{model}/{version}": asked.at(
            torchserve, "model", "version", verbs=TorchServe.verbs
        ),
    }


def other_paths(told: Iterable[Told], values: Mapping[str, str]) -> dict[str, Any]:
    """Other paths of the same server: the only value of each of their parameters, and refusals."""
    paths: dict[str, Any] = {}
    for each in told:
        paths.setdefault(each.path, {})[each.verb] = _other(each, values)
    return paths


def _other(told: Told, values: Mapping[str, str]) -> dict[str, Any]:
    parameters = [_parameter(name, values) for name in _PARAMETER.findall(told.path)]
    unhealthy = _UNHEALTHY if told.path == "/ping" else {}
    return {
        "summary": told.summary,
        "operationId": _NO_WORD.sub("_", f"{told.operation}_{told.verb}"),
        **({"parameters": parameters} if parameters else {}),
        "responses": {
            "200": _ANSWERED,
            **_refusals(_refusal_codes(told.path, told.verb)),
            **unhealthy,
        },
    }


def _refusal_codes(path: str, verb: str) -> Iterator[str]:
    if verb == "post":
        yield from ("400", "408", "413")
    if "{model}" in path:
        yield "404"
    if "{model}" in path or path.endswith("/ready"):
        yield "503"


def _refusals(codes: Iterable[str]) -> dict[str, Any]:
    return {
        code: {"description": _ERRORS[code], "content": {_JSON: {"schema": _ERROR}}}
        for code in codes
    }


def _parameter(name: str, values: Mapping[str, str]) -> dict[str, Any]:
    schema = {"type": "string", **({"enum": [values[name]]} if name in values else {})}
    return {"name": name, "in": "path", "required": True, "schema": schema}


class _Asked:
    """Writes the operations of one model."""

    def __init__(self, name: str, version: str, signature: Signature | None) -> None:
        self._values: Final = {"model": name, "version": version}
        self._signature: Final = signature

    def operation(
        self,
        summary: str,
        request: dict[str, Any],
        response: dict[str, Any],
        example: Callable[[Signature], dict[str, Any]],
    ) -> dict[str, Any]:
        """One POST, without its parameters."""
        body = {"schema": request}
        if self._signature and elements(self._signature) <= MAX_WRITTEN:
            body["example"] = example(self._signature)
        answer = {"description": "the outputs", "content": {_JSON: {"schema": response}}}
        return {
            "summary": summary,
            "requestBody": {"required": True, "content": {_JSON: body}},
            "responses": {"200": answer, **_refusals(_ERRORS)},
        }

    def at(
        self, operation: dict[str, Any], *parameters: str, verbs: Iterable[str] = ("POST",)
    ) -> dict[str, Any]:
        """An operation under a path with these parameters; each has one value."""
        named = [_parameter(name, self._values) for name in parameters]
        whole = {**operation, **({"parameters": named} if named else {})}
        return {verb.lower(): whole for verb in verbs}


def _v2_schema(signature: Signature | None) -> dict[str, Any]:
    if signature is None:
        return _REQUEST
    tensors = [_tensor_schema(spec) for spec in signature.inputs]
    count = len(tensors)
    inputs = {"type": "array", "minItems": count, "maxItems": count}
    if tensors:
        inputs["items"] = {"oneOf": tensors} if count > 1 else tensors[0]
    names = [spec.name for spec in signature.outputs]
    wanted = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"enum": names}, "parameters": {"type": ["object", "null"]}},
    }
    properties = {**_REQUEST["properties"], "inputs": inputs}
    properties["outputs"] = {"type": ["array", "null"], "items": wanted, "maxItems": len(names)}
    return {**_REQUEST, "properties": properties}


def _answer_schema(signature: Signature | None) -> dict[str, Any]:
    if signature is None:
        return _RESPONSE
    # Asked for as a ranking of classes, an output comes as BYTES: its datatype is not promised.
    names = {"name": {"enum": [spec.name for spec in signature.outputs]}}
    tensor = {**_TENSOR, "properties": {**_TENSOR["properties"], **names}}
    properties = {**_RESPONSE["properties"], "outputs": {"type": "array", "items": tensor}}
    return {**_RESPONSE, "properties": properties}


def _tensor_schema(spec: TensorSpec) -> dict[str, Any]:
    shape: dict[str, Any] = {"type": "array", "items": {"type": "integer", "minimum": 0}}
    if spec.shape:
        sizes = [{"minimum": 0} if size == -1 else {"const": size} for size in spec.shape]
        shape["prefixItems"] = [{"type": "integer", **size} for size in sizes]
        shape["minItems"] = shape["maxItems"] = len(spec.shape)
    element: dict[str, Any] = _ELEMENTS.get(kind_of(spec.datatype), {"type": "integer"})
    data = {
        "type": "array",
        "items": {"anyOf": [element, {"type": "array"}]},
        "description": f"{spec.datatype}, row-major, nested or flat.",
    }
    fixed = {"name": {"const": spec.name}, "datatype": {"const": spec.datatype}}
    properties = {**_TENSOR["properties"], **fixed, "shape": shape, "data": data}
    return {**_TENSOR, "properties": properties}


_ELEMENTS: Final[dict[str, dict[str, Any]]] = {
    "O": {"type": "string"},
    "b": {"type": "boolean"},
    "f": {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]},
}
