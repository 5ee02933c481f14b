"""The queue against a simple model, in any order of calls."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from slipway_operator.engine.workqueue import BASE_DELAY_S, JITTER, MAX_DELAY_S, WorkQueue
from tests.unit.operator.engine.clock import run, settle

KEYS = st.sampled_from("abc")
CALLS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), KEYS),
        st.tuples(st.just("patient"), KEYS),
        st.tuples(st.just("get"), st.just("")),
        st.tuples(st.just("done"), KEYS),
        st.tuples(st.just("later"), st.tuples(KEYS, st.integers(1, 9))),
        st.tuples(st.just("drop"), KEYS),
        st.tuples(st.just("sleep"), st.integers(1, 9)),
    ),
    max_size=40,
)


class Model:
    """What the queue ought to hold: sets, and the earliest time per key."""

    def __init__(self) -> None:
        self.waiting: set[str] = set()
        self.processing: set[str] = set()
        self.due: dict[str, float] = {}

    @property
    def ready(self) -> set[str]:
        return self.waiting - self.processing

    def elapse(self, now: float) -> None:
        for key, at in list(self.due.items()):
            if at <= now:
                del self.due[key]
                self.waiting.add(key)


async def _call(queue: WorkQueue[str], model: Model, name: str, argument: Any) -> None:
    loop = asyncio.get_running_loop()
    match name:
        case "add" | "patient":
            queue.add(argument, patient=name == "patient")
            model.waiting.add(argument)
        case "get" if model.ready:
            key = await queue.get()
            assert key in model.ready
            model.waiting.discard(key)
            model.processing.add(key)
        case "done" if argument in model.processing:
            queue.done(argument)
            model.processing.discard(argument)
        case "later":
            key, delay = argument
            queue.add_after(key, delay)
            due = loop.time() + delay
            model.due[key] = min(due, model.due.get(key, due))
        case "drop":
            queue.drop(argument)
            model.due.pop(argument, None)
        case "sleep":
            await asyncio.sleep(argument + 0.5)
            model.elapse(loop.time())


@settings(deadline=None)
@given(calls=CALLS)
def test_it_holds_what_the_model_holds(calls: list[tuple[str, Any]]) -> None:
    async def main() -> None:
        queue, model = WorkQueue[str](), Model()
        for name, argument in calls:
            await _call(queue, model, name, argument)
            assert len(queue) == len(model.waiting)
        for key in sorted(model.processing):
            queue.done(key)
        left = [await queue.get() for _ in model.waiting]
        assert sorted(left) == sorted(model.waiting)

    run(main())


def test_two_workers_never_have_one_key() -> None:
    async def main() -> None:
        queue, busy, seen = WorkQueue[int](), set[int](), list[int]()

        async def worker() -> None:
            while True:
                key = await queue.get()
                assert key not in busy
                busy.add(key)
                await asyncio.sleep(1)
                busy.discard(key)
                seen.append(key)
                queue.done(key)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(worker()) for _ in range(4)]
            for _ in range(10):
                for key in range(3):
                    queue.add(key)
                await asyncio.sleep(0.3)
            await asyncio.sleep(10)
            for task in tasks:
                task.cancel()
        assert sorted(set(seen)) == [0, 1, 2]
        assert len(queue) == 0
        assert len(seen) < 20

    run(main())


def test_urgent_keys_come_before_patient_ones() -> None:
    async def main() -> None:
        queue = WorkQueue[str]()
        queue.add("a", patient=True)
        queue.add("b")
        assert [await queue.get(), await queue.get()] == ["b", "a"]

    run(main())


def test_the_earliest_time_counts() -> None:
    async def main() -> None:
        queue = WorkQueue[str]()
        loop = asyncio.get_running_loop()
        start = loop.time()
        for delay in (5, 2, 9):
            queue.add_after("a", delay)
        await queue.get()
        assert round(loop.time() - start, 3) == 2
        queue.done("a")
        await asyncio.sleep(20)
        assert len(queue) == 0

    run(main())


def test_pauses_double_up_to_their_bound_and_begin_anew_after_a_success() -> None:
    async def main() -> None:
        queue = WorkQueue[str]()
        pauses = [queue.retry("a") for _ in range(30)]
        for failures, pause in enumerate(pauses):
            middle = min(MAX_DELAY_S, BASE_DELAY_S * 2**failures)
            assert middle * (1 - JITTER) <= pause <= middle * (1 + JITTER)
        queue.forget("a")
        assert queue.retry("a") <= BASE_DELAY_S * (1 + JITTER)
        assert queue.retry("b", at_least_s=7.0) == 7.0
        often = [queue.retry("c", at_most_s=3.0) for _ in range(12)]
        assert max(often) <= 3.0 * (1 + JITTER)

    run(main())


def test_a_latency_is_told() -> None:
    async def main() -> None:
        told: list[float] = []
        queue = WorkQueue[str](told.append)
        queue.add("a")
        await asyncio.sleep(3)
        await queue.get()
        assert [round(t, 3) for t in told] == [3]

    run(main())


def test_close_waits_for_what_is_being_processed_and_hands_out_nothing_more() -> None:
    async def main() -> None:
        queue = WorkQueue[str]()
        queue.add("a")
        await queue.get()
        queue.add("b")
        closing = asyncio.create_task(queue.close())
        await settle()
        assert not closing.done()
        queue.done("a")
        await closing
        waiting = asyncio.create_task(queue.get())
        queue.add("c")
        await settle()
        assert not waiting.done()
        waiting.cancel()

    run(main())
