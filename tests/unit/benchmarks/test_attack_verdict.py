"""The verdict on what an attack costs good clients."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.attack.attackers import attacks
from benchmarks.attack.verdict import Turns, cost, percentile, table

ALONE = Turns([0.001] * 1000)


@pytest.mark.parametrize(
    ("attacked", "expected"),
    [
        pytest.param(Turns([0.001] * 1000), True, id="nothing happens"),
        pytest.param(Turns([0.002] * 1000), True, id="twice as late is the bound"),
        pytest.param(Turns([0.0021] * 1000), False, id="more than twice"),
        pytest.param(Turns([0.001] * 995 + [1.0] * 5), True, id="one in two hundred may be late"),
        pytest.param(Turns([0.001] * 985 + [1.0] * 15), False, id="three in two hundred may not"),
        pytest.param(Turns([0.001] * 1000, failures=1), False, id="none may fail"),
    ],
)
def test_good_clients_may_be_answered_twice_as_late(attacked: Turns, expected: bool) -> None:
    assert cost("x", "REST", ALONE, attacked).is_passed is expected


def test_few_answers_give_no_verdict() -> None:
    with pytest.raises(ValueError, match="x, REST: 99 answers"):
        cost("x", "REST", ALONE, Turns([0.001] * 99))


@given(st.lists(st.floats(0, 10), min_size=1), st.integers(1, 100))
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(
    values: list[float], percent: int
) -> None:
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100
    assert sum(value < found for value in values) < len(values) * percent / 100


def test_the_table_tells_times_and_verdicts() -> None:
    found = cost("an attack", "gRPC", ALONE, Turns([0.003] * 500, failures=2, cpu=0.5))
    line = table([found]).splitlines()[1]
    assert line.split() == [
        *("an", "attack", "gRPC"),
        *("1.00", "3.00", "1.00", "3.00", "3.00", "0.50", "FAIL", "(2", "failures)"),
    ]


def test_attacks_are_bounded_and_have_names_of_their_own() -> None:
    found = attacks()
    assert len({attack.name for attack in found}) == len(found)
    assert all(0 < attack.rate_per_s <= 200 for attack in found)
