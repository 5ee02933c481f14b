"""The one door that every protocol uses: a request in, tensors out.

    response = await dataplane.infer(request, timeout_s=context.time_remaining())  # on the loop
    future = dataplane.submit(request, timeout_s=2.0)                 # from any other thread

`infer` belongs to the event loop that `load` was awaited on. `submit` may be called from any
thread: it returns a `concurrent.futures.Future`, whose `cancel()` takes the request out of the
queue, as cancelling the task that awaits `infer` does. `timeout_s` is what the client still has;
it can only shorten the model's request timeout. Both raise only `ServingError`s, which
`protocols/wire.py` turns into codes, beside what cancelling raises. Check names with `check_name`
first. Everything else (`state`, `signature`, `waiting`) may be read from any thread.

Lives here: whether the model may be asked, the order of outputs, what is measured of a run.
Stays out: wires (`protocols/`), ONNX Runtime (`session.py`), the queue (`batcher.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import Future
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from slipway_runtime.config import ServingConfig
from slipway_runtime.errors import ModelNotFound, ModelNotReady, shown
from slipway_runtime.inference.batcher import Batcher
from slipway_runtime.inference.container import auto_threads, cap_memory
from slipway_runtime.inference.datatypes import Tensor
from slipway_runtime.inference.probe import Verdict, decide, quick_rows
from slipway_runtime.inference.request import InferenceRequest, InferenceResponse
from slipway_runtime.inference.session import Session
from slipway_runtime.inference.signature import Signature, rows
from slipway_runtime.inference.threads import in_thread
from slipway_runtime.inference.timing import Timing
from slipway_runtime.inference.warmup import warm_up
from slipway_runtime.monitoring.metrics import Metrics
from slipway_runtime.monitoring.outputs import OutputCounter


class State(StrEnum):
    """Where the process is in its life."""

    LOADING = "Loading"
    READY = "Ready"
    DRAINING = "Draining"


class DataPlane:
    """One revision of one model."""

    def __init__(self, config: ServingConfig, metrics: Metrics) -> None:
        self.config: Final = config
        self.version: Final = str(config.revision_number)
        self.threads: Final = config.serving.thread_count or auto_threads()
        self.is_draining = False
        self._metrics: Final = metrics
        self._batcher: Batcher | None = None
        self._verdict: Verdict | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._signature: Signature | None = None
        self._outputs: OutputCounter | None = None

    @property
    def state(self) -> State:
        """Loading, ready or draining."""
        if self.is_draining:
            return State.DRAINING
        return State.LOADING if self._batcher is None else State.READY

    @property
    def is_loaded(self) -> bool:
        """Whether there is a signature to tell."""
        return self._signature is not None

    @property
    def signature(self) -> Signature:
        """The model's inputs and outputs.

        Raises:
            ModelNotReady: it is not loaded yet.
        """
        if self._signature is None:
            raise ModelNotReady(f"model {shown(self.config.name)} is loading; retry later")
        return self._signature

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._batcher.waiting if self._batcher else 0

    @property
    def running(self) -> int:
        """Requests that the model is computing."""
        return self._batcher.running if self._batcher else 0

    @property
    def batching(self) -> dict[str, Any] | None:
        """How requests share runs, for people; None while loading."""
        if self._batcher is None or self._verdict is None:
            return None
        policy = self._batcher.policy
        return {
            "maxBatchSize": policy.max_rows,
            "reason": self._verdict.reason,
            "gain": self._verdict.gain,
        }

    async def load(self, model: Path) -> None:
        """Load and warm the model, away from the event loop; only then is it ready.

        Raises:
            SupplyError: it cannot be served.
        """
        session, verdict, quick = await in_thread(lambda: self._warm_session(model))
        self._loop = asyncio.get_running_loop()
        self._verdict = verdict
        self._signature = session.signature
        self._outputs = OutputCounter.for_signature(session.signature, self._metrics)
        self._batcher = Batcher(
            session,
            verdict.policy,
            max_waiting=self.config.serving.queue.max_length,
            observer=self._metrics,
            quick_rows=quick,
        )
        self._metrics.queue_length.set_function(lambda: self.waiting)

    def check_name(self, name: str, version: str | None = None) -> None:
        """Refuse a model or version that is not the one served here.

        Raises:
            ModelNotFound: naming what is served.
        """
        if name != self.config.name:
            raise ModelNotFound(f"model {shown(name)}: unknown, expected {shown(self.config.name)}")
        if version is not None and version != self.version:
            raise ModelNotFound(
                f"model {shown(name)}: version {shown(version)} is not served, "
                f"expected {shown(self.version)}"
            )

    async def infer(
        self,
        request: InferenceRequest,
        *,
        timeout_s: float | None = None,
        timing: Timing | None = None,
    ) -> InferenceResponse:
        """Answer one request, on the event loop.

        Args:
            request: its tensors fit the signature.
            timeout_s: time that the client still has; None for as long as the spec allows.
            timing: is told how long it waited and computed; None where nobody asks.

        Raises:
            ServingError: why it cannot be answered.
        """
        if self._batcher is None:
            raise ModelNotReady(f"model {shown(self.config.name)} is loading; retry later")
        names = [spec.name for spec in request.outputs]
        limit_s = self.config.serving.request_timeout_s
        results = await self._batcher.run(
            request.inputs,
            names,
            self._rows(request.inputs),
            timeout_s=limit_s if timeout_s is None else min(timeout_s, limit_s),
            timing=timing,
        )
        outputs = tuple(zip(request.outputs, results, strict=True))
        if self._outputs:
            self._outputs.observe(outputs)
        return InferenceResponse(outputs, request.id)

    def submit(
        self, request: InferenceRequest, *, timeout_s: float | None = None
    ) -> Future[InferenceResponse]:
        """Answer one request for a thread that is not the loop's; see the module's head.

        Raises:
            ModelNotReady: it is not loaded yet.
        """
        if self._loop is None:
            raise ModelNotReady(f"model {shown(self.config.name)} is loading; retry later")
        return asyncio.run_coroutine_threadsafe(
            self.infer(request, timeout_s=timeout_s), self._loop
        )

    def start_draining(self) -> None:
        """Stop being ready; requests are still answered until `close`."""
        self.is_draining = True

    def close(self) -> None:
        """Answer what still waits with ModelNotReady, and end."""
        if self._batcher:
            self._batcher.close()

    def _warm_session(self, model: Path) -> tuple[Session, Verdict, int]:
        cap_memory()
        serving = self.config.serving
        session = Session(model, threads=self.threads, provider=serving.execution_provider)
        warm_up(session, serving.warmup.requests)
        return session, decide(session, serving.batching), quick_rows(session)

    def _rows(self, inputs: Mapping[str, Tensor]) -> int:
        first = next(iter(self.signature.inputs), None)
        return 1 if first is None else rows(first, inputs[first.name].shape)
