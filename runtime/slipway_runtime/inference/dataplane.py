"""The one door that every protocol uses: a request in, tensors out.

Lives here: whether the model may be asked, the order of outputs, what is measured of a run.
Stays out: wires (`protocols/`), ONNX Runtime (`session.py`), the queue (`execution.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

from slipway_runtime.config import ServingConfig
from slipway_runtime.errors import ModelNotFound, ModelNotReady, shown
from slipway_runtime.inference.container import auto_threads, cap_memory
from slipway_runtime.inference.datatypes import Tensor
from slipway_runtime.inference.execution import Execution, Executor, in_thread
from slipway_runtime.inference.request import InferenceRequest, InferenceResponse
from slipway_runtime.inference.session import Session
from slipway_runtime.inference.signature import Signature, rows
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
        self._executor: Executor | None = None
        self._signature: Signature | None = None
        self._outputs: OutputCounter | None = None

    @property
    def state(self) -> State:
        """Loading, ready or draining."""
        if self.is_draining:
            return State.DRAINING
        return State.LOADING if self._executor is None else State.READY

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
        return self._executor.waiting if self._executor else 0

    @property
    def running(self) -> int:
        """Requests that the model is computing."""
        return self._executor.running if self._executor else 0

    async def load(self, model: Path) -> None:
        """Load and warm the model, away from the event loop; only then is it ready.

        Raises:
            SupplyError: it cannot be served.
        """
        session = await in_thread(lambda: self._warm_session(model))
        serving = self.config.serving
        self._signature = session.signature
        self._outputs = OutputCounter.for_signature(session.signature, self._metrics)
        self._executor = Executor(
            session,
            max_waiting=serving.queue.max_length,
            timeout_s=serving.request_timeout_s,
            on_finished=self._observe,
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

    async def infer(self, request: InferenceRequest) -> InferenceResponse:
        """Answer one request.

        Raises:
            ServingError: why it cannot be answered.
        """
        if self._executor is None:
            raise ModelNotReady(f"model {shown(self.config.name)} is loading; retry later")
        names = [spec.name for spec in request.outputs]
        results = await self._executor.run(request.inputs, names, self._rows(request.inputs))
        outputs = tuple(zip(request.outputs, results, strict=True))
        if self._outputs:
            self._outputs.observe(outputs)
        return InferenceResponse(outputs, request.id)

    def start_draining(self) -> None:
        """Stop being ready; requests are still answered until `close`."""
        self.is_draining = True

    def close(self) -> None:
        """Answer what still waits with ModelNotReady, and end."""
        if self._executor:
            self._executor.close()

    def _warm_session(self, model: Path) -> Session:
        cap_memory()
        session = Session(model, threads=self.threads)
        warm_up(session, self.config.serving.warmup.requests)
        return session

    def _rows(self, inputs: Mapping[str, Tensor]) -> int:
        first = next(iter(self.signature.inputs), None)
        return 1 if first is None else rows(first, inputs[first.name].shape)

    def _observe(self, execution: Execution) -> None:
        self._metrics.executed(
            queue_s=execution.started_s - execution.enqueued_s,
            execution_s=execution.finished_s - execution.started_s,
            rows=execution.rows,
        )
