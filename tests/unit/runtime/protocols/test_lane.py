"""Which heads may go the short way."""

from itertools import pairwise

import numpy as np
import pytest

from slipway_runtime.protocols.lane import (
    LARGE_BYTES,
    MAX_BYTES,
    KnownHeads,
    PlainHead,
    WholeHead,
    head_text,
    plain_head,
    whole,
)

LENGTH = (b"content-length", b"10")


@pytest.mark.parametrize(
    "header",
    [
        (b"content-type", b"application/json"),
        (b"accept-encoding", b"gzip, deflate, br"),
        (b"connection", b"Keep-Alive"),
        (b"traceparent", b"00-1"),
        (b"x-request-id", b"a"),
    ],
)
def test_what_nearly_every_client_sends_is_plain(header: tuple[bytes, bytes]) -> None:
    head = plain_head([LENGTH, header])
    assert head is not None
    assert (head.length, head.json_bytes) == (10, None)


@pytest.mark.parametrize(
    "header",
    [
        (b"transfer-encoding", b"chunked"),
        (b"content-encoding", b"gzip"),
        (b"accept-encoding", b"gzip"),
        (b"expect", b"100-continue"),
        (b"upgrade", b"h2c"),
        (b"connection", b"close"),
        (b"x-request-timeout", b"1s"),
        (b"x-envoy-expected-rq-timeout-ms", b"5"),
        (b"content-length", b"10"),
        (b"inference-header-content-length", b"-1"),
    ],
)
def test_what_has_to_be_looked_at_goes_the_long_way(header: tuple[bytes, bytes]) -> None:
    assert plain_head([LENGTH, header]) is None


@pytest.mark.parametrize(
    "length", [b"", b"-1", b"+5", b"5,5", b"0x5", b"1" * 10, b"%d" % (MAX_BYTES + 1)]
)
def test_a_length_that_is_none_or_too_large_goes_the_long_way(length: bytes) -> None:
    assert plain_head([(b"content-length", length)]) is None
    assert plain_head([]) is None


def test_binary_tensors_are_plain() -> None:
    head = plain_head([LENGTH, (b"inference-header-content-length", b"4")])
    assert head is not None
    assert head.json_bytes == 4


HEAD = WholeHead(b"/x", [LENGTH], PlainHead(10, None))
TEXT = b"POST /x HTTP/1.1\r\ncontent-length: 10\r\n\r\n"


def test_a_head_is_known_after_it_came_twice_running() -> None:
    known = KnownHeads()
    known.learn(TEXT, HEAD, before=b"")
    known.learn(TEXT, HEAD, before=b"POST /y HTTP/1.1\r\n\r\n")
    assert known.get(TEXT) is None
    known.learn(TEXT, HEAD, before=TEXT)
    assert known.get(TEXT) == HEAD
    assert known.get(b"") is None


def test_heads_that_all_differ_are_not_gathered() -> None:
    known, before = KnownHeads(), b""
    for number in range(5000):
        text = TEXT.replace(b"/x", b"/%d" % number)
        known.learn(text, HEAD, before)
        known.learn(text, HEAD, before=text)
        before = text
    assert sum(known.get(TEXT.replace(b"/x", b"/%d" % n)) is not None for n in range(5000)) <= 256


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (TEXT + b"1234567890", TEXT),
        (TEXT[:-1], b""),
        (b"POST /" + b"x" * 4096 + TEXT, b""),
        (b"\r\n\r\n" + TEXT, b""),
        (b"", b""),
    ],
)
def test_a_head_ends_with_its_empty_line(data: bytes, expected: bytes) -> None:
    assert head_text(data) == expected


@pytest.mark.parametrize("json_bytes", [1, 7, 64, 197])
@pytest.mark.parametrize("cuts", [(), (3, 5), (1_000, LARGE_BYTES)])
def test_large_tensors_lie_where_they_can_be_used(json_bytes: int, cuts: tuple[int, ...]) -> None:
    body = bytes(range(256)) * (LARGE_BYTES // 128)
    parts = [body[start:end] for start, end in pairwise((0, *cuts, len(body)))]
    found = whole(parts, PlainHead(len(body), json_bytes))
    assert bytes(found) == body
    tensor = np.frombuffer(memoryview(found)[json_bytes:], np.uint8)
    assert tensor.ctypes.data % 64 == 0
    assert not tensor.flags.writeable


@pytest.mark.parametrize(
    ("parts", "json_bytes"),
    [
        pytest.param([b"{}"], None, id="small"),
        pytest.param([b"{", b"}"], None, id="in pieces"),
        pytest.param([b"{}xxxx"], 2, id="small tensors"),
        pytest.param([memoryview(b" " * LARGE_BYTES), b"{}"], None, id="long text"),
        pytest.param([memoryview(b" " * 2 * LARGE_BYTES)], 3 * LARGE_BYTES, id="a wrong length"),
    ],
)
def test_everything_else_is_the_bytes_that_came(
    parts: list[bytes | memoryview], json_bytes: int | None
) -> None:
    found = whole(parts, PlainHead(sum(map(len, parts)), json_bytes))
    assert found == b"".join(parts)
    assert isinstance(found, bytes)
