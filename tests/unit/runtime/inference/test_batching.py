"""The policy of batches, and its laws in a world with a clock of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway_runtime.inference.batching import (
    BatchPolicy,
    batch_key,
    has_batch_dimension,
    split,
    stacked,
)
from slipway_runtime.inference.signature import Signature, TensorSpec


@dataclass(frozen=True)
class Request:
    """What the policy sees; `number` is its place in the order of arrival."""

    key: str | None
    rows: int = 1
    enqueued_s: float = 0.0
    number: int = 0


def requests(text: str) -> list[Request]:
    """`a1 b2 -1`: key and rows of each; `-` has no key."""
    return [
        Request(None if word[0] == "-" else word[0], int(word[1:]), number=number)
        for number, word in enumerate(text.split())
    ]


@pytest.mark.parametrize(
    ("waiting", "max_rows", "expected"),
    [
        pytest.param("", 4, [], id="nobody"),
        pytest.param("a1", 4, [0], id="one"),
        pytest.param("a1 a1 a1", 2, [0, 1], id="as many as fit"),
        pytest.param("a3 a1", 2, [0], id="who is too large runs alone"),
        pytest.param("a1 a2 a1", 2, [0], id="nobody of a key is overtaken"),
        pytest.param("a1 b1 a1", 4, [0, 2], id="another key is passed over"),
        pytest.param("-1 a1 -1", 4, [0], id="who has no key runs alone"),
        pytest.param("a1 -1 a1", 4, [0, 2], id="and is never taken along"),
        pytest.param("a1 a1", 1, [0], id="off"),
        pytest.param("-0 a1", 4, [0], id="no rows"),
    ],
)
def test_members(waiting: str, max_rows: int, expected: list[int]) -> None:
    chosen = BatchPolicy(max_rows).members(requests(waiting))
    assert [request.number for request in chosen] == expected


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        pytest.param("a1", 2.0, id="a lone request waits for company"),
        pytest.param("a2 a2", 0.0, id="a full batch does not wait"),
        pytest.param("-1", 0.0, id="nor does one that can have none"),
    ],
)
def test_starts(batch: str, expected: float) -> None:
    assert BatchPolicy(4, max_delay_s=2.0).starts_s(requests(batch)) == expected


def x(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def test_a_key_tells_outputs_and_shapes_but_not_rows() -> None:
    key = batch_key({"x": x(1, 4)}, ["x"], ["y"])
    assert key == batch_key({"x": x(7, 4)}, ["x"], ["y"])
    assert key is not None
    assert key != batch_key({"x": x(1, 5)}, ["x"], ["y"])
    assert key != batch_key({"x": x(1, 4)}, ["x"], ["y", "z"])
    assert batch_key({"a": x(2, 1), "b": x(2, 2)}, ["a", "b"], ["y"]) == batch_key(
        {"b": x(2, 2), "a": x(2, 1)}, ["a", "b"], ["y"]
    )


@pytest.mark.parametrize(
    "feeds",
    [
        pytest.param({"a": x(0, 4), "b": x(0, 4)}, id="no rows"),
        pytest.param({"a": x(2, 4), "b": x(3, 4)}, id="inputs of different rows"),
        pytest.param({"a": x(2, 4), "b": x()}, id="a scalar"),
        pytest.param({"a": x(2, 4)}, id="an input is missing"),
    ],
)
def test_such_requests_have_no_key(feeds: dict[str, np.ndarray]) -> None:
    assert batch_key(feeds, ["a", "b"], ["y"]) is None


def spec(*shape: int, symbol: str | None = "n") -> TensorSpec:
    return TensorSpec("t", "FP32", shape, (symbol, *(None for _ in shape[1:])))


@pytest.mark.parametrize(
    ("inputs", "outputs", "expected"),
    [
        pytest.param([spec(-1, 4)], [spec(-1, 3)], True, id="one name"),
        pytest.param([spec(-1, 4, symbol=None)], [spec(-1, 3)], True, id="unnamed"),
        pytest.param([spec(-1, 4)], [spec(-1, 3, symbol="m")], False, id="two names"),
        pytest.param([spec(1, 4)], [spec(-1, 3)], False, id="a fixed input"),
        pytest.param([spec(-1, 4)], [spec(1, 3)], False, id="a fixed output"),
        pytest.param([TensorSpec("t", "FP32", ())], [spec(-1)], False, id="a scalar or any rank"),
        pytest.param([], [spec(-1)], False, id="no inputs"),
    ],
)
def test_batch_dimension(
    inputs: list[TensorSpec], outputs: list[TensorSpec], expected: bool
) -> None:
    assert has_batch_dimension(Signature(tuple(inputs), tuple(outputs))) is expected


ROWS = st.lists(st.integers(1, 4), min_size=1, max_size=6)


@given(rows=ROWS)
def test_splitting_what_was_stacked_gives_it_back(rows: list[int]) -> None:
    cells = iter(range(1000))
    members = [{"x": np.array([[next(cells)] * 3 for _ in range(n)])} for n in rows]
    shares = split([stacked(members)["x"]], rows)
    assert shares is not None
    for member, [share] in zip(members, shares, strict=True):
        np.testing.assert_array_equal(share, member["x"])


def test_an_answer_of_other_rows_is_not_split() -> None:
    assert split([x(3, 2)], [1, 1]) is None
    assert split([x()], [1]) is None


@dataclass
class World:
    """One engine, a clock, and requests that come in time; a model of what `batcher.py` does."""

    policy: BatchPolicy
    service_s: float

    def served(self, arrivals: Sequence[Request]) -> list[tuple[float, list[Request]]]:
        """When each batch started, and who was in it."""
        now_s, free_s = 0.0, 0.0
        coming, runs = list(arrivals), []
        waiting: list[Request] = []
        while coming or waiting:
            while coming and coming[0].enqueued_s <= now_s:
                waiting.append(coming.pop(0))
            batch = self.policy.members(waiting)
            due_s = max(free_s, self.policy.starts_s(batch)) if batch else float("inf")
            if due_s <= now_s:
                runs.append((now_s, batch))
                waiting = [request for request in waiting if request not in batch]
                free_s = now_s + self.service_s
            else:
                now_s = min(due_s, coming[0].enqueued_s if coming else float("inf"))
        return runs


@st.composite
def traffic(draw: st.DrawFn) -> list[Request]:
    gaps = draw(st.lists(st.sampled_from([0.0, 0.0, 0.25, 1.0, 4.0]), max_size=25))
    now_s, made = 0.0, []
    for number, gap in enumerate(gaps):
        now_s += gap
        key = draw(st.sampled_from(["a", "a", "b", None]))
        made.append(Request(key, draw(st.integers(1, 4)), now_s, number))
    return made


WORLDS = st.builds(
    World,
    st.builds(
        BatchPolicy,
        max_rows=st.integers(1, 6),
        max_delay_s=st.sampled_from([0.0, 0.5, 3.0]),
    ),
    service_s=st.sampled_from([0.125, 1.0, 2.0]),
)


@given(world=WORLDS, arrivals=traffic())
def test_everybody_is_served_once_in_batches_of_the_allowed_size(
    world: World, arrivals: list[Request]
) -> None:
    runs = world.served(arrivals)
    assert sorted(r.number for _, batch in runs for r in batch) == [r.number for r in arrivals]
    for _, batch in runs:
        assert len(batch) == 1 or sum(r.rows for r in batch) <= world.policy.max_rows
        assert len({r.key for r in batch}) == 1
        assert len(batch) == 1 or batch[0].key is not None


@given(world=WORLDS, arrivals=traffic())
def test_nobody_is_overtaken_by_a_later_request_of_its_key(
    world: World, arrivals: list[Request]
) -> None:
    served = [r for _, batch in world.served(arrivals) for r in batch]
    for key in ("a", "b", None):
        numbers = [r.number for r in served if r.key == key]
        assert numbers == sorted(numbers)


@given(world=WORLDS, arrivals=traffic())
def test_who_is_at_place_p_runs_in_the_pth_batch_at_the_latest(
    world: World, arrivals: list[Request]
) -> None:
    runs = world.served(arrivals)
    turn = {r.number: index for index, (_, batch) in enumerate(runs) for r in batch}
    for request in arrivals:
        earlier = {turn[r.number] for r in arrivals if r.number < request.number}
        at_arrival = sum(start_s < request.enqueued_s for start_s, _ in runs)
        ahead = sum(turn[r.number] >= at_arrival for r in arrivals if r.number < request.number)
        assert turn[request.number] <= at_arrival + ahead, earlier


@given(world=WORLDS, arrivals=traffic())
def test_the_engine_is_idle_only_when_nobody_waits_or_somebody_may_be_waited_for(
    world: World, arrivals: list[Request]
) -> None:
    free_s = 0.0
    for start_s, batch in world.served(arrivals):
        first = batch[0]
        assert start_s <= max(free_s, first.enqueued_s + world.policy.max_delay_s)
        free_s = start_s + world.service_s
