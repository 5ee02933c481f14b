"""Every ServingError on every wire: one status, one form, the same words."""

import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest

from slipway_runtime.config import parse_config
from slipway_runtime.errors import ServingError
from slipway_runtime.inference.batcher import Batcher
from slipway_runtime.inference.batching import OFF
from slipway_runtime.inference.dataplane import DataPlane
from slipway_runtime.inference.model import LoadedModel, Origin
from slipway_runtime.inference.probe import Verdict
from slipway_runtime.inference.request import InferenceRequest, InferenceResponse
from slipway_runtime.inference.signature import Signature, TensorSpec
from slipway_runtime.inference.timing import Timing
from slipway_runtime.monitoring.metrics import Metrics
from slipway_runtime.monitoring.telemetry import Telemetry
from slipway_runtime.protocols.body import BodyBudget
from slipway_runtime.protocols.grpc_server import GrpcLimits, GrpcServer
from slipway_runtime.protocols.infer import InferEndpoint
from slipway_runtime.protocols.proto import open_inference_pb2 as pb
from slipway_runtime.protocols.proto import tensorflow_serving_pb2 as tf
from slipway_runtime.protocols.wire import WIRE_STATUS
from tests.unit.runtime.processes import serving_document
from tests.unit.runtime.protocols.calls import request

WORDS = "the object, what it has, what was expected"


def kinds(base: type[ServingError]) -> Iterator[type[ServingError]]:
    for kind in base.__subclasses__():
        yield kind
        yield from kinds(kind)


SIGNATURE = Signature((TensorSpec("x", "FP32", (-1,)),), (TensorSpec("y", "FP32", (-1,)),))


@dataclass(frozen=True, slots=True, eq=False)
class FailingModel(LoadedModel):
    """Answers every inference with one error."""

    error: Exception = field(kw_only=True)

    async def infer(
        self,
        request: InferenceRequest,
        *,
        timeout_s: float | None = None,
        timing: Timing | None = None,
    ) -> InferenceResponse:
        raise self.error


class Failing(DataPlane):
    """A data plane whose model fails."""

    error: Exception

    @property
    def signature(self) -> Signature:
        return SIGNATURE

    def using(self) -> LoadedModel:
        origin, verdict = Origin("0123456789", None), Verdict(OFF, "")
        batcher = Batcher(Unasked(), OFF, max_waiting=1, observer=self._metrics)
        batcher.close()
        return FailingModel(origin, SIGNATURE, verdict, batcher, None, 1.0, error=self.error)


class Unasked:
    """An engine that nobody reaches."""

    signature = SIGNATURE

    def run(self, *_: Any) -> Any:
        raise AssertionError("the error comes before")


@dataclass
class Wires:
    """Both doors to one failing data plane."""

    dataplane: Failing
    metrics: Metrics
    http: httpx.AsyncClient
    channel: grpc.aio.Channel

    async def call(self, method: str, message: bytes) -> bytes:
        send: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(method)
        return await send(message, timeout=10)

    def counted(self, protocol: str, code: int) -> float | None:
        labels = {"model": "digits", "version": "", "revision": "0123456789"}
        return self.metrics.registry.get_sample_value(
            "slipway_requests_total", {**labels, "protocol": protocol, "code": str(code)}
        )


@pytest.fixture
async def wires() -> AsyncIterator[Wires]:
    metrics = Metrics(model="digits", version="", revision="0123456789")
    dataplane = Failing(parse_config(serving_document()), metrics)
    budget = BodyBudget(2**20)

    async def nothing(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError(scope["path"])

    endpoint = InferEndpoint(dataplane, metrics, budget=budget, rest=nothing, telemetry=Telemetry())
    server = GrpcServer(
        dataplane,
        metrics,
        budget=budget,
        release="0",
        limits=GrpcLimits(drain_s=0),
        telemetry=Telemetry(),
    )
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    await server.start(listening)
    transport = httpx.ASGITransport(endpoint)
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield Wires(dataplane, metrics, client, channel)
    await server.stop()


REST = {
    "rest": (
        "/v2/models/digits/infer",
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]},
    ),
    "v1": ("/v1/models/digits:predict", {"instances": [1]}),
    "predict": ("/predict", {"inputs": [1]}),
    "torchserve": ("/predictions/digits", [1]),
}


def tensorflow_request() -> bytes:
    proto = tf.TensorProto(dtype="DT_FLOAT", float_val=[1])
    proto.tensor_shape.dim.add(size=1)
    spec = tf.ModelSpec(name="digits")
    return tf.PredictRequest(model_spec=spec, inputs={"x": proto}).SerializeToString()


GRPC = {
    "grpc": (
        "/inference.GRPCInferenceService/ModelInfer",
        request("x", "FP32", [1], raw=[b"1234"]).SerializeToString(),
    ),
    "tensorflow": ("/tensorflow.serving.PredictionService/Predict", tensorflow_request()),
}


@pytest.mark.parametrize("kind", list(kinds(ServingError)))
async def test_every_error_is_told_on_every_wire(kind: type[ServingError], wires: Wires) -> None:
    wires.dataplane.error = kind(WORDS)
    status, code = WIRE_STATUS[kind]
    for protocol, (path, document) in REST.items():
        found = await wires.http.post(path, json=document)
        assert (found.status_code, found.json()["error"]) == (status, WORDS)
        assert ("retry-after" in found.headers) == (status in (429, 503))
        assert wires.counted(protocol, status) == 1
    for protocol, (method, message) in GRPC.items():
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await wires.call(method, message)
        assert (caught.value.code().name, caught.value.details()) == (code.name, WORDS)
        assert wires.counted(protocol, status) == 1


async def test_a_stream_tells_errors_and_goes_on(wires: Wires) -> None:
    wires.dataplane.error = next(kinds(ServingError))(WORDS)
    send: grpc.aio.StreamStreamMultiCallable[bytes, bytes]
    send = wires.channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
    found = send(iter([GRPC["grpc"][1]] * 2), timeout=10)
    answers = [pb.ModelStreamInferResponse.FromString(raw) async for raw in found]
    assert [answer.error_message for answer in answers] == [WORDS] * 2


@pytest.mark.filterwarnings("ignore")
async def test_a_bug_is_told_without_its_insides(
    wires: Wires, caplog: pytest.LogCaptureFixture
) -> None:
    wires.dataplane.error = ZeroDivisionError("a secret path")
    expected = "internal error (ZeroDivisionError); the server's log has the cause"
    for path, document in REST.values():
        found = await wires.http.post(path, json=document)
        assert (found.status_code, found.json()["error"]) == (500, expected)
    for method, message in GRPC.values():
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await wires.call(method, message)
        assert (caught.value.code(), caught.value.details()) == (
            grpc.StatusCode.INTERNAL,
            expected,
        )
    assert len(caplog.records) == len(REST) + len(GRPC)
