"""The server's side of one HTTP/2 connection: bytes in, bytes out (RFC 9113).

Pure: no socket, no clock, no task. The owner feeds `receive`, writes what `take` gives, calls
`tick` every second, and closes when `is_over`. A rule that the peer breaks ends its stream or,
where the RFC says so, the connection, with a code and a reason; nothing raises out of here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from slipway_runtime.http2 import frames
from slipway_runtime.http2.calm import Calm
from slipway_runtime.http2.frames import Code, ConnectionProblem, StreamProblem, frame
from slipway_runtime.http2.heads import HeadReader, RequestHead, check_trailers
from slipway_runtime.http2.streams import Receiver, Stream

MAX_STREAMS: Final = 1_000
STREAM_WINDOW: Final = 256 * 1024
"""What one stream may send before it is credited; most requests never need to be."""
CONNECTION_WINDOW: Final = 4 * 2**20
MAX_HEAD_FIELDS_BYTES: Final = 16 * 1024
"""What a client is told; the gRPC layer answers those that have more."""
_A_TURN: Final = 12
"""What is read of a connection before others have their turn: a flood must not hold all up, and
who is answered takes several turns."""
_COSTS: Final = bytes(
    8 if kind in (frames.HEADERS, frames.RST_STREAM) else 1 for kind in range(256)
)
"""Of a frame's kind. A small request is answered while it is read, and a connection may send very
many at once; one that is given up was answered in vain."""
_MAX_BLOCK_BYTES: Final = 64 * 1024
_MAX_CONTINUATIONS: Final = 16
_REMEMBERED: Final = 1_024
_STALLED_TICKS: Final = 30
_SLOW_BLOCK_TICKS: Final = 5
_LEAVING: Final = b"retiring"

Accept = Callable[[Stream, RequestHead], Receiver]
"""Takes a new request; its receiver is told the rest."""


class Connection:
    """One client's connection."""

    def __init__(self, accept: Accept, wrote: Callable[[], None]) -> None:
        """Start with our settings already written.

        Args:
            accept: who answers.
            wrote: called when there is something to take.
        """
        self._accept: Final = accept
        self._wrote: Final = wrote
        self._heads: Final = HeadReader()
        self._calm: Final = Calm()
        self._streams: Final[dict[int, Stream]] = {}
        self._dropped: Final[OrderedDict[int, None]] = OrderedDict()
        """Streams that we ended early: what the peer sent before it heard of it is no mistake."""
        self._blocked: Final[OrderedDict[Stream, None]] = OrderedDict()
        self._rest: bytes = b""
        self._block: tuple[int, int, list[bytes]] | None = None
        """Stream, flags and parts of a header block that goes on in CONTINUATION frames."""
        self._block_ticks = 0
        self._last_id = 0
        self._reading = 0
        self._send_window = frames.DEFAULT_WINDOW
        self._peer_window = frames.DEFAULT_WINDOW
        self._peer_frame_bytes = frames.MAX_FRAME_BYTES
        self._receive_window = CONNECTION_WINDOW
        self._uncredited = 0
        self._out: list[bytes] = [
            frames.settings(
                {
                    frames.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
                    frames.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                    frames.MAX_HEADER_LIST_SIZE: MAX_HEAD_FIELDS_BYTES,
                }
            ),
            frames.window_update(0, CONNECTION_WINDOW - frames.DEFAULT_WINDOW),
        ]
        self._is_greeted = False
        self.is_settled = False
        """Whether the peer has sent its preface and settings."""
        self.has_more = False
        """Frames wait to be read: call `receive` again, with nothing, once others had a turn."""
        self.is_over = False
        """Nothing is read any more; close once the output is written."""
        self._is_leaving = False
        self.problem: ConnectionProblem | None = None

    @property
    def open_streams(self) -> int:
        """Requests without a complete answer."""
        return len(self._streams)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of answers for which the peer has no room."""
        return sum(stream.waiting_bytes for stream in self._blocked)

    def take(self) -> bytes:
        """What is to be written, which is then forgotten."""
        out = b"".join(self._out)
        self._out.clear()
        return out

    def receive(self, data: bytes) -> None:
        """Read what has come."""
        if self.is_over:
            self.has_more = False  # or its owner would ask for ever
            return
        self._reading += 1
        try:
            self._read(self._rest + data if self._rest else data)
        except ConnectionProblem as problem:
            self._end(problem)

    def tick(self) -> None:
        """A second has passed: forget what was counted, end what does not move."""
        self._calm.tick()
        if self._block is not None:
            self._block_ticks += 1
            if self._block_ticks > _SLOW_BLOCK_TICKS:
                self._end(ConnectionProblem(Code.ENHANCE_YOUR_CALM, "headers: without an end"))
        for stream in list(self._blocked):
            stream.blocked_ticks += 1
            if stream.blocked_ticks > _STALLED_TICKS:
                self._give_up(stream)

    def retire(self) -> None:
        """Ask the peer to open no more streams here; leave once it has read that."""
        if not (self._is_leaving or self.is_over):
            self._write(frames.goaway(frames.MAX_WINDOW, Code.NO_ERROR))
            self._write(frame(frames.PING, 0, 0, _LEAVING))

    def leave(self) -> None:
        """Take no more streams; the connection is over when the last has its answer."""
        if not (self._is_leaving or self.is_over):
            self._is_leaving = True
            self._write(frames.goaway(self._last_id, Code.NO_ERROR))
            self._end_if_done()

    def lost(self) -> None:
        """The connection is gone."""
        self.is_over = True
        for stream in list(self._streams.values()):
            self._give_up(stream)

    # What the streams ask for.

    def head(self, stream: Stream, block: bytes) -> None:
        """Send the head of an answer."""
        self._write(frame(frames.HEADERS, frames.END_HEADERS, stream.id, block))

    def body(self, stream: Stream, data: bytes) -> None:
        """Send a part of an answer, or keep what the peer has no room for."""
        if self.room(stream) < len(data):
            stream.waiting.append(data)
            stream.waiting_bytes += len(data)
            self._blocked[stream] = None
            self._send_waiting(stream)
            return
        self._emit(stream, data)

    def finish(self, stream: Stream, trailers: bytes) -> None:
        """Send the trailers once everything else is sent."""
        stream.trailers = trailers
        if not stream.waiting:
            self._close(stream, trailers)

    def credit(self, stream: Stream, size: int) -> None:
        """Let the peer send more; told when it is worth a frame."""
        self._credit_connection(size)
        stream.held_bytes -= size
        stream.uncredited += size
        if not stream.is_read and stream.uncredited >= STREAM_WINDOW // 2:
            stream.receive_window += stream.uncredited
            self._write(frames.window_update(stream.id, stream.uncredited))
            stream.uncredited = 0

    def reset(self, stream: Stream, code: Code) -> None:
        """End a stream at once, and tell the peer."""
        self._forget(stream)
        self._drop(stream.id)
        self._write(frames.rst_stream(stream.id, code))
        self._end_if_done()

    def room(self, stream: Stream) -> int:
        """Bytes that may be sent of a stream now."""
        return 0 if stream.waiting else max(0, min(self._send_window, stream.send_window))

    # Reading.

    def _read(self, data: bytes) -> None:
        at, size = 0, len(data)
        if not self._is_greeted:
            if not frames.PREFACE.startswith(data[: len(frames.PREFACE)]):
                raise ConnectionProblem(Code.PROTOCOL_ERROR, "no HTTP/2 preface")
            if size < len(frames.PREFACE):
                self._rest = data
                return
            self._is_greeted = True
            at = len(frames.PREFACE)
        left = _A_TURN
        self.has_more = False
        while size - at >= frames.HEAD_BYTES:
            if left <= 0:
                self.has_more = True
                break
            left -= _COSTS[data[at + 3]]
            length = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
            if length > frames.MAX_FRAME_BYTES:
                raise ConnectionProblem(Code.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            end = at + frames.HEAD_BYTES + length
            if end > size:
                break
            stream_id = int.from_bytes(data[at + 5 : at + 9]) & frames.MAX_WINDOW
            self._on_frame(data[at + 3], data[at + 4], stream_id, data[at + 9 : end])
            at = end
            if self.is_over:
                break
        self._rest = data[at:] if at < size else b""

    def _on_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is not None and kind != frames.CONTINUATION:
            raise ConnectionProblem(Code.PROTOCOL_ERROR, "a frame inside of a header block")
        if not self.is_settled:
            if kind != frames.SETTINGS or flags & frames.ACK:
                raise ConnectionProblem(Code.PROTOCOL_ERROR, "expected SETTINGS first")
            self.is_settled = True
        read = _READERS.get(kind)
        if read is None:
            self._calm.spend(kind)
            return
        try:
            read(self, flags, stream_id, payload)
        except StreamProblem as problem:
            self._refuse(stream_id, problem.code)

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        self._receive_window -= size
        if self._receive_window < 0:
            raise ConnectionProblem(Code.FLOW_CONTROL_ERROR, "DATA: more than the window")
        stream = self._streams.get(stream_id)
        if stream is None or stream.is_read:
            self._credit_connection(size)
            self._on_stray(stream_id)
            return
        stream.held_bytes += size
        stream.receive_window -= size
        if stream.receive_window < 0:
            raise StreamProblem(Code.FLOW_CONTROL_ERROR, "DATA: more than the stream's window")
        if flags & frames.PADDED:
            payload = frames.unpadded(payload, flags)
            self.credit(stream, size - len(payload))
        is_last = bool(flags & frames.END_STREAM)
        if payload:
            self._calm.earn()
        elif not is_last:
            self._calm.spend_empty()
        stream.body_bytes += len(payload)
        self._check_length(stream, is_last=is_last)
        stream.is_read = is_last
        if payload and stream.receiver is not None:
            stream.receiver.received(payload)
        if is_last:
            self._read_whole(stream)

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id % 2:
            raise ConnectionProblem(Code.PROTOCOL_ERROR, "HEADERS: expected an odd stream")
        block = frames.unpadded(payload, flags)
        if flags & frames.WITH_PRIORITY:
            _check_dependency(stream_id, block)
            block = block[5:]
        if flags & frames.END_HEADERS:
            self._on_block(flags, stream_id, block)
        else:
            self._block, self._block_ticks = (stream_id, flags, [block]), 0

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != stream_id:
            raise ConnectionProblem(Code.PROTOCOL_ERROR, "CONTINUATION: of no header block")
        _, first, parts = self._block
        parts.append(payload)
        if len(parts) > _MAX_CONTINUATIONS or sum(map(len, parts)) > _MAX_BLOCK_BYTES:
            raise ConnectionProblem(Code.ENHANCE_YOUR_CALM, "headers: too many")
        if flags & frames.END_HEADERS:
            self._block = None
            self._on_block(first, stream_id, b"".join(parts))

    def _on_block(self, flags: int, stream_id: int, block: bytes) -> None:
        stream = self._streams.get(stream_id)
        is_last = bool(flags & frames.END_STREAM)
        if stream is not None:
            self._on_trailers(stream, block, is_last=is_last)
            return
        if stream_id <= self._last_id:
            if stream_id in self._dropped:
                self._heads.decoded(block)
                return
            raise ConnectionProblem(Code.STREAM_CLOSED, "HEADERS: of a closed stream")
        self._last_id = stream_id
        if self._is_leaving:
            self._heads.decoded(block)  # not answered: the peer knows, and asks elsewhere
            self._drop(stream_id)
            return
        head = self._heads.read(block)
        if len(self._streams) >= MAX_STREAMS:
            raise StreamProblem(Code.REFUSED_STREAM, "too many streams")
        self._open(stream_id, head, is_last=is_last)

    def _open(self, stream_id: int, head: RequestHead, *, is_last: bool) -> None:
        self._calm.earn()
        stream = Stream(
            self, stream_id, send_window=self._peer_window, receive_window=STREAM_WINDOW
        )
        stream.opened_in = self._reading
        stream.content_length = head.content_length
        self._check_length(stream, is_last=is_last)
        stream.is_read = is_last
        self._streams[stream_id] = stream
        receiver = stream.receiver = self._accept(stream, head)
        if is_last and not stream.is_closed:
            receiver.ended()

    def _on_trailers(self, stream: Stream, block: bytes, *, is_last: bool) -> None:
        pairs = self._heads.decoded(block)
        if stream.is_read:
            raise StreamProblem(Code.STREAM_CLOSED, "HEADERS: after the end")
        if not is_last:
            raise StreamProblem(Code.PROTOCOL_ERROR, "HEADERS: trailers that do not end a stream")
        check_trailers(pairs)
        self._check_length(stream, is_last=True)
        stream.is_read = True
        self._read_whole(stream)

    def _read_whole(self, stream: Stream) -> None:
        if not stream.is_closed and stream.receiver is not None:
            stream.receiver.ended()

    def _on_priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._calm.spend(frames.PRIORITY)
        if not stream_id:
            raise ConnectionProblem(Code.PROTOCOL_ERROR, "PRIORITY: of stream 0")
        if len(payload) != 5:
            raise StreamProblem(Code.FRAME_SIZE_ERROR, "PRIORITY: expected 5 bytes")
        _check_dependency(stream_id, payload)

    def _on_rst_stream(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionProblem(Code.FRAME_SIZE_ERROR, "RST_STREAM: expected 4 bytes")
        self._check_not_idle(stream_id)
        self._calm.spend(frames.RST_STREAM)
        stream = self._streams.get(stream_id)
        if stream is not None:
            # What comes and goes in one reading was never waited for.
            if not stream.is_read or stream.opened_in == self._reading:
                self._calm.spend_unfinished()
            self._give_up(stream)

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionProblem(Code.PROTOCOL_ERROR, "SETTINGS: of a stream")
        if flags & frames.ACK:
            if payload:
                raise ConnectionProblem(Code.FRAME_SIZE_ERROR, "SETTINGS: ACK with a payload")
            return
        self._calm.spend(frames.SETTINGS)
        for name, value in frames.read_settings(payload):
            self._apply(name, value)
        self._write(frame(frames.SETTINGS, frames.ACK, 0, b""))
        self._send_blocked()

    def _apply(self, name: int, value: int) -> None:
        if name == frames.ENABLE_PUSH and value > 1:
            raise ConnectionProblem(Code.PROTOCOL_ERROR, "ENABLE_PUSH: expected 0 or 1")
        if name == frames.MAX_FRAME_SIZE:
            if not frames.MAX_FRAME_BYTES <= value < 2**24:
                raise ConnectionProblem(Code.PROTOCOL_ERROR, "MAX_FRAME_SIZE: out of its range")
            self._peer_frame_bytes = value
        if name == frames.INITIAL_WINDOW_SIZE:
            if value > frames.MAX_WINDOW:
                raise ConnectionProblem(Code.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE: too large")
            change, self._peer_window = value - self._peer_window, value
            for stream in self._streams.values():
                stream.send_window += change
                if stream.send_window > frames.MAX_WINDOW:
                    raise ConnectionProblem(Code.FLOW_CONTROL_ERROR, "window: too large")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionProblem(Code.PROTOCOL_ERROR, "PING: of a stream")
        if len(payload) != 8:
            raise ConnectionProblem(Code.FRAME_SIZE_ERROR, "PING: expected 8 bytes")
        self._calm.spend(frames.PING)
        if not flags & frames.ACK:
            self._write(frame(frames.PING, frames.ACK, 0, payload))
        elif payload == _LEAVING:
            self.leave()  # every stream that was on its way has come

    def _on_goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionProblem(Code.PROTOCOL_ERROR, "GOAWAY: of a stream")
        self.leave()

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionProblem(Code.FRAME_SIZE_ERROR, "WINDOW_UPDATE: expected 4 bytes")
        self._calm.spend(frames.WINDOW_UPDATE)
        increment = int.from_bytes(payload) & frames.MAX_WINDOW
        if not stream_id:
            self._widen(increment)
            return
        self._check_not_idle(stream_id)
        if not increment:
            raise StreamProblem(Code.PROTOCOL_ERROR, "WINDOW_UPDATE: of 0")
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.send_window += increment
            if stream.send_window > frames.MAX_WINDOW:
                raise StreamProblem(Code.FLOW_CONTROL_ERROR, "window: too large")
            if stream in self._blocked:
                self._send_waiting(stream)

    def _widen(self, increment: int) -> None:
        if not increment:
            raise ConnectionProblem(Code.PROTOCOL_ERROR, "WINDOW_UPDATE: of 0")
        self._send_window += increment
        if self._send_window > frames.MAX_WINDOW:
            raise ConnectionProblem(Code.FLOW_CONTROL_ERROR, "window: too large")
        self._send_blocked()

    def _on_push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:
        raise ConnectionProblem(Code.PROTOCOL_ERROR, "PUSH_PROMISE: from a client")

    def _on_stray(self, stream_id: int) -> None:
        """DATA for a stream that takes none."""
        self._check_not_idle(stream_id)
        if stream_id not in self._dropped:
            raise StreamProblem(Code.STREAM_CLOSED, "DATA: of a closed stream")

    def _check_not_idle(self, stream_id: int) -> None:
        if not stream_id or not stream_id % 2 or stream_id > self._last_id:
            raise ConnectionProblem(Code.PROTOCOL_ERROR, "a frame of no stream, or an idle one")

    def _check_length(self, stream: Stream, *, is_last: bool) -> None:
        announced = stream.content_length
        if announced is None:
            return
        if stream.body_bytes > announced or (is_last and stream.body_bytes != announced):
            raise StreamProblem(Code.PROTOCOL_ERROR, "content-length: not that of the body")

    def _refuse(self, stream_id: int, code: Code) -> None:
        """End a stream for a broken rule."""
        self._calm.spend_refused()
        stream = self._streams.get(stream_id)
        if stream is None:
            self._drop(stream_id)
            self._write(frames.rst_stream(stream_id, code))
            return
        self.reset(stream, code)
        if stream.receiver is not None:
            stream.receiver.gone()

    # Writing.

    def _emit(self, stream: Stream, data: bytes) -> None:
        size = len(data)
        stream.send_window -= size
        self._send_window -= size
        if size <= self._peer_frame_bytes:
            self._write(frame(frames.DATA, 0, stream.id, data))
        else:
            cut = frames.data_frames(stream.id, data, max_bytes=self._peer_frame_bytes)
            self._write(b"".join(cut))

    def _send_blocked(self) -> None:
        for stream in list(self._blocked):
            if self._send_window <= 0:
                return
            self._send_waiting(stream)

    def _send_waiting(self, stream: Stream) -> None:
        """Send of a stream what there is room for."""
        while stream.waiting:
            room = min(self._send_window, stream.send_window)
            if room <= 0:
                return
            data = stream.waiting.popleft()
            if len(data) > room:
                stream.waiting.appendleft(data[room:])
                data = data[:room]
            stream.waiting_bytes -= len(data)
            stream.blocked_ticks = 0
            self._emit(stream, data)
        self._blocked.pop(stream, None)
        if stream.trailers is not None:
            self._close(stream, stream.trailers)
        elif stream.on_drained is not None:
            stream.on_drained()

    def _close(self, stream: Stream, trailers: bytes) -> None:
        self._forget(stream)
        flags = frames.END_HEADERS | frames.END_STREAM
        self._write(frame(frames.HEADERS, flags, stream.id, trailers))
        if not stream.is_read:
            # The answer is complete without the rest of the request: do not send it.
            self._drop(stream.id)
            self._write(frames.rst_stream(stream.id, Code.NO_ERROR))
        self._end_if_done()

    def _give_up(self, stream: Stream) -> None:
        """The peer is gone, or does not read."""
        if stream.blocked_ticks > _STALLED_TICKS and not self.is_over:
            self.reset(stream, Code.CANCEL)
        else:
            self._forget(stream)
        if stream.receiver is not None:
            stream.receiver.gone()
        self._end_if_done()

    def _forget(self, stream: Stream) -> None:
        stream.is_closed = True
        self._credit_connection(stream.held_bytes)
        self._streams.pop(stream.id, None)
        self._blocked.pop(stream, None)
        stream.waiting.clear()
        stream.waiting_bytes = 0
        if stream.on_closed is not None:
            stream.on_closed()

    def _drop(self, stream_id: int) -> None:
        """Expect more of a stream that has ended, and ignore it."""
        self._dropped[stream_id] = None
        if len(self._dropped) > _REMEMBERED:
            self._dropped.popitem(last=False)

    def _credit_connection(self, size: int) -> None:
        self._uncredited += size
        if self._uncredited >= CONNECTION_WINDOW // 2:
            self._receive_window += self._uncredited
            self._write(frames.window_update(0, self._uncredited))
            self._uncredited = 0

    def _write(self, data: bytes) -> None:
        if not self._out:
            self._wrote()
        self._out.append(data)

    def _end_if_done(self) -> None:
        if self._is_leaving and not self._streams:
            self.is_over = True

    def _end(self, problem: ConnectionProblem) -> None:
        self.problem = problem
        self._write(frames.goaway(self._last_id, problem.code, str(problem)))
        self.lost()


def _check_dependency(stream_id: int, payload: bytes) -> None:
    if len(payload) < 5:
        raise ConnectionProblem(Code.FRAME_SIZE_ERROR, "priority: cut off")
    if int.from_bytes(payload[:4]) & frames.MAX_WINDOW == stream_id:
        raise StreamProblem(Code.PROTOCOL_ERROR, "priority: depends on itself")


_READERS: Final[Mapping[int, Callable[[Connection, int, int, bytes], None]]] = MappingProxyType(
    {
        frames.DATA: Connection._on_data,
        frames.HEADERS: Connection._on_headers,
        frames.PRIORITY: Connection._on_priority,
        frames.RST_STREAM: Connection._on_rst_stream,
        frames.SETTINGS: Connection._on_settings,
        frames.PUSH_PROMISE: Connection._on_push_promise,
        frames.PING: Connection._on_ping,
        frames.GOAWAY: Connection._on_goaway,
        frames.WINDOW_UPDATE: Connection._on_window_update,
        frames.CONTINUATION: Connection._on_continuation,
    }
)
