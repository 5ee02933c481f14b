"""The short way of a request: what nearly every client sends, answered without ASGI.

A request takes it when its head holds nothing but what is looked at here; all others take the long
way, through uvicorn and the application. Both ask the same endpoint. ASGI's two messages, its scope
and its coroutines cost more than reading, computing and writing a small request together.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import Any, Final, NamedTuple, Protocol

from slipway_runtime.protocols.body import THREAD_ABOVE_BYTES
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


class PlainHead(NamedTuple):
    """Sizes that a head tells, in bytes."""

    length: int
    json_bytes: int | None


class LaneRequest(Protocol):
    """A whole request, and who waits for its answer."""

    is_gone: bool

    @property
    def target(self) -> bytes:
        """The path as it came."""

    @property
    def headers(self) -> Iterable[tuple[bytes, bytes]]:
        """As they came, names in lower case."""

    @property
    def json_bytes(self) -> int | None:
        """How much of the body is JSON; None for all of it."""

    @property
    def body(self) -> bytes:
        """All of it."""

    def reply(self, status: int, headers: bytes, body: bytes, *, is_last: bool) -> None:
        """Send the answer, and close after it when it is the last."""


class Lane(Protocol):
    """Who answers requests that come the short way."""

    body_timeout_s: float
    """How long a body may take."""

    def takes(self, target: bytes) -> bool:
        """Whether requests with this target may come."""

    def allows(self, head: PlainHead) -> bool:
        """Whether a body of this size would be read; if not, the long way refuses it."""

    def serve(self, request: LaneRequest) -> Coroutine[Any, Any, None]:
        """Answer one; cancelled when its client goes."""


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
