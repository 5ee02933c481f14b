"""Put hard-swish together again, which exporters have taken apart.

MobileNetV3, EfficientNet-Lite and PaddleOCR's models have it after nearly every convolution:
x * clip(x + 3, 0, 6) / 6. ONNX Runtime knows it as HardSigmoid and Mul, which it computes in the
convolution's own memory layout; as four nodes it reorders the tensor there and back around each.

Lives here: the change of a parsed graph. Stays out: files, and when it is done (`process.py`).
Imports no onnx, as everything it does is setting fields.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isclose
from typing import Any, Final

_FLOAT: Final = 1
"""TensorProto.FLOAT: the kernel knows no other, and constants have the type of what they meet."""
_FLOAT_BYTES: Final = 4
_ATTRIBUTE_FLOAT: Final = 1
"""AttributeProto.FLOAT."""
_MIN_OPSET: Final = 6
"""The first with today's HardSigmoid, and with multiplication as numpy does it."""
_SIXTH: Final = 1 / 6
_MAX_CONSTANT_RANK: Final = 2
_OF_TWO_DIMENSIONS: Final = frozenset({"BatchNormalization", "Conv", "ConvTranspose", "Gemm"})
"""Their results have two dimensions or more, so that a constant of shape [1] adds none."""


@dataclass(frozen=True, slots=True)
class _Constant:
    value: float
    rank: int


def join(model: Any) -> int:
    """Replace each chain that computes hard-swish or hard-sigmoid; in place.

    Returns:
        How many there were. Results differ by a rounding or two.
    """
    if not _is_plain(model):
        return 0
    chains = list(_Chains(model.graph).found())
    for chain in chains:
        chain.join()
    if chains:
        _remove(model.graph.node, lambda node: not node.op_type)
        made = {name for node in model.graph.node for name in node.output}
        _remove(model.graph.value_info, lambda value: value.name not in made)
    return len(chains)


def _remove(field: Any, is_gone: Callable[[Any], bool]) -> None:
    for index in reversed(range(len(field))):
        if is_gone(field[index]):
            del field[index]


def _is_plain(model: Any) -> bool:
    """Whether names mean the same everywhere: inner graphs read values of the outer one."""
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    return opset >= _MIN_OPSET and not any(
        attribute.HasField("g") or len(attribute.graphs)
        for node in model.graph.node
        for attribute in node.attribute
    )


@dataclass(frozen=True, slots=True)
class _Chain:
    """Add, Clip, and the two that follow, or the one."""

    x: str
    add: Any
    clip: Any
    product: Any | None
    """The multiplication by x, where it comes before the division."""
    last: Any

    def join(self) -> None:
        """Change the nodes that stay, and empty those that go."""
        clip, last = self.clip, self.last
        clip.op_type = "HardSigmoid"
        del clip.attribute[:]
        clip.attribute.add(name="alpha", type=_ATTRIBUTE_FLOAT, f=_SIXTH)
        clip.attribute.add(name="beta", type=_ATTRIBUTE_FLOAT, f=0.5)
        del clip.input[:]
        clip.input.append(self.x)
        (clip if self.product is None else self.product).output[0] = last.output[0]
        self.add.Clear()
        last.Clear()


class _Chains:
    """Looks for chains in one graph."""

    def __init__(self, graph: Any) -> None:
        self._nodes = list(graph.node)
        self._made = {name: node for node in self._nodes for name in node.output}
        read = [name for node in self._nodes for name in node.input]
        self._uses = Counter([*read, *(output.name for output in graph.output)])
        self._readers = {name: node for node in self._nodes for name in node.input}
        given = {value.name for value in graph.input}
        self._constants = {
            tensor.name: tensor for tensor in graph.initializer if tensor.name not in given
        }
        for node in self._nodes:
            if _is(node, "Constant", inputs=0) and node.attribute:
                self._constants[node.output[0]] = node.attribute[0].t

    def found(self) -> Iterator[_Chain]:
        for clip in self._nodes:
            if self._bounds(clip) == (0.0, 6.0):
                chain = self._around(clip)
                if chain:
                    yield chain

    def _around(self, clip: Any) -> _Chain | None:
        add = self._made.get(clip.input[0])
        if add is None or not _is(add, "Add") or not self._is_read_once(add):
            return None
        x, after = self._plus_three(add), self._reader(clip)
        if x is None or after is None:
            return None
        if self._is_sixth(after, clip.output[0], x):
            return _Chain(x, add, clip, None, after)
        if not _is(after, "Mul") or sorted(after.input) != sorted((x, clip.output[0])):
            return None
        last = self._reader(after)
        if last is None or not self._is_sixth(last, after.output[0], x):
            return None
        return _Chain(x, add, clip, after, last)

    def _is_sixth(self, node: Any, name: str, x: str) -> bool:
        """Whether a node divides a value by six."""
        if _is(node, "Div"):
            return node.input[0] == name and self._is_constant(node.input[1], 6.0, x)
        if not _is(node, "Mul"):
            return False
        first, second = node.input
        other = second if first == name else first
        return name in (first, second) and self._is_constant(other, _SIXTH, x)

    def _plus_three(self, add: Any) -> str | None:
        """What three is added to."""
        for x, other in (add.input, reversed(add.input)):
            if self._is_constant(other, 3.0, x):
                return str(x)
        return None

    def _is_constant(self, name: str, value: float, x: str) -> bool:
        """Whether a name is a constant that leaves the shape of x as it is."""
        found = self._constant(name)
        if found is None or not isclose(found.value, value, rel_tol=1e-6):
            return False
        maker = self._made.get(x)
        is_wide = maker is not None and maker.op_type in _OF_TWO_DIMENSIONS
        return found.rank <= (_MAX_CONSTANT_RANK if is_wide else 0)

    def _bounds(self, node: Any) -> tuple[float, float] | None:
        """Between what a node clips."""
        if _is(node, "Clip", inputs=1):  # before opset 11
            named = {attribute.name: attribute.f for attribute in node.attribute}
            return (named["min"], named["max"]) if {"min", "max"} <= named.keys() else None
        if not _is(node, "Clip", inputs=3):
            return None
        low, high = (self._constant(name) for name in node.input[1:])
        return (low.value, high.value) if low and high else None

    def _constant(self, name: str) -> _Constant | None:
        tensor = self._constants.get(name)
        if tensor is None or tensor.data_type != _FLOAT or tensor.external_data:
            return None
        values = tuple(tensor.float_data)
        if len(tensor.raw_data) == _FLOAT_BYTES:
            values = struct.unpack("<f", tensor.raw_data)
        return _Constant(values[0], len(tensor.dims)) if len(values) == 1 else None

    def _reader(self, node: Any) -> Any | None:
        """The only node that reads a node's result."""
        return self._readers.get(node.output[0]) if self._is_read_once(node) else None

    def _is_read_once(self, node: Any) -> bool:
        return self._uses[node.output[0]] == 1


def _is(node: Any, operator: str, *, inputs: int = 2) -> bool:
    is_so = node.op_type == operator and node.domain in ("", "ai.onnx")
    return is_so and len(node.input) == inputs and len(node.output) == 1
