"""Which heads may go the short way."""

import pytest

from slipway_runtime.protocols.lane import MAX_BYTES, plain_head

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
