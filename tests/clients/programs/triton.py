"""Drive tritonclient: `python -m tests.clients.programs.triton http|http-aio|grpc|grpc-aio`."""

from __future__ import annotations

import asyncio
import importlib
import queue
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tritonclient.utils import InferenceServerException

from tests.clients.arrays import array_of, plain
from tests.clients.exchange import Call, Servers, play, settled

MODULES = {
    "http": "tritonclient.http",
    "http-aio": "tritonclient.http.aio",
    "grpc": "tritonclient.grpc",
    "grpc-aio": "tritonclient.grpc.aio",
}
DEADLINE_S = 30
Tensors = Sequence[Mapping[str, Any]]


class Triton:
    """One flavour of the client, connected to every server."""

    def __init__(self, flavour: str, servers: Servers) -> None:
        self.wire = flavour.partition("-")[0]
        self.module = importlib.import_module(MODULES[flavour])
        self.kinds = importlib.import_module(MODULES[self.wire])
        self.clients = {
            name: self.module.InferenceServerClient(addresses[self.wire])
            for name, addresses in servers.items()
        }

    async def tell(self, server: str, method: str, **arguments: Any) -> Any:
        """Any method that tells something or changes a setting, by its name."""
        if self.wire == "grpc" and method.startswith(("get_", "update_")):
            arguments["as_json"] = True
        return await settled(getattr(self.clients[server], method)(**arguments))

    async def infer(self, server: str, **request: Any) -> Any:
        """One inference."""
        answer = self.clients[server].infer(**self.request(server, **request))
        return self.answered(await settled(answer))

    async def async_infer(self, server: str, requests: Sequence[Any]) -> Any:
        """Several at once, by the calls with handles (HTTP) or callbacks (gRPC)."""
        client = self.clients[server]
        sent = [self.request(server, **request) for request in requests]
        if self.wire == "http":
            handles = [client.async_infer(**request) for request in sent]
            return [self.answered(handle.get_result()) for handle in handles]
        done: queue.Queue[Any] = queue.Queue()
        for request in sent:
            client.async_infer(**request, callback=lambda result, error: done.put((result, error)))
        return sorted(
            (self.either(*done.get(timeout=DEADLINE_S)) for _ in sent), key=lambda each: each["id"]
        )

    async def stream(self, server: str, requests: Sequence[Any], **options: Any) -> Any:
        """All on one stream of gRPC; answers in the order in which they came."""
        client = self.clients[server]
        sent = [self.request(server, **request) for request in requests]
        if self.module is not self.kinds:
            answers = client.stream_infer(_each(sent), **options)
            return [self.either(*answer) async for answer in answers]
        done: queue.Queue[Any] = queue.Queue()
        client.start_stream(lambda result, error: done.put((result, error)), **options)
        for request in sent:
            client.async_stream_infer(**request)
        seen = [self.either(*done.get(timeout=DEADLINE_S)) for _ in sent]
        client.stop_stream()
        return seen

    def request(
        self,
        server: str,
        inputs: Tensors,
        outputs: Sequence[Mapping[str, Any]] | None = None,
        binary: bool = True,
        **options: Any,
    ) -> dict[str, Any]:
        """Arguments of an inference."""
        wanted = outputs and [
            self.kinds.InferRequestedOutput(each["name"], **_without_name(each)) for each in outputs
        ]
        return {
            "model_name": server,
            "inputs": [self.tensor(each, binary) for each in inputs],
            "outputs": wanted,
            **options,
        }

    def tensor(self, tensor: Mapping[str, Any], binary: bool) -> Any:
        """An input."""
        made = self.kinds.InferInput(tensor["name"], tensor["shape"], tensor["datatype"])
        how = {"binary_data": tensor.get("binary", binary)} if self.wire == "http" else {}
        return made.set_data_from_numpy(array_of(tensor), **how)

    def answered(self, result: Any) -> dict[str, Any]:
        """What an inference gave."""
        told = result.get_response(**({"as_json": True} if self.wire == "grpc" else {}))
        return {
            "model": told["model_name"],
            "version": told["model_version"],
            "id": told.get("id", ""),
            "outputs": {
                each["name"]: {
                    "datatype": each["datatype"],
                    **plain(result.as_numpy(each["name"])),
                }
                for each in told["outputs"]
            },
        }

    def either(self, result: Any, error: Any) -> dict[str, Any]:
        """An answer or an error of a stream."""
        return {"id": "", "refused": refused(error)} if error else self.answered(result)


def _without_name(output: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in output.items() if key != "name"}


async def _each(requests: Sequence[Any]) -> AsyncIterator[Any]:
    for request in requests:
        await asyncio.sleep(0)
        yield request


def refused(err: InferenceServerException) -> dict[str, Any]:
    """What the client says that the server said."""
    return {"status": err.status(), "message": err.message()}


@asynccontextmanager
async def session(servers: Servers) -> AsyncIterator[Mapping[str, Call]]:
    """Connect."""
    triton = Triton(sys.argv[1], servers)
    try:
        yield {
            "tell": triton.tell,
            "infer": triton.infer,
            "async_infer": triton.async_infer,
            "stream": triton.stream,
        }
    finally:
        for client in triton.clients.values():
            await settled(client.close())


if __name__ == "__main__":
    play(session, {InferenceServerException: refused})
