"""One thread that runs one inference at a time, behind a bounded queue.

The event loop owns every future and every count; the thread only computes. A request that
expired while waiting is skipped, one that expired while running is stopped at the next operator.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final, TypeVar, cast

from slipway_runtime.errors import (
    DeadlineExceeded,
    InferenceFailed,
    ModelNotReady,
    QueueFull,
    ServingError,
)
from slipway_runtime.inference.datatypes import Tensor
from slipway_runtime.inference.session import Cancellation, Session

Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class Execution:
    """One inference on its way through the queue."""

    feeds: Mapping[str, Tensor]
    outputs: Sequence[str]
    future: asyncio.Future[list[Tensor]]
    rows: int
    enqueued_s: float
    cancellation: Cancellation = field(default_factory=Cancellation)
    started_s: float = 0.0
    finished_s: float = 0.0
    has_expired: bool = False


class Executor:
    """The queue and its thread; belongs to the loop it was made on."""

    def __init__(
        self,
        session: Session,
        *,
        max_waiting: int,
        timeout_s: float,
        on_finished: Callable[[Execution], None],
    ) -> None:
        self._session: Final = session
        self._max_waiting: Final = max_waiting
        self._timeout_s: Final = timeout_s
        self._on_finished: Final = on_finished
        self._loop: Final = asyncio.get_running_loop()
        self._queue: Final[queue.SimpleQueue[Execution | None]] = queue.SimpleQueue()
        self._live: Final[set[Execution]] = set()
        # A daemon: the process must be able to end while an operator runs.
        self._thread: Final = threading.Thread(target=self._work, name="inference", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Requests that are accepted and not running."""
        return max(0, len(self._live) - 1)

    @property
    def running(self) -> int:
        """Requests that are accepted and not waiting: 0 or 1."""
        return min(1, len(self._live))

    async def run(
        self, feeds: Mapping[str, Tensor], outputs: Sequence[str], rows: int
    ) -> list[Tensor]:
        """Wait for a turn and compute.

        Raises:
            QueueFull: as many as may wait are waiting.
            DeadlineExceeded: not done within the request timeout.
            ServingError: what the session raised.
        """
        if self.waiting >= self._max_waiting:
            raise QueueFull(
                f"queue is full: {self.waiting} requests wait, at most {self._max_waiting} may; "
                "retry later"
            )
        execution = Execution(feeds, outputs, self._loop.create_future(), rows, monotonic())
        self._live.add(execution)
        timer = self._loop.call_later(self._timeout_s, self._expire, execution)
        self._queue.put(execution)
        try:
            return await execution.future
        finally:
            timer.cancel()
            if not execution.future.done() or execution.future.cancelled():
                self._abandon(execution)

    def close(self) -> None:
        """Answer everybody who still waits, and let the thread end."""
        for execution in list(self._live):
            self._abandon(execution)
            if not execution.future.done():
                execution.future.set_exception(ModelNotReady("server is draining; retry elsewhere"))
        self._queue.put(None)

    def _expire(self, execution: Execution) -> None:
        self._abandon(execution)
        if not execution.future.done():
            execution.future.set_exception(
                DeadlineExceeded(f"no answer within the request timeout of {self._timeout_s:g}s")
            )

    def _abandon(self, execution: Execution) -> None:
        """Free the slot now; the thread finds out when it gets there."""
        self._live.discard(execution)
        execution.has_expired = True
        execution.cancellation.stop()

    def _work(self) -> None:
        while (execution := self._queue.get()) is not None:
            if not execution.has_expired:
                self._compute(execution)

    def _compute(self, execution: Execution) -> None:
        execution.started_s = monotonic()
        try:
            result: list[Tensor] | Exception = self._session.run(
                execution.feeds, execution.outputs, execution.cancellation
            )
        except Exception as err:  # noqa: BLE001  # the thread must survive; the loop gets the error
            result = err
        execution.finished_s = monotonic()
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._finish, execution, result)

    def _finish(self, execution: Execution, result: list[Tensor] | Exception) -> None:
        self._live.discard(execution)
        self._on_finished(execution)
        if execution.future.done():
            return
        if isinstance(result, ServingError):
            execution.future.set_exception(result)
        elif isinstance(result, Exception):
            failure = InferenceFailed(f"inference failed: {type(result).__name__}")
            failure.__cause__ = result
            execution.future.set_exception(failure)
        else:
            execution.future.set_result(result)


async def in_thread(call: Callable[[], Result]) -> Result:
    """Run one slow call beside the loop, in a thread that cannot hold the process back.

    Loading a model cannot be interrupted; a signal that comes meanwhile must end us all the same,
    and the pools of the standard library wait for their threads at exit.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(cast(Result, result))
        else:
            future.set_exception(error)

    def work() -> None:
        try:
            result, error = call(), None
        except Exception as err:  # noqa: BLE001  # raised again where the result is awaited
            result, error = None, err
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=work, name="load", daemon=True).start()
    return await future
