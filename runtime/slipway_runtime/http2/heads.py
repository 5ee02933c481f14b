"""Heads: what HPACK carries of a request, and the few fields that we answer with.

The library decodes. A client that asks the same again and again sends the same few bytes, each of
which points into a table that does not change: such a block is decoded once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import hpack

from slipway_runtime.http2.frames import Code, ConnectionProblem, StreamProblem

MAX_LIST_BYTES: Final = 64 * 1024
"""More than a request may have, so that it can be told; beyond it the connection ends."""
_KNOWN_BLOCKS: Final = 64
_PSEUDO: Final = frozenset({b":method", b":scheme", b":path", b":authority"})
_NEEDED: Final = (b":method", b":scheme", b":path")
_OF_CONNECTIONS: Final = frozenset(
    {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
)
_INDEXED: Final = 0x80
_INDEXED_LONG: Final = 0xFF
_ENTRY_BYTES: Final = 32
"""What the protocol adds to each field's size."""


@dataclass(frozen=True, slots=True)
class RequestHead:
    """The head of a request: valid, and nothing known of its meaning."""

    method: bytes
    path: bytes
    fields: Mapping[bytes, bytes]
    """In lower case; of a repeated one, the last."""
    size_bytes: int
    content_length: int | None = None


class HeadReader:
    """Reads the header blocks of one connection, in their order."""

    def __init__(self) -> None:
        self._decoder: Final = hpack.Decoder(MAX_LIST_BYTES)
        self._known: Final[dict[bytes, RequestHead]] = {}

    def read(self, block: bytes) -> RequestHead:
        """Decode and check the head of a request.

        Raises:
            ConnectionProblem: the tables of both ends differ from here on.
            StreamProblem: it is no valid request.
        """
        known = self._known.get(block)
        if known is not None:
            return known
        head = checked(self.decoded(block))
        if _only_points(block) and len(self._known) < _KNOWN_BLOCKS:
            self._known[block] = head
        return head

    def decoded(self, block: bytes) -> list[tuple[bytes, bytes]]:
        """Decode a block; those after a body, and of streams that are refused, count too."""
        if not _only_points(block):
            self._known.clear()
        try:
            return [(name, value) for name, value in self._decoder.decode(block, raw=True)]
        except hpack.OversizedHeaderListError as err:
            raise ConnectionProblem(
                Code.ENHANCE_YOUR_CALM, f"headers: more than {MAX_LIST_BYTES} bytes"
            ) from err
        except (hpack.HPACKError, UnicodeDecodeError) as err:
            raise ConnectionProblem(Code.COMPRESSION_ERROR, "headers: no valid HPACK") from err


def checked(pairs: Iterable[tuple[bytes, bytes]]) -> RequestHead:
    """Check a request's fields (RFC 9113, section 8.2 and 8.3).

    Raises:
        StreamProblem: naming the rule.
    """
    pseudo: dict[bytes, bytes] = {}
    fields: dict[bytes, bytes] = {}
    size = 0
    for name, value in pairs:
        size += len(name) + len(value) + _ENTRY_BYTES
        if name.startswith(b":"):
            if fields or name in pseudo or name not in _PSEUDO:
                raise _malformed("pseudo-header: unknown, twice, or after the others")
            pseudo[name] = value
        else:
            _check_field(name, value)
            fields[name] = value
    if not all(pseudo.get(name) for name in _NEEDED):
        raise _malformed("pseudo-headers: expected :method, :scheme and :path")
    length = fields.get(b"content-length")
    if length is not None and not length.isdigit():
        raise _malformed("content-length: expected a number")
    return RequestHead(
        pseudo[b":method"],
        pseudo[b":path"],
        fields,
        size,
        None if length is None else int(length[:20]),
    )


def check_trailers(pairs: Iterable[tuple[bytes, bytes]]) -> None:
    """Check what follows a body; gRPC's clients send none, and nothing reads them.

    Raises:
        StreamProblem: there are pseudo-headers among them.
    """
    for name, value in pairs:
        if name.startswith(b":"):
            raise _malformed("trailers: have a pseudo-header")
        _check_field(name, value)


def literal(name: bytes, value: bytes) -> bytes:
    """A field that needs no table at the other end, and changes none.

    >>> literal(b"grpc-status", b"0").hex()
    '000b677270632d7374617475730130'
    """
    return b"\x00" + _length(name) + name + _length(value) + value


def _length(text: bytes) -> bytes:
    """An integer with a prefix of 7 bits (RFC 7541, section 5.1)."""
    size = len(text)
    if size < 127:
        return bytes((size,))
    size -= 127
    digits = bytearray((127,))
    while size >= 128:
        digits.append(size & 127 | 128)
        size >>= 7
    digits.append(size)
    return bytes(digits)


def _only_points(block: bytes) -> bool:
    """Whether every byte is a whole field that stands in the table, which so stays as it is."""
    return bool(block) and min(block) >= _INDEXED and _INDEXED_LONG not in block


def _check_field(name: bytes, value: bytes) -> None:
    if not name or name != name.lower() or any(byte <= 0x20 or byte >= 0x7F for byte in name):
        raise _malformed("header name: expected lower case")
    if name in _OF_CONNECTIONS or (name == b"te" and value != b"trailers"):
        raise _malformed("header: belongs to HTTP/1.1")
    if b"\x00" in value or b"\r" in value or b"\n" in value:
        raise _malformed("header value: has a line break or a NUL")


def _malformed(reason: str) -> StreamProblem:
    return StreamProblem(Code.PROTOCOL_ERROR, reason)
