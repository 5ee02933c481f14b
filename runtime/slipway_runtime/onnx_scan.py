"""Look into an ONNX file without parsing it: fields are stepped over where they lie.

Lives here: what a pod has to know before, or without, a process that parses. Parsing imports onnx
and copies the weights; this reads a few pages of a file that may be gigabytes.
Whatever breaks the form ends the walk: those who load the file say what is wrong with it.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from slipway_runtime.vocabulary import FUSING, GraphOptimization

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES: Final = 10
_MAX_FIELDS: Final = 1_000_000
"""Of model and graph. The largest that is known here have a tenth."""
_MAX_OUTPUT_BYTES: Final = 4096

_MAX_NODE_BYTES: Final = 4096
_MAX_REWRITTEN_BYTES: Final = 256 * 2**20
"""Of a file that is parsed and written again only to be faster."""

_GRAPH: Final = 7
"""Of ModelProto."""
_NODE, _INITIALIZER, _OUTPUT = 1, 5, 12
"""Of GraphProto."""
_NODE_INPUT, _NODE_OUTPUT = 1, 2
"""Of NodeProto."""
_ADD, _CLIP = b'"\x03Add', b'"\x04Clip'
"""The field of NodeProto that names the operator, as it is written."""
_DATA_LOCATION: Final = 14
"""Of TensorProto; 1 is another file."""
_TYPE: Final = 2
"""Of ValueInfoProto."""
_SEQUENCE: Final = 4
"""Of TypeProto."""


class Malformed(ValueError):
    """The bytes are no message."""


class Field(NamedTuple):
    """One field of a message, where it lies."""

    number: int
    value: int
    """Of a number."""
    start: int
    end: int
    """Of what has a length; otherwise both are the same."""


@contextmanager
def scanned(file: Path) -> Iterator[mmap.mmap | bytes]:
    """Have a file's bytes at hand without reading them."""
    with file.open("rb") as opened:
        if not opened.seek(0, 2):
            yield b""
            return
        with closing(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)) as raw:
            yield raw


def fields(raw: mmap.mmap | bytes, start: int, end: int) -> Iterator[Field]:
    r"""Step over the fields of a message.

    >>> list(fields(b"\x0a\x02ab\x10\x05", 0, 6))
    [Field(number=1, value=0, start=2, end=4), Field(number=2, value=5, start=6, end=6)]

    Raises:
        Malformed: it is no message.
    """
    position = start
    while position < end:
        key, position = _varint(raw, position, end)
        kind, value, length = key & 7, 0, 0
        if kind == _VARINT:
            value, position = _varint(raw, position, end)
        elif kind == _BYTES:
            length, position = _varint(raw, position, end)
        elif kind in (_FIXED64, _FIXED32):
            position += 8 if kind == _FIXED64 else 4
        else:
            raise Malformed
        if position + length > end or not key >> 3:  # no field has the number 0
            raise Malformed
        yield Field(key >> 3, value, position, position + length)
        position += length


def _varint(raw: mmap.mmap | bytes, position: int, end: int) -> tuple[int, int]:
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        if position + index >= end:
            raise Malformed
        byte = raw[position + index]
        value |= (byte & 127) << (7 * index)
        if byte < 128:
            return value, position + index + 1
    raise Malformed


def is_rewritten(model: Path, graph: GraphOptimization) -> bool:
    """Whether another file is served than was fetched: `pipeline/process.py` makes it then."""
    return answers_in_maps(model) or (graph in FUSING and has_hard_swish(model))


def has_hard_swish(model: Path) -> bool:
    """Whether a small model may compute hard-swish in pieces: what is added to is clipped.

    What takes long to find out, or keeps its data in other files, counts as no.
    """
    with scanned(model) as raw:
        try:
            return len(raw) <= _MAX_REWRITTEN_BYTES and _clips_a_sum(raw)
        except Malformed:
            return False


def _clips_a_sum(raw: mmap.mmap | bytes) -> bool:
    sums: set[bytes] = set()
    clipped: set[bytes] = set()
    weights: list[Field] = []
    for part in islice(_parts(raw), _MAX_FIELDS):
        if part is None:
            continue
        if part.number == _INITIALIZER:
            weights.append(part)
        elif part.number == _NODE and part.end - part.start <= _MAX_NODE_BYTES:
            if raw.find(_CLIP, part.start, part.end) >= 0:
                clipped |= set(islice(_names(raw, part, _NODE_INPUT), 1))
            elif raw.find(_ADD, part.start, part.end) >= 0:
                sums |= set(_names(raw, part, _NODE_OUTPUT))
    is_found = not sums.isdisjoint(clipped)
    return is_found and not any(_is_elsewhere(raw, tensor) for tensor in weights)


def _names(raw: mmap.mmap | bytes, node: Field, number: int) -> Iterator[bytes]:
    for field in fields(raw, node.start, node.end):
        if field.number == number:
            yield raw[field.start : field.end]


def _is_elsewhere(raw: mmap.mmap | bytes, tensor: Field) -> bool:
    found = fields(raw, tensor.start, tensor.end)
    return any(field.number == _DATA_LOCATION and field.value for field in found)


def answers_in_maps(model: Path) -> bool:
    """Whether a model has an output that is a sequence, as those of a ZipMap are.

    What would take long to find out counts as yes: a process with a time limit looks then.
    """
    with scanned(model) as raw:
        try:
            return _has_sequence(raw)
        except Malformed:
            return False


def _has_sequence(raw: mmap.mmap | bytes) -> bool:
    parts = _parts(raw)
    for part in islice(parts, _MAX_FIELDS):
        if part is None or part.number != _OUTPUT:
            continue
        if part.end - part.start > _MAX_OUTPUT_BYTES or _is_sequence(raw, part):
            return True
    return any(True for _ in parts)


def _parts(raw: mmap.mmap | bytes) -> Iterator[Field | None]:
    """The fields of the graph; None for each of the model, so that those are counted, too."""
    for field in fields(raw, 0, len(raw)):
        if field.number == _GRAPH:
            yield from fields(raw, field.start, field.end)
        else:
            yield None


def _is_sequence(raw: mmap.mmap | bytes, output: Field) -> bool:
    return any(
        inner.number == _SEQUENCE
        for field in fields(raw, output.start, output.end)
        if field.number == _TYPE
        for inner in fields(raw, field.start, field.end)
    )
