"""Drive kserve's inference clients: `python -m tests.clients.programs.kserve_inference`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import httpx
from kserve import (
    InferenceGRPCClient,
    InferenceRESTClient,
    InferInput,
    InferRequest,
    RESTConfig,
)
from kserve.protocol.infer_type import RequestedOutput

from tests.clients.arrays import array_of, plain
from tests.clients.exchange import Call, Servers, play

Tensors = Sequence[Mapping[str, Any]]


class Kserve:
    """Clients of both REST protocols, and of gRPC."""

    def __init__(self, servers: Servers, stack: AsyncExitStack) -> None:
        self.servers = servers
        self.stack = stack

    async def rest(self, server: str, protocol: str, method: str, **arguments: Any) -> Any:
        """A method of the REST client that takes and gives JSON."""
        client = await self._rest_client(protocol)
        return await getattr(client, method)(self._base_url(server), **arguments)

    async def rest_infer(self, server: str, **request: Any) -> Any:
        """An inference by V2."""
        client = await self._rest_client("v2")
        made = _request(server, **request)
        headers: dict[str, str] = {}
        answer = await client.infer(
            self._base_url(server), made, model_name=server, response_headers=headers
        )
        return {**_answered(answer), "content_type": headers["content-type"]}

    async def grpc(self, server: str, method: str, **arguments: Any) -> Any:
        """A method of the gRPC client that tells something."""
        return await getattr(await self._grpc_client(server), method)(**arguments)

    async def grpc_infer(self, server: str, **request: Any) -> Any:
        """An inference over gRPC."""
        client = await self._grpc_client(server)
        return _answered(await client.infer(_request(server, **request)))

    def _base_url(self, server: str) -> str:
        return f"http://{self.servers[server]['http']}"

    async def _rest_client(self, protocol: str) -> Any:
        client = InferenceRESTClient(RESTConfig(protocol=protocol))
        return await self.stack.enter_async_context(client)

    async def _grpc_client(self, server: str) -> Any:
        client = InferenceGRPCClient(self.servers[server]["grpc"])
        return await self.stack.enter_async_context(client)


def _request(
    server: str,
    inputs: Tensors,
    binary: bool = True,
    outputs: Mapping[str, Mapping[str, Any]] | None = None,
    **more: Any,
) -> Any:
    made = []
    for tensor in inputs:
        made.append(InferInput(tensor["name"], tensor["shape"], tensor["datatype"]))
        made[-1].set_data_from_numpy(array_of(tensor), binary_data=binary)
    wanted = outputs and [RequestedOutput(name, dict(each)) for name, each in outputs.items()]
    return InferRequest(server, made, request_outputs=wanted, **more)


def _answered(answer: Any) -> dict[str, Any]:
    return {
        "model": answer.model_name,
        "version": answer.model_version,
        "id": answer.id,
        "outputs": {
            each.name: {"datatype": each.datatype, **plain(each.as_numpy())}
            for each in answer.outputs
        },
    }


@asynccontextmanager
async def session(servers: Servers) -> AsyncIterator[Mapping[str, Call]]:
    """Connect."""
    async with AsyncExitStack() as stack:
        kserve = Kserve(servers, stack)
        yield {
            "rest": kserve.rest,
            "rest_infer": kserve.rest_infer,
            "grpc": kserve.grpc,
            "grpc_infer": kserve.grpc_infer,
        }


REFUSALS = {
    httpx.HTTPStatusError: lambda err: {
        "status": err.response.status_code,
        "message": str(err),
    },
    grpc.RpcError: lambda err: {"status": err.code().name, "message": err.details()},
}

if __name__ == "__main__":
    play(session, REFUSALS)
