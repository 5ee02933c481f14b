"""Candidates that are worse fail, others do not, whatever the traffic."""

from __future__ import annotations

import math
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway_operator.verdict.counts import Interval, Tally
from slipway_operator.verdict.outcome import Verdict
from slipway_operator.verdict.rates import Criteria, Rates, judged
from tests.unit.operator.verdict.trials import Truth, trials

DEFAULT = Criteria()
BARE = Criteria(margin=0.0, floor=0.0, min_requests=0)
"""What the table of the specification was measured with."""


def interval(candidate: tuple[float, float], stable: tuple[float, float]) -> Interval:
    return Interval(Tally(*candidate), Tally(*stable))


def after(*seen: Interval, criteria: Criteria = DEFAULT) -> Rates:
    return reduce(lambda known, i: known.grown(i, criteria), seen, Rates())


def verdict(known: Rates, criteria: Criteria = DEFAULT) -> Verdict:
    return judged((known,), criteria)[0]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        pytest.param([], Verdict.NO_DATA, id="nothing was seen"),
        pytest.param([interval((0, 0), (900, 9))], Verdict.NO_DATA, id="no requests to it"),
        pytest.param([interval((99, 1), (900, 9))], Verdict.NO_DATA, id="fewer than minRequests"),
        pytest.param([interval((100, 1), (900, 9))], Verdict.RUNNING, id="not enough to tell"),
        pytest.param([interval((40, 20), (400, 0))], Verdict.FAIL, id="a Fail needs no minimum"),
        pytest.param([interval((5000, 0), (5000, 0))], Verdict.PASS, id="both are flawless"),
        pytest.param([interval((5000, 20), (5000, 0))], Verdict.RUNNING, id="below the floor"),
        pytest.param([interval((5000, 50), (5000, 50))] * 4, Verdict.PASS, id="as good as stable"),
        pytest.param([interval((5000, 57), (5000, 50))] * 2, Verdict.PASS, id="within the margin"),
        pytest.param([interval((500, 500), (500, 500))], Verdict.PASS, id="both fail alike"),
    ],
)
def test_verdict(seen: list[Interval], expected: Verdict) -> None:
    assert verdict(after(*seen)) is expected


def test_a_candidate_that_turns_bad_late_fails() -> None:
    good, bad = interval((500, 5), (4500, 45)), interval((500, 50), (4500, 45))
    assert verdict(after(*[good] * 60)) is Verdict.PASS
    assert verdict(after(*[good] * 60, *[bad] * 5)) is Verdict.FAIL


def test_bursts_weigh_less_where_the_stable_revision_bursts() -> None:
    burst = interval((500, 28), (500, 4))
    bursts = [burst] * 3
    calm, bursting = Rates(), Rates()
    for bad in (0, 40, 0, 0, 40, 0, 0, 0):
        calm, bursting = calm.warmed(Tally(1000, 10)), bursting.warmed(Tally(1000, bad))
    calm, bursting = (reduce(lambda k, i: k.grown(i, DEFAULT), bursts, k) for k in (calm, bursting))
    assert verdict(calm) is Verdict.FAIL
    assert verdict(bursting) is Verdict.RUNNING


@pytest.mark.parametrize(
    ("before", "seen", "expected"),
    [
        pytest.param((10_000, 100), (500, 6), Verdict.RUNNING, id="as the stable one was"),
        pytest.param((10_000, 100), (500, 60), Verdict.FAIL, id="ten times as bad"),
        pytest.param((10_000, 0), (500, 20), Verdict.FAIL, id="the stable one was flawless"),
        pytest.param((0, 0), (500, 20), Verdict.RUNNING, id="the stable one is not known"),
        pytest.param((50, 0), (500, 10), Verdict.RUNNING, id="it is hardly known"),
    ],
)
def test_after_the_cut_the_candidate_is_held_to_what_the_stable_one_was(
    before: tuple[float, float], seen: tuple[float, float], expected: Verdict
) -> None:
    known = Rates(stable=Tally(*before))
    for _ in range(3):
        known = known.grown_alone(Tally(*seen), DEFAULT)
    assert verdict(known) is expected


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        pytest.param(100, Verdict.RUNNING, id="a burst, however large, is one"),
        pytest.param(150, Verdict.FAIL, id="nearly a third is none"),
    ],
)
def test_one_interval_sends_a_candidate_back_only_when_it_is_beyond_bursts(
    bad: int, expected: Verdict
) -> None:
    assert verdict(after(interval((500, bad), (4500, 45)))) is expected


def test_where_bursts_are_large_one_of_them_does_not_speak_for_itself() -> None:
    """A third of slow answers is beyond calm bursts, but not where a tenth comes and goes."""
    worse, known = interval((500, 175), (4500, 450)), Rates()
    for bad in (0, 1000, 0, 0, 1000, 0, 900, 0):
        known = known.warmed(Tally(4500, bad))
    assert verdict(after(worse)) is Verdict.FAIL
    assert verdict(known.grown(worse, DEFAULT)) is Verdict.RUNNING


def test_several_ways_of_counting_share_one_chance_of_error() -> None:
    bad = after(*[interval((100, 12), (900, 9))] * 3)
    same = after(interval((100, 1), (900, 9)))
    assert verdict(bad) is Verdict.FAIL
    _, alone = judged((bad,), DEFAULT)
    _, both = judged((bad, same), DEFAULT)
    assert both.fail == pytest.approx(
        math.log((math.exp(alone.fail) + math.exp(same.evidence(DEFAULT).fail)) / 2)
    )


COUNTS = st.tuples(st.integers(0, 10_000), st.floats(0, 1)).map(
    lambda n: (float(n[0]), float(int(n[0] * n[1])))
)


@given(seen=st.lists(st.tuples(COUNTS, COUNTS).map(lambda n: interval(*n)), max_size=8))
def test_evidence_survives_a_restart(seen: list[Interval]) -> None:
    known = after(*seen)
    assert Rates.decoded(known.encoded()) == known
    assert all(map(math.isfinite, (known.evidence(DEFAULT).fail, known.evidence(DEFAULT).passed)))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(None, id="absent"),
        pytest.param("", id="empty"),
        pytest.param("nonsense", id="no base64"),
        pytest.param("AAAAAAAA8D8=", id="of another length"),
        pytest.param(Rates(candidate=Tally(math.nan, 0)).encoded(), id="no number"),
        pytest.param(Rates(candidate=Tally(-5, 0)).encoded(), id="less than nothing"),
    ],
)
def test_a_damaged_state_begins_anew(text: object) -> None:
    assert Rates.decoded(text) == Rates()


@pytest.mark.parametrize(
    ("truth", "runs", "failed", "passed", "detection_s"),
    [
        pytest.param(Truth(), 100, (0, 0.01), (0.99, 1), None, id="the same"),
        pytest.param(Truth(shared_noise=0.8), 100, (0, 0.02), (0.9, 1), None, id="same, in waves"),
        pytest.param(Truth(rate=5), 150, (0, 0.02), (0.3, 0.55), None, id="same, little traffic"),
        pytest.param(Truth(ratio=2), 100, (0.99, 1), (0, 0.05), (240, 540), id="twice the errors"),
        pytest.param(
            Truth(ratio=2, weight=0.5), 100, (0.99, 1), (0, 0.06), (120, 240),
            id="twice the errors at half of the traffic",
        ),
        pytest.param(Truth(ratio=5), 100, (1, 1), (0, 0.01), (30, 90), id="five times"),
        pytest.param(
            Truth(ratio=20, weight=0.05, rate=5), 100, (0.99, 1), (0, 0.01), (60, 150),
            id="twenty times, hardly any traffic",
        ),
    ],
)  # fmt: skip
def test_the_table_of_the_specification(
    truth: Truth,
    runs: int,
    failed: tuple[float, float],
    passed: tuple[float, float],
    detection_s: tuple[float, float] | None,
) -> None:
    """`rollout.md` A7.2, by the code that judges real rollouts."""
    found = trials(truth, BARE, runs=runs)
    assert failed[0] <= found.failed <= failed[1]
    assert passed[0] <= found.passed <= passed[1]
    if detection_s:
        assert detection_s[0] <= found.detection_s <= detection_s[1]


def test_an_identical_candidate_is_hardly_ever_sent_back() -> None:
    """Without margin and floor, where it is hardest; the promise is alpha, 1 %."""
    truth = Truth(rate=20, weight=0.25, base=0.02)
    assert trials(truth, BARE, runs=400, minutes=10).failed <= 0.01


@pytest.mark.parametrize(
    ("noise", "weight"), [(0.6, 0.1), (0.9, 0.1), (0.9, 0.25), (0.6, 0.5), (0.9, 0.5)]
)
def test_bursts_of_each_revision_alone_seldom_send_it_back(noise: float, weight: float) -> None:
    """Of a thousand rollouts of the same model, at the chance that a usual check has."""
    usual = Criteria(alpha=0.005)
    truth = Truth(own_noise=noise, weight=weight)
    assert trials(truth, usual, runs=1000, minutes=15).failed <= 0.01


@pytest.mark.parametrize("noise", [0.0, 0.6])
def test_a_fifth_of_errors_is_found_within_a_minute(noise: float) -> None:
    """By intervals of 15 s: at 10 % of 50 requests a second, where the stable one has 1 %."""
    usual = Criteria(alpha=0.005)
    truth = Truth(ratio=20, own_noise=noise)
    found = trials(truth, usual, runs=200, minutes=2, interval_s=15)
    assert (found.failed, found.detection_s < 60) == (1.0, True)
