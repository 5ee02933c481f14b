"""Requests that differ in their numbers only: everything else of them is read once.

Pure but for what it remembers. A client sends the same JSON again and again around other data. Of a
request that was read whole, the text around its data is kept with what it meant; where the same
text comes again, only the data is read. Nothing is guessed: a text is kept where its one `"data"`
is certain, and data that is not plain numbers, or too many or few, is left to the whole reading.

Where the numbers come in binary, the JSON before them is a text that tells everything but them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import simdjson

from slipway_runtime.inference.datatypes import Tensor
from slipway_runtime.inference.request import InferenceRequest
from slipway_runtime.inference.signature import Signature, TensorSpec
from slipway_runtime.protocols.asked import Asked
from slipway_runtime.protocols.codec_binary import read_tensor
from slipway_runtime.protocols.json_data import quick_tensor

_DATA: Final = re.compile(rb'"data"\s*:\s*\[')
_MAX_AROUND_BYTES: Final = 2_048
_MAX_TEMPLATES: Final = 64


class _Template(NamedTuple):
    """What the text around the data means."""

    spec: TensorSpec
    shape: tuple[int, ...]
    asked: Asked


def known(text: bytes, signature: Signature) -> Asked | None:
    """Read a request whose like has been seen; None where it has to be read whole."""
    cut = _cut(text)
    if cut is None:
        return None
    start, end = cut
    template = signature.memo.get((text[:start], text[end:]))
    if template is None:
        return None
    spec, shape, asked = template
    try:
        numbers = simdjson.Parser().parse(text[start:end])
    except (ValueError, RuntimeError):
        return None
    found = quick_tensor(numbers, spec.datatype, shape)
    if found is None or found[1] != 1:
        return None
    return _like(asked, {spec.name: found[0]})


def learn(text: bytes, signature: Signature, asked: Asked) -> None:
    """Remember a request that was read whole, where another of its kind is to be expected."""
    cut = _cut(text) if asked.request.id is None and len(asked.request.inputs) == 1 else None
    if cut is None:
        return
    start, end = cut
    around = (text[:start], text[end:])
    [(name, tensor)] = asked.request.inputs.items()
    spec = signature.input(name)
    if tensor.dtype.kind not in "fiu" or not _is_certain(around):
        return
    _remember(signature, around, _Template(spec, tensor.shape, _bare(asked)))
    again = known(text, signature)
    if again is None or not np.array_equal(again.request.inputs[name], tensor):
        del signature.memo[around]


class _Layout(NamedTuple):
    """What JSON before binary tensors means: how they follow each other, and the rest."""

    parts: tuple[tuple[TensorSpec, tuple[int, ...], int], ...]
    """Each with its shape and its size in bytes."""
    size_bytes: int
    asked: Asked


def known_layout(text: bytes, tail: memoryview, signature: Signature) -> Asked | None:
    """Read tensors that follow a text which has been seen; None where it has to be read whole.

    Raises:
        InvalidTensor: the bytes are not those of such a tensor.
    """
    layout = signature.memo.get(text)
    if layout is None or len(tail) != layout.size_bytes:
        return None
    inputs, taken = {}, 0
    for spec, shape, size in layout.parts:
        raw = tail[taken : taken + size]
        inputs[spec.name] = read_tensor(spec, raw, shape)
        taken += size
    return _like(layout.asked, inputs)


def learn_layout(text: bytes, tail: memoryview, signature: Signature, asked: Asked) -> None:
    """Remember the text before tensors of numbers, which all followed it."""
    inputs = asked.request.inputs
    if asked.request.id is not None or len(text) > _MAX_AROUND_BYTES:
        return
    if any(tensor.dtype.kind == "O" for tensor in inputs.values()):
        return  # words have sizes of their own
    parts = tuple((signature.input(name), t.shape, t.nbytes) for name, t in inputs.items())
    size_bytes = sum(size for _, _, size in parts)
    if size_bytes == len(tail):
        _remember(signature, text, _Layout(parts, size_bytes, _bare(asked)))


def _bare(asked: Asked) -> Asked:
    """All of a request but its tensors, which may be large."""
    return _like(asked, {})


def _like(asked: Asked, inputs: Mapping[str, Tensor]) -> Asked:
    request = InferenceRequest(inputs, asked.request.outputs, asked.request.id)
    return Asked(request, asked.forms, asked.timeout_s)


def _remember(signature: Signature, key: object, meaning: object) -> None:
    if len(signature.memo) >= _MAX_TEMPLATES:
        signature.memo.clear()
    signature.memo[key] = meaning


def _cut(text: bytes) -> tuple[int, int] | None:
    """Where the first data begins and ends, brackets included."""
    found = _DATA.search(text, 0, _MAX_AROUND_BYTES)
    if found is None:
        return None
    start = found.end() - 1
    end = text.find(b"]", start) + 1
    if not end or start + len(text) - end > _MAX_AROUND_BYTES:
        return None
    return start, end


def surroundings(text: bytes) -> tuple[bytes, bytes] | None:
    """The text before and behind the one list of data; None where it is not certain."""
    cut = _cut(text)
    if cut is None:
        return None
    start, end = cut
    around = (text[:start], text[end:])
    return around if _is_certain(around) else None


def _is_certain(around: tuple[bytes, bytes]) -> bool:
    """Whether there is one `"data"`, and no way of writing another."""
    before, after = around
    return before.count(b'"data"') == 1 and b'"data"' not in after and b"\\" not in before + after
