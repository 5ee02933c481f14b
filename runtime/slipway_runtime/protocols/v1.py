"""V1: TensorFlow Serving's and KServe's `POST /v1/models/{m}[/versions/{v}]:predict`.

Pure. Row form (`instances` → `predictions`) and column form (`inputs` → `outputs`). Datatypes come
from the model. Version 0 is the latest: ovmsclient asks for nothing else.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote

import numpy as np
import orjson

from slipway_runtime.errors import InvalidRequest, InvalidTensor, shown
from slipway_runtime.inference.datatypes import Tensor
from slipway_runtime.inference.request import LABEL, InferenceRequest, InferenceResponse
from slipway_runtime.inference.signature import Signature
from slipway_runtime.protocols.asked import Asked
from slipway_runtime.protocols.body import Part
from slipway_runtime.protocols.codec_json import parsed, plain
from slipway_runtime.protocols.dialect import Answer, Identity, Target, decoded_part
from slipway_runtime.protocols.head import Head
from slipway_runtime.protocols.nested import (
    is_base64,
    lone_input,
    named_tensors,
    nested,
    tensor_of,
)
from slipway_runtime.protocols.wire import error_body

LATEST: Final = "0"
"""The version that stands for the one that is served."""
_VERB: Final = ":predict"
_ROUTE: Final = "/v1/models/{model}:predict"
_VERSION_ROUTE: Final = "/v1/models/{model}/versions/{version}:predict"
_LABEL_ROUTE: Final = "/v1/models/{model}/labels/{label}:predict"


class V1:
    """The row and the column form of `:predict`."""

    label: Final = "v1"
    verbs: Final = ("POST",)

    def target(self, raw_path: bytes) -> Target | None:
        """Tell which model a path names."""
        return predict_target(raw_path)

    def route(self, target: Target) -> str:
        """The template of the path."""
        if target.version is None:
            return _ROUTE
        return _LABEL_ROUTE if target.version.startswith("labels/") else _VERSION_ROUTE

    def decode(self, body: Part, head: Head, signature: Signature) -> Asked:
        """Read a request."""
        document = json_object(bytes(body))
        signature_name = document.get("signature_name")
        if signature_name is not None and not isinstance(signature_name, str):
            raise InvalidRequest(f"signature_name: got {shown(signature_name)}, expected a string")
        forms = [key for key in ("instances", "inputs") if document.get(key) is not None]
        if len(forms) != 1:
            raise InvalidRequest(
                f"body: has {' and '.join(forms) or 'neither'}, expected one of instances or inputs"
            )
        is_row_form = forms == ["instances"]
        read = by_rows if is_row_form else by_columns
        tensors = read(document[forms[0]], signature)
        return Asked(InferenceRequest(tensors, signature.outputs), is_row_form=is_row_form)

    def is_file(self, head: Head, signature: Signature) -> bool:
        """V1 knows JSON only."""
        return False

    def encode(self, response: InferenceResponse, asked: Asked, identity: Identity) -> Answer:
        """Write the answer."""
        values = {spec.name: nested(spec.name, tensor) for spec, tensor in response.outputs}
        if not asked.is_row_form:
            outputs = next(iter(values.values())) if len(values) == 1 else values
            return Answer(json_body({"outputs": outputs}))
        return Answer(json_body({"predictions": rows_of(response, values)}))

    def refusal(self, status: int, kind: str, message: str) -> bytes:
        """Write an error."""
        return error_body(message)


def json_body(document: Any) -> bytes:
    """Write JSON; numpy's arrays and numbers among it."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def json_object(body: bytes) -> dict[str, Any]:
    """Parse a body that has to be an object.

    Raises:
        InvalidRequest: it is none.
    """
    document = plain(parsed(body))
    if not isinstance(document, dict):
        raise InvalidRequest(f"body: got {shown(document)}, expected an object")
    return document


def by_rows(instances: Any, signature: Signature) -> dict[str, Tensor]:
    """Read a list of rows; each an object of inputs, or a tensor without the batch dimension.

    Raises:
        InvalidRequest: no list, or rows of different inputs.
    """
    if not isinstance(instances, list) or not instances:
        raise InvalidRequest(f"instances: got {shown(instances)}, expected a list of rows")
    first = instances[0]
    if not isinstance(first, dict) or is_base64(first):
        spec = lone_input(signature, "instances")
        return {spec.name: tensor_of(spec, instances)}
    names = set(first)
    for index, row in enumerate(instances):
        if not isinstance(row, dict) or set(row) != names:
            raise InvalidRequest(
                f"instances[{index}]: got {shown(row)}, expected the keys of instances[0]"
            )
    return named_tensors({name: [row[name] for row in instances] for name in first}, signature)


def by_columns(inputs: Any, signature: Signature) -> dict[str, Tensor]:
    """Read an object of tensors by name, or the tensor of the only input."""
    if isinstance(inputs, dict) and not is_base64(inputs):
        return named_tensors(inputs, signature)
    spec = lone_input(signature, "inputs")
    return {spec.name: tensor_of(spec, inputs)}


def rows_of(response: InferenceResponse, values: dict[str, Any]) -> Any:
    """Turn columns into rows; a lone output is a list of its values.

    Raises:
        InvalidTensor: the outputs have different numbers of rows.
    """
    if len(values) == 1:
        return next(iter(values.values()))
    sizes = {tensor.shape[0] if tensor.ndim else None for _, tensor in response.outputs}
    if len(sizes) != 1 or None in sizes:
        raise InvalidTensor(
            "instances: the model's outputs have no rows in common, use inputs instead"
        )
    columns = {
        name: list(value) if isinstance(value, np.ndarray) else value
        for name, value in values.items()
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def predict_target(raw_path: bytes) -> Target | None:
    """Tell which model a `:predict` path names; None for every other path.

    >>> predict_target(b"/v1/models/m/versions/0%3Apredict")
    Target(model='m', version=None)
    >>> predict_target(b"/v1/models/m/labels/stable:predict")
    Target(model='m', version='labels/stable')
    """
    if not raw_path.startswith(b"/v1/models/"):
        return None
    parts = raw_path.split(b"/")
    last = unquote(parts[-1].decode("latin-1"), errors="replace")
    if len(parts) not in (4, 6) or not last.endswith(_VERB):
        return None
    name = last.removesuffix(_VERB)
    if len(parts) == 4:
        return Target(name)
    if parts[4] not in (b"versions", b"labels"):
        return None
    version = name if parts[4] == b"versions" else f"{LABEL}{name}"
    return Target(decoded_part(parts[3]), None if version == LATEST else version)
