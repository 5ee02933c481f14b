"""Connections as asyncio sees them: sockets, clocks, limits, and a drain that loses nothing.

`Http2Protocol` moves bytes between a transport and the pure `Connection`; `Http2Listener` owns the
socket and a clock that ticks once a second for all connections.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

from slipway_runtime.http2.connection import Accept, Connection

log: Final = logging.getLogger(__name__)

_TICK_S: Final = 1.0
_AGE_JITTER: Final = 0.1
_STALLED_TICKS: Final = 30
_DEAF_TICKS: Final = 3
_BACKLOG: Final = 2048
_HTTP1: Final = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n"
    b"content-length: 41\r\n\r\nthis port speaks gRPC, which needs HTTP/2"
)
_HTTP1_STARTS: Final = (b"GET ", b"POST ", b"PUT ", b"HEAD ", b"DELETE ", b"OPTIONS ", b"PATCH ")


@dataclass(frozen=True, slots=True)
class Http2Limits:
    """What one client may take; seconds."""

    max_connections: int
    greeting_timeout_s: float
    """From connecting to the peer's settings."""
    max_age_s: float
    """After so long a connection is told to end, so that clients see new pods; 0 for never."""
    grace_s: float
    """How long requests may go on after that."""
    rejected: Callable[[str], None]
    """Told the reason of every refusal: a bounded set of words."""


class Http2Protocol(asyncio.Protocol):
    """One connection."""

    def __init__(self, listener: Http2Listener) -> None:
        self._listener: Final = listener
        self._loop: Final = asyncio.get_running_loop()
        self.connection: Final = Connection(listener.accept, self._flush_soon)
        self._transport: asyncio.Transport | None = None
        self._is_flushing = True
        """Whether output is about to be written: from the start, for our settings."""
        self._is_first = True
        self._is_paused = False
        self._is_busy = False
        """Whether frames wait that were received and not read."""
        self._ticks = 0
        self._paused_ticks = 0
        self._left_ticks = 0
        limits = listener.limits
        jitter = random.uniform(1 - _AGE_JITTER, 1 + _AGE_JITTER)  # spreads, hides nothing
        self._max_ticks: Final = int(limits.max_age_s * jitter / _TICK_S) or None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or close it when there are too many."""
        self._transport = cast(asyncio.Transport, transport)
        if not self._listener.joined(self):
            self._listener.limits.rejected("TooManyConnections")
            self.connection.is_over = True
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read, and write what can be said at once."""
        if self._is_first:
            self._is_first = False
            if data.startswith(_HTTP1_STARTS):
                self._refuse_http1(self._transport)
                return
        self._read(data)

    def _read(self, data: bytes) -> None:
        """Read some of what has come; the rest once others had a turn."""
        self._is_flushing = True
        self.connection.receive(data)
        self._flush()
        if not self.connection.has_more:
            if self._is_busy:
                self._is_busy = False
                self._resume_if_idle()
            return
        if not self._is_busy and self._transport is not None:
            self._is_busy = True
            self._transport.pause_reading()
        self._loop.call_soon(self._read, b"")

    def eof_received(self) -> bool:
        """A client that shuts its side is done."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is left to answer."""
        self._listener.left(self)
        self.connection.lost()

    def pause_writing(self) -> None:
        """The peer does not read: hear no more of it until it does."""
        self._is_paused = True
        self._paused_ticks = 0
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        self._is_paused = False
        self._resume_if_idle()

    def _resume_if_idle(self) -> None:
        """Hear of the peer again, unless it does not read, or has said more than was read yet."""
        transport = self._transport
        if not (transport is None or transport.is_closing() or self._is_paused or self._is_busy):
            transport.resume_reading()

    def tick(self) -> None:
        """A second has passed."""
        self._ticks += 1
        self.connection.tick()
        limits = self._listener.limits
        if not self.connection.is_settled and self._ticks * _TICK_S > limits.greeting_timeout_s:
            limits.rejected("SlowRequest")
            self.abort()
        elif self._is_stalled():
            self.abort()
        elif self._max_ticks is not None and self._ticks >= self._max_ticks:
            self.retire()
        if self._left_ticks:
            self._leave_step()

    def retire(self) -> None:
        """Begin to end: tell the peer, and wait for what is in flight."""
        if not self._left_ticks:
            self._left_ticks = 1
            self.connection.retire()

    def abort(self) -> None:
        """End at once; what is in flight is cancelled."""
        if self._transport is not None:
            self._transport.abort()

    def _is_stalled(self) -> bool:
        self._paused_ticks += self._is_paused
        return self._paused_ticks > _STALLED_TICKS

    def _leave_step(self) -> None:
        """Wait no longer for a peer that does not hear."""
        self._left_ticks += 1
        if self._left_ticks > _DEAF_TICKS:
            self.connection.leave()
            self._close_if_over()
        if self._left_ticks * _TICK_S > self._listener.limits.grace_s + _DEAF_TICKS:
            self.abort()

    def _flush_soon(self) -> None:
        if not self._is_flushing:
            self._is_flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flushing = False
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        output = self.connection.take()
        if output:
            transport.write(output)
        self._close_if_over()

    def _close_if_over(self) -> None:
        if not self.connection.is_over or self._transport is None:
            return
        if self.connection.problem is not None:
            log.debug("connection ended", extra={"cause": str(self.connection.problem)})
            self._listener.limits.rejected(self.connection.problem.code.name)
        self._transport.close()

    def _refuse_http1(self, transport: asyncio.Transport | None) -> None:
        self._listener.limits.rejected("MalformedRequest")
        self.connection.is_over = True
        if transport is not None:
            transport.write(_HTTP1)
            transport.close()


class Http2Listener:
    """A listening socket and its connections."""

    def __init__(
        self, accept: Accept, limits: Http2Limits, *, tick: Callable[[], None] = lambda: None
    ) -> None:
        """Prepare.

        Args:
            accept: who answers requests.
            limits: of each client.
            tick: called once a second.
        """
        self.accept: Final = accept
        self._tick: Final = tick
        self.limits: Final = limits
        self._connections: Final[set[Http2Protocol]] = set()
        self._server: asyncio.Server | None = None
        self._clock: asyncio.TimerHandle | None = None
        self._emptied: Final = asyncio.Event()

    async def start(self, sock: socket.socket) -> None:
        """Listen on a bound socket."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Http2Protocol(self), sock=sock, backlog=_BACKLOG
        )
        self.keep_time()

    def keep_time(self) -> None:
        """Tick for all connections, once a second."""
        for protocol in list(self._connections):
            protocol.tick()
        self._tick()
        self._clock = asyncio.get_running_loop().call_later(_TICK_S, self.keep_time)

    async def stop(self, grace_s: float) -> None:
        """Take no new connections, let the streams end within the grace, cut what is left."""
        if self._server is not None:
            self._server.close()
        for protocol in list(self._connections):
            protocol.retire()
        if self._connections:
            self._emptied.clear()
            try:
                async with asyncio.timeout(grace_s):
                    await self._emptied.wait()
            except TimeoutError:
                for protocol in list(self._connections):
                    protocol.abort()
        if self._clock is not None:
            self._clock.cancel()

    def joined(self, protocol: Http2Protocol) -> bool:
        """Count a connection; False when there are too many."""
        if len(self._connections) >= self.limits.max_connections:
            return False
        self._connections.add(protocol)
        return True

    def left(self, protocol: Http2Protocol) -> None:
        """Forget a connection."""
        self._connections.discard(protocol)
        if not self._connections:
            self._emptied.set()
