"""What is counted of two tracks, from one reading to the next."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from slipway_operator.plan.evidence import (
    Evidence,
    Sample,
    criteria_of,
    growth,
    identity,
    reported,
    restored,
)
from slipway_operator.plan.policy import Check, CheckType, Policy
from slipway_operator.verdict.counts import Tally
from slipway_operator.verdict.outcome import Action, Verdict

POLICY = Policy(is_judged=True)
ERRORS = replace(POLICY, checks=(Check("errors", CheckType.ERROR_RATE),))
LATENCY = replace(POLICY, checks=(Check("latency", CheckType.LATENCY, floor=0.05),))
DRIFT = replace(
    POLICY, checks=(Check("drift", CheckType.PREDICTION_DRIFT, action=Action.WARN),)
)  # fmt: skip
THIS = identity("bbbbbbbbbb", 1)


def sample(good: float, bad: float = 0, slow: float = 0, **more: object) -> Sample:
    total = good + bad
    return Sample(good, bad, {0.1: total - slow, 1.0: total, math.inf: total}, **more)  # type: ignore[arg-type]


def after(*readings: tuple[Sample | None, Sample | None], policy: Policy = ERRORS) -> Evidence:
    """Read pairs of stable and candidate, one pod each."""
    known = Evidence(THIS)
    for stable, candidate in readings:
        known = known.read(
            {"s": stable} if stable else {}, {"c": candidate} if candidate else {}, policy,
            is_cut=False,
        )  # fmt: skip
    return known


def verdict(known: Evidence, policy: Policy = ERRORS) -> Verdict:
    return known.findings(policy)[0].verdict


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        pytest.param({}, {"a": sample(5)}, None, id="a pod that was not read before"),
        pytest.param({"a": sample(5)}, {}, None, id="a pod that is gone"),
        pytest.param({"a": sample(5)}, {"a": sample(4)}, None, id="a pod that began anew"),
        pytest.param({"a": sample(5, 2)}, {"a": sample(9, 1)}, None, id="in part"),
        pytest.param({"a": sample(5, 1)}, {"a": sample(9, 3)}, Tally(6, 2), id="its growth"),
        pytest.param(
            {"a": sample(5), "b": sample(5)}, {"a": sample(6), "b": sample(0)}, Tally(1, 0),
            id="only of those that grew",
        ),
    ],
)  # fmt: skip
def test_growth(before: dict[str, Sample], now: dict[str, Sample], expected: Tally | None) -> None:
    found = growth(before, now)
    assert (found.requests if found else None) == expected


def test_a_cold_pod_counts_for_errors_and_not_for_the_latency() -> None:
    cold = {"a": sample(5, is_warm=False)}
    found = growth(cold, {"a": sample(9, slow=4)})
    assert found is not None
    assert (found.requests, found.answers) == (Tally(4, 0), {})


def test_nothing_was_read() -> None:
    assert verdict(Evidence(THIS)) is Verdict.NO_DATA


def test_a_candidate_that_fails_is_found() -> None:
    known = after((sample(0), sample(0)), (sample(900, 3), sample(60, 40)))
    assert verdict(known) is Verdict.FAIL
    (report,) = map(reported, known.findings(ERRORS))
    assert (report["candidate"], report["stable"]) == ({"n": 100, "x": 40}, {"n": 903, "x": 3})
    assert report["eFail"] == ">1e9"


def test_a_slow_candidate_is_found() -> None:
    known = after(
        (sample(1000, slow=3), sample(0)), (sample(2000, slow=6), sample(200, slow=150)),
        policy=LATENCY,
    )  # fmt: skip
    assert verdict(known, LATENCY) is Verdict.FAIL


def test_what_the_stable_revision_cannot_yet_say_is_no_data() -> None:
    known = after((sample(1), sample(0)), (sample(9), sample(9)), policy=LATENCY)
    assert verdict(known, LATENCY) is Verdict.NO_DATA


def test_the_limits_of_the_latency_stay_as_they_were_chosen() -> None:
    known = after((sample(1000), sample(0)), (sample(2000), sample(100)), policy=LATENCY)
    again = known.read(
        {"s": sample(9000, slow=7000)}, {"c": sample(800, slow=650)}, LATENCY, is_cut=False
    )
    parts = (known.latencies["latency"].parts, again.latencies["latency"].parts)
    assert [[limit for limit, _ in p] for p in parts] == [[0.1], [0.1]]


def test_other_predictions_only_warn() -> None:
    one, other = {"y/0": 900.0, "y/1": 100.0}, {"y/0": 100.0, "y/1": 900.0}
    known = after((sample(1, outputs=one), sample(1, outputs=other)), policy=DRIFT)
    assert verdict(known, DRIFT) is Verdict.WARN


def test_an_interval_in_which_one_track_was_not_read_is_dropped() -> None:
    first = (sample(0), sample(0))
    known = after(first, (None, sample(60, 40)), (sample(900), sample(60, 40)))
    assert known.findings(ERRORS)[0].counts == after(first).findings(ERRORS)[0].counts


def test_while_the_candidate_has_no_pods_the_stable_one_is_learned_from() -> None:
    known = after(*((sample(100.0 * n, bad), None) for n, bad in enumerate([0, 0, 60, 60, 120])))
    rates = known.rates["errors"]
    assert rates.dispersion.intervals > 3
    assert (rates.candidate, rates.stable) == (Tally(), Tally())


def test_after_the_cut_the_candidate_is_held_to_what_the_stable_one_did() -> None:
    known = after((sample(0), sample(0)), (sample(5000, 5), sample(500)))
    for _ in range(2):
        known = known.read({}, {"c": sample(600)}, ERRORS, is_cut=True)
    known = known.read({}, {"c": sample(700, 60)}, ERRORS, is_cut=True)
    assert verdict(known) is Verdict.FAIL


@pytest.mark.parametrize(
    ("policy", "bad", "slow"),
    [
        pytest.param(ERRORS, 60, 0, id="errors"),
        pytest.param(LATENCY, 0, 90, id="slow answers"),
    ],
)
def test_after_one_cut_it_is_held_to_all_that_the_stable_pods_have_done(
    policy: Policy, bad: float, slow: float
) -> None:
    known, stable = Evidence(THIS), {"s": sample(5000, 5, slow=9)}
    for candidate in (sample(0), sample(100), sample(300 - bad, bad, slow=slow)):
        known = known.read(stable, {"c": candidate}, policy, is_cut=True)
    assert verdict(known, policy) is Verdict.FAIL


def test_evidence_survives_a_restart() -> None:
    known = after((sample(1000), sample(0)), (sample(2000, 9), sample(100, 1)), policy=POLICY)
    status = {
        "rollout": {"analysisOf": THIS},
        "analysis": [reported(f) for f in known.findings(POLICY)],
    }
    again = restored(THIS, status)
    assert again.findings(POLICY) == known.findings(POLICY)


def test_evidence_is_of_one_attempt_only() -> None:
    known = after((sample(0), sample(0)), (sample(900, 3), sample(60, 40)))
    status = {
        "rollout": {"analysisOf": THIS},
        "analysis": [reported(f) for f in known.findings(ERRORS)],
    }
    assert restored(identity("bbbbbbbbbb", 2), status) == Evidence(identity("bbbbbbbbbb", 2))


def test_the_chance_of_a_false_alarm_is_shared() -> None:
    assert criteria_of(POLICY.checks[0], POLICY).alpha == 0.005
    assert criteria_of(ERRORS.checks[0], ERRORS).alpha == 0.01
