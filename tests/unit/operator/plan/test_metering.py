"""From counters to what is told: differences, memory, and no more writes than one a minute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slipway_operator.plan.capacity import Objective, Window
from slipway_operator.plan.metering import HOLD_S, Meter, Reading, window

ZERO = Reading(0, 0, 0, 0, 0, 0, 0, 0)
INFINITE = float("inf")


def _reading(requests: float, *, each_s: float = 0.01, waited_s: float = 0.0) -> Reading:
    """Counters of a pod that computed every request alone."""
    time = requests * each_s
    return Reading(
        requests, requests, requests * waited_s, requests, time, time, requests,
        time + requests * (waited_s + 0.002), ((0.01, requests), (INFINITE, requests)),
    )  # fmt: skip


def test_a_window_is_the_sum_over_pods_of_what_was_counted_between() -> None:
    before = {"a": _reading(100), "b": _reading(50)}
    after = {"a": _reading(250), "b": _reading(200)}
    found = window(before, after, 15.0)
    assert found is not None
    assert (found.pods, found.requests, found.rate) == (2, 300, 20.0)
    assert (found.batch, round(found.mean_s, 6)) == (1.0, 0.01)
    assert round(found.overhead_s, 6) == 0.002
    assert found.scv == 0


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param({}, {"a": ZERO}, None, id="the first reading"),
        pytest.param({"a": ZERO}, {}, None, id="no pod answers"),
        pytest.param({"a": _reading(9)}, {"a": _reading(5)}, None, id="it started anew"),
        pytest.param({"a": ZERO}, {"a": ZERO, "b": _reading(900)}, 1, id="a pod that is new"),
        pytest.param(
            {"a": ZERO, "b": _reading(9)}, {"a": ZERO, "b": _reading(5)}, 1,
            id="one of two started anew",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_known_is_left_out(
    before: dict[str, Reading], after: dict[str, Reading], expected: int | None
) -> None:
    found = window(before, after, 15.0)
    assert (found.pods if found else None) == expected


def test_executions_of_two_speeds_vary() -> None:
    half = replace(_reading(100), execution_buckets=((0.01, 50), (0.1, 50), (0.25, 100)))
    found = window({"a": ZERO}, {"a": half}, 15.0)
    assert found is not None
    middles = (0.005, 0.175)
    mean = sum(middles) / 2
    assert found.scv == pytest.approx(sum(m * m for m in middles) / 2 / mean**2 - 1)


OBJECTIVE = Objective(99, 0.03, most=20)


def _run(rates: Sequence[float], *, every_s: float = 15.0, floor: int = 0) -> list[Meter]:
    """Read a pod every few seconds while requests come at these rates."""
    meter, total, now, past = Meter(), 0.0, 1000.0, list[Meter]()
    for rate in rates:
        meter = meter.read("r", {"a": _reading(total)}, now).judged(OBJECTIVE, now, floor)
        past.append(meter)
        total, now = total + rate * every_s, now + every_s
    return past


def _told(meters: list[Meter]) -> list[int]:
    """Every number that was told, once."""
    found: list[int] = []
    for meter in meters:
        if meter.told and [meter.told.recommended] != found[-1:]:
            found.append(meter.told.recommended)
    return found


def test_the_first_two_readings_are_enough_to_tell() -> None:
    meters = _run([90, 90])
    assert [m.told is None for m in meters] == [True, False]


def test_a_tripled_load_is_told_within_a_minute() -> None:
    meters = _run([60] * 8 + [180] * 4)
    before, after = _told(meters)
    assert before < after
    # Readings are 15 s apart; the load has tripled after the eighth.
    first = next(i for i, m in enumerate(meters) if m.told and m.told.recommended == after)
    assert (first - 8) * 15 <= 60


def test_nothing_falls_within_five_minutes_and_then_it_does() -> None:
    turns = int(HOLD_S / 15)
    meters = _run([180] * 4 + [20] * (turns * 2 + 8))
    high, *_, low = _told(meters)
    assert low < high
    fell = next(i for i, m in enumerate(meters) if m.told and m.told.recommended < high)
    assert (fell - 4) * 15 >= HOLD_S


def test_a_wavering_load_is_told_at_most_once_a_minute() -> None:
    meters = _run([20, 60, 100, 140, 180, 220, 260, 300] * 3)
    told_at = sorted({m.told_at for m in meters if m.told})
    assert len(told_at) > 2
    assert min(b - a for a, b in pairwise(told_at)) >= 60


def test_what_was_told_before_a_restart_holds_at_first() -> None:
    turns = int(HOLD_S / 15)
    meters = _run([20] * (turns + 4), floor=9)
    assert _told(meters)[0] == 9
    assert "within the last five minutes" in (meters[1].told or pytest.fail("nothing")).reason
    assert _told(meters)[-1] < 9


def test_another_revision_is_measured_anew_and_keeps_what_was_told() -> None:
    meter = _run([180] * 4)[-1]
    other = meter.read("other", {"b": _reading(10_000)}, 5000.0)
    assert (other.windows, other.widest) == ((), None)
    assert other.told == meter.told


def test_the_window_with_the_largest_batches_is_remembered() -> None:
    meter = Meter()
    batches = [8.0] + [1.0] * 40
    total, now = ZERO, 0.0
    for batch in batches:
        meter = meter.read("r", {"a": total}, now)
        grown = 100 * batch
        total = replace(
            total, requests=total.requests + grown, inferences=total.inferences + grown,
            executions=total.executions + 100, execution_s=total.execution_s + 1,
            answered=total.answered + grown,
        )  # fmt: skip
        now += 15
    assert len(meter.windows) == 20
    assert isinstance(meter.widest, Window)
    assert meter.widest.batch == 8


COUNTERS = st.sampled_from([0.0, 1e-9, 0.5, 1.0, 3.0, 1e6, 1e15]) | st.floats(0, 1e15)
READINGS = st.builds(
    Reading, *[COUNTERS] * 8,
    st.lists(st.tuples(st.floats(0, 1e6), COUNTERS), max_size=4).map(tuple),
)  # fmt: skip


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    readings=st.lists(READINGS, min_size=2, max_size=6),
    percentile=st.sampled_from([50, 90, 99]),
    target_s=st.floats(0.001, 600),
)
def test_whatever_pods_count_the_answer_is_a_number_of_pods_within_bounds(
    readings: list[Reading], percentile: int, target_s: float
) -> None:
    objective, meter = Objective(percentile, target_s, most=7), Meter()
    for turn, reading in enumerate(readings):
        meter = meter.read("r", {"a": reading}, turn * 15.0)
        meter = meter.judged(objective, turn * 15.0, 0)
    assert meter.told is None or 1 <= meter.told.recommended <= 7
