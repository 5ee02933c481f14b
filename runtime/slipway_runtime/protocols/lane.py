"""The short way of a request: what nearly every client sends, answered without ASGI.

A request takes it when its head holds nothing but what is looked at here; all others take the long
way, through uvicorn and the application. Both ask the same endpoint. ASGI's two messages, its scope
and its coroutines cost more than reading, computing and writing a small request together.

A client sends the same head again and again. One that came twice running is kept, and byte for byte
the same text is not parsed a third time.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from slipway_runtime.protocols.body import THREAD_ABOVE_BYTES, Part
from slipway_runtime.protocols.compression import CODINGS
from slipway_runtime.protocols.patience import TIMEOUT_HEADERS

MAX_BYTES: Final = THREAD_ABOVE_BYTES
"""Larger bodies are read with more care."""
_LONG_WAY: Final = TIMEOUT_HEADERS | {
    b"content-encoding",
    b"transfer-encoding",
    b"expect",
    b"upgrade",
}
_CODINGS: Final = frozenset(coding.encode() for coding in CODINGS)
_MAX_DIGITS: Final = 9
_END: Final = b"\r\n\r\n"
LARGE_BYTES: Final = 16 * 1024
"""A body above is worth a look at where its bytes are copied to."""
_ALIGNMENT: Final = 64
"""Of a tensor in memory: more than any datatype asks for."""
_MAX_KNOWN: Final = 256
_MAX_KNOWN_BYTES: Final = 2_048


class PlainHead(NamedTuple):
    """Sizes that a head tells, in bytes."""

    length: int
    json_bytes: int | None


class WholeHead(NamedTuple):
    """A head that goes the short way."""

    target: bytes
    """The path as it came."""
    headers: Sequence[tuple[bytes, bytes]]
    """As they came, names in lower case."""
    sizes: PlainHead


class LaneRequest(Protocol):
    """A whole request, and who waits for its answer."""

    is_gone: bool

    @property
    def head(self) -> WholeHead:
        """What came before the body."""

    @property
    def body(self) -> Part:
        """All of it."""

    def reply(self, status: int, headers: bytes, body: bytes, *, is_last: bool) -> None:
        """Send the answer, and close after it when it is the last."""


class Doorman(Protocol):
    """Who knows whose requests may come at all."""

    def admits(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Tell whether a request with this head may go on."""


class Lane(Protocol):
    """Who answers requests that come the short way."""

    @property
    def guard(self) -> Doorman | None:
        """Asked about each head; what is not admitted goes the long way, which refuses it."""

    body_timeout_s: float
    """How long a body may take."""

    def takes(self, target: bytes) -> bool:
        """Whether requests with this target may come."""

    def allows(self, head: PlainHead) -> bool:
        """Whether a body of this size would be read; if not, the long way refuses it."""

    def serve(self, request: LaneRequest) -> Coroutine[Any, Any, None]:
        """Answer one; cancelled when its client goes."""


def whole(parts: Sequence[Part], sizes: PlainHead) -> Part:
    """The body that has come in parts.

    The first of large tensors lies where it can be used as it is: behind JSON of any length, it
    would have to be copied once more.
    """
    if sizes.json_bytes is None or sizes.length <= LARGE_BYTES or sizes.json_bytes > sizes.length:
        [first, *more] = parts
        return b"".join(parts) if more or isinstance(first, memoryview) else first
    room = np.empty(sizes.length + 2 * _ALIGNMENT, np.uint8)
    begin = -(room.__array_interface__["data"][0] + sizes.json_bytes) % _ALIGNMENT
    body = memoryview(room.data)[begin : begin + sizes.length]
    taken = 0
    for part in parts:
        body[taken : taken + len(part)] = part
        taken += len(part)
    return body.toreadonly()


def plain_head(headers: Iterable[tuple[bytes, bytes]]) -> PlainHead | None:
    """Read a head that may go the short way; None where it may not.

    >>> plain_head([(b"host", b"a"), (b"content-length", b"12")])
    PlainHead(length=12, json_bytes=None)
    >>> plain_head([(b"content-length", b"12"), (b"expect", b"100-continue")])
    """
    length = json_bytes = None
    for name, value in headers:
        if name == b"content-length":
            if length is not None or not value.isdigit() or len(value) > _MAX_DIGITS:
                return None
            length = int(value)
        elif name == b"inference-header-content-length":
            if json_bytes is not None or not value.isdigit() or len(value) > _MAX_DIGITS:
                return None
            json_bytes = int(value)
        elif name in _LONG_WAY:
            return None
        elif name == b"accept-encoding":
            if value.strip().lower() in _CODINGS:
                return None
        elif name == b"connection" and value.strip().lower() != b"keep-alive":
            return None
    return None if length is None or length > MAX_BYTES else PlainHead(length, json_bytes)


class KnownHeads:
    """Heads by their bytes, of all connections of a listener.

    Nothing is kept of heads that differ from each other, such as those with a trace's id.
    """

    def __init__(self) -> None:
        self._known: Final[dict[bytes, WholeHead]] = {}

    def get(self, text: bytes) -> WholeHead | None:
        """What a head means; None where it has to be parsed."""
        return self._known.get(text)

    def learn(self, text: bytes, head: WholeHead, before: bytes) -> None:
        """Keep a head that was parsed, when the one before on its connection was the same."""
        if text and text == before:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[text] = head


def head_text(data: bytes) -> bytes:
    r"""The head that data begins with; empty where it is incomplete, or too long to be kept.

    >>> head_text(b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}")
    b'POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n'
    """
    end = data.find(_END, 0, _MAX_KNOWN_BYTES)
    return data[: end + len(_END)] if end > 0 else b""
