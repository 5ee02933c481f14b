"""Which trace a request says it belongs to, and what is believed of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway_runtime.monitoring.trace_context import RemoteParent, remote_parent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01".encode()


def parent(*, is_sampled: bool = True, state: str = "") -> RemoteParent:
    return RemoteParent(int(TRACE, 16), int(SPAN, 16), is_sampled, state)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(GOOD, parent(), id="the standard's own example"),
        pytest.param(b" \t" + GOOD + b" ", parent(), id="blanks around it"),
        pytest.param(GOOD[:-2] + b"00", parent(is_sampled=False), id="not sampled"),
        pytest.param(GOOD[:-2] + b"fe", parent(is_sampled=False), id="flags of others"),
        pytest.param(b"cc" + GOOD[2:], parent(), id="a later version"),
        pytest.param(b"cc" + GOOD[2:] + b"-more", parent(), id="a later version with more"),
    ],
)
def test_it_is_believed(raw: bytes, expected: RemoteParent) -> None:
    assert remote_parent([raw]) == expected


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="B67 empty"),
        pytest.param(b"zz-1", id="B67 no hexadecimal"),
        pytest.param(GOOD.upper(), id="B67 capitals"),
        pytest.param(b"ff" + GOOD[2:], id="B67 version ff"),
        pytest.param(GOOD + b"-more", id="B67 more than version 00 has"),
        pytest.param(GOOD[:-1], id="B67 too short"),
        pytest.param(GOOD + b"0", id="B67 too long"),
        pytest.param(GOOD + b"\n", id="B66 a line's end"),
        pytest.param(GOOD.replace(TRACE.encode(), b"0" * 32), id="B67 trace id 0"),
        pytest.param(GOOD.replace(SPAN.encode(), b"0" * 16), id="B67 span id 0"),
        pytest.param("\u0660".encode() * 27, id="B67 digits of another script"),
        pytest.param(b"%s" * 500_000, id="B66 a megabyte of %s"),
    ],
)
def test_it_is_not_believed(raw: bytes) -> None:
    assert remote_parent([raw]) is None


def test_two_parents_are_none() -> None:
    assert remote_parent([GOOD, GOOD]) is None
    assert remote_parent([]) is None


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        pytest.param([b"a=1", b"b=2"], "a=1,b=2", id="two headers are one list"),
        pytest.param([b"a=" + b"x" * 511], "", id="B67 more than is kept"),
        pytest.param(["a=ключ".encode()], "", id="B67 no ASCII"),
    ],
)
def test_the_state_is_kept_within_bounds(states: list[bytes], expected: str) -> None:
    assert remote_parent([GOOD], states) == parent(state=expected)


@given(st.binary(max_size=80))
def test_no_header_breaks_it(raw: bytes) -> None:
    found = remote_parent([raw], [raw])
    assert found is None or (found.trace_id and found.span_id)
