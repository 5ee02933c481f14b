"""Connections of HTTP/1.1: uvicorn's protocol with limits on heads, time, number and age.

uvicorn waits for ever for the rest of a head or a body, takes heads of any size, and answers what
is no HTTP in plain text, with a warning in the log for each. Here a connection has one clock: it
runs while a head or a body is due, and stops while the server computes. What is refused is told in
the words of every other error, and closed.

A client that shuts its sending side down while it waits (`nc -N`) looks like one that is gone. We
send it `100 Continue`, which every client has to skip: a client that is gone answers with a reset.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import httptools
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from slipway_runtime.protocols.body import Part
from slipway_runtime.protocols.client import EXTENSION
from slipway_runtime.protocols.lane import (
    LARGE_BYTES,
    KnownHeads,
    Lane,
    WholeHead,
    head_text,
    plain_head,
    whole,
)
from slipway_runtime.protocols.wire import error_body

MAX_HEAD_BYTES: Final = 32 * 1024
MAX_HEADERS: Final = 128
MAX_TARGET_BYTES: Final = 8 * 1024

_MIN_BODY_RATE: Final = 1024
"""Bytes a second, on average, after the body's head start."""
_RECHECK_S: Final = 1.0
_LINGER_S: Final = 2.0
_STALLED_S: Final = 30.0
_GONE_AFTER_S: Final = 0.05
_TCP_CLOSED: Final = 7
_INTERIM: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_OF_UPGRADES: Final = frozenset({b"upgrade", b"connection", b"http2-settings"})
_AGE_JITTER: Final = 0.1


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What one client may take; seconds."""

    max_connections: int
    head_timeout_s: float
    body_timeout_s: float
    max_age_s: float
    rejected: Callable[[str], None]
    """Told the reason of every refusal: a bounded set of words."""


def limited(limits: ConnectionLimits, lane: Lane | None = None) -> type[asyncio.Protocol]:
    """The protocol class for uvicorn, with these limits; `lane` answers what it takes."""
    known = KnownHeads()

    class LimitedConnection(Connection):
        """A connection under the limits of this server."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.limits = limits
            self.lane = lane
            self.known = known

    return LimitedConnection


class _Client:
    """The client of one request; see `protocols/client.py`."""

    __slots__ = ("_connection", "_cycle", "_is_watched", "_task", "is_gone")

    def __init__(self, connection: Connection) -> None:
        self._connection: Final = connection
        self._cycle: RequestResponseCycle | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_watched = False
        self.is_gone = False

    def begin(self, cycle: RequestResponseCycle, task: asyncio.Task[None]) -> None:
        """The request is being answered."""
        self._cycle, self._task = cycle, task

    def watch(self) -> None:
        """Cancel the task when the client goes."""
        self._is_watched = True
        if self.is_gone and self._task is not None:
            self._task.cancel()

    def unwatch(self) -> None:
        """Let the task run."""
        self._is_watched = False

    def leave(self) -> None:
        """The client is gone."""
        self.is_gone = True
        if self._is_watched and self._task is not None:
            self._task.cancel()

    def answer(self, status: int, headers: bytes, body: bytes, *, is_last: bool) -> bool:
        """Write an answer in one piece; False when uvicorn has to wait, or to refuse."""
        cycle = self._cycle
        if cycle is None or cycle.response_started or cycle.disconnected:
            return False
        return self._connection.answer(cycle, STATUS_LINE[status] + headers, body, is_last=is_last)


class _Told:
    """Stands for the event that wakes a coroutine of uvicorn's; on the short way none waits."""

    def set(self) -> None:
        """Nobody to wake."""


_TOLD: Final = _Told()
_HTTP11: Final = {"http_version": "1.1"}


class _Direct:
    """A request on the short way, in the place of uvicorn's cycle; see `protocols/lane.py`."""

    __slots__ = (
        "_connection",
        "_parts",
        "_task",
        "body",
        "disconnected",
        "head",
        "is_gone",
        "keep_alive",
        "message_event",
        "response_complete",
        "response_started",
        "scope",
    )

    def __init__(self, connection: Connection, head: WholeHead) -> None:
        self._connection: Final = connection
        self._parts: list[Part] = []
        self._task: asyncio.Task[None] | None = None
        self.head: Final = head
        self.body: Part = b""
        self.scope: Final = _HTTP11
        self.message_event: Final = _TOLD
        self.keep_alive = True
        self.disconnected = False
        self.response_started = False
        self.response_complete = False
        self.is_gone = False

    def received(self, part: Part) -> None:
        """A part of the body came."""
        self._parts.append(part)

    def begin(self, lane: Lane) -> None:
        """The body is complete."""
        self.body = whole(self._parts, self.head.sizes)
        self._parts.clear()
        self._task = self._connection.run(lane.serve(self))

    def leave(self) -> None:
        """The client is gone."""
        self.is_gone = True
        if self._task is not None and not self.response_complete:
            self._task.cancel()

    def reply(self, status: int, headers: bytes, body: bytes, *, is_last: bool) -> None:
        """Send the answer."""
        if not self.disconnected:
            self._connection.reply(self, STATUS_LINE[status] + headers, body, is_last=is_last)


class _Refused(Exception):
    """A head that breaks a limit: status, reason, message."""


class Connection(HttpToolsProtocol):
    """One client's connection."""

    limits: ConnectionLimits
    lane: Lane | None = None
    known: KnownHeads

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._read_bytes = 0
        self._body_bytes = 0
        self._body_began_s = 0.0
        self._is_in_head = False
        self._is_in_body = False
        self._is_deaf = False
        self._retires_s = float("inf")
        self._answering: _Client | _Direct | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._idle_since_s = 0.0
        self._keep_alive_s: Final[float] = self.config.timeout_keep_alive
        self._head_text = self._text_before = b""
        self._message_bytes = 0
        self._owed_bytes = 0
        """What is missing of a body whose head was known."""
        self._direct: _Direct | None = None
        """A request on the short way whose body is due."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        """Take the connection, or refuse it when there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            limit = self.limits.max_connections
            self._refuse(503, "TooManyConnections", f"more than {limit} connections; retry later")
            return
        if self.limits.max_age_s:
            jitter = random.uniform(1 - _AGE_JITTER, 1 + _AGE_JITTER)
            self._retires_s = self.loop.time() + self.limits.max_age_s * jitter
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the clock, and tell who answers."""
        if self._answering is not None:
            self._answering.leave()
        self._stop_clock()
        for timer in (self._stalled, self._idle_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come, within the limits."""
        if self._is_deaf:
            return
        self._unset_keepalive_if_required()
        if self._owed_bytes:
            self._take_owed(data)
            return
        if not self._is_in_head and not self._is_in_body:
            self._head_text = head_text(data) if self.lane is not None else b""
            if self._head_text and self._begin_known(data):
                return
            self._begin_head()
            self._message_bytes = 0
        self._message_bytes += len(data)
        self._read_bytes = len(data)
        if self._is_in_head:
            self._head_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._read_without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as err:
            self._refuse_parsed(err)
        else:
            if self._is_in_head and self._head_bytes > MAX_HEAD_BYTES:
                self._refuse_parsed(_head_too_large())
            elif self._timer is None:
                self._expect_rest()
            if self._head_text:
                self._learn()

    def _read_without_upgrade(self, rest: bytes) -> None:
        """Read a request again as if it had not asked to speak another protocol.

        A server may ignore that. Java's HttpClient asks for HTTP/2 with every first request, and
        the parser takes the body of such a request for the other protocol.
        """
        lines = [b"%s %s HTTP/1.1\r\n" % (self.parser.get_method(), self.url)]
        lines += [b"%s: %s\r\n" % pair for pair in self.headers if pair[0] not in _OF_UPGRADES]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"".join((*lines, b"\r\n", rest)))

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn never keeps one open
        """Keep a half-closed connection until its answer is out, unless the client is gone."""
        # A started answer is in the transport's hands, which sends it before it closes.
        if self.cycle is None or self.cycle.response_started or self._is_in_body:
            return False
        self.cycle.keep_alive = False
        if self.cycle.scope["http_version"] == "1.1":
            self.transport.write(_INTERIM)
            self.loop.call_later(_GONE_AFTER_S, self._abort_if_reset)
        return True

    def on_message_begin(self) -> None:
        """Start counting a head; pipelined requests begin in the middle of a read.

        uvicorn makes the request's scope here; on the short way none is needed.
        """
        self.url, self.headers, self.expect_100_continue = b"", [], False
        if not self._is_in_head:
            self._begin_head()

    def on_url(self, url: bytes) -> None:
        """Collect the target, up to its limit."""
        super().on_url(url)
        if len(self.url) > MAX_TARGET_BYTES:
            raise _Refused(414, "TargetTooLong", f"path: expected at most {MAX_TARGET_BYTES} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header, up to their limit."""
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADERS:
            raise _Refused(431, "HeadTooLarge", f"headers: expected at most {MAX_HEADERS}")

    def on_headers_complete(self) -> None:
        """Hand the request over; its body is due from now on."""
        # What has been read is more than the head, and nearly always less than the limit.
        if self._head_bytes + self._read_bytes > MAX_HEAD_BYTES and (
            sum(len(name) + len(value) + 4 for name, value in self.headers) > MAX_HEAD_BYTES
        ):
            raise _head_too_large()
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise _Refused(400, "MalformedRequest", "CONNECT: this is no proxy")
            return  # read again, without it
        if not self._goes_short():
            self._make_scope()
            extensions: dict[str, Any] = {EXTENSION: _Client(self)}
            self.scope["extensions"] = extensions
            super().on_headers_complete()
        self._begin_body()
        self._stop_clock()
        if self._body_began_s >= self._retires_s:
            self.cycle.keep_alive = False

    def _begin_body(self) -> None:
        self._is_in_head = False
        self._is_in_body = True
        self._body_bytes = 0
        self._body_began_s = self.loop.time()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Answer a request; pipelined ones come one after the other."""
        extensions: dict[str, Any] = cycle.scope["extensions"]
        client: _Client = extensions[EXTENSION]
        client.begin(cycle, self.run(cycle.run_asgi(app)))
        self._answering = client

    def answer(
        self, cycle: RequestResponseCycle, head: bytes, body: bytes, *, is_last: bool
    ) -> bool:
        """Write a whole answer as uvicorn would have in two steps."""
        if self.flow.write_paused:
            return False
        cycle.waiting_for_100_continue = False
        self._write_answer(cycle, head, body, is_last=is_last)
        cycle.message_event.set()
        cycle.on_response()
        return True

    def _write_answer(
        self, cycle: RequestResponseCycle | _Direct, head: bytes, body: bytes, *, is_last: bool
    ) -> None:
        """Write an answer in one piece, and close after it when it is the last."""
        cycle.keep_alive = cycle.keep_alive and not is_last
        cycle.response_started = cycle.response_complete = True
        for name, value in self.server_state.default_headers:
            head += b"%s: %s\r\n" % (name, value)
        end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        self.transport.write(b"".join((head, end, body)))
        if not cycle.keep_alive:
            self.transport.close()

    def _make_scope(self) -> None:
        """What uvicorn makes before it knows the head."""
        head = (self.url, self.headers, self.expect_100_continue)
        super().on_message_begin()
        self.url, headers, self.expect_100_continue = head
        self.headers += headers  # the scope holds this list

    def _goes_short(self) -> bool:
        """Whether a request needs nothing of what the long way knows."""
        lane, before = self.lane, self.cycle
        if lane is None or not lane.takes(self.url) or self.flow.write_paused:
            return False
        if before is not None and not before.response_complete:
            return False  # it waits for the one before
        parser = self.parser
        if parser.get_method() != b"POST" or parser.get_http_version() != "1.1":
            return False
        head = plain_head(self.headers)
        if head is None or not head.length or not lane.allows(head):
            return False
        if not self._is_admitted(self.headers):
            return False
        self._direct = self._received(WholeHead(self.url, self.headers, head))
        return True

    def _is_admitted(self, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        """Whether a request has the credentials that are asked for; a key may have been revoked."""
        guard = self.lane.guard if self.lane is not None else None
        return guard is None or guard.admits(headers)

    def _received(self, head: WholeHead) -> _Direct:
        """A head that goes the short way has come."""
        direct = _Direct(self, head)
        self.cycle = cast(RequestResponseCycle, direct)
        return direct

    def _begin_known(self, data: bytes) -> bool:
        """Take a request whose head is known; False where it has to be parsed.

        The parser does not hear of it, and goes on standing between two requests.
        """
        head, before = self.known.get(self._head_text), self.cycle
        if head is None or self.flow.write_paused or not self._is_admitted(head.headers):
            return False
        if before is not None and not before.response_complete:
            return False
        if len(data) - len(self._head_text) > head.sizes.length:
            return False
        # A view of much, which is copied to its place later; of little, a copy is quicker.
        is_large = head.sizes.length > LARGE_BYTES
        part = (memoryview(data) if is_large else data)[len(self._head_text) :]
        self._stop_clock()
        self._direct = self._received(head)
        self._owed_bytes = head.sizes.length
        self._begin_body()
        self._take_owed(part)
        return True

    def _take_owed(self, data: Part) -> None:
        """Read on in the body of a request whose head was known."""
        part = data[: self._owed_bytes]
        self._owed_bytes -= len(part)
        self.on_body(part)
        if self._owed_bytes:
            if self._timer is None:
                self._expect_rest()
            return
        self._end_message()
        if len(part) < len(data):
            self.data_received(bytes(data[len(part) :]))

    def _learn(self) -> None:
        """Remember the head of a request that is read, if all that came was this one."""
        if self._is_in_head or self._is_in_body:
            return
        text, self._head_text = self._head_text, b""
        cycle: object = self.cycle
        if isinstance(cycle, _Direct):
            head = cycle.head
            if self._message_bytes == len(text) + head.sizes.length:
                self.known.learn(text, head, self._text_before)
            self._text_before = text

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Answer a request beside the others."""
        task = self.loop.create_task(work)
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)
        return task

    def reply(self, request: _Direct, head: bytes, body: bytes, *, is_last: bool) -> None:
        """Write the answer of a request on the short way."""
        is_last = is_last or self._retires_s <= self.loop.time()
        self._write_answer(request, head, body, is_last=is_last)
        self.server_state.total_requests += 1
        if not request.keep_alive:
            return
        if self.pipeline or self.timeout_keep_alive_task is not None:
            self.on_response_complete()
        else:
            self._idle_since_s = self.loop.time()
            if self._idle_timer is None:
                self._idle_timer = self.loop.call_later(self._keep_alive_s, self._close_if_idle)

    def _close_if_idle(self) -> None:
        """One timer for all answers of the short way, instead of one for each."""
        self._idle_timer = None
        left_s = self._idle_since_s + self._keep_alive_s - self.loop.time()
        if self.transport.is_closing():
            return
        if (
            self._is_in_head
            or self._is_in_body
            or (self.cycle is not None and not self.cycle.response_complete)
        ):
            return  # it is not idle; its next answer starts a timer
        if left_s <= 0:
            self.transport.close()
        else:
            self._idle_timer = self.loop.call_later(left_s, self._close_if_idle)

    def on_body(self, body: Part) -> None:
        """Count what has come."""
        self._body_bytes += len(body)
        if self._direct is not None:
            self._direct.received(body)
        else:
            super().on_body(bytes(body))

    def on_message_complete(self) -> None:
        """Hand a whole request over."""
        if not self.parser.should_upgrade():
            self._end_message()

    def _end_message(self) -> None:
        """Stop the clock: it is our turn now."""
        self._is_in_body = False
        self._head_bytes = 0
        self._stop_clock()
        direct, self._direct = self._direct, None
        if direct is None:
            super().on_message_complete()
        elif self.lane is not None:
            self._answering = direct
            direct.begin(self.lane)

    def pause_writing(self) -> None:
        """Give a client that does not read its answer a limited time."""
        super().pause_writing()
        self._stalled = self.loop.call_later(_STALLED_S, self._is_stalled)

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _begin_head(self) -> None:
        self._is_in_head = True
        self._head_bytes = 0
        self._stop_clock()

    def _expect_rest(self) -> None:
        """Start the clock for what has come in part; most requests come in one piece."""
        if self._is_in_head:
            self._expect_head()
        elif self._is_in_body:
            if self.lane is not None and self._direct is not None:
                sooner_s = min(self.lane.body_timeout_s, self.limits.body_timeout_s)
                self._start_clock(sooner_s, self._check_direct)
            else:
                self._start_clock(self.limits.body_timeout_s, self._check_body)

    def _expect_head(self) -> None:
        self._start_clock(self.limits.head_timeout_s, self._head_is_late)

    def _head_is_late(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            # The next request may be slow while the one before it is computed.
            self._start_clock(_RECHECK_S, self._head_is_late)
        elif self._is_in_head:
            limit = self.limits.head_timeout_s
            self._refuse(408, "SlowRequest", f"head: not complete within {limit:g}s")
        else:
            self.transport.close()

    def _check_direct(self) -> None:
        took_s = self.loop.time() - self._body_began_s
        if self.lane is not None and took_s >= self.lane.body_timeout_s:
            self._refuse(408, "SlowRequest", f"body: {self._body_bytes} bytes in {took_s:.0f}s")
        else:
            self._check_body()

    def _check_body(self) -> None:
        took_s = self.loop.time() - self._body_began_s
        due_bytes = (took_s - self.limits.body_timeout_s) * _MIN_BODY_RATE
        # While nobody reads it, waiting is our doing and not the client's.
        if self._body_bytes > due_bytes or self.flow.read_paused:
            again = self._check_body if self._direct is None else self._check_direct
            self._start_clock(_RECHECK_S, again)
        else:
            self._refuse(408, "SlowRequest", f"body: {self._body_bytes} bytes in {took_s:.0f}s")

    def _refuse_parsed(self, err: Exception) -> None:
        cause = err.__context__ or err
        if isinstance(err, _Refused):
            cause = err
        if isinstance(cause, _Refused):
            self._refuse(*cause.args)
        else:
            self._refuse(400, "MalformedRequest", f"request: no valid HTTP/1.1 ({_words(err)})")

    def _refuse(self, status: int, reason: str, message: str) -> None:
        """Answer what is no request, or stop after the answers that are on their way."""
        self._is_deaf = True
        self._stop_clock()
        self.limits.rejected(reason)
        cycle = self.cycle
        if self._is_in_body:
            # Nobody is to answer this request any more.
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.close()
                return
        elif cycle is not None and not cycle.response_complete:
            cycle.keep_alive = False  # the one before; it is answered, then we close
            return
        self.transport.write(_answer(status, message))
        # Closing while the client still sends would reset the connection before it reads this.
        self.transport.write_eof()
        self.flow.resume_reading()
        self._start_clock(_LINGER_S, self.transport.close)

    def _abort_if_reset(self) -> None:
        if not self.transport.is_closing() and _is_reset(self.transport):
            self.transport.abort()

    def _is_stalled(self) -> None:
        self.transport.abort()

    def _start_clock(self, delay_s: float, then: Callable[[], None]) -> None:
        self._stop_clock()
        self._timer = self.loop.call_later(delay_s, then)

    def _stop_clock(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _is_reset(transport: asyncio.Transport) -> bool:
    """Whether the peer has answered with a reset; the loop does not look, once it has sent FIN."""
    sock = transport.get_extra_info("socket")
    try:
        with socket.socket(fileno=os.dup(sock.fileno())) as same:
            return same.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSED
    except OSError:
        return False


def _head_too_large() -> _Refused:
    return _Refused(431, "HeadTooLarge", f"head: expected at most {MAX_HEAD_BYTES} bytes")


def _words(err: Exception) -> str:
    return str(err)[:80] or type(err).__name__


def _answer(status: int, message: str) -> bytes:
    body = error_body(message)
    head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n" % len(
        body
    )
    retry = b"retry-after: 1\r\n" if status == 503 else b""
    return b"".join((STATUS_LINE[status], head, retry, b"\r\n", body))
