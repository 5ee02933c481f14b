"""The OpenAPI description of inference, which FastAPI does not see.

Source: Open Inference Protocol, "Inference"; Triton, "Binary Tensor Data Extension"; TensorFlow
Serving, "RESTful API"; datatypes from `inference/datatypes.py`.
"""

from __future__ import annotations

from typing import Any, Final

from slipway_runtime.inference.datatypes import DTYPES

_TENSOR: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": {"type": "string", "enum": list(DTYPES)},
        "parameters": {
            "type": "object",
            "description": "With `binary_data_size` the bytes of the tensor follow the JSON.",
        },
        "data": {"type": "array", "items": {}, "description": "Row-major, nested or flat."},
    },
}
_REQUEST: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "parameters": {"type": "object"},
        "inputs": {"type": "array", "items": _TENSOR},
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "parameters": {"type": "object"}},
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


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _asking(
    summary: str, request: dict[str, Any], response: dict[str, Any], *parameters: str
) -> dict[str, Any]:
    return {
        "post": {
            "summary": summary,
            "parameters": [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in parameters
            ],
            "requestBody": {"required": True, **_content(request)},
            "responses": {
                "200": {"description": "the outputs", **_content(response)},
                **{
                    code: {"description": text, **_content(_ERROR)}
                    for code, text in _ERRORS.items()
                },
            },
        }
    }


_V2: Final = ("Inference", _REQUEST, _RESPONSE)
_V1: Final = (
    "Prediction by rows (`instances`) or by columns (`inputs`)",
    {"type": "object", "properties": {"instances": {"type": "array", "items": {}}, "inputs": {}}},
    {"type": "object", "properties": {"predictions": {}, "outputs": {}}},
)
_PLAIN: Final = (
    "Prediction from nested lists",
    {"oneOf": [{"type": "object"}, {"type": "array", "items": {}}]},
    {"type": "object", "properties": {"prediction": {}, "outputs": {"type": "object"}}},
)
_TORCHSERVE: Final[tuple[str, dict[str, Any], dict[str, Any]]] = (
    "Prediction (TorchServe)",
    _PLAIN[1],
    {},
)

INFER_PATHS: Final[dict[str, Any]] = {
    "/v2/models/{model}/infer": _asking(*_V2, "model"),
    "/v2/models/{model}/versions/{version}/infer": _asking(*_V2, "model", "version"),
    "/v1/models/{model}:predict": _asking(*_V1, "model"),
    "/v1/models/{model}/versions/{version}:predict": _asking(*_V1, "model", "version"),
    "/predict": _asking(*_PLAIN),
    "/v1/predict": _asking(*_PLAIN),
    "/predictions/{model}": _asking(*_TORCHSERVE, "model"),
    "/predictions/{model}/{version}": _asking(*_TORCHSERVE, "model", "version"),
}
