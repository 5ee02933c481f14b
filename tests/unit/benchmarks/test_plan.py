"""A run measures what its rows need, each server in turn."""

from __future__ import annotations

import pytest

from benchmarks.runtime.environments import ENVIRONMENTS
from benchmarks.runtime.launches import SERVING
from benchmarks.runtime.plan import planned, rotated, workload
from benchmarks.runtime.rounds import FOUR
from benchmarks.runtime.rows import ROWS, rows_for
from benchmarks.runtime.triton_config import Tensor, config
from benchmarks.runtime.workloads import MODELS, Workload


def test_a_server_is_asked_once_for_what_two_rows_need() -> None:
    plan = planned(rows_for(frozenset({"1", "3a"})))
    assert plan.loads == {
        "slipway-digits": ["digits-json-c8"],
        "mlserver": ["digits-json-c8"],
        "kserve": ["digits-json-c8"],
    }


def test_only_the_rivals_that_were_named_are_started() -> None:
    plan = planned(rows_for(frozenset({"1", "3a"})), ["kserve"])
    assert list(plan.loads) == ["slipway-digits", "kserve"]


def test_what_is_only_started_has_no_loads() -> None:
    plan = planned(rows_for(frozenset({"17a"})))
    assert plan.loads == {"slipway-minilm": [], "mlserver-minilm": []}


def test_the_limit_is_taken_beside_the_server_it_limits() -> None:
    plan = planned(rows_for(frozenset({"12"})))
    assert plan.raw == {"slipway-mlp": ["mlp-b1", "mlp-b32"]}


def test_all_rows_need_known_servers_and_models_that_these_load() -> None:
    plan = planned(ROWS)
    assert set(plan.loads) <= {*SERVING, FOUR}
    for name, loads in plan.loads.items():
        for each in loads:
            assert workload(each, is_plain=False).model in SERVING[name].models
    assert plan.sized == ["slipway", "mlserver", "slipway-all"]
    assert set(plan.sized) <= set(ENVIRONMENTS)


def test_three_rounds_of_everything_are_a_matter_of_minutes() -> None:
    assert 3 * planned(ROWS).seconds(2) < 20 * 60


def test_every_round_has_every_server_and_another_first() -> None:
    names = list(planned(ROWS).loads)
    orders = [rotated(names, number) for number in range(3)]
    assert all(sorted(order) == sorted(names) for order in orders)
    assert len({order[0] for order in orders}) == 3


def test_a_naive_server_gets_the_numbers_in_its_own_form() -> None:
    assert workload("cls-json-c8", is_plain=True) == Workload("cls", "plain", 8)


def test_a_name_that_is_no_workload_is_refused() -> None:
    with pytest.raises(ValueError, match="expected MODEL-WIRE-cN"):
        workload("digits-smoke-signals-c8", is_plain=False)


@pytest.mark.parametrize("name", ["mlserver", "kserve", "triton", "fastapi", "flask"])
def test_the_same_models_are_loaded_everywhere(name: str) -> None:
    assert SERVING[name].models == MODELS


def test_triton_batches_without_waiting() -> None:
    text = config("m", "m.onnx", [Tensor("x", "FP32", (3, 4))], [Tensor("y", "INT64", (1,))])
    assert 'input [{ name: "x" data_type: TYPE_FP32 dims: [3, 4] }]' in text
    assert "max_batch_size: 32" in text
    assert "max_queue_delay_microseconds: 0" in text
