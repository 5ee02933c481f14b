"""Tensors as bytes: the tail of a V2 binary request, and gRPC's raw contents.

Pure. Little-endian, row-major, no padding; BOOL is one byte of 0 or 1, an element of BYTES its
length as uint32 and then that many bytes of UTF-8. Numbers are views of the received bytes.

Source: Triton, "Binary Tensor Data Extension".
"""

from __future__ import annotations

import struct
from math import prod
from typing import Final

import numpy as np

from slipway_runtime.errors import InvalidRequest, InvalidTensor, shown
from slipway_runtime.inference.datatypes import DTYPES, Tensor
from slipway_runtime.inference.signature import Signature, TensorSpec

_LENGTH: Final = struct.Struct("<I")


def read_tensor(spec: TensorSpec, raw: bytes | memoryview, shape: tuple[int, ...]) -> Tensor:
    """View the bytes of an input as a tensor.

    Returns:
        Read-only where it borrows `raw`; a copy where `raw` is not aligned for its datatype.

    Raises:
        InvalidTensor: the bytes are not exactly those of such a tensor.
    """
    name, datatype = spec.name, spec.datatype
    if datatype == "BYTES":
        return _read_words(spec, bytes(raw), prod(shape)).reshape(shape)
    dtype = DTYPES[datatype]
    expected = prod(shape) * dtype.itemsize
    if len(raw) != expected:
        raise InvalidTensor(
            f"input {shown(name)}: {len(raw)} bytes of data, expected {expected} "
            f"for {datatype} of shape {list(shape)}"
        )
    if datatype == "BOOL":
        flags = np.frombuffer(raw, np.uint8)
        if flags.size and flags.max() > 1:
            raise InvalidTensor(
                f"input {shown(name)}: byte {int((flags > 1).argmax())} is above 1, "
                "expected 0 or 1 for BOOL"
            )
    tensor = np.frombuffer(raw, dtype).reshape(shape)
    # The length of the JSON before it decides where a tensor begins.
    return tensor if tensor.flags.aligned else tensor.copy()


def write_tensor(tensor: Tensor) -> bytes:
    """Lay the elements out, row-major.

    >>> list(write_tensor(np.array(["ab", ""], object)))
    [2, 0, 0, 0, 97, 98, 0, 0, 0, 0]
    """
    if tensor.dtype.kind == "O":
        return _write_words(tensor.reshape(-1).tolist())
    return tensor.tobytes()


def raw_input(body: bytes | memoryview, signature: Signature) -> tuple[TensorSpec, Tensor]:
    """Read a body that is nothing but the tensor of a model's only input.

    Raises:
        InvalidRequest: the shape cannot be told from the size.
    """
    if len(signature.inputs) != 1:
        raise InvalidRequest(
            f"body: a raw tensor needs a model of 1 input, this one has {len(signature.inputs)}"
        )
    [spec] = signature.inputs
    if spec.datatype == "BYTES":
        return spec, _lone_word(spec, bytes(body))
    shape = _deduced(spec, len(body) // DTYPES[spec.datatype].itemsize)
    return spec, read_tensor(spec, body, spec.check(spec.datatype, shape))


def _deduced(spec: TensorSpec, elements: int) -> list[int]:
    shape = list(spec.shape)
    if shape.count(-1) > 1 and shape[0] == -1:
        shape[0] = 1  # the batch; any other free dimension follows from the size
    if shape.count(-1) > 1:
        raise InvalidRequest(
            f"input {shown(spec.name)}: shape {list(spec.shape)} cannot be deduced from a size, "
            "expected at most one free dimension beside the batch"
        )
    if -1 in shape:
        fixed = prod(size for size in shape if size != -1)
        shape[shape.index(-1)] = elements // fixed if fixed else 0
    return shape


def _lone_word(spec: TensorSpec, body: bytes) -> Tensor:
    shape = tuple(1 if size == -1 else size for size in spec.shape)
    if prod(shape) != 1:
        raise InvalidRequest(
            f"input {shown(spec.name)}: shape {list(spec.shape)}, "
            "expected one element for a raw body of BYTES"
        )
    tensor = np.empty(1, np.object_)
    tensor[0] = decoded_word(spec, 0, body)
    return tensor.reshape(shape)


def decoded_word(spec: TensorSpec, index: int, word: bytes) -> str | bytes:
    """One element of BYTES: a text, as ONNX Runtime wants it, or the bytes that a file is.

    Raises:
        InvalidTensor: no UTF-8, where texts are expected.
    """
    if spec.is_binary:
        return word
    try:
        return word.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidTensor(
            f"input {shown(spec.name)}: data[{index}] is no valid UTF-8, expected text for BYTES"
        ) from None


def _read_words(spec: TensorSpec, raw: bytes, count: int) -> Tensor:
    name = spec.name
    # Four bytes an element are the least: nothing is allocated for a count that cannot be.
    if count * 4 > len(raw):
        raise InvalidTensor(
            f"input {shown(name)}: {len(raw)} bytes of data, expected {count} elements of BYTES"
        )
    words = np.empty(count, np.object_)
    position = 0
    for index in range(count):
        start = position + 4
        end = start + _LENGTH.unpack_from(raw, position)[0] if start <= len(raw) else start
        if end > len(raw):
            raise InvalidTensor(
                f"input {shown(name)}: data[{index}] runs past the end of the data, "
                f"expected {count} elements of BYTES in {len(raw)} bytes"
            )
        words[index] = decoded_word(spec, index, raw[start:end])
        position = end
    if position != len(raw):
        raise InvalidTensor(
            f"input {shown(name)}: {len(raw) - position} bytes after the last element, "
            f"expected {count} elements of BYTES in {len(raw)} bytes"
        )
    return words


def _write_words(words: list[str]) -> bytes:
    encoded = [str(word).encode("utf-8", "replace") for word in words]
    return b"".join(part for word in encoded for part in (_LENGTH.pack(len(word)), word))
