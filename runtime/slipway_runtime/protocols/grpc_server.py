"""The gRPC port: `inference.GRPCInferenceService`, TensorFlow Serving's services and health.

The only door to grpc. It runs on the event loop, beside REST (docs/decisions/0012 says why not in
threads). Messages come as bytes and are parsed here, so that a bad one is answered with words and
not with the library's INTERNAL.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health_pb2

from slipway_runtime.errors import (
    ConfigError,
    InferenceFailed,
    InvalidRequest,
    ModelNotFound,
    ServingError,
    shown,
)
from slipway_runtime.inference.dataplane import DataPlane, State
from slipway_runtime.monitoring.metrics import Metrics
from slipway_runtime.protocols.asked import Asked
from slipway_runtime.protocols.body import BodyBudget, ClientGone
from slipway_runtime.protocols.dialect import Identity
from slipway_runtime.protocols.grpc_messages import (
    MODEL_CALLS,
    PREDICTION_CALLS,
    V2_CALLS,
    Calls,
    Subject,
)
from slipway_runtime.protocols.grpc_wires import GrpcWire, TensorFlowWire, V2Wire
from slipway_runtime.protocols.patience import shortest
from slipway_runtime.protocols.proto import open_inference_pb2 as pb
from slipway_runtime.protocols.wire import REJECTIONS, clipped_message, code_of, status_of
from slipway_runtime.units import quantity_bytes

log: Final = logging.getLogger(__name__)

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"

V2_SERVICE: Final = "inference.GRPCInferenceService"

_THREAD_ABOVE_BYTES: Final = 256 * 1024
"""Larger messages are parsed in a thread: they would hold the loop for milliseconds."""
_SPARE_CALLS: Final = 256
"""Calls beyond those that may wait for the model: health, metadata, streams."""
_WATCH_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class GrpcLimits:
    """What a connection may do."""

    max_connection_age_s: float = 300.0
    """After so long a connection is told to end, so that clients see new pods; 0 for never."""
    drain_s: float = 30.0


class GrpcServer:
    """Listens from `start` to `stop`; what it answers meanwhile is the data plane's state."""

    def __init__(
        self,
        dataplane: DataPlane,
        metrics: Metrics,
        *,
        budget: BodyBudget,
        release: str,
        limits: GrpcLimits,
    ) -> None:
        self._limits: Final = limits
        serving = dataplane.config.serving
        self._server: Final = grpc.aio.server(
            options=_options(quantity_bytes(serving.max_request_bytes), limits),
            maximum_concurrent_rpcs=serving.queue.max_length + _SPARE_CALLS,
        )
        subject = Subject(dataplane, metrics, release)
        infer = _Inference(V2Wire(), dataplane, metrics, budget)
        predict = _Inference(TensorFlowWire(), dataplane, metrics, budget)
        v2 = {
            **_described(V2_CALLS, subject),
            "ModelInfer": grpc.unary_unary_rpc_method_handler(infer.one),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(infer.stream),
        }
        prediction = {
            **_described(PREDICTION_CALLS, subject),
            "Predict": grpc.unary_unary_rpc_method_handler(predict.one),
        }
        services = {
            V2_SERVICE: v2,
            "tensorflow.serving.PredictionService": prediction,
            "tensorflow.serving.ModelService": _described(MODEL_CALLS, subject),
            "grpc.health.v1.Health": _Health(dataplane).methods(),
        }
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(*service) for service in services.items()]
        )

    async def start(self, host: str, port: int) -> int:
        """Listen; port 0 takes a free one.

        Returns:
            The port.

        Raises:
            ConfigError: the port cannot be had.
        """
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            bound = self._server.add_insecure_port(address)
        except RuntimeError as err:
            raise ConfigError(f"port {port} on {host}: cannot be listened on") from err
        await self._server.start()
        return bound

    async def stop(self, grace_s: float | None = None) -> None:
        """Take no new calls, and let those in flight end within the drain time, or this one."""
        await self._server.stop(self._limits.drain_s if grace_s is None else grace_s)


def _options(max_bytes: int, limits: GrpcLimits) -> list[tuple[str, int]]:
    options = [
        # Its default is 4 MiB, of the decompressed message.
        ("grpc.max_receive_message_length", max_bytes),
        ("grpc.max_send_message_length", -1),
        # Two servers on one port would share its connections in silence.
        ("grpc.so_reuseport", 0),
    ]
    if limits.max_connection_age_s:
        options += [
            ("grpc.max_connection_age_ms", int(limits.max_connection_age_s * 1000)),
            ("grpc.max_connection_age_grace_ms", int(limits.drain_s * 1000)),
        ]
    return options


def _described(calls: Calls, subject: Subject) -> dict[str, Any]:
    return {name: _handler(kind, answer, subject) for name, (kind, answer) in calls.items()}


def _handler(
    kind: type[Message], answer: Callable[[Any, Subject], Message], subject: Subject
) -> grpc.RpcMethodHandler[bytes, bytes]:
    async def handle(raw: bytes, context: Context) -> bytes:
        try:
            return answer(_parsed(kind, raw), subject).SerializeToString()
        except ServingError as err:
            await context.abort(code_of(err), clipped_message(str(err)))

    return grpc.unary_unary_rpc_method_handler(handle)


def _parsed(kind: type[Message], raw: bytes) -> Message:
    try:
        return kind.FromString(raw)
    except DecodeError as err:
        raise InvalidRequest(f"message: no valid {kind.DESCRIPTOR.name}") from err


class _Inference:
    """One wire's inference calls."""

    def __init__(
        self, wire: GrpcWire, dataplane: DataPlane, metrics: Metrics, budget: BodyBudget
    ) -> None:
        self._wire: Final = wire
        self._dataplane: Final = dataplane
        self._metrics: Final = metrics
        self._budget: Final = budget
        self._identity: Final = Identity(dataplane.config.name, dataplane.version)
        self._codec: Final = ThreadPoolExecutor(1, "codec-grpc")
        self._trailer: Final = _trailer(dataplane)

    async def one(self, raw: bytes, context: Context) -> bytes:
        """Answer one request."""
        context.set_trailing_metadata(self._trailer)
        try:
            answer = await self._counted(raw, context.time_remaining())
        except ServingError as err:
            await context.abort(code_of(err), clipped_message(str(err)))
        sent: bytes = answer.SerializeToString()
        return sent

    async def stream(
        self, messages: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[bytes]:
        """Answer V2 requests in the order they come; a bad one does not end the stream."""
        context.set_trailing_metadata(self._trailer)
        async for raw in messages:
            answer = pb.ModelStreamInferResponse()
            try:
                found = await self._counted(raw, context.time_remaining())
                answer.infer_response.MergeFrom(found)
            except ServingError as err:
                answer.error_message = clipped_message(str(err))
            yield answer.SerializeToString()

    async def _counted(self, raw: bytes, timeout_s: float | None) -> Any:
        begun_s = perf_counter()
        try:
            with self._budget.hold(len(raw)):
                answer = await self._answer(raw, timeout_s)
        except asyncio.CancelledError:
            self._metrics.rejected(ClientGone.__name__)
            raise
        except ServingError as err:
            self._count(err, begun_s)
            raise
        except Exception as err:
            log.exception("inference request failed", extra={"model": self._dataplane.config.name})
            failure = InferenceFailed(
                f"internal error ({type(err).__name__}); the server's log has the cause"
            )
            self._count(failure, begun_s)
            raise failure from err
        self._count(None, begun_s)
        return answer

    def _count(self, error: ServingError | None, begun_s: float) -> None:
        status = 200 if error is None else status_of(error)
        self._metrics.answered(self._wire.label, status, perf_counter() - begun_s)
        if error is not None and status in REJECTIONS:
            self._metrics.rejected(type(error).__name__)

    async def _answer(self, raw: bytes, timeout_s: float | None) -> Message:
        asked = await self._decoded(raw)
        response = await self._dataplane.infer(
            asked.request, timeout_s=shortest(timeout_s, asked.timeout_s)
        )
        return self._wire.encode(response, asked, self._identity)

    async def _decoded(self, raw: bytes) -> Asked:
        if len(raw) <= _THREAD_ABOVE_BYTES:
            return self._wire.decode(raw, self._dataplane)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._codec, self._wire.decode, raw, self._dataplane)


def _trailer(dataplane: DataPlane) -> tuple[tuple[str, str], ...]:
    """Which revision answered, as REST tells in headers."""
    config = dataplane.config
    told = {"x-model-name": config.name, "x-model-revision": config.revision}
    if config.model.version:
        told["x-model-version"] = config.model.version
    return tuple(told.items())


class _Health:
    """`grpc.health.v1`: the server and its inference service are one thing."""

    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane: Final = dataplane

    def methods(self) -> dict[str, grpc.RpcMethodHandler[bytes, bytes]]:
        """Check and Watch."""
        return {
            "Check": grpc.unary_unary_rpc_method_handler(self._check),
            "Watch": grpc.unary_stream_rpc_method_handler(self._watch),
        }

    async def _check(self, raw: bytes, context: Context) -> bytes:
        try:
            service = self._service(raw)
            if service not in ("", V2_SERVICE):
                raise ModelNotFound(f"service {shown(service)}: unknown")
        except ServingError as err:
            await context.abort(code_of(err), clipped_message(str(err)))
        status: bytes = self._status(service).SerializeToString()
        return status

    async def _watch(self, raw: bytes, context: Context) -> AsyncIterator[bytes]:
        try:
            service = self._service(raw)
        except ServingError as err:
            await context.abort(code_of(err), clipped_message(str(err)))
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
