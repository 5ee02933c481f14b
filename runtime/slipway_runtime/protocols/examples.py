"""Requests that a model takes as they stand: zeros of its own names, datatypes and shapes.

Pure. For the API page, `inspect` and the start of `serve`. Free dimensions are 1.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import prod
from typing import Any, Final

from slipway_runtime.inference.datatypes import kind_of
from slipway_runtime.inference.signature import Signature, TensorSpec

MAX_WRITTEN: Final = 4096
"""Elements of a request that is written out; a longer one nobody reads or pastes."""
_PICTURE: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mNgYGAAAAAEAAHI6uv5AAAAAElFTkSuQmCC"
)
"""One black pixel as a PNG, in base64."""
_ZEROS: Final = {"O": "", "b": False, "f": 0.0}


def example_shape(spec: TensorSpec) -> list[int]:
    """The shape of an input, with 1 for what is free."""
    return [1 if size == -1 else size for size in spec.shape]


def elements(signature: Signature) -> int:
    """Elements of a request."""
    return sum(prod(example_shape(spec)) for spec in signature.inputs)


def v2_request(signature: Signature) -> dict[str, Any]:
    """The body of `/v2/models/{m}/infer`."""
    return {"inputs": [_tensor(spec) for spec in signature.inputs]}


def v1_request(signature: Signature) -> dict[str, Any]:
    """The body of `/v1/models/{m}:predict`: by columns, which every model takes."""
    return {"inputs": _by_name(signature)}


def plain_request(signature: Signature) -> dict[str, Any]:
    """The body of `/predict`."""
    return {"inputs": _by_name(signature)}


def curl_commands(signature: Signature, base: str, model: str) -> list[str]:
    """Commands to paste: V2, and the plain form; none where the request is too long to read."""
    if elements(signature) > MAX_WRITTEN:
        return []
    asked = {
        f"{base}/v2/models/{model}/infer": v2_request(signature),
        f"{base}/predict": plain_request(signature),
    }
    return [f"curl -s {url} -d '{_quoted(body)}'" for url, body in asked.items()]


def python_snippet(signature: Signature, base: str, model: str) -> str:
    """The V2 request in Python, without anything to install; for any size."""
    tensors = ", ".join(_source(spec) for spec in signature.inputs)
    return (
        "import json, urllib.request\n"
        f"request = {{'inputs': [{tensors}]}}\n"
        f"url = {f'{base}/v2/models/{model}/infer'!r}\n"
        "answer = urllib.request.urlopen(url, json.dumps(request).encode())\n"
        "print(json.load(answer)['outputs'])"
    )


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    shape = example_shape(spec)
    data = [_zero(spec)] * prod(shape)
    return {"name": spec.name, "datatype": spec.datatype, "shape": shape, "data": data}


def _by_name(signature: Signature) -> dict[str, Any]:
    return {spec.name: _nested(_zero(spec), example_shape(spec)) for spec in signature.inputs}


def _nested(value: Any, shape: Sequence[int]) -> Any:
    for size in reversed(shape):
        value = [value] * size
    return value


def _zero(spec: TensorSpec) -> Any:
    if spec.is_binary:
        return _PICTURE
    return _ZEROS.get(kind_of(spec.datatype), 0)


def _source(spec: TensorSpec) -> str:
    shape = example_shape(spec)
    return (
        f"{{'name': {spec.name!r}, 'datatype': {spec.datatype!r}, 'shape': {shape!r}, "
        f"'data': [{_zero(spec)!r}] * {prod(shape)}}}"
    )


def _quoted(document: Any) -> str:
    """JSON for a shell's single quotes: a quote can stand in a name, and JSON can escape it."""
    return json.dumps(document).replace("'", "\\u0027")
