"""The queue and its thread: order, bounds, deadlines, company, those who hang up."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway_runtime.errors import (
    DeadlineExceeded,
    InferenceFailed,
    ModelNotReady,
    QueueFull,
    ServingError,
)
from slipway_runtime.inference.batcher import Batcher
from slipway_runtime.inference.batching import OFF, BatchPolicy
from slipway_runtime.inference.datatypes import Tensor
from slipway_runtime.inference.session import Cancellation, Session
from slipway_runtime.inference.signature import Signature, TensorSpec
from slipway_runtime.inference.timing import Timing
from tests.unit.runtime import models

LONG = {"n": np.array([10**9])}
SHORT = {"n": np.array([1])}
COMPANY = BatchPolicy(max_rows=8)


@dataclass
class Counts:
    """What the batcher tells its observer."""

    queue_s: list[float] = field(default_factory=list)
    runs: list[int] = field(default_factory=list)

    def waited(self, queue_s: float) -> None:
        self.queue_s.append(queue_s)

    def executed(self, *, execution_s: float, rows: int) -> None:
        assert execution_s >= 0
        self.runs.append(rows)


class Doubler:
    """An engine that answers `2 * x`, refuses poison, and can be held."""

    signature = Signature(
        (TensorSpec("x", "INT64", (-1, -1)),), (TensorSpec("y", "INT64", (-1, -1)),)
    )

    def __init__(self, *, held: bool = False) -> None:
        self.batches: list[list[list[int]]] = []
        self.go_on = threading.Event()
        self.stopped = 0
        if not held:
            self.go_on.set()

    def run(
        self, feeds: Mapping[str, Tensor], outputs: Sequence[str], cancellation: Cancellation
    ) -> list[Tensor]:
        self.go_on.wait(10)
        if cancellation.options.terminate:
            self.stopped += 1
            raise InferenceFailed("stopped")
        self.batches.append(feeds["x"].tolist())
        if (feeds["x"] < 0).any():
            raise InferenceFailed(f"poison among {len(feeds['x'])}")
        return [feeds["x"] * 2 for _ in outputs]


class Flattener(Doubler):
    """An engine whose first dimension is no batch, whatever its signature says."""

    def run(
        self, feeds: Mapping[str, Tensor], outputs: Sequence[str], cancellation: Cancellation
    ) -> list[Tensor]:
        [doubled] = super().run(feeds, outputs, cancellation)
        return [doubled.reshape(-1)[None]]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    path = tmp_path_factory.mktemp("counting") / "model.onnx"
    return Session(models.saved(models.counting(), path), threads=1)


def batcher(session: Session, *, max_waiting: int = 10) -> tuple[Batcher, Counts]:
    counts = Counts()
    return Batcher(session, OFF, max_waiting=max_waiting, observer=counts), counts


def doubling(
    engine: Doubler, policy: BatchPolicy = COMPANY, *, max_waiting: int = 1000
) -> tuple[Batcher, Counts]:
    counts = Counts()
    return Batcher(engine, policy, max_waiting=max_waiting, observer=counts), counts


async def count(runner: Batcher, feeds: dict[str, np.ndarray], timeout_s: float = 10) -> int:
    [total] = await runner.run(feeds, ["total_out"], 1, timeout_s=timeout_s)
    return int(total[0])


async def double(
    runner: Batcher, rows: list[list[int]], outputs: Sequence[str] = ("y",), timeout_s: float = 10
) -> list[list[int]]:
    feeds = {"x": np.array(rows, np.int64).reshape(len(rows), -1)}
    results = await runner.run(feeds, outputs, len(rows), timeout_s=timeout_s)
    doubled: list[list[int]] = results[0].tolist()
    return doubled


async def settled() -> None:
    """Let tasks that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_each_request_gets_its_own_answer(session: Session) -> None:
    runner, counts = batcher(session)
    answers = await asyncio.gather(*(count(runner, {"n": np.array([n])}) for n in range(20, 30)))
    runner.close()
    assert answers == list(range(20, 30))
    assert counts.runs == [1] * 10
    assert len(counts.queue_s) == 10
    assert min(counts.queue_s) >= 0


async def test_more_than_may_wait_is_refused_at_once(session: Session) -> None:
    runner, _ = batcher(session, max_waiting=2)
    tasks = [asyncio.create_task(count(runner, LONG)) for _ in range(3)]
    await settled()
    assert (runner.running, runner.waiting) == (1, 2)
    with pytest.raises(QueueFull, match="queue is full: 2 requests wait, at most 2 may"):
        await count(runner, SHORT)
    runner.close()
    assert {type(r) for r in await asyncio.gather(*tasks, return_exceptions=True)} == {
        ModelNotReady
    }


async def test_an_endless_run_ends_at_its_deadline_and_the_next_is_served(session: Session) -> None:
    runner, _ = batcher(session)
    with pytest.raises(DeadlineExceeded, match=r"within the request timeout of 0\.2s"):
        await count(runner, LONG, 0.2)
    assert await count(runner, SHORT) == 1
    runner.close()


async def test_who_expires_in_the_queue_frees_the_place(session: Session) -> None:
    runner, _ = batcher(session, max_waiting=1)
    answers = await asyncio.gather(
        count(runner, LONG, 0.2), count(runner, LONG, 0.2), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [DeadlineExceeded, DeadlineExceeded]
    assert (runner.running, runner.waiting) == (0, 0)
    assert await count(runner, SHORT) == 1
    runner.close()


async def test_who_has_no_time_left_is_not_computed() -> None:
    engine = Doubler()
    runner, _ = doubling(engine)
    with pytest.raises(DeadlineExceeded):
        await double(runner, [[1]], timeout_s=0)
    runner.close()
    assert engine.batches == []


async def test_who_hangs_up_strands_nobody(session: Session) -> None:
    runner, _ = batcher(session)
    tasks = [asyncio.create_task(count(runner, feeds)) for feeds in (LONG, LONG, SHORT)]
    await settled()
    tasks[1].cancel()
    tasks[0].cancel()
    assert await tasks[2] == 1
    runner.close()


async def test_a_model_that_fails_fails_its_request_only(session: Session) -> None:
    runner, _ = batcher(session)
    with pytest.raises(InferenceFailed, match="Required inputs"):
        await count(runner, {})
    assert await count(runner, SHORT) == 1
    runner.close()


async def test_who_comes_while_the_engine_is_busy_shares_the_next_run() -> None:
    engine = Doubler(held=True)
    runner, counts = doubling(engine)
    first = asyncio.create_task(double(runner, [[1]]))
    await settled()
    others = [asyncio.create_task(double(runner, [[n]])) for n in range(2, 7)]
    await settled()
    assert (runner.running, runner.waiting) == (1, 5)
    engine.go_on.set()
    assert await asyncio.gather(first, *others) == [[[2 * n]] for n in range(1, 7)]
    runner.close()
    assert engine.batches == [[[1]], [[2], [3], [4], [5], [6]]]
    assert counts.runs == [1, 5]
    assert len(counts.queue_s) == 6


@pytest.mark.parametrize(
    "different",
    [
        pytest.param({"rows": [[5, 6]]}, id="another shape"),
        pytest.param({"rows": [[5]], "outputs": ("y", "y")}, id="other outputs"),
    ],
)
async def test_only_alike_requests_share_a_run(different: dict[str, list[list[int]]]) -> None:
    engine = Doubler(held=True)
    runner, _ = doubling(engine)
    first = asyncio.create_task(double(runner, [[0]]))
    await settled()
    tasks = [
        asyncio.create_task(double(runner, [[1]])),
        asyncio.create_task(double(runner, **different)),  # type: ignore[arg-type]  # outputs
        asyncio.create_task(double(runner, [[2]])),
    ]
    await settled()
    engine.go_on.set()
    await asyncio.gather(first, *tasks)
    runner.close()
    assert engine.batches == [[[0]], [[1], [2]], different["rows"]]


async def test_poison_fails_alone() -> None:
    engine = Doubler(held=True)
    runner, counts = doubling(engine)
    first = asyncio.create_task(double(runner, [[0]]))
    await settled()
    tasks = [asyncio.create_task(double(runner, [[n]])) for n in (1, -1, 2)]
    await settled()
    engine.go_on.set()
    await first
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    runner.close()
    assert answers[0] == [[2]]
    assert str(answers[1]) == "poison among 1"
    assert answers[2] == [[4]]
    assert counts.runs == [1, 3, 1, 1, 1]


async def timed(runner: Batcher, rows: list[list[int]], timeout_s: float = 10) -> Timing:
    """How an inference went, whether it was answered or not."""
    timing = Timing()
    feeds = {"x": np.array(rows, np.int64)}
    with suppress(ServingError):
        await runner.run(feeds, ["y"], len(rows), timeout_s=timeout_s, timing=timing)
    return timing


async def test_those_who_share_a_run_are_told_its_time_and_rows() -> None:
    engine = Doubler(held=True)
    runner, _ = doubling(engine)
    lone = asyncio.ensure_future(timed(runner, [[1]]))
    await settled()
    late = asyncio.gather(timed(runner, [[2]]), timed(runner, [[3], [4]]))
    await settled()
    engine.go_on.set()
    timings = [await lone, *await late]
    assert [timing.rows for timing in timings] == [1, 3, 3]
    assert timings[1].execution_s == timings[2].execution_s
    assert all(timing.queue_s is not None and timing.queue_s >= 0 for timing in timings)
    runner.close()


async def test_who_is_poisoned_is_told_how_long_all_of_it_took() -> None:
    engine = Doubler(held=True)
    runner, _ = doubling(engine)
    lone = asyncio.ensure_future(timed(runner, [[1]]))
    await settled()
    late = asyncio.gather(timed(runner, [[2]]), timed(runner, [[-3]]))
    await settled()
    engine.go_on.set()
    timings = [await lone, *await late]
    assert [timing.rows for timing in timings] == [1, 2, 2]
    assert all(timing.started_s and timing.execution_s is not None for timing in timings)
    runner.close()


async def test_whose_turn_never_came_has_no_time_of_execution() -> None:
    engine = Doubler(held=True)
    runner, _ = doubling(engine)
    running = asyncio.ensure_future(timed(runner, [[1]]))
    await settled()
    expired = await timed(runner, [[2]], timeout_s=0.01)
    assert (expired.started_s, expired.execution_s, expired.queue_s) == (None, None, None)
    assert expired.enqueued_s is not None
    engine.go_on.set()
    await running
    runner.close()


async def test_one_who_hangs_up_in_a_running_batch_does_not_stop_it() -> None:
    engine = Doubler(held=True)
    runner, _ = doubling(engine)
    tasks = [asyncio.create_task(double(runner, [[n]])) for n in range(3)]
    await settled()
    assert runner.running == 3
    tasks[1].cancel()
    await settled()
    assert runner.running == 2
    engine.go_on.set()
    assert [await tasks[0], await tasks[2]] == [[[0]], [[4]]]
    runner.close()
    assert engine.stopped == 0


async def test_a_batch_that_all_have_left_is_stopped() -> None:
    engine = Doubler(held=True)
    runner, _ = doubling(engine)
    tasks = [asyncio.create_task(double(runner, [[n]])) for n in range(3)]
    await settled()
    for task in tasks:
        task.cancel()
    await settled()
    engine.go_on.set()
    assert await double(runner, [[7]]) == [[14]]
    runner.close()
    assert engine.stopped == 1
    assert engine.batches == [[[7]]]


async def test_outputs_without_the_rows_end_batching_and_fail_nobody() -> None:
    engine = Flattener(held=True)
    runner, _ = doubling(engine)
    tasks = [asyncio.create_task(double(runner, [[n]])) for n in range(3)]
    await settled()
    engine.go_on.set()
    assert await asyncio.gather(*tasks) == [[[0]], [[2]], [[4]]]
    assert runner.policy is OFF
    runner.close()


async def test_a_delay_waits_for_company_and_no_longer_than_for_a_full_batch() -> None:
    engine = Doubler()
    runner, _ = doubling(engine, BatchPolicy(max_rows=2, max_delay_s=60))
    first = asyncio.create_task(double(runner, [[1]]))
    await settled()
    assert (runner.running, runner.waiting) == (0, 1)
    assert await double(runner, [[2]]) == [[4]]
    assert await first == [[2]]
    runner.close()
    assert engine.batches == [[[1], [2]]]


async def test_a_delay_has_an_end() -> None:
    engine = Doubler()
    runner, _ = doubling(engine, BatchPolicy(max_rows=2, max_delay_s=0.01))
    assert await double(runner, [[1]]) == [[2]]
    runner.close()


async def test_a_refusal_tells_when_the_queue_will_have_been_served() -> None:
    engine = Doubler(held=True)
    runner, _ = doubling(engine, OFF, max_waiting=3)
    tasks = [asyncio.create_task(double(runner, [[n]])) for n in range(4)]
    await settled()
    runner._service_s = 2.5
    with pytest.raises(QueueFull) as refused:
        await double(runner, [[9]])
    assert refused.value.retry_after_s == 8
    engine.go_on.set()
    await asyncio.gather(*tasks)
    runner.close()


async def test_after_closing_nobody_is_accepted() -> None:
    runner, _ = doubling(Doubler())
    runner.close()
    with pytest.raises(ModelNotReady, match="server is draining"):
        await double(runner, [[1]])


HANGS_UP = st.integers(0, 2)
"""0 stays; 1 hangs up while it waits; 2 hangs up while it may run."""


@given(
    clients=st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 2), HANGS_UP, st.booleans()), max_size=14
    ),
    max_rows=st.integers(1, 5),
)
def test_every_row_is_answered_once_with_its_own_whoever_hangs_up(
    clients: list[tuple[int, int, int, bool]], max_rows: int
) -> None:
    """Rows, columns, hanging up and poison vary; a lone engine holds the first, so queues form."""
    asyncio.run(_answered_once(clients, max_rows))


async def _answered_once(clients: list[tuple[int, int, int, bool]], max_rows: int) -> None:
    engine = Doubler(held=True)
    runner, counts = doubling(engine, BatchPolicy(max_rows=max_rows))
    wanted = []
    tasks = []
    for number, (rows, columns, _, is_poison) in enumerate(clients):
        value = -number - 1 if is_poison and rows else number + 1
        wanted.append([[value * 100 + row * 10] * columns for row in range(rows)])
        feeds = {"x": np.array(wanted[-1], np.int64).reshape(rows, columns)}
        tasks.append(asyncio.create_task(runner.run(feeds, ["y"], rows, timeout_s=20)))
        if number == 0:
            await settled()
    await settled()
    _hang_up(tasks, clients, 1)
    await settled()
    engine.go_on.set()
    await asyncio.sleep(0)
    _hang_up(tasks, clients, 2)
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    runner.close()
    for answer, rows_sent, (rows, _, leaves, is_poison) in zip(
        answers, wanted, clients, strict=True
    ):
        if isinstance(answer, asyncio.CancelledError):
            assert leaves
        elif isinstance(answer, InferenceFailed):
            assert is_poison
            assert rows
            assert str(answer) == f"poison among {rows}"
        else:
            assert not isinstance(answer, BaseException)
            assert answer[0].tolist() == [[2 * cell for cell in row] for row in rows_sent]
    assert (runner.running, runner.waiting) == (0, 0)
    largest = max((rows for rows, *_ in clients), default=0)
    assert all(run <= max(max_rows, largest) for run in counts.runs)


def _hang_up(
    tasks: Sequence[asyncio.Task[list[Tensor]]],
    clients: Sequence[tuple[int, int, int, bool]],
    when: int,
) -> None:
    for task, (_, _, leaves, _) in zip(tasks, clients, strict=True):
        if leaves == when:
            task.cancel()
