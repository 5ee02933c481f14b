"""gRPC calls as a client makes them, without generated stubs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import grpc
from google.protobuf.message import Message

from slipway_runtime.protocols.proto import open_inference_pb2 as pb

V2 = "inference.GRPCInferenceService"


def call(
    channel: grpc.Channel,
    method: str,
    request: Message | bytes,
    answer: type[Message],
    *,
    service: str = V2,
    timeout: float = 20,
    **more: Any,
) -> Any:
    """One unary call; errors are raised."""
    raw = request if isinstance(request, bytes) else request.SerializeToString()
    send: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{service}/{method}")
    return answer.FromString(send(raw, timeout=timeout, **more))


def infer(channel: grpc.Channel, request: pb.ModelInferRequest | bytes, **more: Any) -> Any:
    return call(channel, "ModelInfer", request, pb.ModelInferResponse, **more)


def stream(channel: grpc.Channel, requests: Iterable[pb.ModelInferRequest]) -> Iterator[Any]:
    send = channel.stream_stream(
        f"/{V2}/ModelStreamInfer",
        request_serializer=pb.ModelInferRequest.SerializeToString,
        response_deserializer=pb.ModelStreamInferResponse.FromString,
    )
    yield from send(iter(requests), timeout=20)


def refusal(channel: grpc.Channel, request: pb.ModelInferRequest | bytes) -> tuple[str, str]:
    """Code and words of an inference that is refused."""
    try:
        infer(channel, request)
    except grpc.RpcError as err:
        return err.code().name, str(err.details())
    raise AssertionError("it was answered")


def request(
    name: str,
    datatype: str,
    shape: Sequence[int],
    *,
    model: str = "digits",
    raw: Sequence[bytes] = (),
    contents: dict[str, Any] | None = None,
    **more: Any,
) -> pb.ModelInferRequest:
    """A request with one input."""
    tensor = pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape)
    if contents is not None:
        tensor.contents.CopyFrom(pb.InferTensorContents(**contents))
    return pb.ModelInferRequest(model_name=model, inputs=[tensor], raw_input_contents=raw, **more)
