"""The pure state machine of HTTP/2: what leaves for what comes, however it is cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hpack import Encoder
from hypothesis import given
from hypothesis import strategies as st

from slipway_runtime.http2 import frames
from slipway_runtime.http2.connection import STREAM_WINDOW, Connection
from slipway_runtime.http2.frames import Code, frame
from slipway_runtime.http2.heads import RequestHead, literal
from slipway_runtime.http2.streams import Receiver, Stream

HEAD = literal(b"content-type", b"application/grpc")
END = literal(b"grpc-status", b"0")
HELLO = frames.PREFACE + frames.settings({})


@dataclass
class Echo:
    """Answers a request with its body, at once or when it is told to."""

    stream: Stream
    body: bytes = b""
    is_ended: bool = False
    is_gone: bool = False

    def received(self, chunk: bytes) -> None:
        self.body += chunk
        self.stream.credit(len(chunk))

    def ended(self) -> None:
        self.is_ended = True
        self.stream.answer(HEAD, self.body, END)

    def gone(self) -> None:
        self.is_gone = True


@dataclass
class Server:
    """A connection, and all that it has accepted."""

    wrote: int = 0
    calls: list[Echo] = field(default_factory=list)
    heads: list[RequestHead] = field(default_factory=list)
    kind: Callable[[Stream], Echo] = Echo

    def __post_init__(self) -> None:
        self.connection = Connection(self.accept, self.count)

    def accept(self, stream: Stream, head: RequestHead) -> Receiver:
        self.heads.append(head)
        self.calls.append(self.kind(stream))
        return self.calls[-1]

    def count(self) -> None:
        self.wrote += 1

    def is_over(self) -> bool:
        return self.connection.is_over

    def ended_with(self) -> Code | None:
        problem = self.connection.problem
        return None if problem is None else problem.code

    def said(self, data: bytes) -> list[tuple[int, int, int, bytes]]:
        """The frames that answer these bytes: kind, flags, stream, payload."""
        self.connection.receive(data)
        while self.connection.has_more:
            self.connection.receive(b"")
        return frames_of(self.connection.take())


def frames_of(data: bytes) -> list[tuple[int, int, int, bytes]]:
    found, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 3])
        end = at + frames.HEAD_BYTES + size
        found.append(
            (data[at + 3], data[at + 4], int.from_bytes(data[at + 5 : at + 9]), data[at + 9 : end])
        )
        at = end
    return found


def head(encoder: Encoder, stream_id: int, *, flags: int = frames.END_HEADERS) -> bytes:
    fields = [(":method", "POST"), (":scheme", "http"), (":path", "/a/B"), ("te", "trailers")]
    return frame(frames.HEADERS, flags, stream_id, encoder.encode(fields))


def body(stream_id: int, data: bytes, *, flags: int = frames.END_STREAM) -> bytes:
    return frame(frames.DATA, flags, stream_id, data)


def greeted(kind: Callable[[Stream], Echo] = Echo) -> Server:
    server = Server(kind=kind)
    server.said(HELLO)
    return server


def payloads(found: list[tuple[int, int, int, bytes]], stream_id: int) -> bytes:
    return b"".join(data for kind, _, of, data in found if (kind, of) == (frames.DATA, stream_id))


@given(st.data())
def test_how_the_bytes_are_cut_changes_nothing(data: st.DataObject) -> None:
    encoder = Encoder()
    bodies = data.draw(st.lists(st.binary(max_size=40), min_size=1, max_size=4))
    raw = HELLO
    for number, content in enumerate(bodies):
        raw += head(encoder, 2 * number + 1) + body(2 * number + 1, content)
    whole = Server()
    expected = whole.said(raw)
    server, found = Server(), []
    cuts = sorted(data.draw(st.sets(st.integers(1, len(raw) - 1), max_size=8)))
    for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        found += server.said(raw[start:end])
    assert found == expected
    assert [payloads(found, 2 * n + 1) for n in range(len(bodies))] == bodies
    assert server.connection.open_streams == 0


@given(st.binary(max_size=200))
def test_no_bytes_raise(noise: bytes) -> None:
    for before in (b"", HELLO, HELLO + head(Encoder(), 1)):
        server = Server()
        server.connection.receive(before + noise)
        server.connection.tick()
        server.connection.take()


@given(
    st.lists(
        st.tuples(
            st.integers(0, 12), st.integers(0, 255), st.integers(0, 9), st.binary(max_size=40)
        ),
        max_size=30,
    )
)
def test_no_frames_raise_and_what_ends_is_told(sent: list[tuple[int, int, int, bytes]]) -> None:
    server = greeted()
    for each in sent:
        server.connection.receive(frame(*each))
    found = frames_of(server.connection.take())
    if server.connection.problem is not None:
        kind, _, stream_id, payload = found[-1]
        assert (kind, stream_id) == (frames.GOAWAY, 0)
        assert int.from_bytes(payload[4:8]) == server.connection.problem.code
        assert server.connection.open_streams == 0


def test_an_answer_waits_for_room_and_goes_on_in_order() -> None:
    server = Server()
    server.said(frames.PREFACE + frames.settings({frames.INITIAL_WINDOW_SIZE: 10}))
    encoder, content = Encoder(), bytes(range(100))
    found = server.said(head(encoder, 1) + body(1, content))
    assert payloads(found, 1) == content[:10]
    assert server.connection.waiting_bytes == 90
    more = server.said(frames.window_update(1, 50))
    assert payloads(more, 1) == content[10:60]
    # A larger initial window counts for streams that are open already.
    rest = server.said(frames.settings({frames.INITIAL_WINDOW_SIZE: 60}))
    assert payloads(rest, 1) == content[60:]
    assert rest[-1][:3] == (frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1)
    assert server.connection.waiting_bytes == 0


def test_a_connections_window_is_shared() -> None:
    server = greeted()
    encoder, content = Encoder(), b"x" * 40_000
    found = []
    for stream_id in (1, 3):
        found += server.said(head(encoder, stream_id))
        for at in range(0, len(content), 10_000):
            flags = frames.END_STREAM if at == 30_000 else 0
            found += server.said(body(stream_id, content[at : at + 10_000], flags=flags))
    assert len(payloads(found, 1)) + len(payloads(found, 3)) == frames.DEFAULT_WINDOW
    found += server.said(frames.window_update(0, 20_000))
    assert payloads(found, 1) == payloads(found, 3) == content


def test_bytes_that_nobody_credits_come_back_with_their_stream() -> None:
    class Deaf(Echo):
        def received(self, chunk: bytes) -> None:
            self.body += chunk

    server = greeted(Deaf)
    encoder, chunk = Encoder(), b"x" * frames.MAX_FRAME_BYTES
    for stream_id in range(1, 81, 2):
        server.said(head(encoder, stream_id))
        for _ in range(STREAM_WINDOW // len(chunk)):
            server.said(body(stream_id, chunk, flags=0))
        server.said(frames.rst_stream(stream_id, Code.CANCEL))
    assert server.connection.problem is None
    assert all(call.is_gone for call in server.calls)


def test_more_than_a_streams_window_ends_the_stream() -> None:
    class Deaf(Echo):
        def received(self, chunk: bytes) -> None:
            self.body += chunk

    server = greeted(Deaf)
    server.said(head(Encoder(), 1))
    found = []
    for _ in range(STREAM_WINDOW // frames.MAX_FRAME_BYTES + 1):
        found += server.said(body(1, b"x" * frames.MAX_FRAME_BYTES, flags=0))
    expected = Code.FLOW_CONTROL_ERROR.to_bytes(4)
    assert found[-1] == (frames.RST_STREAM, 0, 1, expected)
    assert server.calls[0].is_gone


def test_who_retires_answers_what_was_on_its_way() -> None:
    server = greeted()
    encoder = Encoder()
    server.connection.retire()
    told = frames_of(server.connection.take())
    assert [kind for kind, *_ in told] == [frames.GOAWAY, frames.PING]
    assert int.from_bytes(told[0][3][:4]) == frames.MAX_WINDOW
    answered = server.said(head(encoder, 1) + body(1, b"late"))
    assert payloads(answered, 1) == b"late"
    assert not server.is_over()
    # The peer has read it: from now on nothing is taken, and it is told how far we got.
    last = server.said(frame(frames.PING, frames.ACK, 0, told[1][3]))
    assert (last[0][0], int.from_bytes(last[0][3][:4])) == (frames.GOAWAY, 1)
    assert server.is_over()


def test_who_leaves_waits_for_open_streams() -> None:
    server = greeted()
    encoder = Encoder()
    server.said(head(encoder, 1))
    server.connection.leave()
    assert not server.is_over()
    assert server.said(head(encoder, 3) + body(3, b"asks elsewhere"))[1:] == []
    assert payloads(server.said(body(1, b"still here")), 1) == b"still here"
    assert server.is_over()
    assert len(server.calls) == 1


def test_a_repeated_head_is_decoded_once_and_means_the_same() -> None:
    server = greeted()
    encoder = Encoder()
    for stream_id in (1, 3, 5, 7):
        server.said(head(encoder, stream_id) + body(stream_id, b""))
    assert server.heads[2] is server.heads[3]
    assert server.heads[0] == server.heads[3]
    # Another field moves the table: the same bytes mean something else now.
    other = encoder.encode(
        [(":method", "POST"), (":scheme", "http"), (":path", "/a/C"), ("x", "y")]
    )
    server.said(frame(frames.HEADERS, frames.END_HEADERS, 9, other) + body(9, b""))
    server.said(head(encoder, 11) + body(11, b""))
    assert [each.path for each in server.heads[-2:]] == [b"/a/C", b"/a/B"]


@pytest.mark.parametrize(
    ("kind", "payload", "most"),
    [
        pytest.param(frames.PING, bytes(8), 64, id="B64 pings"),
        pytest.param(frames.SETTINGS, b"", 32, id="settings"),
        pytest.param(77, b"", 1_000, id="unknown"),
    ],
)
def test_too_many_in_a_second_are_too_many(kind: int, payload: bytes, most: int) -> None:
    server = greeted()
    server.connection.tick()
    for _ in range(most):
        server.said(frame(kind, 0, 0, payload))
    assert server.ended_with() is None
    server.connection.tick()
    server.said(frame(kind, 0, 0, payload) * (most + 1))
    assert server.ended_with() is Code.ENHANCE_YOUR_CALM


def test_a_flood_is_read_in_turns() -> None:
    server = greeted()
    pings = frame(frames.PING, 0, 0, bytes(8)) * 10
    server.connection.receive(pings + frame(77, 0, 0, b"") * 10)
    assert server.connection.has_more
    assert len(frames_of(server.connection.take())) == 10
    server.connection.receive(b"")
    assert not server.connection.has_more


def test_what_a_peer_that_is_gone_had_still_to_say_is_forgotten() -> None:
    server = greeted()
    server.connection.receive(frame(77, 0, 0, b"") * 100)
    assert server.connection.has_more
    server.connection.lost()
    server.connection.receive(b"")
    assert not server.connection.has_more


def test_small_requests_of_one_connection_are_answered_in_turns() -> None:
    server, encoder = greeted(), Encoder()
    server.connection.receive(b"".join(head(encoder, n) + body(n, b"") for n in range(1, 41, 2)))
    assert 0 < len(server.calls) < 10
    assert server.connection.has_more
    server.said(b"")
    assert len(server.calls) == 20


def test_requests_given_up_before_they_are_complete_are_few() -> None:
    server, encoder = greeted(), Encoder()
    for n in range(1, 203, 2):
        server.said(head(encoder, n) + frames.rst_stream(n, Code.CANCEL))
        assert (server.ended_with() is None) == (n < 201)


@dataclass
class Slow(Echo):
    """Takes its time to answer."""

    def ended(self) -> None:
        self.is_ended = True


def test_whole_requests_given_up_as_they_come_are_few() -> None:
    server, encoder = greeted(), Encoder()
    server.kind = Slow
    for n in range(1, 203, 2):
        asked = head(encoder, n) + frame(frames.DATA, frames.END_STREAM, n, b"whole")
        server.said(asked + frames.rst_stream(n, Code.CANCEL))
        assert (server.ended_with() is None) == (n < 201)


def test_who_gives_up_after_a_while_may_do_so_often() -> None:
    server, encoder = greeted(), Encoder()
    server.kind = Slow
    for n in range(1, 1001, 2):
        server.said(head(encoder, n) + frame(frames.DATA, frames.END_STREAM, n, b"whole"))
        server.said(frames.rst_stream(n, Code.CANCEL))
    assert server.ended_with() is None
    assert all(call.is_gone for call in server.calls)


def test_an_answer_that_nobody_takes_is_given_up() -> None:
    server = Server()
    server.said(frames.PREFACE + frames.settings({frames.INITIAL_WINDOW_SIZE: 0}))
    server.said(head(Encoder(), 1) + body(1, b"x"))
    for _ in range(31):
        server.connection.tick()
    assert frames_of(server.connection.take())[-1] == (
        frames.RST_STREAM,
        0,
        1,
        Code.CANCEL.to_bytes(4),
    )
    assert server.connection.open_streams == 0
