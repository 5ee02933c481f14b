"""Durations and sizes, as Kubernetes writes them."""

import pytest

from slipway_runtime.units import duration_s, quantity_bytes, readable_bytes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("30s", 30.0, id="seconds"),
        pytest.param("250ms", 0.25, id="milliseconds are not minutes"),
        pytest.param("1h30m", 5400.0, id="parts add up"),
        pytest.param("0s", 0.0, id="zero"),
    ],
)
def test_a_duration_is_read_in_seconds(text: str, expected: float) -> None:
    assert duration_s(text) == expected


@pytest.mark.parametrize("text", ["30", "1.5s", "-1s", "", "1d", "30s ", "1h1m1s1ms1h"])
def test_what_is_no_gateway_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        duration_s(text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("64Mi", 64 * 2**20, id="binary"),
        pytest.param("1G", 10**9, id="decimal"),
        pytest.param(8388608, 8388608, id="an integer is bytes"),
        pytest.param("1.5Ki", 1536, id="a fraction"),
        pytest.param("1e3", 1000, id="an exponent"),
        pytest.param("1E", 10**18, id="exa is not an exponent"),
        pytest.param("1m", 1, id="a part of a byte is a byte"),
    ],
)
def test_a_quantity_is_read_in_bytes(value: str | int, expected: int) -> None:
    assert quantity_bytes(value) == expected


@pytest.mark.parametrize("value", ["64MiB", "Mi", "-1", "1 Mi", "", True, "1e999"])
def test_what_is_no_quantity_is_refused(value: str | int) -> None:
    with pytest.raises(ValueError, match="expected a size"):
        quantity_bytes(value)


def test_sizes_are_shown_in_units() -> None:
    assert [readable_bytes(size) for size in (0, 1023, 2**20, 1.5 * 2**30)] == [
        "0",
        "1023",
        "1Mi",
        "1.5Gi",
    ]
