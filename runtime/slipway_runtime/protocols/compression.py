"""Compressed bodies, within bounds: a few kilobytes must not become gigabytes.

Pure. `deflate` is the zlib format, as HTTP defines it and clients send it.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from io import BytesIO
from typing import Any, Final

from slipway_runtime.errors import InvalidRequest, RequestTooLarge
from slipway_runtime.inference.threads import give_way

_WINDOWS: Final[Mapping[str, int]] = {"gzip": 31, "deflate": 15}
CODINGS: Final = tuple(_WINDOWS)
MAX_RATIO: Final = 100
"""Real tensors compress a few times; deflate's own limit is about 1000."""
_FREE_BYTES: Final = 2**20
"""Up to this the ratio does not matter: a small body of zeros is no attack."""
_FASTEST: Final = 1
_PIECE_BYTES: Final = 256 * 1024


def inflated_limit(compressed_bytes: int, max_bytes: int) -> int:
    """Bytes that a compressed body may become.

    >>> inflated_limit(10, 8 * 2**20), inflated_limit(50_000, 8 * 2**20)
    (1048576, 5000000)
    """
    return min(max_bytes, max(_FREE_BYTES, MAX_RATIO * compressed_bytes))


def inflate(body: bytes, coding: str, max_bytes: int) -> bytes:
    """Decompress a whole body.

    Raises:
        RequestTooLarge: it becomes larger than allowed; nothing beyond that is decompressed.
        InvalidRequest: it is damaged, cut, or followed by something else.
    """
    stream = zlib.decompressobj(_WINDOWS[coding])
    limit = inflated_limit(len(body), max_bytes)
    try:
        content, after = _inflated(stream, body, limit + 1)
    except zlib.error as err:
        raise InvalidRequest(f"body: no valid {coding} data ({err})") from err
    if len(content) > limit:
        raise RequestTooLarge(
            f"body: decompresses to more than {limit} bytes, expected at most {max_bytes} "
            f"and at most {MAX_RATIO} times its size"
        )
    if not stream.eof:
        raise InvalidRequest(f"body: its {coding} data is cut off")
    if after:
        raise InvalidRequest(f"body: {after} bytes after its {coding} data")
    return content


def _inflated(stream: Any, body: bytes, most_bytes: int) -> tuple[bytes, int]:
    """Decompress piece by piece: put together at once, megabytes hold up everybody else.

    Returns:
        The content, and how many bytes of the body come after it.
    """
    content, fed = BytesIO(), 0
    while fed < len(body) and not stream.eof and content.tell() < most_bytes:
        rest = body[fed : fed + _PIECE_BYTES]
        fed += len(rest)
        while rest and not stream.eof and content.tell() < most_bytes:
            room = min(_PIECE_BYTES, most_bytes - content.tell())
            content.write(stream.decompress(rest, room))
            rest = stream.unconsumed_tail  # a copy, so pieces of the body are small, too
            give_way()
    return content.getvalue(), len(stream.unused_data) + len(body) - fed


def deflated(body: bytes, coding: str) -> bytes:
    """Compress an answer, fast rather than small."""
    stream = zlib.compressobj(_FASTEST, zlib.DEFLATED, _WINDOWS[coding])
    return stream.compress(body) + stream.flush()
