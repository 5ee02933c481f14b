"""Drive the clients that the Open Inference Protocol's own descriptions generate."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict, ParseDict
from open_inference.grpc import protocol
from open_inference.grpc.service import GRPCInferenceServiceStub
from open_inference.openapi.client import OpenInferenceClient
from open_inference.openapi.core.api_error import ApiError
from open_inference.openapi.types import InferenceRequest

from tests.clients.exchange import Call, Servers, play

DEADLINE_S = 30


class OpenInference:
    """A client of each wire per server."""

    def __init__(self, servers: Servers, stack: ExitStack) -> None:
        self.rest_clients = {
            name: OpenInferenceClient(base_url=f"http://{addresses['http']}")
            for name, addresses in servers.items()
        }
        self.stubs = {
            name: GRPCInferenceServiceStub(
                stack.enter_context(grpc.insecure_channel(addresses["grpc"]))
            )
            for name, addresses in servers.items()
        }

    def rest(self, server: str, method: str, **arguments: Any) -> Any:
        """A method of the REST client; what it answers was checked by its models."""
        if "request" in arguments:
            arguments["request"] = InferenceRequest.parse_obj(arguments["request"])
        answer = getattr(self.rest_clients[server], method)(**arguments)
        return None if answer is None else answer.dict()

    def grpc(self, server: str, method: str, request: dict[str, Any]) -> Any:
        """A method of the stub; messages are written as protobuf's JSON."""
        message = ParseDict(request, getattr(protocol, f"{method}Request")())
        answer = getattr(self.stubs[server], method)(message, timeout=DEADLINE_S)
        return MessageToDict(answer, preserving_proto_field_name=True)

    def grpc_fp32(self, server: str, request: dict[str, Any]) -> Any:
        """An inference whose outputs are all FP32."""
        message = ParseDict(request, protocol.ModelInferRequest())
        answer = self.stubs[server].ModelInfer(message, timeout=DEADLINE_S)
        return {
            output.name: {
                "shape": list(output.shape),
                "data": [number for (number,) in struct.iter_unpack("<f", content)],
            }
            for output, content in zip(answer.outputs, answer.raw_output_contents, strict=True)
        }


@asynccontextmanager
async def session(servers: Servers) -> AsyncIterator[Mapping[str, Call]]:
    """Connect."""
    with ExitStack() as stack:
        clients = OpenInference(servers, stack)
        yield {"rest": clients.rest, "grpc": clients.grpc, "grpc_fp32": clients.grpc_fp32}


REFUSALS = {
    ApiError: lambda err: {"status": err.status_code, "body": err.body},
    grpc.RpcError: lambda err: {"status": err.code().name, "message": err.details()},
}

if __name__ == "__main__":
    play(session, REFUSALS)
