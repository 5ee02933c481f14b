"""Tensors as JSON, on both sides: `{"name", "datatype", "shape", "data": [flat list]}`.

Every number of every datatype is exact in it, NaN and the infinities included; BYTES are text. A
large one is written as `pattern` in place of `data`, which repeats, and told as its digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

MANY = 10_000
_NAMES = {"BOOL": "bool", "FP16": "float16", "FP32": "float32", "FP64": "float64"}


def dtype_of(datatype: str) -> np.dtype[Any]:
    """Numpy's type for a datatype of the protocol."""
    if datatype == "BYTES":
        return np.dtype(np.object_)
    if datatype == "BF16":
        import ml_dtypes  # only some clients bring it

        bfloat: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat
    return np.dtype(_NAMES.get(datatype, datatype.lower()))


def array_of(tensor: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """The array of a tensor; BYTES as `bytes`, as clients take them."""
    if "pattern" in tensor:
        return np.resize(np.array(tensor["pattern"], dtype_of(tensor["datatype"])), tensor["shape"])
    data = tensor["data"]
    if tensor["datatype"] == "BYTES":
        data = [text.encode() for text in data]
    return np.array(data, dtype_of(tensor["datatype"])).reshape(tensor["shape"])


def plain(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Shape, and elements in row-major order, or their digest where they are many."""
    if array.size > MANY:
        digest = hashlib.sha256(array.tobytes()).hexdigest()
        return {"shape": list(array.shape), "data": [digest]}
    return {"shape": list(array.shape), "data": [_element(value) for value in array.reshape(-1)]}


def _element(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, str):
        return str(value)
    return float(value) if np.asarray(value).dtype.kind not in "biu" else value.item()
