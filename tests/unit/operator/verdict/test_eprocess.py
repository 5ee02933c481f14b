"""Bets that gain nothing while their hypothesis holds, however often they are looked at."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway_operator.verdict.counts import Interval, Tally
from slipway_operator.verdict.eprocess import Lookout, Mixture, ratio_gain, share_gain

LOGS = st.floats(-3, 3)


def interval(candidate: tuple[float, float], stable: tuple[float, float]) -> Interval:
    return Interval(Tally(*candidate), Tally(*stable))


@pytest.mark.parametrize(
    ("seen", "log_ratio", "against", "expected"),
    [
        pytest.param(
            interval((10, 3), (90, 0)), 1.0, 0.0, 3 - 3 * math.log(0.9 + 0.1 * math.e),
            id="all bad requests are the candidate's",
        ),
        pytest.param(interval((10, 0), (90, 0)), 1.0, 0.0, 0.0, id="without bad ones nothing"),
        pytest.param(interval((10, 2), (90, 5)), 0.7, 0.7, 0.0, id="a bet on the hypothesis"),
        pytest.param(interval((0, 0), (90, 5)), 1.0, 0.0, 0.0, id="the candidate had no requests"),
        pytest.param(interval((90, 5), (0, 0)), 1.0, 0.0, 0.0, id="the stable one had none"),
        pytest.param(interval((0, 0), (0, 0)), 1.0, 0.0, 0.0, id="there were no requests"),
    ],
)  # fmt: skip
def test_ratio_gain(seen: Interval, log_ratio: float, against: float, expected: float) -> None:
    assert ratio_gain(seen, log_ratio, against) == pytest.approx(expected)


@given(
    bad=st.integers(1, 12),
    share=st.floats(0.01, 0.99),
    log_ratio=LOGS,
    against=LOGS,
)
def test_a_bet_is_fair_where_the_hypothesis_is_just_true(
    bad: int, share: float, log_ratio: float, against: float
) -> None:
    odds = share * math.exp(against)
    theta = odds / (odds + 1 - share)
    expected = sum(
        math.comb(bad, k) * theta**k * (1 - theta) ** (bad - k)
        * math.exp(ratio_gain(
            interval((100 * share, k), (100 * (1 - share), bad - k)), log_ratio, against
        ))
        for k in range(bad + 1)
    )  # fmt: skip
    assert expected == pytest.approx(1.0, rel=1e-6)


@given(
    bad=st.integers(1, 12),
    share=st.floats(0.01, 0.99),
    better=st.floats(0, 2),
    beyond=st.floats(0.01, 2),
)
def test_a_bet_on_worse_loses_where_the_candidate_is_better_than_the_margin(
    bad: int, share: float, better: float, beyond: float
) -> None:
    odds = share * math.exp(-better)
    theta = odds / (odds + 1 - share)
    expected = sum(
        math.comb(bad, k) * theta**k * (1 - theta) ** (bad - k)
        * math.exp(ratio_gain(
            interval((100 * share, k), (100 * (1 - share), bad - k)), beyond, 0.0
        ))
        for k in range(bad + 1)
    )  # fmt: skip
    assert expected <= 1.0 + 1e-6


@given(requests=st.integers(1, 12), against=st.floats(0.01, 0.5), times=st.floats(1.0, 1.9))
def test_a_bet_on_a_rate_is_fair(requests: int, against: float, times: float) -> None:
    expected = sum(
        math.comb(requests, k) * against**k * (1 - against) ** (requests - k)
        * math.exp(share_gain(Tally(requests, k), against * times, against))
        for k in range(requests + 1)
    )  # fmt: skip
    assert expected == pytest.approx(1.0, rel=1e-6)


@given(gains=st.lists(st.lists(st.floats(-2, 2), min_size=3, max_size=3), max_size=20))
def test_a_lookout_is_worth_what_its_bets_are(gains: list[list[float]]) -> None:
    """Written out without logarithms, it is the same money."""
    known = Lookout.fresh(3)
    placed, aside = [0.5 / 3] * 3, 0.5
    for gain in gains:
        known = known.grown(gain)
        placed = [(p + aside / 64 / 3) * math.exp(g) for p, g in zip(placed, gain, strict=True)]
        aside *= 63 / 64
    assert math.exp(known.log_evidence) == pytest.approx(sum(placed) + aside)


def test_a_lookout_that_wins_nothing_loses_nothing() -> None:
    known = Lookout.fresh(8)
    for _ in range(1000):
        known = known.grown([0.0] * 8)
    assert known.log_evidence == pytest.approx(0.0)


def test_what_turns_bad_late_is_found_as_fast_as_money_was_set_aside() -> None:
    mixture, lookout = Mixture.fresh(1), Lookout.fresh(1)
    for gain in [-1.0] * 60 + [1.0] * 12:
        mixture, lookout = mixture.grown([gain]), lookout.grown([gain])
    assert mixture.log_evidence == pytest.approx(-48.0)
    assert lookout.log_evidence > math.log(100)


@given(gains=st.lists(st.floats(-1e6, 0), max_size=5))
def test_evidence_stays_a_number(gains: list[float]) -> None:
    known = Lookout.fresh(1)
    for gain in gains:
        known = known.grown([gain])
    assert math.isfinite(known.log_evidence)
    assert all(map(math.isfinite, (*known.logs, known.aside)))
