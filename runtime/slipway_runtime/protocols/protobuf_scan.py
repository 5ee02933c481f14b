"""Walk a protocol buffer's bytes without building objects.

Pure. A message of two-byte fields costs a hundred times its size once it is parsed; what is scanned
first can be refused for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from google.protobuf.message import DecodeError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_SHIFT: Final = 70


def fields(raw: memoryview) -> Iterator[tuple[int, memoryview]]:
    r"""Tell number and content of each field; only what has a length has content.

    >>> [(number, bytes(content)) for number, content in fields(memoryview(b"\x0a\x02ab\x10\x01"))]
    [(1, b'ab'), (2, b'')]

    Raises:
        DecodeError: it is no message.
    """
    position, end = 0, len(raw)
    try:
        while position < end:
            key, position = _varint(raw, position)
            kind = key & 7
            length = 0
            if kind == _BYTES:
                length, position = _varint(raw, position)
            elif kind == _VARINT:
                _, position = _varint(raw, position)
            elif kind in (_FIXED64, _FIXED32):
                position += 8 if kind == _FIXED64 else 4
            else:
                raise DecodeError("a field of an unknown kind")
            if position + length > end:
                raise DecodeError("a field runs past the end")
            yield key >> 3, raw[position : position + length]
            position += length
    except IndexError as err:
        raise DecodeError("a field is cut") from err


def _varint(raw: memoryview, position: int) -> tuple[int, int]:
    value = raw[position]
    if value < 128:
        return value, position + 1
    value &= 127
    for shift in range(7, _MAX_SHIFT, 7):
        position += 1
        byte = raw[position]
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position + 1
    raise DecodeError("a number of more than ten bytes")
