"""Shares by numbers of pods: the table of `rollout.md` B6, and what holds for all numbers."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway_operator.plan.ratio import conserved, percent, surged

WEIGHTS = (5, 10, 25, 50)


@pytest.mark.parametrize(
    ("stable", "expected"),
    [
        (1, [50, 50, 50, 50]),
        (2, [33, 33, 33, 50]),
        (3, [25, 25, 25, 50]),
        (4, [20, 20, 20, 50]),
        (6, [14, 14, 25, 50]),
        (10, [9, 9, 23, 50]),
        (20, [5, 9, 26, 50]),
    ],
)
def test_the_shares_that_can_be_had(stable: int, expected: list[int]) -> None:
    pods = [surged(stable, weight, 100) for weight in WEIGHTS]
    assert [percent(c, stable + c) for c in pods] == expected


@pytest.mark.parametrize(
    ("surge_percent", "expected"),
    [
        pytest.param(100, 4, id="no more than the stable revision"),
        pytest.param(300, 12, id="three times as many"),
        pytest.param(1, 1, id="one at least"),
    ],
)
def test_the_surge_bounds_the_candidate(surge_percent: int, expected: int) -> None:
    assert surged(4, 75, surge_percent) == expected


PODS = st.integers(1, 1000)
WEIGHT = st.integers(1, 99)


@given(stable=PODS, weight=WEIGHT)
def test_no_other_number_of_pods_is_nearer(stable: int, weight: int) -> None:
    def error(pods: int) -> Fraction:
        return abs(Fraction(pods, stable + pods) - Fraction(weight, 100))

    found = surged(stable, weight, 100_000)
    assert error(found) == min(error(n) for n in (max(1, found - 1), found, found + 1))


@given(stable=PODS, weight=st.integers(1, 98), surge_percent=st.integers(1, 400))
def test_a_step_up_never_takes_pods_from_the_candidate(
    stable: int, weight: int, surge_percent: int
) -> None:
    assert surged(stable, weight, surge_percent) <= surged(stable, weight + 1, surge_percent)


@given(total=st.integers(2, 1000), weight=WEIGHT)
def test_conserving_leaves_a_pod_to_each(total: int, weight: int) -> None:
    assert 1 <= conserved(total, weight) <= total - 1
