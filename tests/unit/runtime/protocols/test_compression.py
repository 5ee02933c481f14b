"""Compressed bodies, and what the head of a request says of them."""

import gzip
import zlib
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway_runtime.errors import (
    InvalidRequest,
    RequestTooLarge,
    ServingError,
    UnsupportedEncoding,
)
from slipway_runtime.protocols.compression import CODINGS, deflated, inflate
from slipway_runtime.protocols.head import Head, read_head

MEGABYTE = 2**20


@given(st.binary(), st.sampled_from(CODINGS))
def test_a_body_survives_compression(body: bytes, coding: str) -> None:
    assert inflate(deflated(body, coding), coding, MEGABYTE) == body


_RANDOM = Random(7)
LARGE = {
    "that does not get smaller": _RANDOM.randbytes(3 * MEGABYTE + 5),
    "that gets much smaller": b"".join(
        b"0.25, " * 20 + _RANDOM.randbytes(4) for _ in range(20_000)
    ),
    "of several pieces in one": _RANDOM.randbytes(200_000) + bytes(MEGABYTE),
}


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("body", [pytest.param(body, id=name) for name, body in LARGE.items()])
def test_a_large_body_is_read_in_pieces(body: bytes, coding: str) -> None:
    small = deflated(body, coding)
    assert inflate(small, coding, len(body)) == body
    with pytest.raises(RequestTooLarge, match=f"more than {len(body) - 1}"):
        inflate(small, coding, len(body) - 1)
    surplus = 700_000
    with pytest.raises(InvalidRequest, match=f"{surplus} bytes after"):
        inflate(small + bytes(surplus), coding, len(body))
    with pytest.raises(InvalidRequest, match="cut off"):
        inflate(small[:-1], coding, len(body))


def test_deflate_is_the_zlib_format() -> None:
    assert inflate(zlib.compress(b"abc"), "deflate", MEGABYTE) == b"abc"
    assert inflate(gzip.compress(b"abc"), "gzip", MEGABYTE) == b"abc"


ZEROS = gzip.compress(bytes(50 * MEGABYTE))


@pytest.mark.parametrize(
    ("body", "limit", "kind", "expected"),
    [
        pytest.param(
            gzip.compress(bytes(5000)), 4000, RequestTooLarge, "more than 4000", id="over the limit"
        ),
        pytest.param(ZEROS, 2**40, RequestTooLarge, "100 times its size", id="a bomb"),
        pytest.param(gzip.compress(b"abc")[:-3], MEGABYTE, InvalidRequest, "cut off", id="cut"),
        pytest.param(
            gzip.compress(b"abc") + b"xy", MEGABYTE, InvalidRequest, "2 bytes after", id="surplus"
        ),
        pytest.param(b"plain", MEGABYTE, InvalidRequest, "no valid gzip data", id="not compressed"),
        pytest.param(b"", MEGABYTE, InvalidRequest, "cut off", id="empty"),
    ],
)
def test_bad_bodies_are_refused(
    body: bytes, limit: int, kind: type[ServingError], expected: str
) -> None:
    with pytest.raises(kind) as caught:
        inflate(body, "gzip", limit)
    assert expected in str(caught.value)


def head(*headers: tuple[str, str]) -> Head:
    return read_head({"headers": [(name.encode(), value.encode()) for name, value in headers]})


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param([], Head(), id="none"),
        pytest.param([("content-encoding", "GZIP ")], Head(coding="gzip"), id="gzip"),
        pytest.param([("content-encoding", "identity")], Head(), id="identity"),
        pytest.param(
            [("inference-header-content-length", "12")], Head(json_bytes=12), id="a length"
        ),
        pytest.param(
            [("accept-encoding", "deflate")], Head(answer_coding="deflate"), id="asked by name"
        ),
        pytest.param(
            [("accept-encoding", "gzip, deflate, br")], Head(), id="a library's list is no request"
        ),
        pytest.param([("accept-encoding", "gzip;q=0")], Head(), id="refused by the client"),
        pytest.param([("accept-encoding", "*")], Head(), id="anything"),
    ],
)
def test_heads_are_read(headers: list[tuple[str, str]], expected: Head) -> None:
    assert head(*headers) == expected


@pytest.mark.parametrize("length", ["-1", "abc", "1.0", "", "+5", "9" * 19])
def test_a_length_is_a_number(length: str) -> None:
    with pytest.raises(InvalidRequest, match="inference-header-content-length: got"):
        head(("inference-header-content-length", length))


def test_headers_that_contradict_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="sent twice"):
        head(("inference-header-content-length", "1"), ("inference-header-content-length", "1"))
    with pytest.raises(UnsupportedEncoding, match="'gzip, gzip'"):
        head(("content-encoding", "gzip"), ("content-encoding", "gzip"))
