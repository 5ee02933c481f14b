"""The `data` of a tensor in JSON: a list of numbers, strings or booleans, nested or flat.

Pure. `quick_tensor` reads without a Python object per number and gives up on any doubt;
`exact_tensor` reads everything that is allowed and finds the words for what is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from math import inf, isinf, nan, prod
from typing import Any, Final, Literal

import ml_dtypes
import numpy as np
import simdjson

from slipway_runtime.errors import InvalidTensor, shown
from slipway_runtime.inference.datatypes import DTYPES, Tensor, kind_of
from slipway_runtime.inference.signature import TensorSpec
from slipway_runtime.inference.threads import give_way

TOKENS: Final[Mapping[str, float]] = {"NaN": nan, "Infinity": inf, "-Infinity": -inf}
"""Floats that JSON has no number for, as words."""

_MAX_NESTING: Final = 32
_PIECE_BYTES: Final = 64 * 1024
"""Parsed in a tenth of a millisecond."""
_EXACT_FLOAT: Final = 2.0**53


class Token(str):
    """A bare NaN or Infinity in the JSON text: a word, but never the value of a BYTES tensor."""

    __slots__ = ()


def quick_tensor(data: object, datatype: str, shape: tuple[int, ...]) -> tuple[Tensor, int] | None:
    """Read a numeric array through a buffer, or give up.

    Returns:
        The tensor, and how many brackets open in a text of just this data. The caller counts the
        brackets of the whole body: more than expected mean a list hidden inside a row, which the
        buffer has flattened. None wherever the exact reading has to decide.
    """
    kind = kind_of(datatype)
    if not isinstance(data, simdjson.Array) or kind not in "fiu":
        return None
    brackets = _opened(data, shape)
    if brackets is None:
        return None
    try:
        buffer = data.as_buffer(of_type=_BUFFERS[kind][0])
    except (TypeError, ValueError):
        return None
    tensor = _narrowed(np.frombuffer(buffer, _BUFFERS[kind][1]), datatype)
    if tensor is None or tensor.size != prod(shape):
        return None
    return tensor.reshape(shape), brackets


def long_tensor(name: str, data: bytes, datatype: str, shape: tuple[int, ...]) -> Tensor | None:
    """Read much flat data piece by piece, so that other threads get their turns between them.

    A parser holds the interpreter until it is through: 8 MiB at once would stop everybody for
    longer than most models compute.

    Args:
        name: of the input, for errors.
        data: the text between the brackets of a list.
        datatype: what the numbers are to become.
        shape: what the tensor is to have.

    Returns:
        The tensor; None where the data is no flat list of numbers, or not certainly one.

    Raises:
        InvalidTensor: naming the first thing that is wrong.
    """
    parts: list[Tensor] = []
    count = 0
    for piece in _pieces(data):
        part = _part(name, piece, datatype, count)
        if part is None:
            return None
        parts.append(part)
        count += part.size
        give_way()
    if count != prod(shape):
        raise _miscounted(name, count, shape)
    return np.concatenate(parts).reshape(shape)


def _pieces(data: bytes) -> Iterator[bytes]:
    """Cut a list at commas; each piece is a list of its own."""
    start = 0
    while start >= 0:
        is_last = len(data) - start <= _PIECE_BYTES
        end = len(data) if is_last else data.find(b",", start + _PIECE_BYTES)
        end = len(data) if end < 0 else end
        yield b"[%b]" % data[start:end]
        start = end + 1 if end < len(data) else -1


def _part(name: str, piece: bytes, datatype: str, first: int) -> Tensor | None:
    try:
        numbers = simdjson.Parser().parse(piece)
    except (ValueError, RuntimeError):
        return None
    if not isinstance(numbers, simdjson.Array) or not len(numbers):
        return None  # nothing between two commas
    shape = (len(numbers),)
    quick = quick_tensor(numbers, datatype, shape)
    if quick is None:
        return exact_tensor(name, numbers.as_list(), datatype, shape, first=first)
    return quick[0] if quick[1] == 1 else None


def _miscounted(name: str, count: int, shape: tuple[int, ...]) -> InvalidTensor:
    return InvalidTensor(
        f"input {shown(name)}: element count of data is {count}, "
        f"expected {prod(shape)} for shape {list(shape)}"
    )


def filled(spec: TensorSpec, data: Any) -> Any:
    """Put what stands for a missing value in the place of nulls, where they are allowed."""
    if not spec.may_miss:
        return data
    missing = "" if spec.datatype == "BYTES" else nan
    return _without_nulls(data, missing)


def _without_nulls(data: Any, missing: Any) -> Any:
    if isinstance(data, list):
        return [_without_nulls(item, missing) for item in data]
    return missing if data is None else data


def exact_tensor(
    name: str, data: object, datatype: str, shape: tuple[int, ...], *, first: int = 0
) -> Tensor:
    """Read the data of input `name` as a tensor, element by element; `first` is its first's index.

    Raises:
        InvalidTensor: naming the first thing that is wrong.
    """
    if not isinstance(data, list):
        raise InvalidTensor(f"input {shown(name)}: data is {shown(data)}, expected a list")
    values = _flattened(name, data)
    if len(values) != prod(shape):
        raise _miscounted(name, len(values), shape)
    try:
        return _READERS[kind_of(datatype)](values, datatype).reshape(shape)
    except _WrongElement as err:
        index, expected = err.args
        raise InvalidTensor(
            f"input {shown(name)}: data[{first + index}] is {shown(values[index])}, "
            f"expected {expected}"
        ) from None


class _WrongElement(Exception):
    """Index of the element, and what was expected there."""


_BUFFERS: Final[Mapping[str, tuple[Literal["d", "i", "u"], np.dtype[Any]]]] = {
    "f": ("d", np.dtype("f8")),
    "i": ("i", np.dtype("i8")),
    "u": ("u", np.dtype("u8")),
}
"""pysimdjson's letter for a buffer, and what lies in it, by numpy's kind of the datatype."""


def _limits(datatype: str) -> tuple[float, float]:
    """The lowest and the highest value of a datatype of numbers."""
    if kind_of(datatype) != "f":
        whole = np.iinfo(DTYPES[datatype])
        return int(whole.min), int(whole.max)
    found = ml_dtypes.finfo(DTYPES[datatype])  # type: ignore[no-untyped-call]  # knows bfloat16, too
    return float(found.min), float(found.max)


_LIMITS: Final = {name: _limits(name) for name in DTYPES if kind_of(name) in "fiu"}


def _opened(data: simdjson.Array, shape: tuple[int, ...]) -> int | None:
    """Brackets of regular data, flat or nested like its shape; None when it is neither."""
    rows: Sequence[object] = [data]
    opened = 1
    if not len(data) or not isinstance(data[0], simdjson.Array):
        return opened
    for size in shape[:-1]:
        if not all(isinstance(row, simdjson.Array) and len(row) == size for row in rows):
            return None
        rows = list(chain.from_iterable(rows))  # type: ignore[arg-type]  # all are arrays
        opened += len(rows)
    last = shape[-1] if shape else -1
    if not all(isinstance(row, simdjson.Array) and len(row) == last for row in rows):
        return None
    return opened


def _narrowed(values: Tensor, datatype: str) -> Tensor | None:
    """Bring 64-bit values to their datatype; None when one does not fit."""
    dtype = DTYPES[datatype]
    if dtype == values.dtype:
        return values
    if not values.size:
        return values.astype(dtype)
    low, high = _LIMITS[datatype]
    # The positions are found three times as fast as the values themselves.
    if low <= values[values.argmin()] and values[values.argmax()] <= high:
        return values.astype(dtype)
    return None


def _flattened(name: str, data: list[Any]) -> list[Any]:
    level = data
    for _ in range(_MAX_NESTING):
        if list not in set(map(type, level)):
            return level
        if not all(isinstance(item, list) for item in level) or len(set(map(len, level))) != 1:
            raise InvalidTensor(
                f"input {shown(name)}: data is ragged, expected lists of one length"
            )
        level = list(chain.from_iterable(level))
    raise InvalidTensor(
        f"input {shown(name)}: nesting depth of data is above {_MAX_NESTING}, expected its rank"
    )


def _first(values: list[Any], is_wrong: Callable[[Any], bool]) -> int:
    return next(index for index, value in enumerate(values) if is_wrong(value))


def _floats(values: list[Any], datatype: str) -> Tensor:
    dtype = DTYPES[datatype]
    expected = f"a number in the range of {datatype}, 'NaN', 'Infinity' or '-Infinity'"
    # Words are few, numbers many: only the words are looked at one by one, and what is wrong far
    # behind costs a client little and us no more.
    odd = [i for i, value in enumerate(values) if type(value) is not float]
    numbers, end = list(values), len(values)
    for index in odd:
        number = _float(values[index])
        if number is None:
            end = index
            break
        numbers[index] = number
    wide = np.array(numbers[:end], np.float64)
    infinite = np.isinf(wide)
    infinite[[index for index in odd if index < end]] = False
    if infinite.any():
        end = int(infinite.argmax())
    if end < len(values):
        raise _WrongElement(end, expected)
    with np.errstate(over="ignore"):
        narrow = wide.astype(dtype)
    overflowed = np.isinf(narrow) & ~np.isinf(wide)
    if overflowed.any():
        raise _WrongElement(int(overflowed.argmax()), expected)
    return narrow


def _float(value: object) -> float | None:
    if isinstance(value, str):
        return TOKENS.get(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    # Infinity has its words; an infinite *number* is an overflow such as 1e999.
    return None if isinf(number) else number


def _integers(values: list[Any], datatype: str) -> Tensor:
    limits = np.iinfo(DTYPES[datatype])
    low, high = int(limits.min), int(limits.max)
    expected = f"an integer from {low} to {high} for {datatype}"
    numbers = []
    for index, value in enumerate(values):
        number = _integer(value)
        if number is None or not low <= number <= high:
            raise _WrongElement(index, expected)
        numbers.append(number)
    return np.array(numbers, DTYPES[datatype])


def _integer(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    # 1.0 is an integer that a client wrote as a float; beyond 2**53 it may have been rounded.
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT_FLOAT:
        return int(value)
    return None


def _booleans(values: list[Any], datatype: str) -> Tensor:
    def is_wrong(value: object) -> bool:
        return not isinstance(value, bool | int) or value not in (0, 1)

    if any(map(is_wrong, values)):
        raise _WrongElement(_first(values, is_wrong), f"true or false for {datatype}")
    return np.array(values, np.bool_)


def _strings(values: list[Any], datatype: str) -> Tensor:
    def is_wrong(value: object) -> bool:
        return type(value) is not str or not _is_encodable(value)

    if any(map(is_wrong, values)):
        raise _WrongElement(_first(values, is_wrong), f"a string of valid Unicode for {datatype}")
    tensor = np.empty(len(values), np.object_)
    tensor[:] = values
    return tensor


def _is_encodable(text: str) -> bool:
    """False for a lone surrogate, which no UTF-8 text can hold."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


_READERS: Final[Mapping[str, Callable[[list[Any], str], Tensor]]] = {
    "f": _floats,
    "i": _integers,
    "u": _integers,
    "b": _booleans,
    "O": _strings,
}
