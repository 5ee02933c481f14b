"""The capacity model against the queue itself, simulated event by event with fixed seeds."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway_operator.plan.capacity import (
    Capacity,
    Objective,
    Service,
    Window,
    fitted,
    latency,
    recommend,
)
from tests.unit.operator.plan.queueing import Pod, Run, simulate

STEADY = Pod(0.010)
NOISY = Pod(0.010, scv=1.0)
BATCHES = Pod(0.008, 0.001, 32, 0.05)
STRONG = Pod(0.020, 0.0005, 32, 0.02)


@pytest.mark.parametrize(
    ("pod", "load", "slack"),
    [
        pytest.param(STEADY, 0.3, 1.3, id="steady, little"),
        pytest.param(STEADY, 0.7, 1.3, id="steady, much"),
        pytest.param(NOISY, 0.3, 1.3, id="noisy, little"),
        pytest.param(NOISY, 0.7, 1.3, id="noisy, much"),
        pytest.param(BATCHES, 4.0, 2.0, id="batches, much"),
        pytest.param(STRONG, 8.0, 2.0, id="strong batches, much"),
    ],
)
@pytest.mark.parametrize("percentile", [90, 99])
def test_the_latency_is_estimated_from_above_and_not_by_far(
    pod: Pod, load: float, slack: float, percentile: int
) -> None:
    rate = load / (pod.fixed_s + pod.per_request_s)
    run, quiet = simulate(pod, rate, 10_000, seed=1), simulate(pod, rate * 0.5, 2_000, seed=2)
    service = fitted([quiet.window, run.window])
    assert service is not None
    truth = run.percentile(percentile)
    estimate = latency(service, rate, percentile / 100)
    assert 0.85 * truth <= estimate <= slack * truth + 0.005


def _follow(pod: Pod, rates: list[float], objective: Objective) -> tuple[int, Run]:
    """Measure, recommend and scale, window after window; return the end."""
    pods, windows, run = 1, list[Window](), None
    for turn, rate in enumerate(rates):
        share = rate / pods
        run = simulate(pod, share, max(200, round(share * 15)), seed=turn)
        one = run.window
        windows.append(
            Window(
                one.seconds, pods, one.requests * pods, one.inferences * pods,
                one.executions * pods, one.execution_s * pods, one.busy_s * pods, scv=one.scv,
            )
        )  # fmt: skip
        found = recommend(windows[-20:], objective)
        assert found is not None
        pods = found.recommended
    assert run is not None
    return pods, run


def _fewest(pod: Pod, rate: float, objective: Objective) -> int:
    """The truth: the fewest pods that keep the objective."""
    for pods in range(1, objective.most + 1):
        if rate / pods >= _most_of(pod):
            continue
        run = simulate(pod, rate / pods, 6_000, seed=99)
        if run.percentile(objective.percentile) <= objective.target_s:
            return pods
    return objective.most


def _most_of(pod: Pod) -> float:
    return 0.98 * pod.max_batch / (pod.fixed_s + pod.per_request_s * pod.max_batch)


@pytest.mark.parametrize(
    ("pod", "rate", "target_s"),
    [
        pytest.param(STEADY, 300.0, 0.030, id="steady"),
        pytest.param(STEADY, 300.0, 0.100, id="steady, a long target"),
        pytest.param(NOISY, 300.0, 0.120, id="noisy"),
        pytest.param(BATCHES, 900.0, 0.060, id="batches"),
        pytest.param(STRONG, 900.0, 0.090, id="strong batches"),
    ],
)
def test_what_is_recommended_keeps_the_objective_and_wastes_little(
    pod: Pod, rate: float, target_s: float
) -> None:
    objective = Objective(99, target_s, most=30)
    pods, _ = _follow(pod, [rate] * 8, objective)
    truth = simulate(pod, rate / pods, 10_000, seed=7).percentile(99)
    assert truth <= target_s
    assert pods <= math.ceil(2 * _fewest(pod, rate, objective)) + 1


def test_a_tripled_load_is_answered_with_its_first_window() -> None:
    objective = Objective(99, 0.04, most=30)
    before, _ = _follow(STEADY, [100.0] * 4, objective)
    after, _ = _follow(STEADY, [100.0] * 4 + [300.0], objective)
    assert before < _fewest(STEADY, 300.0, objective) <= after


def _window(**given: float) -> Window:
    usual = {
        "seconds": 15.0, "pods": 2, "requests": 300.0, "inferences": 300.0, "executions": 300.0,
        "execution_s": 3.0, "busy_s": 3.0,
    }  # fmt: skip
    return Window(**{**usual, **given})  # type: ignore[arg-type]  # `pods` is whole in all of them


def test_the_numbers_are_those_of_the_measurement() -> None:
    found = recommend([_window()], Objective(99, 0.05, 10))
    assert found == Capacity(
        arrival_rate=20.0, service_rate=100.0, utilization_percent=10, recommended=1,
        reason="p99 of 30 ms is expected, the target is 50 ms",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("window", "objective", "expected", "reason"),
    [
        pytest.param(
            _window(execution_s=30.0, busy_s=30.0), Objective(99, 0.05, 10), 3,
            "more pods cannot help", id="a target below the model's own time",
        ),
        pytest.param(
            _window(requests=6000.0), Objective(99, 0.05, 3), 3,
            "raise autoscaling.maxReplicas", id="more than maxReplicas",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_told_with_the_remedy(
    window: Window, objective: Objective, expected: int, reason: str
) -> None:
    found = recommend([window], objective)
    assert found is not None
    assert (found.recommended, reason in found.reason) == (expected, True)


def test_nothing_measured_is_no_recommendation() -> None:
    idle = _window(requests=0.0, inferences=0.0, executions=0.0, execution_s=0.0, busy_s=0.0)
    assert recommend([idle], Objective(99, 0.05, 10)) is None


SERVICES = st.builds(
    Service,
    fixed_s=st.floats(0.0005, 0.1), per_request_s=st.floats(0, 0.01), least_s=st.just(0.0),
    largest=st.sampled_from([1.0, 8.0, 32.0]), scv=st.floats(0, 2), overhead_s=st.just(0.0),
)  # fmt: skip


@given(service=SERVICES, rate=st.floats(0.1, 2000), percentile=st.sampled_from([0.5, 0.9, 0.99]))
def test_no_estimate_is_below_the_model_s_own_time(
    service: Service, rate: float, percentile: float
) -> None:
    assert latency(service, rate, percentile) >= service.seconds(1)


@given(service=SERVICES, rate=st.floats(1, 2000), target_s=st.floats(0.01, 2))
def test_more_load_never_needs_fewer_pods(service: Service, rate: float, target_s: float) -> None:
    batch = 1.0
    executions = rate * 15 / batch

    def needed(rate: float) -> int:
        window = Window(
            15, 1, rate * 15, executions, executions, executions * service.seconds(1), 1.0,
            scv=service.scv,
        )  # fmt: skip
        found = recommend([window], Objective(99, target_s, 1000))
        assert found is not None
        return found.recommended

    assert needed(rate) <= needed(rate * 1.5)
