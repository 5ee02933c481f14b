"""Inputs of models of tables, as the spec declares them, and as converters want them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from slipway_runtime.convert.original import Column
from slipway_runtime.convert.task import InputSpec
from slipway_runtime.errors import InvalidConfig

NUMPY: Final[dict[str, np.dtype[Any]]] = {
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "INT8": np.dtype(np.int8),
    "UINT8": np.dtype(np.uint8),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "BOOL": np.dtype(bool),
    "BYTES": np.dtype(object),
}


def declared(inputs: Sequence[InputSpec]) -> tuple[Column, ...]:
    """The inputs that the spec names."""
    return tuple(Column(each.name, NUMPY[each.datatype], each.shape) for each in inputs)


_TYPES: Final = {
    np.dtype(np.float32): "FloatTensorType",
    np.dtype(np.float64): "DoubleTensorType",
    np.dtype(np.int32): "Int32TensorType",
    np.dtype(np.int64): "Int64TensorType",
    np.dtype(bool): "BooleanTensorType",
    np.dtype(object): "StringTensorType",
}


def initial_types(inputs: Sequence[Column], types: Any) -> list[tuple[str, Any]]:
    """Name and type of each input; `types` is a converter's own module of types.

    Raises:
        InvalidConfig: a datatype that models of tables cannot take.
    """
    found = []
    for column in inputs:
        if column.dtype not in _TYPES:
            raise InvalidConfig(
                f"model.inputs: {column.name!r} is {column.dtype}, "
                "expected one of FP32, FP64, INT32, INT64, BOOL, BYTES"
            )
        sizes = [None if size == -1 else size for size in column.shape]
        found.append((column.name, getattr(types, _TYPES[column.dtype])(sizes)))
    return found
