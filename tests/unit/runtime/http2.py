"""An HTTP/2 peer that says exactly what it is told: frames by hand, for hostile gRPC clients.

Nothing here keeps a protocol's rules but the reading side, which takes apart what a server sends.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from time import monotonic
from typing import Final

from hpack import Decoder, Encoder

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
INFER: Final = "/inference.GRPCInferenceService/ModelInfer"
STREAM_INFER: Final = "/inference.GRPCInferenceService/ModelStreamInfer"
READ_TIMEOUT_S: Final = 8.0
SEND_TIMEOUT_S: Final = 5.0

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY_FLAG = 0x20


class Type(IntEnum):
    """Frame types (RFC 9113, 6)."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Code(IntEnum):
    """Error codes (RFC 9113, 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """The bytes of one frame, however wrong."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + stream_id(stream) + payload


def stream_id(stream: int) -> bytes:
    return struct.pack(">I", stream)


def settings(**values: int) -> bytes:
    names = {"table": 1, "push": 2, "streams": 3, "window": 4, "frame": 5, "headers": 6}
    pairs = (struct.pack(">HI", names[name], value) for name, value in values.items())
    return frame(Type.SETTINGS, payload=b"".join(pairs))


def window_update(stream: int, by: int) -> bytes:
    return frame(Type.WINDOW_UPDATE, stream=stream, payload=struct.pack(">I", by))


def rst(stream: int, code: int = Code.CANCEL) -> bytes:
    return frame(Type.RST_STREAM, stream=stream, payload=struct.pack(">I", code))


def message(content: bytes, *, flag: int = 0, announced: int | None = None) -> bytes:
    """A gRPC message behind its prefix."""
    return struct.pack(">BI", flag, len(content) if announced is None else announced) + content


Pairs = Sequence[tuple[str, str]]


def call_headers(path: str = INFER, *more: tuple[str, str]) -> Pairs:
    """What opens a gRPC call."""
    return (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "x"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *more,
    )


def block(pairs: Pairs) -> bytes:
    """A header block that leaves the dynamic table alone, so that blocks can come in any order."""
    literals = ((b"\x00", _text(name), _text(value)) for name, value in pairs)
    return b"".join(part for literal in literals for part in literal)


def _text(text: str) -> bytes:
    content = text.encode("latin-1")
    return integer(len(content), 7) + content


def integer(value: int, prefix_bits: int, first: int = 0) -> bytes:
    """An HPACK integer (RFC 7541, 5.1)."""
    limit = (1 << prefix_bits) - 1
    if value < limit:
        return bytes((first | value,))
    value -= limit
    found = bytearray((first | limit,))
    while value >= 128:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


def indexing(pairs: Pairs) -> bytes:
    """A header block that fills the receiver's dynamic table."""
    encoded: bytes = Encoder().encode(list(pairs), huffman=False)
    return encoded


def headers(
    stream: int, path: str = INFER, *more: tuple[str, str], flags: int = END_HEADERS
) -> bytes:
    """The HEADERS frame of a gRPC call."""
    return frame(Type.HEADERS, flags, stream, block(call_headers(path, *more)))


def data(stream: int, content: bytes, flags: int = END_STREAM, size: int = 16_384) -> bytes:
    """DATA frames; the flags are those of the last."""
    pieces = [content[start : start + size] for start in range(0, len(content), size)] or [b""]
    frames = [frame(Type.DATA, 0, stream, piece) for piece in pieces[:-1]]
    return b"".join((*frames, frame(Type.DATA, flags, stream, pieces[-1])))


def call(stream: int, content: bytes, path: str = INFER, *more: tuple[str, str]) -> bytes:
    """A whole unary call."""
    return headers(stream, path, *more) + data(stream, message(content))


@dataclass
class Answer:
    """What a server has said about one stream."""

    headers: list[dict[str, str]] = field(default_factory=list)
    data: bytearray = field(default_factory=bytearray)
    reset: int | None = None
    is_ended: bool = False

    @property
    def status(self) -> int | None:
        """The `grpc-status`, once it is there."""
        found = next((h["grpc-status"] for h in reversed(self.headers) if "grpc-status" in h), None)
        return None if found is None else int(found)

    @property
    def http_status(self) -> str:
        return self.headers[0][":status"] if self.headers else ""

    @property
    def words(self) -> str:
        return self.headers[-1].get("grpc-message", "") if self.headers else ""

    @property
    def messages(self) -> list[bytes]:
        """The messages that are complete."""
        found, position = [], 0
        while len(self.data) >= position + 5:
            length = int.from_bytes(self.data[position + 1 : position + 5], "big")
            if len(self.data) < position + 5 + length:
                break
            found.append(bytes(self.data[position + 5 : position + 5 + length]))
            position += 5 + length
        return found


@dataclass(frozen=True)
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes


class Peer:
    """One connection, and all that its server has said."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock: Final = sock
        self.streams: Final[dict[int, Answer]] = {}
        self.goaway: int | None = None
        self.pongs: Final[list[bytes]] = []
        self.credit: Final[dict[int, int]] = {0: 65_535}
        self.is_closed = False
        self.server_settings: Final[dict[int, int]] = {}
        self.acknowledges = True
        self._buffer = bytearray()
        self._decoder: Final = Decoder()
        self._decoder.max_allowed_table_size = 65_536
        self._block = bytearray()

    def hello(self, *more: bytes, **values: int) -> None:
        """The preface and settings of a client, and what follows at once."""
        self.send(PREFACE + settings(**values) + b"".join(more))

    def send(self, *frames: bytes) -> bool:
        """Send; whether the connection took it all.

        It is no error to be refused midway, or to meet a server that reads no more.
        """
        self.sock.settimeout(SEND_TIMEOUT_S)
        try:
            for each in frames:
                self.sock.sendall(each)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            return False
        return True

    def flood(self, frames: Iterable[bytes]) -> bool:
        """Send many frames and read what comes meanwhile; whether the connection took them all."""
        for piece in _joined(frames, 32 * 1024):
            if self.is_closed or not self.send(piece):
                return False
            while self._read(0) and not self.is_closed:
                pass
        return True

    def send_data(
        self, stream: int, content: bytes, flags: int = END_STREAM, patience_s: float = 5
    ) -> bool:
        """Send DATA as the server's windows allow; whether it took all of it.

        It may end the stream midway, or keep a window shut for longer than our patience.
        """
        view = memoryview(content)
        while view:
            if not self.until(lambda: self._room(stream) or self._is_over(stream), patience_s):
                return False
            size = min(self._room(stream), len(view), 16_384)
            if not size:
                return False
            last = flags if size == len(view) else 0
            if not self.send(frame(Type.DATA, last, stream, bytes(view[:size]))):
                return False
            self.credit[0] -= size
            self.credit[stream] -= size
            view = view[size:]
        return True

    def _room(self, stream: int) -> int:
        return max(0, min(self.credit[0], self.credit.setdefault(stream, self.initial_window)))

    def _is_over(self, stream: int) -> bool:
        return self.answer(stream).is_ended or self.goaway is not None

    def answer(self, stream: int = 1) -> Answer:
        return self.streams.setdefault(stream, Answer())

    def until(self, condition: Callable[[], object], timeout_s: float = READ_TIMEOUT_S) -> bool:
        """Read until the condition holds, the connection has ended, or time is up."""
        deadline = monotonic() + timeout_s
        while not condition():
            left_s = deadline - monotonic()
            if self.is_closed or left_s <= 0 or not self._read(left_s):
                break
        return bool(condition())

    def until_ended(self, stream: int = 1, timeout_s: float = READ_TIMEOUT_S) -> Answer:
        """Read until a stream has its end; a connection that ended has ended it, too."""
        answer = self.answer(stream)
        self.until(lambda: answer.is_ended, timeout_s)
        assert answer.is_ended or self.is_closed, f"stream {stream} has no end: {answer}"
        return answer

    def until_closed(self, timeout_s: float = READ_TIMEOUT_S) -> None:
        """Read until the server has closed the connection."""
        self.until(lambda: self.is_closed, timeout_s)
        assert self.is_closed, "the connection is still open"

    def _read(self, timeout_s: float) -> bool:
        self.sock.settimeout(timeout_s)
        try:
            piece = self.sock.recv(262_144)
        except (TimeoutError, BlockingIOError):
            return False
        except (ConnectionResetError, BrokenPipeError):
            piece = b""
        if not piece:
            self.is_closed = True
            return True
        self._buffer += piece
        for each in self._frames():
            self._take(each)
        return True

    def _frames(self) -> Iterator[Frame]:
        while len(self._buffer) >= 9:
            length = int.from_bytes(self._buffer[:3], "big")
            if len(self._buffer) < 9 + length:
                return
            kind, flags = self._buffer[3], self._buffer[4]
            stream = int.from_bytes(self._buffer[5:9], "big") & 0x7FFFFFFF
            payload = bytes(self._buffer[9 : 9 + length])
            del self._buffer[: 9 + length]
            yield Frame(kind, flags, stream, payload)

    def _take(self, each: Frame) -> None:
        if each.kind == Type.SETTINGS and not each.flags & ACK:
            self._take_settings(each.payload)
        elif each.kind in (Type.HEADERS, Type.CONTINUATION):
            self._block += each.payload
            if each.flags & END_HEADERS:
                pairs = self._decoder.decode(bytes(self._block))
                self.answer(each.stream).headers.append({_str(k): _str(v) for k, v in pairs})
                self._block.clear()
        elif each.kind == Type.DATA:
            self.answer(each.stream).data += each.payload
        elif each.kind == Type.RST_STREAM:
            answer = self.answer(each.stream)
            answer.reset, answer.is_ended = int.from_bytes(each.payload, "big"), True
        elif each.kind == Type.GOAWAY:
            self.goaway = int.from_bytes(each.payload[4:8], "big")
        elif each.kind == Type.PING and each.flags & ACK:
            self.pongs.append(each.payload)
        elif each.kind == Type.WINDOW_UPDATE:
            by = int.from_bytes(each.payload, "big")
            self.credit[each.stream] = self.credit.get(each.stream, self.initial_window) + by
        if each.kind in (Type.DATA, Type.HEADERS) and each.flags & END_STREAM:
            self.answer(each.stream).is_ended = True

    @property
    def initial_window(self) -> int:
        """Bytes that the server takes of a stream before it grants more."""
        return self.server_settings.get(4, 65_535)

    def _take_settings(self, payload: bytes) -> None:
        for start in range(0, len(payload), 6):
            name, value = struct.unpack(">HI", payload[start : start + 6])
            self.server_settings[name] = value
        if self.acknowledges:
            self.send(frame(Type.SETTINGS, ACK))


def _str(text: str | bytes) -> str:
    return text if isinstance(text, str) else text.decode("latin-1")


@contextmanager
def connection(address: str, *, receive_buffer: int | None = None) -> Iterator[Peer]:
    """A peer on a TCP connection of its own to `host:port`."""
    host, port = address.rsplit(":", 1)
    with socket.socket() as sock:
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(READ_TIMEOUT_S)
        sock.connect((host, int(port)))
        yield Peer(sock)


def _joined(frames: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Join small frames to larger writes: a flood is made of many frames, not of many calls."""
    held = bytearray()
    for each in frames:
        held += each
        if len(held) >= size:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)
