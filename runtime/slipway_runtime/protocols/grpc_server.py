"""The gRPC port: `inference.GRPCInferenceService`, TensorFlow Serving's services and health.

It runs on the event loop beside REST, over our own HTTP/2 (docs/decisions/0013 says why). Messages
come as bytes and are parsed here, so that a bad one is answered with words.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

from google.protobuf.message import DecodeError, Message

from slipway_runtime.authentication.guard import Guard
from slipway_runtime.errors import (
    InvalidRequest,
    ModelNotFound,
    ModelNotReady,
    NotServed,
    QueueFull,
    RequestTooLarge,
    ServingError,
    shown,
)
from slipway_runtime.http2.connection import MAX_HEAD_FIELDS_BYTES
from slipway_runtime.http2.heads import RequestHead
from slipway_runtime.http2.listener import Http2Limits, Http2Listener
from slipway_runtime.http2.streams import Receiver, Stream
from slipway_runtime.inference.dataplane import DataPlane, State
from slipway_runtime.inference.model import LoadedModel
from slipway_runtime.inference.signature import Signature
from slipway_runtime.monitoring.exchange import Exchange
from slipway_runtime.monitoring.metrics import Metrics
from slipway_runtime.monitoring.telemetry import CLIENT_GONE, Telemetry
from slipway_runtime.protocols import grpc_framing as framing
from slipway_runtime.protocols.admission import exempt_methods
from slipway_runtime.protocols.asked import Asked
from slipway_runtime.protocols.body import THREAD_ABOVE_BYTES, BodyBudget, ClientGone
from slipway_runtime.protocols.dialect import Identity
from slipway_runtime.protocols.envelope import Stamp
from slipway_runtime.protocols.grpc_calls import (
    MAX_STREAMING_CALLS,
    Call,
    CallLimits,
    Calls,
    Context,
    ForeignCall,
    Method,
    One,
    Streaming,
    StreamingCall,
    Unary,
    UnaryCall,
)
from slipway_runtime.protocols.grpc_messages import (
    MODEL_CALLS,
    PREDICTION_CALLS,
    V2_CALLS,
    Subject,
)
from slipway_runtime.protocols.grpc_messages import Calls as Described
from slipway_runtime.protocols.grpc_repository import REPOSITORY_CALLS
from slipway_runtime.protocols.grpc_repository import Answer as Manage
from slipway_runtime.protocols.grpc_status import Status
from slipway_runtime.protocols.grpc_wires import GrpcWire, TensorFlowWire, V2Wire
from slipway_runtime.protocols.patience import shortest
from slipway_runtime.protocols.proto import health_pb2
from slipway_runtime.protocols.proto import open_inference_pb2 as pb
from slipway_runtime.protocols.wire import (
    REJECTIONS,
    clipped_message,
    code_of,
    status_of,
    unexpected,
)
from slipway_runtime.repository import Repository
from slipway_runtime.units import quantity_bytes

log: Final = logging.getLogger(__name__)

V2_SERVICE: Final = "inference.GRPCInferenceService"

_SPARE_CALLS: Final = 256
"""Calls beyond those that may wait for the model: health, metadata, streams."""
_WATCH_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class GrpcLimits:
    """What a client may do; seconds."""

    max_connections: int = 2048
    head_timeout_s: float = 10.0
    message_timeout_s: float = 20.0
    max_connection_age_s: float = 300.0
    drain_s: float = 30.0


class GrpcServer:
    """Answers from `start` to `stop`; what it answers meanwhile is the data plane's state."""

    def __init__(
        self,
        dataplane: DataPlane,
        metrics: Metrics,
        *,
        budget: BodyBudget,
        release: str,
        limits: GrpcLimits,
        telemetry: Telemetry,
        repository: Repository | None = None,
        guard: Guard | None = None,
    ) -> None:
        self._drain_s: Final = limits.drain_s
        self._guard: Final = guard
        self._exempt: Final = exempt_methods(guard)
        serving = dataplane.config.serving
        self._calls: Final = Calls(
            CallLimits(
                max_message_bytes=quantity_bytes(serving.max_request_bytes),
                message_timeout_s=limits.message_timeout_s,
                budget=budget,
                answers=BodyBudget(budget.limit_bytes, "answers that wait for their clients"),
                max_calls=serving.queue.max_length + _SPARE_CALLS,
                trailer=_Trailer(dataplane),
            )
        )
        self._methods: Final = _methods(
            dataplane,
            metrics,
            telemetry,
            Subject(dataplane, metrics, release, repository),
            repository,
            guard,
        )
        self._listener: Final = Http2Listener(
            self._accept,
            Http2Limits(
                max_connections=limits.max_connections,
                greeting_timeout_s=limits.head_timeout_s,
                max_age_s=limits.max_connection_age_s,
                grace_s=limits.drain_s,
                rejected=metrics.rejected,
            ),
            tick=self._calls.tick,
        )

    async def start(self, sock: socket.socket) -> None:
        """Listen on a bound socket."""
        await self._listener.start(sock)

    async def stop(self, grace_s: float | None = None) -> None:
        """Take no new calls, and let those in flight end within the drain time, or this one."""
        await self._listener.stop(self._drain_s if grace_s is None else grace_s)

    def _accept(self, stream: Stream, head: RequestHead) -> Receiver:
        """Take a call, or refuse it before its message comes."""
        if not framing.is_grpc(head):
            return ForeignCall(self._calls, stream, Context(head, None))
        try:
            return self._call(stream, head)
        except ServingError as err:
            Call(self._calls, stream, Context(head, None)).fail(err)
            return _NOBODY

    def _call(self, stream: Stream, head: RequestHead) -> Receiver:
        if head.size_bytes > MAX_HEAD_FIELDS_BYTES:
            raise QueueFull(
                f"metadata: {head.size_bytes} bytes, expected at most {MAX_HEAD_FIELDS_BYTES}"
            )
        # Ahead of all that a message, or its absence, could tell.
        if self._guard is not None and head.path not in self._exempt:
            self._guard.check(head.fields.items())
        context = Context(head, framing.timeout_s(head))
        method = self._methods.get(head.path)
        if method is None:
            raise NotServed(f"method {shown(head.path.decode('latin-1'))}: not served here")
        if isinstance(method, Unary):
            return UnaryCall(self._calls, stream, context, method.answer)
        if self._calls.streaming >= MAX_STREAMING_CALLS:
            raise QueueFull(f"more than {MAX_STREAMING_CALLS} streams are open; retry later")
        return StreamingCall(self._calls, stream, context, method.answers)


class _Nobody:
    """Receives what comes after a call was refused."""

    def received(self, chunk: bytes) -> None:
        """Nothing waits for it."""

    def ended(self) -> None:
        """The answer is out."""

    def gone(self) -> None:
        """Nobody to tell."""


_NOBODY: Final = _Nobody()


def _methods(
    dataplane: DataPlane,
    metrics: Metrics,
    telemetry: Telemetry,
    subject: Subject,
    repository: Repository | None,
    guard: Guard | None,
) -> Mapping[bytes, Method]:
    infer = _Inference(V2Wire(), dataplane, metrics, telemetry, guard)
    predict = _Inference(TensorFlowWire(), dataplane, metrics, telemetry, guard)
    health = _Health(dataplane)
    services: dict[str, dict[str, Method]] = {
        V2_SERVICE: {
            **_described(V2_CALLS, subject),
            **_repository_methods(dataplane, repository),
            "ModelInfer": Unary(infer.one),
            "ModelStreamInfer": Streaming(infer.stream),
        },
        "tensorflow.serving.PredictionService": {
            **_described(PREDICTION_CALLS, subject),
            "Predict": Unary(predict.one),
        },
        "tensorflow.serving.ModelService": _described(MODEL_CALLS, subject),
        "grpc.health.v1.Health": {
            "Check": Unary(health.check),
            "Watch": Streaming(health.watch),
        },
    }
    return {
        f"/{service}/{name}".encode(): method
        for service, methods in services.items()
        for name, method in methods.items()
    }


def _described(calls: Described, subject: Subject) -> dict[str, Method]:
    return {name: Unary(_telling(kind, answer, subject)) for name, (kind, answer) in calls.items()}


def _telling(
    kind: type[Message], answer: Callable[[Any, Subject], Message], subject: Subject
) -> One:
    async def tell(raw: bytes, context: Context) -> bytes:
        told: bytes = answer(_parsed(kind, raw), subject).SerializeToString()
        return told

    return tell


def _repository_methods(dataplane: DataPlane, repository: Repository | None) -> dict[str, Method]:
    """Load and unload; none where there is no repository."""
    if repository is None:
        return {}
    return {
        name: Unary(_managing(kind, answer, dataplane, repository))
        for name, (kind, answer) in REPOSITORY_CALLS.items()
    }


def _managing(
    kind: type[Message], answer: Manage, dataplane: DataPlane, repository: Repository
) -> One:
    async def manage(raw: bytes, context: Context) -> bytes:
        told = await answer(_parsed(kind, raw), dataplane, repository)
        return told.SerializeToString()

    return manage


def _parsed(kind: type[Message], raw: bytes) -> Message:
    try:
        return kind.FromString(raw)
    except DecodeError as err:
        raise InvalidRequest(f"message: no valid {kind.DESCRIPTOR.name}") from err


class _Inference:
    """One wire's inference calls."""

    def __init__(
        self,
        wire: GrpcWire,
        dataplane: DataPlane,
        metrics: Metrics,
        telemetry: Telemetry,
        guard: Guard | None,
    ) -> None:
        self._guard: Final = guard
        self._wire: Final = wire
        self._dataplane: Final = dataplane
        self._metrics: Final = metrics
        self._telemetry: Final = telemetry
        self._identity: Final = Identity(dataplane.config.name, dataplane.version)
        self._codec: Final = ThreadPoolExecutor(1, "codec-grpc")

    async def one(self, raw: bytes, context: Context) -> bytes:
        """Answer one request."""
        exchange = self._telemetry.begin(
            self._wire.label, context.head.path.decode("latin-1")[1:], context.head.fields.items()
        )
        error: ServingError | None = None
        answer, size = b"", len(raw)
        try:
            with self._model(raw) as model:
                exchange.revision = model.origin.revision
                asked = await self._decoded(raw, model.signature)
                del raw  # its tensors are in `asked`: it need not be held twice while it waits
                answer = await self._infer(model, asked, context, exchange)
        except asyncio.CancelledError:
            gone = ClientGone.__name__
            self._metrics.rejected(gone)
            self._telemetry.end(
                exchange, CLIENT_GONE, grpc_status="CANCELLED", error=gone, bytes_in=size
            )
            raise
        except ServingError as err:
            error = err
        except Exception as err:
            log.exception("inference request failed", extra={"model": self._dataplane.config.name})
            error = unexpected(err)
        self._tell(exchange, error, size, len(answer))
        if error is not None:
            raise error
        return answer

    def _model(self, raw: bytes) -> LoadedModel:
        try:
            return self._dataplane.using()
        except ModelNotReady:
            # Another name stays unknown, whatever is loaded.
            with suppress(InvalidRequest, RequestTooLarge):
                self._wire.check(raw, self._dataplane)
            raise

    async def stream(
        self, messages: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[bytes]:
        """Answer V2 requests in the order they come; a bad one does not end the stream."""
        async for raw in messages:
            if self._guard is not None:  # its key may have been revoked since it was opened
                self._guard.check(context.head.fields.items())
            try:
                found = await self.one(raw, context)
                answer = framing.embedded(
                    pb.ModelStreamInferResponse.INFER_RESPONSE_FIELD_NUMBER, found
                )
            except ServingError as err:
                words = clipped_message(str(err))
                answer = pb.ModelStreamInferResponse(error_message=words).SerializeToString()
            del raw  # it need not be held until the client takes the answer
            yield answer

    async def _infer(
        self, model: LoadedModel, asked: Asked, context: Context, exchange: Exchange
    ) -> bytes:
        exchange.id = asked.request.id
        timeout_s = asked.timeout_s
        if timeout_s is not None:
            timeout_s -= perf_counter() - exchange.begun_s
        response = await model.infer(
            asked.request,
            timeout_s=shortest(context.remaining_s(), timeout_s),
            timing=exchange.timing,
        )
        answer: bytes = self._wire.encode(response, asked, self._identity).SerializeToString()
        return answer

    def _tell(
        self, exchange: Exchange, error: ServingError | None, bytes_in: int, bytes_out: int
    ) -> None:
        """Count and log an answer."""
        status = 200 if error is None else status_of(error)
        kind = "" if error is None else type(error).__name__
        self._metrics.answered(self._wire.label, status, perf_counter() - exchange.begun_s)
        if status in REJECTIONS:
            self._metrics.rejected(kind)
        self._telemetry.end(
            exchange,
            status,
            error=kind,
            grpc_status=(Status.OK if error is None else code_of(error)).name,
            bytes_in=bytes_in,
            bytes_out=bytes_out,
        )

    async def _decoded(self, raw: bytes, signature: Signature) -> Asked:
        if len(raw) <= THREAD_ABOVE_BYTES:
            return self._wire.decode(raw, self._dataplane, signature)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._codec, self._wire.decode, raw, self._dataplane, signature
        )


class _Trailer:
    """Which revision answered, as REST tells in headers."""

    def __init__(self, dataplane: DataPlane) -> None:
        self._stamp: Final = Stamp(dataplane)
        self._written: tuple[bytes, bytes] = (b"", b"")

    def __call__(self) -> bytes:
        known, block = self._written
        told = self._stamp.block(None)
        if known != told:
            pairs = {name.decode(): value.decode() for name, value in self._stamp.headers(None)}
            block = framing.metadata(pairs)
            self._written = (told, block)
        return block


class _Health:
    """`grpc.health.v1`: the server and its inference service are one thing."""

    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane: Final = dataplane

    async def check(self, raw: bytes, context: Context) -> bytes:
        """Tell the state once."""
        service = self._service(raw)
        if service not in ("", V2_SERVICE):
            raise ModelNotFound(f"service {shown(service)}: unknown")
        return self._status(service).SerializeToString()

    async def watch(self, messages: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        """Tell the state, and each change of it."""
        service = self._service(await anext(messages, b""))
        last = None
        while True:
            status = self._status(service)
            if status != last:
                last = status
                yield status.SerializeToString()
            await asyncio.sleep(_WATCH_S)

    def _service(self, raw: bytes) -> str:
        request = _parsed(health_pb2.HealthCheckRequest, raw)
        return str(request.service)  # type: ignore[attr-defined]  # of the kind just named

    def _status(self, service: str) -> health_pb2.HealthCheckResponse:
        kinds = health_pb2.HealthCheckResponse
        if service not in ("", V2_SERVICE):
            return kinds(status=kinds.SERVICE_UNKNOWN)
        is_ready = self._dataplane.state is State.READY
        return kinds(status=kinds.SERVING if is_ready else kinds.NOT_SERVING)
