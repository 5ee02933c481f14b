"""Tensors as nested lists without names, shapes or datatypes: they follow from the model.

Pure. What V1, TorchServe and the plain `/predict` have in common. `{"b64": "…"}` stands for the
bytes of one element where the model takes text.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from slipway_runtime.errors import InvalidRequest, InvalidTensor, shown
from slipway_runtime.inference.datatypes import DTYPES, Tensor
from slipway_runtime.inference.signature import Signature, TensorSpec
from slipway_runtime.protocols.codec_binary import decoded_word
from slipway_runtime.protocols.codec_json import number_or_word
from slipway_runtime.protocols.json_data import exact_tensor, filled

_MAX_RANK: Final = 16


def tensor_of(spec: TensorSpec, value: Any) -> Tensor:
    """Read one nested value as the tensor of an input.

    Raises:
        InvalidTensor: ragged, of another shape, or an element that does not fit.
    """
    shape = _shape(spec.name, value)
    # An empty list has no deeper shape to show; the model's own dimensions fill it.
    if 0 in shape and len(shape) < len(spec.shape):
        shape = [*shape, *(max(size, 0) for size in spec.shape[len(shape) :])]
    checked = spec.check(spec.datatype, shape)
    flat = value if isinstance(value, list) else [value]
    if spec.datatype == "BYTES":
        flat = list(_decoded(spec, flat))
    return exact_tensor(spec.name, filled(spec, flat), spec.datatype, checked)


def named_tensors(values: dict[str, Any], signature: Signature) -> dict[str, Tensor]:
    """Read an object of inputs by name.

    Raises:
        InvalidTensor: one is unknown or missing, or does not fit.
    """
    tensors = {}
    for name, value in values.items():
        spec = signature.input(name)
        tensors[spec.name] = tensor_of(spec, value)
    signature.check_complete(tensors)
    return tensors


def lone_input(signature: Signature, where: str) -> TensorSpec:
    """The only input of a model.

    Raises:
        InvalidRequest: it has none or several.
    """
    if len(signature.inputs) != 1:
        names = ", ".join(shown(spec.name) for spec in signature.inputs)
        raise InvalidRequest(
            f"{where}: the model has {len(signature.inputs)} inputs, expected an object of {names}"
        )
    return signature.inputs[0]


def is_base64(value: Any) -> bool:
    """Whether an object is one element and not a set of inputs."""
    return isinstance(value, dict) and set(value) == {"b64"}


def nested(name: str, tensor: Tensor) -> Any:
    """A tensor as nested lists; floats without a JSON number as words.

    An output whose name ends in `_bytes` is written in base64, as TensorFlow Serving does.
    """
    if tensor.dtype.kind == "O" and name.endswith("_bytes"):
        return _mapped(tensor.tolist(), _encoded)
    if tensor.dtype == DTYPES["BF16"]:
        tensor = tensor.astype(np.float32)
    if tensor.dtype.kind != "f":
        return tensor.tolist()
    # float64 of a float32 has digits that mean nothing: orjson writes numpy's own scalars short.
    if np.isfinite(tensor).all():
        short = tensor if tensor.dtype.itemsize > 2 else tensor.astype(np.float32)
        return np.ascontiguousarray(short) if short.ndim else short[()]
    return _mapped(tensor.tolist(), number_or_word)


def _mapped(value: Any, change: Any) -> Any:
    return [_mapped(item, change) for item in value] if isinstance(value, list) else change(value)


def _encoded(word: str) -> dict[str, str]:
    return {"b64": base64.b64encode(word.encode()).decode()}


def _shape(name: str, value: Any) -> list[int]:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if len(shape) > _MAX_RANK:
            raise InvalidTensor(f"input {shown(name)}: nested deeper than {_MAX_RANK}")
        if not value:
            break
        value = value[0]
    return shape


def _decoded(spec: TensorSpec, values: Sequence[Any]) -> Iterator[Any]:
    for index, value in enumerate(values):
        if isinstance(value, list):
            yield list(_decoded(spec, value))
        elif is_base64(value) and spec.is_binary:
            yield value["b64"]  # as it stands: it is decoded where the file is read
        elif is_base64(value):
            try:
                word = base64.b64decode(str(value["b64"]), validate=True)
            except (binascii.Error, ValueError) as err:
                raise InvalidTensor(
                    f"input {shown(spec.name)}: b64 is {shown(value['b64'])}, expected base64"
                ) from err
            yield decoded_word(spec, index, word)
        else:
            yield value
