"""Values in error texts are short and harmless."""

import pytest

from slipway_runtime.errors import clipped, shown


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("a\nb", r"'a\nb'", id="control characters are escaped"),
        pytest.param("x" * 121, "'" + "x" * 120 + "…'", id="long text is cut"),
        pytest.param([1, 2], "[1, 2]", id="other values are their repr"),
        pytest.param("\ud800", r"'\ud800'", id="a lone surrogate is escaped"),
    ],
)
def test_values_are_shown_short_and_on_one_line(value: object, expected: str) -> None:
    assert shown(value) == expected


def test_a_long_list_is_cut() -> None:
    assert len(shown(list(range(10_000)))) == 121


@pytest.mark.parametrize("limit", [4, 5, 10, 400])
def test_a_clipped_text_fits_whatever_its_letters(limit: int) -> None:
    assert len(clipped("äöü" * 100, limit).encode()) <= limit
