"""Attacks on the gRPC port below its calls (B64, B43): frames, floods, stalls and silence.

Whatever comes, the process lives, its memory is bounded, good clients on other connections are
answered, and the attacker's stream or connection ends with a code that says why. RFC 9113 lets a
server treat an error of a stream as one of its connection (5.4.1), so both are taken.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import chain, count, islice, repeat
from pathlib import Path

import numpy as np
import pytest

from tests.unit.runtime import http2, models
from tests.unit.runtime.hostile import (
    GOOD as GOOD_REST,
)
from tests.unit.runtime.hostile import (
    answered_meanwhile,
    asked,
    connected_to,
    memory_bounded,
)
from tests.unit.runtime.http2 import (
    ACK,
    END_HEADERS,
    END_STREAM,
    PADDED,
    PREFACE,
    Code,
    Peer,
    Type,
    block,
    call,
    call_headers,
    connection,
    data,
    frame,
    headers,
    integer,
    message,
    rst,
    settings,
    window_update,
)
from tests.unit.runtime.processes import Serving, pod_folder, serving
from tests.unit.runtime.protocols.calls import request

OK = 0
SCORES = np.array([[18, 22, 26]], np.float32) / 7
GOOD = request("x", "FP32", [1, 4], raw=[np.ones((1, 4), np.float32).tobytes()]).SerializeToString()
FLOOD = 100_000
CALM = Code.ENHANCE_YOUR_CALM


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("hostile-http2")
    source = models.saved(models.affine(), folder / "affine.onnx")
    config, store = pod_folder(folder, source, serving={"threads": 1})
    arguments = ("--config", config, "--model-dir", store)
    with serving(*arguments, host="127.0.0.1", head_timeout_s=1, body_timeout_s=1) as running:
        running.wait_for("ready")
        yield running


@pytest.fixture
def peer(server: Serving) -> Iterator[Peer]:
    """A client that has said hello, on a server that must serve others meanwhile and afterwards."""
    with (
        answered_meanwhile(lambda: served(server), lambda: served_over_rest(server)),
        connection(server.grpc) as opened,
    ):
        opened.hello()
        opened.until(lambda: opened.server_settings)
        yield opened
    assert served(server)
    assert server.status()["running"] == 0


def served(server: Serving) -> bool:
    """Whether a good call is answered as it should be, on a new connection."""
    with connection(server.grpc) as peer:
        peer.hello(call(1, GOOD))
        answer = peer.until_ended()
        assert answer.status == OK, answer
        scores = np.frombuffer(answer.messages[0][-12:], np.float32)
        return bool(np.allclose(scores, SCORES))


def served_over_rest(server: Serving) -> bool:
    return asked(server, GOOD_REST).status == 200


def refused(peer: Peer, stream: int = 1, timeout_s: float = http2.READ_TIMEOUT_S) -> int | None:
    """The code that ended the stream or the connection; None where it was just closed."""
    answer = peer.answer(stream)
    peer.until(
        lambda: answer.reset is not None or peer.goaway is not None or peer.is_closed, timeout_s
    )
    assert answer.reset is not None or peer.goaway is not None or peer.is_closed, answer
    return answer.reset if answer.reset is not None else peer.goaway


# --- frames that break a rule

OPEN = headers(1)
DONE = call(1, GOOD)
SETTINGS_OF_5 = frame(Type.SETTINGS, payload=b"\0\4\0\0\1")
SELF = struct.pack(">IB", 1, 0)
PROTOCOL, FLOW, SIZE = Code.PROTOCOL_ERROR, Code.FLOW_CONTROL_ERROR, Code.FRAME_SIZE_ERROR
CLOSED, COMPRESSION = Code.STREAM_CLOSED, Code.COMPRESSION_ERROR


def raw_headers(payload: bytes, flags: int = END_HEADERS, stream: int = 1) -> bytes:
    return frame(Type.HEADERS, flags, stream, payload)


def pairs(*more: tuple[str, str], first: tuple[str, str] | None = None) -> bytes:
    opening = [*([first] if first else []), *call_headers(), *more]
    return raw_headers(block(opening), END_HEADERS | END_STREAM)


BROKEN = [
    ("DATA on stream 0", data(0, b"x"), {PROTOCOL}),
    ("HEADERS on stream 0", headers(0), {PROTOCOL}),
    ("HEADERS on an even stream", headers(2), {PROTOCOL}),
    ("HEADERS on a lower stream", headers(5) + headers(3), {PROTOCOL, CLOSED}),
    ("DATA on an idle stream", data(9, b"x"), {PROTOCOL, CLOSED}),
    ("WINDOW_UPDATE on an idle stream", window_update(9, 1), {PROTOCOL}),
    ("RST_STREAM on an idle stream", rst(9), {PROTOCOL}),
    ("RST_STREAM on stream 0", rst(0), {PROTOCOL}),
    ("RST_STREAM of 3 bytes", OPEN + frame(Type.RST_STREAM, 0, 1, b"\0\0\0"), {SIZE}),
    ("SETTINGS of 5 bytes", SETTINGS_OF_5, {SIZE}),
    ("SETTINGS on a stream", OPEN + frame(Type.SETTINGS, stream=1), {PROTOCOL}),
    ("SETTINGS that acknowledge and set", frame(Type.SETTINGS, ACK, 0, bytes(6)), {SIZE}),
    ("SETTINGS of a window of 2^31", settings(window=2**31), {FLOW}),
    ("SETTINGS of frames of 16 MiB", settings(frame=2**24), {PROTOCOL}),
    ("SETTINGS of frames of 1 KiB", settings(frame=1024), {PROTOCOL}),
    ("PING of 7 bytes", frame(Type.PING, payload=bytes(7)), {SIZE}),
    ("PING on a stream", OPEN + frame(Type.PING, 0, 1, bytes(8)), {PROTOCOL}),
    ("GOAWAY on a stream", OPEN + frame(Type.GOAWAY, 0, 1, bytes(8)), {PROTOCOL}),
    ("PUSH_PROMISE", OPEN + frame(Type.PUSH_PROMISE, END_HEADERS, 1, bytes(4)), {PROTOCOL}),
    ("PRIORITY of 4 bytes", OPEN + frame(Type.PRIORITY, 0, 1, bytes(4)), {SIZE}),
    ("CONTINUATION alone", frame(Type.CONTINUATION, END_HEADERS, 1, b""), {PROTOCOL}),
    (
        "another frame inside a header block",
        raw_headers(block(call_headers()), 0) + frame(Type.PING, payload=bytes(8)),
        {PROTOCOL},
    ),
    (
        "another stream inside a header block",
        raw_headers(block(call_headers()), 0) + headers(3),
        {PROTOCOL},
    ),
    ("a frame of 16 KiB and 1", OPEN + data(1, bytes(16_385), size=16_385), {SIZE}),
    ("a frame of 16 MiB", OPEN + b"\xff\xff\xff\0\0\0\0\0\1" + bytes(65_536), {SIZE}),
    ("HEADERS of 16 KiB and 1", raw_headers(bytes(16_385)), {SIZE}),
    ("more padding than frame", OPEN + frame(Type.DATA, PADDED, 1, b"\xff" + b"x"), {PROTOCOL}),
    (
        "more padding than header block",
        raw_headers(b"\xff" + block(call_headers())[:20], END_HEADERS | PADDED),
        {PROTOCOL},
    ),
    ("WINDOW_UPDATE of 0", window_update(0, 0), {PROTOCOL}),
    ("WINDOW_UPDATE of 0 on a stream", OPEN + window_update(1, 0), {PROTOCOL}),
    ("WINDOW_UPDATE of 3 bytes", frame(Type.WINDOW_UPDATE, payload=bytes(3)), {SIZE}),
    ("a window over 2^31", window_update(0, 2**31 - 1) * 2, {FLOW}),
    ("a stream's window over 2^31", OPEN + window_update(1, 2**31 - 1) * 2, {FLOW}),
    ("an index that is none", raw_headers(integer(4000, 7, 0x80)), {COMPRESSION}),
    ("an index of 0", raw_headers(b"\x80"), {COMPRESSION}),
    ("an index without end", raw_headers(b"\xff" * 64), {COMPRESSION}),
    ("a table of 1 GiB", raw_headers(integer(2**30, 5, 0x20)), {COMPRESSION}),
    ("a name of 2 GiB", raw_headers(b"\x00" + integer(2**31, 7) + b"x"), {COMPRESSION}),
    ("a header cut short", raw_headers(block(call_headers())[:-3]), {COMPRESSION}),
    ("Huffman with its end inside", raw_headers(b"\x00\x84" + b"\xff" * 4), {COMPRESSION}),
]


@pytest.mark.parametrize(("raw", "codes"), [pytest.param(*row[1:], id=row[0]) for row in BROKEN])
def test_a_frame_that_breaks_a_rule_is_refused_by_its_code(
    peer: Peer, raw: bytes, codes: set[Code]
) -> None:
    peer.send(raw)
    assert refused(peer) in codes


ENDED = [
    ("DATA behind the end", DONE + data(1, b"x"), {CLOSED}),
    ("HEADERS behind the end", DONE + headers(1), {CLOSED, PROTOCOL}),
]


@pytest.mark.parametrize(("raw", "codes"), [pytest.param(*row[1:], id=row[0]) for row in ENDED])
def test_what_comes_behind_the_end_is_refused_or_too_late(
    peer: Peer, raw: bytes, codes: set[Code]
) -> None:
    """The answer may be out already: then what comes late may be ignored for a while (5.1)."""
    peer.send(raw)
    peer.until(lambda: peer.answer().is_ended or peer.goaway is not None)
    assert {peer.goaway, peer.answer().reset} & {*codes} or peer.answer().status == OK


MALFORMED = [
    ("an upper-case name", pairs(("Upper", "x"))),
    ("a header of connections", pairs(("connection", "close"))),
    ("te of gzip", pairs(("te", "gzip"))),
    ("a pseudo-header behind the others", pairs((":path", "/"))),
    ("an unknown pseudo-header", pairs(first=(":odd", "x"))),
    ("a pseudo-header of answers", pairs(first=(":status", "200"))),
    ("the method twice", pairs(first=(":method", "POST"))),
    ("the path twice", pairs(first=(":path", "/"))),
    ("a line end in a value", pairs(("x", "a\r\nb: c"))),
    ("NUL in a value", pairs(("x", "a\0b"))),
    ("an empty name", pairs(("", "x"))),
    ("it depends on itself", raw_headers(SELF + block(call_headers()), END_HEADERS | 0x20)),
    (
        "less content than its length",
        raw_headers(block(call_headers(http2.INFER, ("content-length", "1"))))
        + data(1, message(GOOD)),
    ),
]


@pytest.mark.parametrize("raw", [pytest.param(row[1], id=row[0]) for row in MALFORMED])
def test_a_malformed_request_is_not_answered_as_a_good_one(peer: Peer, raw: bytes) -> None:
    peer.send(raw)
    if not raw.endswith(data(1, message(GOOD))):
        peer.send(data(1, message(GOOD)))  # some have ended already, which is refused in turn
    answer = peer.until_ended()
    assert answer.status != OK
    assert not answer.messages


IGNORED = [
    ("a frame of an unknown type", frame(0x42, 0xFF, 0, b"x" * 100)),
    ("one of an unknown type on a stream", headers(3) + frame(0xFE, 0xFF, 3, b"x")),
    ("an unknown setting", frame(Type.SETTINGS, payload=struct.pack(">HI", 0xF000, 1))),
    ("priorities of idle streams", frame(Type.PRIORITY, 0, 99, struct.pack(">IB", 0, 1))),
    ("a reserved bit", window_update(0, 2**31 | 1)),
    ("a push that is allowed", settings(push=1)),
]


@pytest.mark.parametrize("raw", [pytest.param(row[1], id=row[0]) for row in IGNORED])
def test_what_a_newer_protocol_may_say_is_ignored(peer: Peer, raw: bytes) -> None:
    peer.send(raw + call(11, GOOD))
    assert peer.until_ended(11).status == OK


# --- what is no HTTP/2

STRANGE = [
    ("B43 HTTP/1.1", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("B43 an upgrade to h2c", b"GET / HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"),
    ("B43 a long line", b"GET /" + b"x" * 200_000),
    ("B43 a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)),
    ("a preface that ends otherwise", PREFACE[:-2] + b"XX" + settings()),
    ("zeros", bytes(4096)),
    ("ones", b"\xff" * 4096),
    ("a preface without settings", PREFACE + frame(Type.PING, payload=bytes(8))),
    ("HTTP/2 of 1999", b"PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n" + settings()),
]


@pytest.mark.parametrize("raw", [pytest.param(row[1], id=row[0]) for row in STRANGE])
def test_what_is_no_http2_is_closed(server: Serving, raw: bytes) -> None:
    with (
        answered_meanwhile(lambda: served(server)),
        connected_to(server.grpc) as sock,
        memory_bounded(server, 8),
    ):
        sock.sendall(raw)
        assert len(told(sock)) < 1024


def told(sock: socket.socket) -> bytes:
    """Everything until the server closes."""
    found = b""
    try:
        while piece := sock.recv(65_536):
            found += piece
    except ConnectionResetError:
        pass
    return found


# --- B64 and other floods


def test_b64_a_ping_is_answered_in_kind(peer: Peer) -> None:
    peer.send(call(1, GOOD) + frame(Type.PING, payload=b"12345678"))
    assert peer.until(lambda: peer.pongs == [b"12345678"])
    assert peer.goaway is None


def test_b64_a_flood_of_pings_is_told_to_calm_down(server: Serving, peer: Peer) -> None:
    with memory_bounded(server, 8):
        peer.flood(repeat(frame(Type.PING, payload=bytes(8)), 10_000))
        peer.until_closed()
    assert peer.goaway == CALM


def numbers() -> Iterator[int]:
    return count(1, 2)


def resets() -> Iterator[bytes]:
    """Rapid reset (CVE-2023-44487): open, and cancel at once."""
    return (headers(n) + data(n, message(GOOD)) + rst(n) for n in numbers())


def resets_by_the_server() -> Iterator[bytes]:
    """MadeYouReset (CVE-2025-8671): open, and make the server cancel."""
    return (call(n, GOOD) + window_update(n, 0) for n in numbers())


HEADER = b"\x00" + integer(6, 7) + b"header" + integer(8, 7) + b"x" * 8


def after(opening: bytes, repeated: bytes) -> Iterator[bytes]:
    return chain((opening,), repeat(repeated))


def header_without_end(continued: bytes) -> Iterator[bytes]:
    return after(raw_headers(block(call_headers()), 0), frame(Type.CONTINUATION, 0, 1, continued))


CUT_OFF = [
    ("rapid resets, CVE-2023-44487", resets),
    ("resets by the server, CVE-2025-8671", resets_by_the_server),
    ("CONTINUATION, CVE-2024-27316", lambda: header_without_end(HEADER * 700)),
    ("empty CONTINUATION", lambda: header_without_end(b"")),
]


@pytest.mark.parametrize("frames", [pytest.param(row[1], id=row[0]) for row in CUT_OFF])
def test_a_flood_is_cut_off(
    server: Serving, peer: Peer, frames: Callable[[], Iterator[bytes]]
) -> None:
    """A client that means well never does this, so a hundred thousand are not to be served."""
    with memory_bounded(server, 16):
        assert not peer.flood(islice(frames(), FLOOD)), "all of it was read"
        peer.until_closed()
    assert peer.goaway not in {Code.NO_ERROR}


PASSING = [
    ("settings, CVE-2019-9515", settings(window=65_535), b""),
    ("empty settings", settings(), b""),
    ("empty DATA, CVE-2019-9518", frame(Type.DATA, 0, 1), OPEN),
    ("padding alone", frame(Type.DATA, PADDED, 1, b"\x00"), OPEN),
    ("priorities, CVE-2019-9513", frame(Type.PRIORITY, 0, 1, struct.pack(">IB", 3, 0)), b""),
    ("windows", window_update(0, 1), b""),
    ("unknown frames", frame(0x42, 0, 0, b"x"), b""),
    ("acknowledgements of settings", frame(Type.SETTINGS, ACK), b""),
    ("acknowledgements of pings", frame(Type.PING, ACK, 0, bytes(8)), b""),
]


@pytest.mark.parametrize(("raw", "opening"), [pytest.param(*row[1:], id=row[0]) for row in PASSING])
def test_a_flood_of_cheap_frames_is_cut_off_or_passes(
    server: Serving, peer: Peer, raw: bytes, opening: bytes
) -> None:
    with memory_bounded(server, 8):
        if peer.flood(islice(after(opening, raw), FLOOD)):
            peer.send(call(11, GOOD))
            if peer.until_ended(11).status == OK:
                return
    assert peer.goaway in {CALM, PROTOCOL, FLOW, None}


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(frame(Type.PING, payload=bytes(8)), id="pings"),
        pytest.param(settings(window=65_535), id="settings"),
    ],
)
def test_answers_to_a_flood_that_is_not_read_are_bounded(server: Serving, raw: bytes) -> None:
    """CVE-2019-9512, 9515: who asks without reading fills a memory that lets him."""
    with (
        answered_meanwhile(lambda: served(server)),
        memory_bounded(server, 8),
        connection(server.grpc, receive_buffer=4096) as peer,
    ):
        peer.hello()
        piece = raw * 4000
        for _ in range(200):
            if not peer.send(piece):
                return  # refused, or read no more
        raise AssertionError(f"{200 * len(piece)} bytes of questions were all taken")


# --- headers


def test_a_header_bomb_is_refused(server: Serving, peer: Peer) -> None:
    """A header of 4,000 bytes in the table, and 16,000 references to it: 64 MB in one frame."""
    entry = b"\x40" + integer(4, 7) + b"bomb" + integer(3900, 7) + b"x" * 3900
    bomb = block(call_headers()) + entry + integer(62, 7, 0x80) * 12_000
    with memory_bounded(server, 16):
        peer.send(raw_headers(bomb) + data(1, message(GOOD)))
        answer = peer.until_ended()
    assert answer.status != OK


@pytest.mark.parametrize("size", [20_000, 1_000_000])
def test_a_header_list_over_the_limit_is_refused(server: Serving, peer: Peer, size: int) -> None:
    opening = block(
        call_headers(http2.INFER, *((f"h{n}", "x" * 1000) for n in range(size // 1000)))
    )
    pieces = [opening[start : start + 16_384] for start in range(0, len(opening), 16_384)]
    with memory_bounded(server, 8):
        peer.send(raw_headers(pieces[0], 0))
        for piece in pieces[1:-1]:
            peer.send(frame(Type.CONTINUATION, 0, 1, piece))
        peer.send(frame(Type.CONTINUATION, END_HEADERS, 1, pieces[-1]))
        peer.send(data(1, message(GOOD)))
        answer = peer.until_ended()
    assert answer.status != OK
    assert not answer.messages


def test_the_table_of_headers_is_kept_right_by_those_who_are_refused(peer: Peer) -> None:
    """What a refused block puts into the table stays: the next block of the connection needs it."""
    opening = http2.indexing(call_headers(http2.INFER, ("x", "y" * 20_000)))
    pieces = [opening[:16_000], opening[16_000:]]
    peer.send(raw_headers(pieces[0], 0), frame(Type.CONTINUATION, END_HEADERS, 1, pieces[1]))
    peer.send(data(1, message(GOOD)))
    answer = peer.until_ended()
    assert answer.status != OK
    if not peer.is_closed and peer.goaway is None:
        peer.send(raw_headers(http2.indexing(call_headers()), stream=3) + data(3, message(GOOD)))
        assert peer.until_ended(3).status == OK


# --- stalls, silence and slowness


def test_answers_that_nobody_takes_are_bounded(server: Serving, tmp_path: Path) -> None:
    """Streams with a window of zero: their answers wait, up to a budget.

    At most 64 MiB of requests and 64 MiB of answers are held; what is being read or written is held
    twice. Without bounds it would be 400 times 448 KiB, and more with each connection.
    """
    rows = 16_384
    large = request(
        "x", "FP32", [rows, 4], raw=[np.ones((rows, 4), np.float32).tobytes()]
    ).SerializeToString()  # 256 KiB, answered by 192 KiB
    with (
        answered_meanwhile(lambda: served(server), lambda: served_over_rest(server)),
        memory_bounded(server, 256),
        ExitStack() as stack,
    ):
        stalled = [stack.enter_context(connection(server.grpc)) for _ in range(4)]
        for peer in stalled:
            peer.hello(window=0)
            peer.until(lambda peer=peer: peer.server_settings)  # type: ignore[misc]
            streams = min(peer.server_settings.get(3, 100), 100)
            for n in islice(numbers(), streams):
                peer.send(headers(n))
                if not peer.send_data(n, message(large), patience_s=0.5):
                    break
        served(server)
    assert served(server)
    server.until(running=0)


def test_streams_over_the_limit_are_refused_and_the_others_go_on(peer: Peer) -> None:
    """As many as are allowed stay open without a word; one more is refused or waits."""
    allowed = peer.server_settings.get(3, 2**31)
    assert allowed <= 10_000, "SETTINGS_MAX_CONCURRENT_STREAMS: none told"
    for n in islice(numbers(), allowed):
        peer.send(headers(n))
    over = 2 * allowed + 1
    peer.send(headers(over) + data(over, message(GOOD)))
    assert refused(peer, over) in {Code.REFUSED_STREAM, CALM, PROTOCOL}


def test_silent_clients_disturb_nobody(server: Serving) -> None:
    """Streams that are opened and never used, half messages, and connections without a word."""
    with (
        memory_bounded(server, 32),
        answered_meanwhile(lambda: served(server), lambda: served_over_rest(server)),
        ExitStack() as stack,
    ):
        for number in range(200):
            peer = stack.enter_context(connection(server.grpc))
            if number % 4:
                peer.hello(headers(1) + headers(3))
            if number % 4 == 2:
                peer.send(data(1, message(GOOD)[:-1], flags=0))
            if number % 4 == 3:
                peer.send(headers(5)[:-4])
        assert all(served(server) for _ in range(20))
    assert served(server)


SLOW = [
    ("nothing", b""),
    ("half a preface", PREFACE[:10]),
    ("a preface without settings", PREFACE),
]


@pytest.mark.parametrize("raw", [pytest.param(row[1], id=row[0]) for row in SLOW])
def test_who_does_not_say_hello_in_time_is_closed(server: Serving, raw: bytes) -> None:
    with connected_to(server.grpc) as sock:
        sock.sendall(raw)
        told(sock)  # within the socket's timeout
    assert served(server)


def test_a_header_block_that_stops_is_closed(peer: Peer) -> None:
    """Nothing else can be read on a connection whose header block has no end."""
    peer.send(raw_headers(block(call_headers()), 0))
    peer.until_closed()


def test_a_hello_a_byte_at_a_time_is_served_or_closed(server: Serving) -> None:
    raw = PREFACE + settings() + call(1, GOOD)
    with connection(server.grpc) as peer:
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for position in range(len(raw)):
            if not peer.send(raw[position : position + 1]):
                break
        assert peer.until_ended().status in (OK, None)
    assert served(server)


def test_who_hangs_up_midway_leaves_nothing_behind(server: Serving) -> None:
    """At every byte of a call; what was begun is given up."""
    raw = PREFACE + settings() + call(1, GOOD)
    with memory_bounded(server, 8), answered_meanwhile(lambda: served(server)):
        for position in range(0, len(raw), 3):
            with connected_to(server.grpc) as sock:
                sock.sendall(raw[:position])
    server.until(running=0)


def test_a_half_closed_client_is_answered_or_closed(server: Serving) -> None:
    with connection(server.grpc) as peer:
        peer.hello(call(1, GOOD))
        peer.sock.shutdown(socket.SHUT_WR)
        assert peer.until_ended().status in (OK, None)
        peer.until_closed()
    assert served(server)


def test_a_goaway_of_the_client_lets_its_calls_finish(peer: Peer) -> None:
    peer.send(call(1, GOOD) + frame(Type.GOAWAY, payload=bytes(8)))
    assert peer.until_ended().status in (OK, None)


def test_a_thousand_connections_come_and_go(server: Serving) -> None:
    with memory_bounded(server, 16):
        for _ in range(1000):
            with connection(server.grpc) as peer:
                peer.hello(call(1, GOOD))
    assert served(server)


def test_nothing_of_an_attack_reaches_the_log(server: Serving) -> None:
    told = {line.get("message") for line in server.lines}
    assert told - {"request"} == {"listening", "ready"}  # calls that failed are told by name alone
