"""How much more bad requests burst than chance would have it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway_operator.verdict.counts import Tally
from slipway_operator.verdict.dispersion import Dispersion


def of(*bad: float, requests: float = 100) -> Dispersion:
    known = Dispersion()
    for number in bad:
        known = known.grown(Tally(requests, number))
    return known


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        pytest.param((), 0.0, id="nothing is known"),
        pytest.param((5,), 0.0, id="one interval has no variance"),
        pytest.param((5, 5), 0.0, id="intervals alike"),
        pytest.param((0, 10), 10.0, id="all in one of two"),
        pytest.param((0, 0, 0, 0), 0.0, id="without bad requests"),
    ],
)
def test_index(bad: tuple[float, ...], expected: float) -> None:
    assert of(*bad).index == pytest.approx(expected, abs=0.25)


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        pytest.param((0, 100, 0), 1.0, id="three intervals are too few"),
        pytest.param((5, 6, 4, 5, 5, 7), 1.0, id="chance alone"),
        pytest.param((0, 100, 0, 0, 90, 0, 0, 0), 4.0, id="bursts count four times at most"),
    ],
)
def test_phi(bad: tuple[float, ...], expected: float) -> None:
    assert of(*bad).phi == pytest.approx(expected)


@pytest.mark.parametrize(
    ("bad", "exposure", "expected"),
    [
        pytest.param((5, 6, 4, 5, 5, 7), 0.5, 1.0, id="chance alone"),
        pytest.param((0, 10, 0, 10, 0, 10), 0.5, 4.0, id="bursts, at half and half"),
        pytest.param((0, 10, 0, 10, 0, 10), 0.1, 2.1, id="bursts, at a tenth"),
        pytest.param((0, 100, 0), 0.5, 1.0, id="three intervals are too few"),
    ],
)
def test_a_comparison_at_half_and_half_is_disturbed_most(
    bad: tuple[float, ...], exposure: float, expected: float
) -> None:
    known = of(*bad)
    assert known.compared(exposure, 200) == pytest.approx(expected, rel=0.15)
    assert known.compared(exposure, 200) >= known.phi


def test_bursts_are_no_larger_than_they_were_wild() -> None:
    calm, wild = of(*[5] * 20), of(*[0, 10] * 10)
    assert calm.burst == pytest.approx(0.05)
    assert 0.3 < wild.burst < 1


def test_old_bursts_are_forgotten() -> None:
    bursts, calm = [0, 30] * 10, [5] * 200
    assert of(*bursts, *calm).phi < of(*bursts).phi


@given(bad=st.lists(st.integers(0, 100), max_size=30))
def test_phi_stays_within_its_bounds(bad: list[int]) -> None:
    assert 1.0 <= of(*bad).phi <= 4.0
    assert of(*bad).grown(Tally()) == of(*bad)
