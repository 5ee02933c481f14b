"""One request and its answer: what both sides may still send, and what waits to be sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from slipway_runtime.http2.frames import Code


class Receiver(Protocol):
    """Who answers a request."""

    def received(self, chunk: bytes) -> None:
        """A part of the body came; what is not credited to the stream lessens its window."""

    def ended(self) -> None:
        """The body is complete."""

    def gone(self) -> None:
        """The peer gave up, or its connection ended; nothing can be sent any more."""


class Sender(Protocol):
    """The connection, as its streams see it."""

    def head(self, stream: Stream, block: bytes) -> None:
        """Send the head of an answer."""

    def body(self, stream: Stream, data: bytes) -> None:
        """Send a part of an answer, or keep it until the peer has room."""

    def finish(self, stream: Stream, trailers: bytes) -> None:
        """Send the trailers after everything else; the answer is complete."""

    def credit(self, stream: Stream, size: int) -> None:
        """Let the peer send so many bytes more."""

    def reset(self, stream: Stream, code: Code) -> None:
        """End the stream at once."""

    def room(self, stream: Stream) -> int:
        """Bytes that may be sent now."""


class Stream:
    """A request with its answer; its methods do nothing once the peer is gone."""

    __slots__ = (
        "_sender",
        "blocked_ticks",
        "body_bytes",
        "content_length",
        "held_bytes",
        "id",
        "is_closed",
        "is_read",
        "is_started",
        "on_closed",
        "on_drained",
        "opened_in",
        "receive_window",
        "receiver",
        "send_window",
        "trailers",
        "uncredited",
        "waiting",
        "waiting_bytes",
    )

    def __init__(
        self, sender: Sender, stream_id: int, *, send_window: int, receive_window: int
    ) -> None:
        self._sender: Final = sender
        self.id: Final = stream_id
        self.receiver: Receiver | None = None
        self.send_window = send_window
        self.receive_window = receive_window
        self.uncredited = 0
        self.held_bytes = 0
        """What came and is not credited: returned to the connection when the stream ends."""
        self.content_length: int | None = None
        self.opened_in = 0
        """Which reading of the connection brought its head."""
        self.body_bytes = 0
        self.is_read = False
        """Whether the request is complete."""
        self.is_started = False
        self.is_closed = False
        self.waiting: deque[bytes] = deque()
        self.waiting_bytes = 0
        self.trailers: bytes | None = None
        self.blocked_ticks = 0
        self.on_drained: Callable[[], None] | None = None
        self.on_closed: Callable[[], None] | None = None

    @property
    def room(self) -> int:
        """Bytes of an answer that the peer takes now."""
        return self._sender.room(self)

    def answer(self, head: bytes, body: bytes, trailers: bytes) -> None:
        """Send a whole answer."""
        if not self.is_closed:
            self.start(head)
            self.send(body)
            self.finish(trailers)

    def start(self, head: bytes) -> None:
        """Send the head of the answer."""
        if not self.is_closed:
            self.is_started = True
            self._sender.head(self, head)

    def send(self, data: bytes) -> None:
        """Send a part of the answer."""
        if not self.is_closed:
            self._sender.body(self, data)

    def finish(self, trailers: bytes) -> None:
        """Send what follows the answer; without an answer, it stands for its head too."""
        if not self.is_closed:
            self._sender.finish(self, trailers)

    def credit(self, size: int) -> None:
        """Let the peer send so many bytes more: those that came are taken care of."""
        if not self.is_closed:
            self._sender.credit(self, size)

    def reset(self, code: Code) -> None:
        """End the stream at once."""
        if not self.is_closed:
            self._sender.reset(self, code)
