"""The life of a batch: a bounded queue, one place that computes, futures that are answered once.

What takes long is computed in a thread. What is known to take microseconds (`quick_rows`) is
computed on the event loop itself: handing it to a thread and back would cost more than the model,
and what came meanwhile waits in the sockets, which is a queue too. Should such a run take long
after all, a guard stops it; the thread computes it again, and everything else from then on.

The event loop owns every future and every count. The thread only computes; what both touch (who
waits, who runs) is under one lock, held for microseconds. Each caller makes its own future and
takes itself out when it hangs up or expires: the others in its batch do not notice. A run that
nobody waits for any more is stopped at the model's next operator. A batch that fails is run again
one by one, so that a request that poisons it fails alone.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, inf
from time import monotonic
from typing import Final, Protocol

from slipway_runtime.errors import (
    DeadlineExceeded,
    InferenceFailed,
    ModelNotReady,
    QueueFull,
    ServingError,
)
from slipway_runtime.inference.batching import OFF, BatchPolicy, batch_key, split, stacked
from slipway_runtime.inference.datatypes import Tensor
from slipway_runtime.inference.guard import Guard
from slipway_runtime.inference.session import Cancellation
from slipway_runtime.inference.signature import Signature
from slipway_runtime.inference.timing import Timing

log: Final = logging.getLogger(__name__)

_LONG_RUN_S: Final = 0.001
"""After a run that took longer, the thread takes the next batch itself, because the loop may be
busy decoding. After a shorter one the loop hands it over: it has just read what came meanwhile, and
a thread that raced it would find one request at a time."""
_MAX_RETRY_AFTER_S: Final = 60
_SMOOTHING: Final = 0.1
_GRAIN_S: Final = 0.005
"""How late a deadline may be noticed."""

Outcome = list[Tensor] | Exception


class Engine(Protocol):
    """What computes: `session.Session`, or a double with a clock of its own."""

    signature: Signature

    def run(
        self, feeds: Mapping[str, Tensor], outputs: Sequence[str], cancellation: Cancellation
    ) -> list[Tensor]:
        """Compute the named outputs."""


class Observer(Protocol):
    """Who counts."""

    def waited(self, queue_s: float) -> None:
        """A request's turn has come."""

    def executed(self, *, execution_s: float, rows: int) -> None:
        """A run has ended."""


@dataclass(slots=True, eq=False)
class _Job:
    """One request on its way through the queue."""

    feeds: Mapping[str, Tensor]
    outputs: Sequence[str]
    rows: int
    key: Hashable | None
    future: asyncio.Future[list[Tensor]]
    enqueued_s: float
    timeout_s: float
    due_s: float
    run: _Run | None = None
    is_gone: bool = False


@dataclass(slots=True, eq=False)
class _Run:
    """Jobs that are computed together."""

    jobs: Sequence[_Job]
    cancellation: Cancellation = field(default_factory=Cancellation)
    started_s: float = 0.0
    executions: list[tuple[float, int]] = field(default_factory=list)
    """Seconds and rows of each time the model ran: more than one where the batch failed."""


class Batcher:
    """The queue and its thread; belongs to the loop it was made on."""

    def __init__(
        self,
        engine: Engine,
        policy: BatchPolicy,
        *,
        max_waiting: int,
        observer: Observer,
        quick_rows: int = 0,
    ) -> None:
        """Start the thread.

        Args:
            engine: what computes.
            policy: which requests share a run.
            max_waiting: requests that may wait.
            observer: who counts.
            quick_rows: rows of a run that may be computed on the loop; 0 for none.
        """
        self.policy = policy
        self._quick_rows = quick_rows
        self._guard: Final = Guard() if quick_rows else None
        self._engine: Final = engine
        self._inputs: Final = [spec.name for spec in engine.signature.inputs]
        self._max_waiting: Final = max_waiting
        self._observer: Final = observer
        self._loop: Final = asyncio.get_running_loop()
        self._lock: Final = threading.Lock()
        self._waiting: Final[OrderedDict[_Job, None]] = OrderedDict()
        self._live: Final[set[_Job]] = set()
        self._runs: Final[queue.SimpleQueue[_Run | None]] = queue.SimpleQueue()
        self._is_busy = False
        self._is_closed = False
        self._is_called = False
        self._delay: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._deadline_s = inf
        self._service_s = 0.0
        # A daemon: the process must be able to end while an operator runs.
        self._thread: Final = threading.Thread(target=self._work, name="inference", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Requests that are accepted and not running."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Requests that are accepted and not waiting."""
        return max(0, len(self._live) - len(self._waiting))

    @property
    def retry_after_s(self) -> int:
        """Whole seconds until what waits now has been served, as the last runs went."""
        return min(_MAX_RETRY_AFTER_S, max(1, ceil(len(self._waiting) * self._service_s)))

    async def run(
        self,
        feeds: Mapping[str, Tensor],
        outputs: Sequence[str],
        rows: int,
        *,
        timeout_s: float,
        timing: Timing | None = None,
    ) -> list[Tensor]:
        """Wait for a turn and compute; `timing` is filled in, however it ends.

        Raises:
            QueueFull: as many as may wait are waiting.
            DeadlineExceeded: not done within `timeout_s`.
            ServingError: what the engine raised.
        """
        self._admit(timeout_s)
        key = batch_key(feeds, self._inputs, outputs) if self.policy.max_rows > 1 else None
        now_s = monotonic()
        job = _Job(
            feeds,
            outputs,
            rows,
            key,
            self._loop.create_future(),
            now_s,
            timeout_s,
            now_s + timeout_s,
        )
        self._live.add(job)
        with self._lock:
            self._waiting[job] = None
        self._call()
        if job.due_s < self._deadline_s:
            self._wake_at(job.due_s, now_s)
        try:
            return await job.future
        finally:
            if job in self._live:
                self._leave(job)
            if timing is not None:
                _tell(job, timing)

    def close(self) -> None:
        """Answer everybody who still waits, and let the thread end."""
        self._is_closed = True
        for job in list(self._live):
            self._leave(job)
            if not job.future.done():
                job.future.set_exception(ModelNotReady("server is draining; retry elsewhere"))
        for timer in (self._delay, self._deadline):
            if timer:
                timer.cancel()
        if self._guard:
            self._guard.close()
        self._runs.put(None)

    def _admit(self, timeout_s: float) -> None:
        if self._is_closed:
            raise ModelNotReady("server is draining; retry elsewhere")
        if timeout_s <= 0:
            raise _expired(timeout_s)
        # The one that an idle engine is about to take does not wait.
        allowed = self._max_waiting if self._is_busy else self._max_waiting + 1
        if len(self._waiting) >= allowed:
            error = QueueFull(
                f"queue is full: {len(self._waiting)} requests wait, at most {self._max_waiting} "
                "may; retry later"
            )
            error.retry_after_s = self.retry_after_s
            raise error

    def _wake_at(self, due_s: float, now_s: float) -> None:
        """Look at the deadlines then: one timer for all, since nearly no request ever reaches its.

        At most every `_GRAIN_S`, because each look is at all of them.
        """
        if self._deadline:
            self._deadline.cancel()
        self._deadline_s = due_s
        self._deadline = self._loop.call_later(max(_GRAIN_S, due_s - now_s), self._expire)

    def _expire(self) -> None:
        now_s = monotonic()
        for job in [job for job in self._live if job.due_s <= now_s]:
            self._leave(job)
            if not job.future.done():
                job.future.set_exception(_expired(job.timeout_s))
        self._deadline, self._deadline_s = None, inf
        if self._live:
            self._wake_at(min(job.due_s for job in self._live), now_s)

    def _leave(self, job: _Job) -> None:
        """Take a job out, wherever it is; stop its run when it was the last who waited for it."""
        self._live.discard(job)
        with self._lock:
            job.is_gone = True
            self._waiting.pop(job, None)
            run = job.run
            is_deserted = run is not None and all(member.is_gone for member in run.jobs)
        if run is not None and is_deserted:
            run.cancellation.stop()

    def _call(self) -> None:
        """Look for a batch once the loop has read what has come: that is company for free."""
        if not self._is_busy and not self._is_called:
            self._is_called = True
            self._loop.call_soon(self._start)

    def _start(self) -> None:
        self._is_called = False
        if self._delay:
            self._delay.cancel()
            self._delay = None
        if self._is_busy or self._is_closed:
            return
        run, due_s = self._next()
        if run is not None:
            if sum(job.rows for job in run.jobs) <= self._quick_rows:
                self._compute_here(run)
            else:
                self._compute_in_thread(run)
        elif due_s is not None:
            self._delay = self._loop.call_later(max(0.0, due_s - monotonic()), self._start)

    def _compute_in_thread(self, run: _Run) -> None:
        self._is_busy = True
        self._runs.put(run)

    def _compute_here(self, run: _Run) -> None:
        guard = self._guard
        if guard is None:
            return self._compute_in_thread(run)
        with guard.watching(run.cancellation):
            outcomes = self._computed(run)
        if run.cancellation.options.terminate:
            log.warning("computing on the loop switched off", extra={"cause": "a run took long"})
            self._quick_rows = 0
            return self._compute_in_thread(_again(run))
        self._settle(run, outcomes)
        if self._waiting:
            self._call()
        return None

    def _next(self) -> tuple[_Run | None, float | None]:
        """Take the next batch, or tell when there will be one; called by loop and thread."""
        with self._lock:
            jobs = self.policy.members(self._waiting)
            if not jobs:
                return None, None
            due_s = self.policy.starts_s(jobs)
            if due_s > monotonic():
                return None, due_s
            run = _Run(jobs)
            for job in jobs:
                del self._waiting[job]
                job.run = run
            return run, None

    def _work(self) -> None:
        while (run := self._runs.get()) is not None:
            following: _Run | None = run
            while following is not None:
                run, following = following, None
                outcomes = self._computed(run)
                if run.executions and run.executions[-1][0] > _LONG_RUN_S:
                    following, _ = self._next()
                if self._loop.is_closed():
                    return
                self._loop.call_soon_threadsafe(self._finish, run, outcomes, following is None)

    def _computed(self, run: _Run) -> list[Outcome]:
        run.started_s = monotonic()
        if len(run.jobs) == 1:
            return [self._run_one(run, run)]
        rows = [job.rows for job in run.jobs]
        outcome = self._run_model(run, run.cancellation, run.jobs)
        if not isinstance(outcome, Exception):
            shares = split(outcome, rows)
            if shares is not None:
                return list(shares)
            self._stop_batching()
        return [self._run_alone(run, job) for job in run.jobs]

    def _run_alone(self, run: _Run, job: _Job) -> Outcome:
        with self._lock:
            if job.is_gone:
                return _expired(0)  # nobody reads it
            # Its timing is the batch's: that is how long it took.
            job.run = alone = _Run([job], started_s=run.started_s, executions=run.executions)
        return self._run_one(run, alone)

    def _run_one(self, counted: _Run, run: _Run) -> Outcome:
        return self._run_model(counted, run.cancellation, run.jobs)

    def _run_model(
        self, counted: _Run, cancellation: Cancellation, jobs: Sequence[_Job]
    ) -> Outcome:
        begun_s = monotonic()
        try:
            feeds = stacked([job.feeds for job in jobs])
            return self._engine.run(feeds, jobs[0].outputs, cancellation)
        except Exception as err:  # noqa: BLE001  # the thread must survive; the loop gets the error
            return err
        finally:
            counted.executions.append((monotonic() - begun_s, sum(job.rows for job in jobs)))

    def _stop_batching(self) -> None:
        """Believe the model, not its signature: its first dimension is no batch."""
        self.policy = OFF
        log.warning("batching switched off", extra={"cause": "outputs have other rows than inputs"})

    def _finish(self, run: _Run, outcomes: Sequence[Outcome], is_idle: bool) -> None:
        if is_idle:
            self._is_busy = False
            self._start()  # first: the engine computes while the answers are written
        self._settle(run, outcomes)

    def _settle(self, run: _Run, outcomes: Sequence[Outcome]) -> None:
        self._observe(run)
        for job, outcome in zip(run.jobs, outcomes, strict=True):
            self._live.discard(job)
            if not job.future.done():
                _answer(job.future, outcome)

    def _observe(self, run: _Run) -> None:
        took_s = 0.0
        for execution_s, rows in run.executions:
            took_s += execution_s
            self._observer.executed(execution_s=execution_s, rows=rows)
        for job in run.jobs:
            self._observer.waited(run.started_s - job.enqueued_s)
        share_s = took_s / len(run.jobs)
        known_s = self._service_s or share_s
        self._service_s = known_s + _SMOOTHING * (share_s - known_s)


def _tell(job: _Job, timing: Timing) -> None:
    timing.enqueued_s = job.enqueued_s
    if job.run is None or not job.run.started_s:
        return
    timing.started_s = job.run.started_s
    if executions := job.run.executions:
        timing.execution_s = sum(execution_s for execution_s, _ in executions)
        timing.rows = executions[0][1]


def _again(run: _Run) -> _Run:
    """The same jobs, not yet computed."""
    again = _Run(run.jobs)
    for job in run.jobs:
        job.run = again
    return again


def _expired(timeout_s: float) -> DeadlineExceeded:
    if timeout_s <= 0:
        return DeadlineExceeded("the client's deadline has passed before the model was asked")
    return DeadlineExceeded(f"no answer within the request timeout of {timeout_s:g}s")


def _answer(future: asyncio.Future[list[Tensor]], outcome: Outcome) -> None:
    if isinstance(outcome, ServingError):
        future.set_exception(outcome)
    elif isinstance(outcome, Exception):
        failure = InferenceFailed(f"inference failed: {type(outcome).__name__}")
        failure.__cause__ = outcome
        future.set_exception(failure)
    else:
        future.set_result(outcome)
