"""The plain `POST /predict` of tutorials, and TorchServe's `/predictions/{m}`: thin adapters.

Pure. Bodies: `{"inputs": …}`, `{"instances": …}`, `{"data": …}`, `{"input": …}`,
`{"features": …}`, an object of the model's inputs, or a bare list. Values are nested lists, or an
object of them by input; datatypes come from the model. A lone row may stand without its batch.
A file, as it is or in a form, is the request of a model that takes bytes (`upload.py`).
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from slipway_runtime.errors import InvalidRequest, shown
from slipway_runtime.inference.datatypes import Tensor
from slipway_runtime.inference.request import InferenceRequest, InferenceResponse
from slipway_runtime.inference.signature import Signature, TensorSpec
from slipway_runtime.protocols.asked import Asked
from slipway_runtime.protocols.body import Part
from slipway_runtime.protocols.codec_json import parsed, plain
from slipway_runtime.protocols.dialect import Answer, Identity, Target, decoded_part
from slipway_runtime.protocols.head import Head
from slipway_runtime.protocols.nested import is_base64, lone_input, named_tensors, nested, tensor_of
from slipway_runtime.protocols.upload import is_upload, read_upload, takes_uploads
from slipway_runtime.protocols.v1 import by_rows, json_body
from slipway_runtime.protocols.wire import clipped_message, error_body

_UNKNOWN: Final = "application/octet-stream"
_KEYS: Final = ("inputs", "instances", "data", "input", "features")


class Plain:
    """`POST /predict` and `POST /v1/predict`: the server's only model needs no name."""

    label: Final = "predict"
    verbs: Final = ("POST",)

    def target(self, raw_path: bytes) -> Target | None:
        """Tell whether it is one of the two paths."""
        return Target(None) if raw_path in (b"/predict", b"/v1/predict") else None

    def route(self, target: Target) -> str:
        """The shorter of the two paths."""
        return "/predict"

    def decode(self, body: Part, head: Head, signature: Signature) -> Asked:
        """Read a request."""
        tensors = read_any(bytes(body), head.content_type, signature)
        return Asked(InferenceRequest(tensors, signature.outputs))

    def is_file(self, head: Head, signature: Signature) -> bool:
        """Whether the body is a file that the model takes."""
        return is_upload(head.content_type) and takes_uploads(signature)

    def encode(self, response: InferenceResponse, asked: Asked, identity: Identity) -> Answer:
        """Write the answer: the outputs by name, and the first one as the prediction."""
        values = {spec.name: nested(spec.name, tensor) for spec, tensor in response.outputs}
        document = {
            "outputs": values,
            "prediction": next(iter(values.values())),
            "model": identity.model_name,
            "version": identity.model_version,
        }
        return Answer(json_body(document))

    def refusal(self, status: int, kind: str, message: str) -> bytes:
        """Write an error."""
        return error_body(message)


class TorchServe:
    """`POST /predictions/{m}[/{version}]`; `curl -T` sends it as PUT."""

    label: Final = "torchserve"
    verbs: Final = ("POST", "PUT")

    def target(self, raw_path: bytes) -> Target | None:
        """Tell which model a path names."""
        parts = raw_path.split(b"/")
        if parts[:2] != [b"", b"predictions"] or len(parts) not in (3, 4):
            return None
        version = decoded_part(parts[3]) if len(parts) == 4 else None
        return Target(decoded_part(parts[2]), version)

    def route(self, target: Target) -> str:
        """The template of the path."""
        return "/predictions/{model}/{version}" if target.version else "/predictions/{model}"

    def decode(self, body: Part, head: Head, signature: Signature) -> Asked:
        """Read a request."""
        tensors = read_any(bytes(body), head.content_type, signature)
        return Asked(InferenceRequest(tensors, signature.outputs))

    def is_file(self, head: Head, signature: Signature) -> bool:
        """Whether the body is a file that the model takes."""
        return is_upload(head.content_type) and takes_uploads(signature)

    def encode(self, response: InferenceResponse, asked: Asked, identity: Identity) -> Answer:
        """Write the answer: a handler's output, without anything around it."""
        values = {spec.name: nested(spec.name, tensor) for spec, tensor in response.outputs}
        return Answer(json_body(next(iter(values.values())) if len(values) == 1 else values))

    def refusal(self, status: int, kind: str, message: str) -> bytes:
        """Write an error in TorchServe's form, with ours beside it."""
        text = clipped_message(message)
        return orjson.dumps({"error": text, "code": status, "type": kind, "message": text})


def read_any(body: bytes, content_type: str, signature: Signature) -> dict[str, Tensor]:
    """Read a file or JSON: what the head says, else what the first byte says.

    `curl -T` announces nothing; no image begins like JSON.

    Raises:
        InvalidRequest: neither, or it does not fit the model.
    """
    if is_upload(content_type):
        is_json = content_type.lower().startswith(_UNKNOWN) and not takes_uploads(signature)
        if not (is_json and _begins_as_json(body)):
            return read_upload(body, content_type, signature)
    elif not content_type and takes_uploads(signature) and not _begins_as_json(body):
        return read_upload(body, _UNKNOWN, signature)
    return read_plain(body, signature)


def _begins_as_json(body: bytes) -> bool:
    return body[:64].removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[", b"")


def read_plain(body: bytes, signature: Signature) -> dict[str, Tensor]:
    """Read any of the forms.

    Raises:
        InvalidRequest: none of them, or it does not fit the model.
    """
    document = plain(parsed(body))
    if isinstance(document, list):
        return _read("body", document, signature)
    if not isinstance(document, dict):
        raise InvalidRequest(f"body: got {shown(document)}, expected an object or a list")
    names = {spec.name for spec in signature.inputs}
    if names and names <= set(document) and not _wraps(document, names):
        return named_tensors({name: document[name] for name in names}, signature)
    found = [key for key in _KEYS if document.get(key) is not None]
    if len(found) != 1:
        raise InvalidRequest(
            f"body: has {' and '.join(found) or shown(sorted(document))}, "
            f"expected one of {', '.join(_KEYS)}"
        )
    return _read(found[0], document[found[0]], signature)


def _wraps(document: dict[str, Any], names: set[str]) -> bool:
    """Whether the only input has the name of a wrapper, and the body uses it as one."""
    return any(key in names and isinstance(document.get(key), dict) for key in _KEYS)


def _read(where: str, value: Any, signature: Signature) -> dict[str, Tensor]:
    if isinstance(value, dict) and not is_base64(value):
        return named_tensors(value, signature)
    if isinstance(value, list) and value and isinstance(value[0], dict) and not is_base64(value[0]):
        return by_rows(value, signature)
    spec = lone_input(signature, where)
    return {spec.name: tensor_of(spec, _with_batch(spec, value))}


def _with_batch(spec: TensorSpec, value: Any) -> Any:
    """Put a row that came without its batch into one."""
    rank, inner = 0, value
    while isinstance(inner, list) and inner and rank <= len(spec.shape):
        inner, rank = inner[0], rank + 1
    is_row = rank == len(spec.shape) - 1 and spec.shape[0] in (-1, 1)
    return [value] if is_row else value
