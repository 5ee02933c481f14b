"""The one door that every protocol uses: a request in, tensors out.

    with dataplane.using() as model:                                  # on the loop
        request = decode(body, model.signature)
        response = await model.infer(request, timeout_s=context.time_remaining())
    response = await dataplane.infer(request, timeout_s=2.0)          # where nothing may change
    future = dataplane.submit(request, timeout_s=2.0)                 # from any other thread

`using` keeps one model for a whole request, whatever is loaded meanwhile (`model.py`). It and
`infer` belong to the event loop that `load` was awaited on. `submit` may be called from any
thread: it returns a `concurrent.futures.Future`, whose `cancel()` takes the request out of the
queue, as cancelling the task that awaits `infer` does. `timeout_s` is what the client still has;
it can only shorten the model's request timeout. All raise only `ServingError`s, which
`protocols/wire.py` turns into codes, beside what cancelling raises. Check names with `check_name`
first. Everything else (`state`, `signature`, `waiting`) may be read from any thread.

Lives here: which model is asked, whether it may be, and how one takes another's place.
Stays out: wires (`protocols/`), ONNX Runtime (`session.py`), the queue (`batcher.py`), when and why
a model is loaded again (`repository.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from enum import StrEnum
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from slipway_runtime.config import ServingConfig
from slipway_runtime.errors import ModelNotFound, ModelNotReady, SlipwayError, clipped, shown
from slipway_runtime.inference.batcher import Batcher
from slipway_runtime.inference.container import auto_threads, cap_memory
from slipway_runtime.inference.datatypes import Tensor
from slipway_runtime.inference.model import LoadedModel, Origin
from slipway_runtime.inference.preparing import Preparer
from slipway_runtime.inference.probe import Verdict, decide, quick_rows
from slipway_runtime.inference.request import LABEL, InferenceRequest, InferenceResponse
from slipway_runtime.inference.session import Cancellation, Session
from slipway_runtime.inference.signature import Signature
from slipway_runtime.inference.threads import in_thread
from slipway_runtime.inference.timing import Timing
from slipway_runtime.inference.warmup import warm_up
from slipway_runtime.monitoring.metrics import Metrics
from slipway_runtime.monitoring.outputs import OutputCounter
from slipway_runtime.provenance import conversion

if TYPE_CHECKING:
    from slipway_runtime.pipeline.exposed import Exposure

log: Final = logging.getLogger(__name__)

Samples = Callable[[Signature], Sequence[Mapping[str, Tensor]]]


class State(StrEnum):
    """Where the process is in its life."""

    LOADING = "Loading"
    READY = "Ready"
    UNLOADING = "Unloading"
    UNLOADED = "Unloaded"
    DRAINING = "Draining"


class _Warm(NamedTuple):
    """A model that is ready to be asked."""

    session: Session
    exposure: Exposure | None
    verdict: Verdict
    quick_rows: int


class DataPlane:
    """One model under one name; at most one file of it is asked at a time."""

    def __init__(
        self, config: ServingConfig, metrics: Metrics, samples: Samples | None = None
    ) -> None:
        """Serve nothing yet.

        Args:
            config: the revision.
            metrics: where it is counted.
            samples: reads requests that a model is warmed up with, given what clients see of it.
        """
        self._samples: Final = samples
        self.config: Final = config
        self.version: Final = str(config.revision_number)
        label = config.model.version
        self._versions: Final = (self.version, *([f"{LABEL}{label}"] if label else []))
        self.threads: Final = config.serving.thread_count or auto_threads()
        self.is_draining = False
        self._metrics: Final = metrics
        self._loop: asyncio.AbstractEventLoop | None = None
        self._model: LoadedModel | None = None
        self._leaving: tuple[LoadedModel, ...] = ()
        self._is_loading = True

    @property
    def state(self) -> State:
        """What may be expected of the model."""
        if self.is_draining:
            return State.DRAINING
        if self._model is not None:
            return State.READY
        if self._is_loading:
            return State.LOADING
        return State.UNLOADING if self._leaving else State.UNLOADED

    @property
    def loaded(self) -> LoadedModel | None:
        """The model that is asked now, to look at."""
        return self._model

    @property
    def signature(self) -> Signature:
        """The model's inputs and outputs.

        Raises:
            ModelNotReady: there is none to ask.
        """
        return self.using().signature

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return sum(model.batcher.waiting for model in self._models())

    @property
    def running(self) -> int:
        """Requests that are being computed."""
        return sum(model.batcher.running for model in self._models())

    def using(self) -> LoadedModel:
        """The model for one request: a context manager, from reading it to its answer.

        Raises:
            ModelNotReady: there is none to ask.
        """
        if self._model is None:
            raise self._not_ready()
        return self._model

    async def load(self, model: Path, origin: Origin | None = None) -> None:
        """Load and warm a model, away from the event loop; only then is it asked.

        The one before answers until then, and what it has begun afterwards too.

        Args:
            model: the ONNX file.
            origin: which bytes these are; by default those that the configuration names.

        Raises:
            SupplyError: it cannot be served; the one before goes on.
        """
        self._is_loading = True
        try:
            warm = await in_thread(lambda: self._warm(model))
        finally:
            self._is_loading = False
        origin = origin or Origin(self.config.revision, self.config.digest)
        self._loop = asyncio.get_running_loop()
        # First: the model's own counters are of the revision that the metrics have.
        self._metrics.serves(
            digest=origin.digest or "", format_name="ONNX", revision=origin.revision
        )
        before, self._model = self._model, self._made(warm, origin)
        self._metrics.queue_length.set_function(lambda: self.waiting)
        if before:
            await self._leave(before)

    async def unload(self) -> None:
        """Take the model away, once what it has begun is answered; without one, do nothing."""
        before, self._model = self._model, None
        if before:
            await self._leave(before)

    def check_name(self, name: str, version: str | None = None) -> None:
        """Refuse a model or version that is not the one served here.

        A version is the revision's number, or `labels/` and the label that the spec gives it. No
        label says which role a revision has: a pod does not know, and a Service chooses it.

        Raises:
            ModelNotFound: naming what is served.
        """
        if name != self.config.name:
            raise ModelNotFound(f"model {shown(name)}: unknown, expected {shown(self.config.name)}")
        if version is not None and version not in self._versions:
            raise ModelNotFound(
                f"model {shown(name)}: version {shown(version)} is not served, "
                f"expected {' or '.join(map(shown, self._versions))}"
            )

    async def infer(
        self,
        request: InferenceRequest,
        *,
        timeout_s: float | None = None,
        timing: Timing | None = None,
    ) -> InferenceResponse:
        """Ask the model of this moment; `LoadedModel.infer` has the arguments.

        Raises:
            ServingError: why it cannot be answered.
        """
        with self.using() as model:
            return await model.infer(request, timeout_s=timeout_s, timing=timing)

    def submit(
        self, request: InferenceRequest, *, timeout_s: float | None = None
    ) -> Future[InferenceResponse]:
        """Answer one request for a thread that is not the loop's; see the module's head.

        Raises:
            ModelNotReady: there is none to ask.
        """
        if self._loop is None:
            raise self._not_ready()
        return asyncio.run_coroutine_threadsafe(
            self.infer(request, timeout_s=timeout_s), self._loop
        )

    def start_draining(self) -> None:
        """Stop being ready; requests are still answered until `close`."""
        self.is_draining = True

    def close(self) -> None:
        """Answer what still waits with ModelNotReady, and end."""
        for model in self._models():
            model.batcher.close()

    def _models(self) -> list[LoadedModel]:
        return [*self._leaving, *([self._model] if self._model else [])]

    def _not_ready(self) -> ModelNotReady:
        remedy = "retry later" if self._is_loading else "load it first"
        return ModelNotReady(f"model {shown(self.config.name)} is {self.state.lower()}; {remedy}")

    def _warm(self, model: Path) -> _Warm:
        cap_memory()
        serving = self.config.serving
        session = Session(
            model,
            threads=self.threads,
            provider=serving.execution_provider,
            graph=self.config.model.optimization.graph,
        )
        exposure = self._exposure(session.signature, model)
        zeros_s = warm_up(session, serving.warmup.requests)
        if self._samples is not None:
            self._run_samples(session, exposure, self._samples)
        verdict = decide(session, serving.batching)
        return _Warm(session, exposure, verdict, quick_rows(session, zeros_s))

    def _run_samples(self, session: Session, exposure: Exposure | None, samples: Samples) -> None:
        """Run what clients send; it may have changed since, so nothing of it keeps a pod down."""
        outputs = [spec.name for spec in session.signature.outputs]
        try:
            found = samples(exposure.signature if exposure else session.signature)
            for feeds in islice(cycle(found), self.config.serving.warmup.requests):
                fed = exposure.fed(feeds) if exposure else feeds
                session.run(fed, outputs, Cancellation())
        except SlipwayError as err:
            log.warning("warm-up on samples ended", extra={"cause": clipped(str(err), 400)})

    def _made(self, warm: _Warm, origin: Origin) -> LoadedModel:
        batcher = Batcher(
            warm.session,
            warm.verdict.policy,
            max_waiting=self.config.serving.queue.max_length,
            observer=self._metrics,
            quick_rows=warm.quick_rows,
        )
        signature, prepare = self._exposed(warm)
        return LoadedModel(
            origin,
            signature,
            warm.verdict,
            batcher,
            OutputCounter.for_signature(signature, self._metrics),
            self.config.serving.request_timeout_s,
            prepare,
            warm.session.properties,
            conversion(warm.session.metadata),
        )

    def _exposed(self, warm: _Warm) -> tuple[Signature, Preparer | None]:
        """What clients see of a model, and what makes of their tensors what it takes."""
        found = warm.exposure
        if found is None:
            return warm.session.signature, None
        if found.reader is None:
            return found.signature, None
        waiting = self.config.serving.queue.max_length
        return found.signature, Preparer(found.fed, threads=self.threads, max_waiting=waiting)

    def _exposure(self, signature: Signature, model: Path) -> Exposure | None:
        """None where clients see the model as it is."""
        if not self.config.pipeline.preprocess:
            return None
        # Late: only a pipeline needs them, and every pod would wait for the import.
        from slipway_runtime.pipeline.exposed import exposed

        return exposed(signature, self.config.pipeline, model)

    async def _leave(self, model: LoadedModel) -> None:
        """Close a model that nobody is given any more, once its last request is answered."""
        self._leaving = (*self._leaving, model)
        closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def close(_: object) -> None:
            model.batcher.close()
            self._leaving = tuple(other for other in self._leaving if other is not model)
            closed.set_result(None)

        model.uses.ended().add_done_callback(close)
        # Who waits may give up; those who hold the model must not notice.
        await asyncio.shield(closed)
