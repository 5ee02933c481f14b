"""A verdict is what the median says, unless rounds near the gate contradict each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.runtime.verdicts import Gate, Verdict, ratios, verdict

POSITIVE = st.floats(0.01, 100)


@pytest.mark.parametrize(
    ("values", "gate", "expected"),
    [
        pytest.param([7.0, 7.5, 8.0], Gate(5), Verdict.MET, id="far above"),
        pytest.param([2.0, 2.5, 3.0], Gate(5), Verdict.MISSED, id="far below"),
        pytest.param([4.8, 5.1, 5.4], Gate(5), Verdict.NOISE, id="near, and rounds disagree"),
        pytest.param([4.9, 4.6, 5.2], Gate(5), Verdict.NOISE, id="below, near, rounds disagree"),
        pytest.param([5.1, 5.2, 5.3], Gate(5), Verdict.MET, id="near, and rounds agree"),
        pytest.param([4.7, 4.8, 4.9], Gate(5), Verdict.MISSED, id="near, and no round meets it"),
        pytest.param([4.0, 9.0, 9.5], Gate(5), Verdict.MET, id="one bad round, far from the gate"),
        pytest.param([0.5], Gate(0.6, at_most=True), Verdict.MET, id="less is better"),
        pytest.param([0.7], Gate(0.6, at_most=True), Verdict.MISSED, id="less would be better"),
        pytest.param([5.0], Gate(5), Verdict.MET, id="the gate itself"),
        pytest.param([0.6], Gate(0.6, at_most=True), Verdict.MET, id="the gate itself, at most"),
        pytest.param([0.0], Gate(5), Verdict.MISSED, id="nothing at all"),
    ],
)
def test_verdict(values: list[float], gate: Gate, expected: Verdict) -> None:
    assert verdict(values, gate) is expected


def test_no_rounds_have_no_verdict() -> None:
    with pytest.raises(ValueError, match="got none"):
        verdict([], Gate(1))


@given(values=st.lists(POSITIVE, min_size=1), must=POSITIVE, at_most=st.booleans())
def test_rounds_that_agree_are_never_noise(values: list[float], must: float, at_most: bool) -> None:
    gate = Gate(must, at_most=at_most)
    if all(map(gate.is_met, values)):
        assert verdict(values, gate) is Verdict.MET
    if not any(map(gate.is_met, values)):
        assert verdict(values, gate) is Verdict.MISSED


@given(rounds=st.dictionaries(st.integers(0, 9), POSITIVE), factor=st.integers(1, 9))
def test_a_ratio_does_not_see_what_hits_both(rounds: dict[int, float], factor: int) -> None:
    twice = {number: value * 2 for number, value in rounds.items()}
    slower = {number: value / factor for number, value in rounds.items()}
    slower_twice = {number: value / factor for number, value in twice.items()}
    assert ratios(slower_twice, slower) == pytest.approx(ratios(twice, rounds))


def test_rounds_in_which_one_is_missing_do_not_count() -> None:
    assert ratios({0: 4.0, 2: 6.0}, {1: 1.0, 2: 3.0}) == [2.0]
