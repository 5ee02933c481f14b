"""Each check says what its counts come to, and all of them together."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway_operator.verdict.counts import Interval, Tally
from slipway_operator.verdict.drift import drift, psi
from slipway_operator.verdict.errors import errors
from slipway_operator.verdict.latency import Latency, latency, limits, slow
from slipway_operator.verdict.outcome import Action, Finding, Verdict, together, worst
from slipway_operator.verdict.rates import Criteria, Rates
from slipway_operator.verdict.restarts import restarts

EDGES = (0.05, 0.1, 0.25, math.inf)
CRITERIA = Criteria(floor=0.05)


def answers(*up_to: float) -> dict[float, float]:
    return dict(zip(EDGES, up_to, strict=True))


FAST = answers(900, 970, 1000, 1000)
SLOWER = answers(0, 100, 800, 1000)


@pytest.mark.parametrize(
    ("stable", "target_s", "expected"),
    [
        pytest.param(answers(90, 97, 100, 100), None, (0.1, 0.25), id="one in 20, one in 100"),
        pytest.param(answers(100, 100, 100, 100), None, (0.05,), id="both are the same edge"),
        pytest.param(answers(0, 0, 10, 100), None, (), id="beyond the last edge there is none"),
        pytest.param(answers(90, 97, 99, 99), None, (), id="too few answers"),
        pytest.param({}, None, (), id="no answers"),
        pytest.param(answers(0, 0, 0, 0), 0.06, (0.1,), id="a target needs none"),
        pytest.param(answers(0, 0, 0, 0), 0.1, (0.1,), id="a target that is an edge"),
        pytest.param(answers(0, 0, 0, 0), 9.0, (), id="a target beyond all edges"),
    ],
)
def test_limits(
    stable: dict[float, float], target_s: float | None, expected: tuple[float, ...]
) -> None:
    assert limits(stable, target_s) == expected


def test_a_histogram_with_other_edges_tells_nothing() -> None:
    assert slow({0.2: 5.0, math.inf: 9.0}, 0.1) == Tally()


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        pytest.param(FAST, Verdict.PASS, id="as fast"),
        pytest.param(SLOWER, Verdict.FAIL, id="several times as slow"),
        pytest.param(answers(90, 97, 99, 99), Verdict.NO_DATA, id="few answers"),
    ],
)
def test_latency(candidate: dict[float, float], expected: Verdict) -> None:
    known = Latency.of(limits(FAST)).grown(candidate, FAST, CRITERIA)
    assert latency(known, CRITERIA).verdict is expected


def test_latency_says_what_it_saw() -> None:
    known = Latency.of(limits(FAST)).grown(SLOWER, FAST, CRITERIA)
    assert latency(known, CRITERIA).message == (
        "slower than 100 ms: candidate 900 of 1000 (90.00 %), stable 30 of 1000 (3.00 %)"
    )


def test_without_limits_latency_has_no_data() -> None:
    assert latency(Latency(), CRITERIA).verdict is Verdict.NO_DATA


def test_after_the_cut_slow_answers_are_held_to_the_recorded_ones() -> None:
    known = Latency.of(limits(FAST)).grown(FAST, FAST, CRITERIA)
    assert latency(known.grown_alone(FAST, CRITERIA), CRITERIA).verdict is Verdict.PASS
    assert latency(known.grown_alone(SLOWER, CRITERIA), CRITERIA).verdict is Verdict.FAIL


def test_latency_survives_a_restart() -> None:
    known = Latency.of(limits(FAST)).grown(SLOWER, FAST, CRITERIA)
    assert Latency.decoded(known.encoded()) == known


@pytest.mark.parametrize("text", [None, "", "nonsense", 5, "AAAAAAAA8D8=", "a.b"])
def test_a_damaged_latency_begins_anew(text: object) -> None:
    assert Latency.decoded(text) == Latency()


def test_errors_says_what_it_saw() -> None:
    known = Rates().grown(Interval(Tally(50, 0), Tally(450, 3)), Criteria())
    assert errors(known, Criteria()).message == (
        "candidate 0 of 50 (0.00 %), stable 3 of 450 (0.67 %);"
        " 100 requests to the candidate are needed"
    )


@pytest.mark.parametrize(
    ("by_pod", "expected"),
    [
        pytest.param({}, Verdict.NO_DATA, id="no pods"),
        pytest.param({"a": 0, "b": 1}, Verdict.PASS, id="one is put up with"),
        pytest.param({"a": 1, "b": 1}, Verdict.FAIL, id="two are not, of whichever pods"),
    ],
)
def test_restarts(by_pod: dict[str, int], expected: Verdict) -> None:
    assert restarts(by_pod).verdict is expected


def buckets(*counts: float) -> dict[str, float]:
    return {str(number): count for number, count in enumerate(counts)}


@pytest.mark.parametrize(
    ("candidate", "stable", "expected"),
    [
        pytest.param(buckets(), buckets(50, 50), Verdict.NO_DATA, id="no predictions"),
        pytest.param(buckets(50), buckets(500), Verdict.NO_DATA, id="one bucket"),
        pytest.param(buckets(*[11] * 10), buckets(*[99] * 10), Verdict.NO_DATA, id="110 are few"),
        pytest.param(buckets(*[12.5] * 10), buckets(*[113] * 10), Verdict.PASS, id="125 will do"),
        pytest.param(buckets(900, 100), buckets(100, 900), Verdict.FAIL, id="turned around"),
        pytest.param(buckets(0, 1000), buckets(1000, 0), Verdict.FAIL, id="disjoint"),
        pytest.param(buckets(500, 500), buckets(550, 450), Verdict.PASS, id="a little different"),
    ],
)
def test_drift(candidate: dict[str, float], stable: dict[str, float], expected: Verdict) -> None:
    assert drift(candidate, stable).verdict is expected


def test_identical_models_do_not_drift() -> None:
    """The customary limit of 0.1 would be exceeded by two in five of them."""
    chance, shares = np.random.default_rng(3), np.full(10, 0.1)
    naive, found = 0, []
    for _ in range(300):
        candidate = buckets(*map(float, chance.multinomial(130, shares)))
        stable = buckets(*map(float, chance.multinomial(1170, shares)))
        found.append(drift(candidate, stable).verdict)
        naive += psi(candidate, stable) > 0.1
    assert naive > 30
    assert found.count(Verdict.FAIL) == 0
    assert found.count(Verdict.PASS) == len(found)


COUNTS = st.dictionaries(st.sampled_from("abcde"), st.integers(0, 1000).map(float), min_size=1)


@given(one=COUNTS, other=COUNTS)
def test_psi_is_a_distance(one: dict[str, float], other: dict[str, float]) -> None:
    assert psi(one, other) >= -1e-9
    assert psi(one, other) == pytest.approx(psi(other, one))
    assert psi(one, one) == 0


def found(verdict: Verdict, action: Action = Action.ABORT) -> Finding:
    return Finding(f"{verdict}/{action}", verdict, "").acted(action)


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        pytest.param([], Verdict.NO_DATA, id="no checks"),
        pytest.param([found(Verdict.PASS), found(Verdict.PASS)], Verdict.PASS, id="all pass"),
        pytest.param([found(Verdict.PASS), found(Verdict.RUNNING)], Verdict.RUNNING, id="one runs"),
        pytest.param(
            [found(Verdict.NO_DATA), found(Verdict.RUNNING)], Verdict.NO_DATA, id="one has no data"
        ),
        pytest.param(
            [found(Verdict.FAIL), found(Verdict.NO_DATA)], Verdict.FAIL, id="one fails"
        ),
        pytest.param(
            [found(Verdict.FAIL, Action.WARN), found(Verdict.PASS)], Verdict.PASS,
            id="a warning stands in nobody's way",
        ),
    ],
)  # fmt: skip
def test_together(findings: list[Finding], expected: Verdict) -> None:
    assert together(findings) is expected


def test_of_failed_checks_one_that_aborts_decides() -> None:
    pauses, aborts = found(Verdict.FAIL, Action.PAUSE), found(Verdict.FAIL)
    assert worst([pauses, aborts]) is aborts


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (Verdict.RUNNING, Verdict.INCONCLUSIVE),
        (Verdict.PASS, Verdict.PASS),
        (Verdict.NO_DATA, Verdict.NO_DATA),
    ],
)
def test_when_the_time_is_over_what_runs_is_inconclusive(
    verdict: Verdict, expected: Verdict
) -> None:
    assert found(verdict).closed().verdict is expected
