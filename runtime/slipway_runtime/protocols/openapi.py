"""The OpenAPI description of inference, which FastAPI does not see.

Source: Open Inference Protocol, "Inference"; datatypes from `inference/datatypes.py`.
"""

from __future__ import annotations

from typing import Any, Final

from slipway_runtime.inference.datatypes import DTYPES

_TENSOR: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["name", "shape", "datatype", "data"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": {"type": "string", "enum": list(DTYPES)},
        "parameters": {"type": "object"},
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
                "properties": {"name": {"type": "string"}},
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
    "415": "the body is compressed",
    "429": "more is waiting than may wait",
    "500": "the model could not compute an answer",
    "503": "loading or draining",
    "504": "no answer within the request timeout",
}


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _infer(*parameters: str) -> dict[str, Any]:
    return {
        "post": {
            "summary": "Inference",
            "parameters": [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in parameters
            ],
            "requestBody": {"required": True, **_content(_REQUEST)},
            "responses": {
                "200": {"description": "the outputs", **_content(_RESPONSE)},
                **{
                    code: {"description": text, **_content(_ERROR)}
                    for code, text in _ERRORS.items()
                },
            },
        }
    }


INFER_PATHS: Final[dict[str, Any]] = {
    "/v2/models/{model}/infer": _infer("model"),
    "/v2/models/{model}/versions/{version}/infer": _infer("model", "version"),
}
