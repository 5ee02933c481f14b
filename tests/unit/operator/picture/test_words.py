"""Words of others are shown, and steer nothing."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway_operator.picture.words import clean, entries, inside, number, span, word


@given(st.text())
def test_nothing_hidden_is_left_and_it_is_one_short_line(text: str) -> None:
    shown = clean(text, 50)
    assert len(shown) <= 50
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("plain words", "plain words", id="as it is"),
        pytest.param("a\r\n\tb", "a b", id="one line"),
        pytest.param("\x1b]0;title\x07", "�]0;title�", id="a terminal is not told its title"),
        pytest.param("a\u202eb", "a�b", id="nothing is turned around"),
        pytest.param(None, "", id="nothing"),
        pytest.param(3, "3", id="a number"),
    ],
)
def test_clean(text: object, expected: str) -> None:
    assert clean(text) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        pytest.param(-5, "0s", id="a clock that is ahead"),
        pytest.param(59, "59s", id="seconds"),
        pytest.param(61, "1m1s", id="minutes and seconds"),
        pytest.param(3599, "59m", id="minutes"),
        pytest.param(86_400, "24h", id="hours"),
        pytest.param(864_000, "10d", id="days"),
    ],
)
def test_span(seconds: float, expected: str) -> None:
    assert span(seconds) == expected


@pytest.mark.parametrize("value", [None, 1, "x", [], {"a": None}, {"a": 1}, {"a": [1]}])
def test_whatever_stands_there_reading_is_no_error(value: object) -> None:
    assert inside(value, "a", "b") is None
    assert word(value, "a", "b") == ""
    assert number(value, "a", "b") == 0
    assert entries(value, "a") == []
