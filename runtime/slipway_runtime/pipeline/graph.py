"""A part of an ONNX graph while it is written: nodes, constants, and what each value is.

Every name begins with the part's own prefix, so that no name of the model can be met by chance.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from slipway_runtime.errors import InvalidConfig
from slipway_runtime.inference.datatypes import DTYPES

ML: Final = "ai.onnx.ml"
ONNX_TYPES: Final = {
    "BOOL": onnx.TensorProto.BOOL,
    "UINT8": onnx.TensorProto.UINT8,
    "UINT16": onnx.TensorProto.UINT16,
    "UINT32": onnx.TensorProto.UINT32,
    "UINT64": onnx.TensorProto.UINT64,
    "INT8": onnx.TensorProto.INT8,
    "INT16": onnx.TensorProto.INT16,
    "INT32": onnx.TensorProto.INT32,
    "INT64": onnx.TensorProto.INT64,
    "FP16": onnx.TensorProto.FLOAT16,
    "BF16": onnx.TensorProto.BFLOAT16,
    "FP32": onnx.TensorProto.FLOAT,
    "FP64": onnx.TensorProto.DOUBLE,
    "BYTES": onnx.TensorProto.STRING,
}
DATATYPES: Final = {number: name for name, number in ONNX_TYPES.items()}
FLOATS: Final = ("FP16", "FP32", "FP64")


class Misfit(InvalidConfig):
    """A step does not go with what comes before it, or with the model."""


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor in the graph; a free dimension is -1."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    layout: str = ""
    """`NHWC` or `NCHW` where it is an image."""
    order: str = "RGB"
    """Of an image's colours."""

    @property
    def channels(self) -> int:
        """How many channels, or columns, it has."""
        return self.shape[self.layout.index("C")] if self.layout else self.shape[-1]


@dataclass
class Graph:
    """Nodes and constants, in the order they were written."""

    prefix: str
    opset: int
    ml_opset: int
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)
    uses_ml: bool = False

    def constant(self, array: npt.ArrayLike, dtype: Any = None) -> str:
        """Keep a constant; its name."""
        values = np.asarray(array, dtype)
        name = f"{self.prefix}/c{len(self.constants)}"
        if values.dtype.kind in "OU":
            words = [str(word).encode() for word in values.reshape(-1)]
            tensor = helper.make_tensor(name, onnx.TensorProto.STRING, values.shape, words)  # type: ignore[arg-type]  # its hints forget texts
        else:
            tensor = numpy_helper.from_array(values, name)
        self.constants.append(tensor)
        return name

    def node(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Write a node of one output; the output's name."""
        return self.nodes_of(kind, 1, *inputs, domain=domain, **attributes)[0]

    def nodes_of(
        self, kind: str, outputs: int, *inputs: str, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Write a node; the names of its outputs."""
        base = f"{self.prefix}/{len(self.nodes)}"
        names = [f"{base}/{kind}{n or ''}" for n in range(outputs)]
        self.uses_ml = self.uses_ml or domain == ML
        made = helper.make_node(kind, inputs, names, name=base, domain=domain, **attributes)
        self.nodes.append(made)
        return names

    def cast(self, value: Value, datatype: str) -> Value:
        """Write a cast where one is needed."""
        if value.datatype == datatype:
            return value
        name = self.node("Cast", value.name, to=ONNX_TYPES[datatype])
        return replace(value, name=name, datatype=datatype)

    def floating(self, value: Value) -> Value:
        """Make numbers fit for arithmetic.

        Raises:
            Misfit: they are texts.
        """
        if value.datatype == "BYTES":
            raise Misfit("got texts, expected numbers")
        return value if value.datatype in FLOATS else self.cast(value, "FP32")

    def like(self, array: npt.ArrayLike, value: Value) -> str:
        """Keep a constant of the datatype of a value."""
        return self.constant(array, DTYPES[value.datatype])

    def class_numbers(self, value: Value, classes: tuple[str, ...]) -> Value:
        """Write texts as their numbers in a list, -1 where they are not in it."""
        numbers = list(range(len(classes)))
        known: dict[str, Any] = {"keys_strings": list(classes), "values_int64s": numbers}
        if self.ml_opset < 2:  # the first one had another form
            known = {"classes_strings": list(classes)}
        name = self.node("LabelEncoder", value.name, domain=ML, default_int64=-1, **known)
        return replace(value, name=name, datatype="INT64")
