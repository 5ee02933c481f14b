"""The signature of a model, and whether a tensor fits it.

Pure. Every codec asks here before it allocates anything, so that all wires refuse the same
requests with the same words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Final

from slipway_runtime.errors import InvalidTensor, shown
from slipway_runtime.inference.datatypes import DTYPES, Tensor

MAX_RANK: Final = 16
_MAX_DIMENSION: Final = 2**31 - 1
_MAX_ELEMENTS: Final = 2**40
"""No body can hold as many; bounds the product that a shape with a 0 in it would hide."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output: `shape` has -1 where the dimension is free."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    symbols: tuple[str | None, ...] = ()
    """The model's own names of its free dimensions; equal names ask for equal sizes."""
    is_binary: bool = False
    """Elements of BYTES are any bytes, not texts; in JSON they are written in base64."""
    may_miss: bool = False
    """Values may be missing, null in JSON: NaN of a number, the empty text of a text."""

    def check(self, datatype: object, shape: object) -> tuple[int, ...]:
        """Say whether a tensor of this datatype and shape may be fed, before it exists.

        Returns:
            The shape as a tuple of integers.

        Raises:
            InvalidTensor: telling what was sent and what the model expects.
        """
        if datatype == self.datatype and self._is_plain(shape):
            return tuple(shape)  # type: ignore[arg-type]  # a list of integers
        if datatype != self.datatype:
            known = datatype in DTYPES if isinstance(datatype, str) else False
            allowed = "" if known else f" (known are {', '.join(DTYPES)})"
            raise InvalidTensor(
                f"input {shown(self.name)}: datatype {shown(datatype)}, "
                f"expected {self.datatype}{allowed}"
            )
        sizes = _sizes(self.name, shape)
        if self.shape and not _fits(sizes, self.shape):
            raise InvalidTensor(
                f"input {shown(self.name)}: shape {list(sizes)} has rank {len(sizes)}, "
                f"expected {list(self.shape)} of rank {len(self.shape)}"
                if len(sizes) != len(self.shape)
                else f"input {shown(self.name)}: shape {list(sizes)}, expected {list(self.shape)}"
            )
        return sizes

    def _is_plain(self, shape: object) -> bool:
        """Whether a shape fits beyond doubt; what does not is looked at again, for the words."""
        if type(shape) is not list or len(shape) != len(self.shape):
            return False
        elements = 1
        for size, want in zip(shape, self.shape, strict=True):
            if type(size) is not int or size < 1 or (want != size and want != -1):
                return False
            elements *= size
        return elements <= _MAX_DIMENSION

    def described(self) -> dict[str, Any]:
        """The tensor as V2 metadata writes it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


@dataclass(frozen=True, slots=True)
class Signature:
    """All inputs and outputs of a model, in its own order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    memo: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)
    """What reading requests for this model has learnt; see `protocols/templates.py`."""

    def input(self, name: object) -> TensorSpec:
        """Find an input by name.

        Raises:
            InvalidTensor: the model has no such input.
        """
        for spec in self.inputs:
            if spec.name == name:
                return spec
        raise InvalidTensor(f"input {shown(name)}: unknown, expected {_listed(self.inputs)}")

    def output(self, name: object) -> TensorSpec:
        """Find an output by name.

        Raises:
            InvalidTensor: the model has no such output.
        """
        for spec in self.outputs:
            if spec.name == name:
                return spec
        raise InvalidTensor(f"output {shown(name)}: unknown, expected {_listed(self.outputs)}")

    def check_complete(self, names: Mapping[str, object]) -> None:
        """Refuse a request that leaves inputs of the model without a tensor."""
        if len(names) < len(self.inputs):
            missing = [spec for spec in self.inputs if spec.name not in names]
            raise InvalidTensor(
                f"inputs: {_listed(missing)} missing, expected {_listed(self.inputs)}"
            )

    def conflict(self, feeds: Mapping[str, Tensor]) -> str | None:
        """Tell which free dimension has two sizes in one request; None when none has.

        Asked only after a run has failed: exporters reuse names wrongly often enough that
        refusing beforehand would refuse requests that work.
        """
        seen: dict[str, tuple[str, int]] = {}
        for spec in (spec for spec in self.inputs if spec.name in feeds):
            for symbol, size in zip(spec.symbols, feeds[spec.name].shape, strict=False):
                if symbol is None:
                    continue
                other, other_size = seen.setdefault(symbol, (spec.name, size))
                if other_size != size:
                    return (
                        f"input {shown(spec.name)}: dimension {shown(symbol)} is {size}, "
                        f"expected {other_size} as in input {shown(other)}"
                    )
        return None

    def described(self) -> dict[str, Any]:
        """Inputs and outputs as V2 metadata and the termination message write them."""
        return {
            "inputs": [spec.described() for spec in self.inputs],
            "outputs": [spec.described() for spec in self.outputs],
        }


def rows(spec: TensorSpec, shape: Sequence[int]) -> int:
    """Count the rows of a tensor: its first dimension where the model leaves that free, else 1."""
    return shape[0] if spec.shape and spec.shape[0] == -1 and shape else 1


def _sizes(name: str, shape: object) -> tuple[int, ...]:
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        raise InvalidTensor(
            f"input {shown(name)}: shape {shown(shape)}, expected a list of integers of 0 or more"
        )
    within = len(shape) <= MAX_RANK and max(shape, default=0) <= _MAX_DIMENSION
    # Python's integers: numpy's product of [2**60 + 2, 2**4] wraps to 32.
    if not within or prod(size or 1 for size in shape) > _MAX_ELEMENTS:
        raise InvalidTensor(
            f"input {shown(name)}: shape {shown(shape)} is too large, expected at most "
            f"{MAX_RANK} dimensions and {_MAX_ELEMENTS} elements"
        )
    return tuple(shape)


def _fits(sizes: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    return len(sizes) == len(expected) and all(
        want in (-1, size) for size, want in zip(sizes, expected, strict=True)
    )


def _listed(specs: Iterable[TensorSpec]) -> str:
    return ", ".join(shown(spec.name) for spec in specs) or "none"
