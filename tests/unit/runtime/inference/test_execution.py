"""The queue and its thread: order, bounds, deadlines, those who hang up."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from slipway_runtime.errors import DeadlineExceeded, InferenceFailed, ModelNotReady, QueueFull
from slipway_runtime.inference.execution import Execution, Executor, in_thread
from slipway_runtime.inference.session import Session
from tests.unit.runtime import models

LONG = {"n": np.array([10**9])}
SHORT = {"n": np.array([1])}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    path = tmp_path_factory.mktemp("counting") / "model.onnx"
    return Session(models.saved(models.counting(), path), threads=1)


def executor(
    session: Session, *, max_waiting: int = 10, timeout_s: float = 10.0
) -> tuple[Executor, list[Execution]]:
    finished: list[Execution] = []
    made = Executor(
        session, max_waiting=max_waiting, timeout_s=timeout_s, on_finished=finished.append
    )
    return made, finished


async def count(runner: Executor, feeds: dict[str, np.ndarray], rows: int = 1) -> int:
    [total] = await runner.run(feeds, ["total_out"], rows)
    return int(total[0])


async def settled() -> None:
    """Let tasks that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_each_request_gets_its_own_answer(session: Session) -> None:
    runner, finished = executor(session)
    answers = await asyncio.gather(*(count(runner, {"n": np.array([n])}) for n in range(20, 30)))
    runner.close()
    assert answers == list(range(20, 30))
    assert len(finished) == 10
    assert all(e.enqueued_s <= e.started_s <= e.finished_s for e in finished)


async def test_more_than_may_wait_is_refused_at_once(session: Session) -> None:
    runner, _ = executor(session, max_waiting=2)
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
    runner, _ = executor(session, timeout_s=0.2)
    with pytest.raises(DeadlineExceeded, match=r"within the request timeout of 0\.2s"):
        await count(runner, LONG)
    assert await count(runner, SHORT) == 1
    runner.close()


async def test_who_expires_in_the_queue_frees_the_place(session: Session) -> None:
    runner, _ = executor(session, max_waiting=1, timeout_s=0.2)
    answers = await asyncio.gather(count(runner, LONG), count(runner, LONG), return_exceptions=True)
    assert [type(answer) for answer in answers] == [DeadlineExceeded, DeadlineExceeded]
    assert (runner.running, runner.waiting) == (0, 0)
    assert await count(runner, SHORT) == 1
    runner.close()


async def test_who_hangs_up_strands_nobody(session: Session) -> None:
    runner, _ = executor(session)
    tasks = [asyncio.create_task(count(runner, feeds)) for feeds in (LONG, LONG, SHORT)]
    await settled()
    tasks[1].cancel()
    tasks[0].cancel()
    assert await tasks[2] == 1
    runner.close()


async def test_a_model_that_fails_fails_its_request_only(session: Session) -> None:
    runner, _ = executor(session)
    with pytest.raises(InferenceFailed, match="Required inputs"):
        await count(runner, {})
    assert await count(runner, SHORT) == 1
    runner.close()


async def test_a_slow_call_leaves_the_loop_alone() -> None:
    assert await in_thread(lambda: 42) == 42


async def test_the_error_of_a_slow_call_is_raised() -> None:
    def broken() -> int:
        raise ValueError(Path("x"))

    with pytest.raises(ValueError, match="x"):
        await in_thread(broken)
