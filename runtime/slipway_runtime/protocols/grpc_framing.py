"""gRPC over HTTP/2: messages, deadlines and statuses as they stand on the wire.

Pure. Source: gRPC's "PROTOCOL-HTTP2" document.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import quote_from_bytes

from slipway_runtime.errors import InvalidRequest, UnsupportedEncoding, shown
from slipway_runtime.http2.heads import RequestHead, literal
from slipway_runtime.protocols.compression import CODINGS
from slipway_runtime.protocols.grpc_status import Status

PREFIX_BYTES: Final = 5
_PREFIX: Final = struct.Struct(">BI")
_STATUS_200: Final = b"\x88"
"""`:status 200` in HPACK's static table."""
_TYPE: Final = b"application/grpc"
_TIMEOUT: Final = re.compile(rb"(\d{1,8})([HMSmun])")
_UNITS_S: Final[Mapping[bytes, float]] = MappingProxyType(
    {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
)
_UNESCAPED: Final = "".join(chr(c) for c in range(0x20, 0x7F) if c != 0x25)

HEAD: Final = (
    _STATUS_200
    + literal(b"content-type", _TYPE)
    + literal(b"grpc-accept-encoding", b"identity,deflate,gzip")
)
"""The head of every answer."""


def is_grpc(head: RequestHead) -> bool:
    """Whether a request is one of gRPC at all."""
    kind = head.fields.get(b"content-type", b"")
    return head.method == b"POST" and kind.startswith(_TYPE)


NOT_GRPC: Final = literal(b":status", b"415") + literal(b"content-type", b"text/plain")
NOT_GRPC_BODY: Final = b"content-type: expected application/grpc\n"
"""The answer to one that is not."""


def timeout_s(head: RequestHead) -> float | None:
    """How long the client waits, from when the request came; None for as long as it takes.

    Raises:
        InvalidRequest: it is no such value.
    """
    value = head.fields.get(b"grpc-timeout")
    if value is None:
        return None
    found = _TIMEOUT.fullmatch(value)
    if found is None:
        told = shown(value.decode("latin-1"))
        raise InvalidRequest(f"grpc-timeout: got {told}, expected up to 8 digits and a unit")
    return int(found[1]) * _UNITS_S[found[2]]


def coding(head: RequestHead) -> str | None:
    """How messages with the compressed flag are compressed; None for not at all.

    Raises:
        UnsupportedEncoding: in a way that is not known here.
    """
    value = head.fields.get(b"grpc-encoding", b"identity").decode("latin-1")
    if value == "identity":
        return None
    if value not in CODINGS:
        expected = ", ".join(("identity", *CODINGS))
        raise UnsupportedEncoding(f"grpc-encoding: got {shown(value)}, expected one of {expected}")
    return value


def read_prefix(data: bytes | bytearray) -> tuple[bool, int]:
    """Whether the message that begins here is compressed, and its size in bytes.

    Raises:
        InvalidRequest: the flag is neither 0 nor 1.
    """
    flag, size = _PREFIX.unpack_from(data)
    if flag > 1:
        raise InvalidRequest(f"message: got compressed flag {flag}, expected 0 or 1")
    return bool(flag), size


def message(payload: bytes) -> bytes:
    """A message with its prefix.

    >>> message(b"ab").hex()
    '00000000026162'
    """
    return _PREFIX.pack(0, len(payload)) + payload


def embedded(field: int, payload: bytes) -> bytes:
    """A message that holds another one, which is written already.

    >>> embedded(2, b"ab").hex()
    '12026162'
    """
    size, digits = len(payload), bytearray((field << 3 | 2,))
    while size >= 128:
        digits.append(size & 127 | 128)
        size >>= 7
    digits.append(size)
    return bytes(digits) + payload


def metadata(pairs: Mapping[str, str]) -> bytes:
    """Further fields of the trailers; characters beyond ASCII are escaped."""
    return b"".join(literal(name.encode(), _escaped(value)) for name, value in pairs.items())


def trailers(status: Status, words: str = "", more: bytes = b"") -> bytes:
    """What ends an answer."""
    block = literal(b"grpc-status", b"%d" % status)
    if words:
        block += literal(b"grpc-message", _escaped(words))
    return block + more


def _escaped(words: str) -> bytes:
    """Percent-encode what a header cannot hold."""
    return quote_from_bytes(words.encode("utf-8", "replace"), safe=_UNESCAPED).encode()
