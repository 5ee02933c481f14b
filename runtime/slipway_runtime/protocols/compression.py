"""Compressed bodies, within bounds: a few kilobytes must not become gigabytes.

Pure. `deflate` is the zlib format, as HTTP defines it and clients send it.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Final

from slipway_runtime.errors import InvalidRequest, RequestTooLarge

_WINDOWS: Final[Mapping[str, int]] = {"gzip": 31, "deflate": 15}
CODINGS: Final = tuple(_WINDOWS)
MAX_RATIO: Final = 100
"""Real tensors compress a few times; deflate's own limit is about 1000."""
_FREE_BYTES: Final = 2**20
"""Up to this the ratio does not matter: a small body of zeros is no attack."""
_FASTEST: Final = 1


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
        content = stream.decompress(body, limit + 1)
    except zlib.error as err:
        raise InvalidRequest(f"body: no valid {coding} data ({err})") from err
    if len(content) > limit:
        raise RequestTooLarge(
            f"body: decompresses to more than {limit} bytes, expected at most {max_bytes} "
            f"and at most {MAX_RATIO} times its size"
        )
    if not stream.eof:
        raise InvalidRequest(f"body: its {coding} data is cut off")
    if stream.unused_data:
        raise InvalidRequest(f"body: {len(stream.unused_data)} bytes after its {coding} data")
    return content


def deflated(body: bytes, coding: str) -> bytes:
    """Compress an answer, fast rather than small."""
    stream = zlib.compressobj(_FASTEST, zlib.DEFLATED, _WINDOWS[coding])
    return stream.compress(body) + stream.flush()
