"""The mixed load of a soak: everything that clients do, right and wrong, at a bounded rate."""

from __future__ import annotations

import asyncio
import json
import random
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import grpc
import grpc.aio
import httpx

from slipway_runtime.protocols.proto import open_inference_pb2 as pb

COLUMNS: Final = 64
V2_INFER: Final = "/v2/models/digits/infer"
_SERVICE: Final = "/inference.GRPCInferenceService"

Unary: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]"
Stream: TypeAlias = "grpc.aio.StreamStreamMultiCallable[bytes, bytes]"
Kind: TypeAlias = Callable[[], Awaitable[None]]


class Unexpected(Exception):
    """An answer that is not what this request should get."""


@dataclass(frozen=True)
class Tally:
    """What was sent, by kind, and what went wrong, by kind and words."""

    sent: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)


class Load:
    """Clients of one server; made inside of the loop that runs them."""

    def __init__(self, url: str, address: str, tally: Tally) -> None:
        self._tally: Final = tally
        self._url: Final = url
        self._address: Final = address
        self._http: Final = httpx.AsyncClient(base_url=url, trust_env=False, timeout=30)
        self._channel: Final = grpc.aio.insecure_channel(address)

    def _kinds(self) -> dict[str, Kind]:
        return {
            "REST JSON": self._json,
            "REST binary": self._binary,
            "V1": self._v1,
            "predict": self._predict,
            "gRPC unary": self._unary,
            "gRPC stream": self._stream,
            "a bad request": self._bad,
            "an unknown model": self._unknown,
            "bad gRPC": self._bad_call,
            "REST, cancelled": self._hung_up,
            "gRPC, cancelled": self._cancelled,
            "REST, new connection": self._new_connection,
            "gRPC, new channel": self._new_channel,
        }

    async def run(self, duration_s: float, rate_per_s: float) -> None:
        """Send all kinds in turn, evenly, for so long; then close every connection."""
        end_s = asyncio.get_running_loop().time() + duration_s
        kinds = self._kinds()
        interval_s = len(kinds) / rate_per_s
        try:
            async with asyncio.TaskGroup() as tasks:
                for name, kind in kinds.items():
                    tasks.create_task(self._repeat(name, kind, interval_s, end_s))
        finally:
            await self._http.aclose()
            await self._channel.close()

    async def _repeat(self, name: str, kind: Kind, interval_s: float, end_s: float) -> None:
        loop = asyncio.get_running_loop()
        next_s = loop.time() + random.uniform(0, interval_s)
        while next_s < end_s:
            await asyncio.sleep(max(0, next_s - loop.time()))
            try:
                await kind()
            except (Unexpected, httpx.HTTPError, grpc.aio.AioRpcError) as err:
                self._tally.errors[f"{name}: {type(err).__name__}: {str(err)[:200]}"] += 1
            self._tally.sent[name] += 1
            # Behind its time, it goes on from now: a slow server is not to be flooded.
            next_s = max(next_s + interval_s, loop.time())

    async def _post(self, path: str, content: bytes, status: int, **headers: str) -> bytes:
        answer = await self._http.post(path, content=content, headers=headers)
        if answer.status_code != status:
            raise Unexpected(f"{answer.status_code} for {path}, expected {status}: {answer.text}")
        return answer.content

    async def _json(self) -> None:
        _check(await self._post(V2_INFER, json_body(_rows()), 200), b'"scores"')

    async def _binary(self) -> None:
        rows = _rows()
        tensor = {
            "name": "x",
            "datatype": "FP32",
            "shape": [rows, COLUMNS],
            "parameters": {"binary_data_size": rows * COLUMNS * 4},
        }
        wish = {"binary_data_output": True}
        head = json.dumps({"inputs": [tensor], "parameters": wish}).encode()
        length = {"inference-header-content-length": str(len(head))}
        _check(await self._post(V2_INFER, head + raw(rows), 200, **length), b'"scores"')

    async def _v1(self) -> None:
        body = json.dumps({"instances": [[1.0] * COLUMNS] * _rows()}).encode()
        _check(await self._post("/v1/models/digits:predict", body, 200), b'"predictions"')

    async def _predict(self) -> None:
        body = json.dumps({"inputs": [[1.0] * COLUMNS] * _rows()}).encode()
        _check(await self._post("/predict", body, 200), b'"prediction"')

    async def _bad(self) -> None:
        bad = random.choice([b"{", b"[" * 5000, json_body(1)[:-9], b'{"inputs": 1}', b"\xff"])
        _check(await self._post(V2_INFER, bad, 400), b'"error"')

    async def _unknown(self) -> None:
        path = f"/v2/models/m{random.randrange(10**9)}/infer"
        _check(await self._post(path, json_body(1), 404), b'"error"')

    async def _unary(self) -> None:
        answer = pb.ModelInferResponse.FromString(await self._call(self._channel, message(_rows())))
        if answer.outputs[0].name != "scores":
            raise Unexpected(f"outputs {answer.outputs}")

    async def _call(self, channel: grpc.aio.Channel, content: bytes) -> bytes:
        send: Unary = channel.unary_unary(f"{_SERVICE}/ModelInfer")
        found: bytes = await send(content, timeout=30)
        return found

    async def _stream(self) -> None:
        send: Stream = self._channel.stream_stream(f"{_SERVICE}/ModelStreamInfer")
        sent = [message(_rows()), b"\xff", message(_rows())]
        answers = [pb.ModelStreamInferResponse.FromString(found)
                   async for found in send(iter(sent), timeout=30)]  # fmt: skip
        if [bool(answer.error_message) for answer in answers] != [False, True, False]:
            raise Unexpected(f"{len(answers)} answers to a stream of 3")

    async def _bad_call(self) -> None:
        try:
            await self._call(self._channel, random.choice([b"\xff", message(1)[:-7], b""]))
        except grpc.aio.AioRpcError as err:
            if err.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND):
                return
            raise
        raise Unexpected("a bad message was answered")

    async def _hung_up(self) -> None:
        address = httpx.URL(self._url)
        reader, writer = await asyncio.open_connection(address.host, address.port)
        body = json_body(64)
        head = f"POST {V2_INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        whole = head.encode() + body
        writer.write(whole[: random.randrange(len(whole) + 1)])
        with suppress(ConnectionError):
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        reader.feed_eof()

    async def _cancelled(self) -> None:
        send: Stream = self._channel.stream_stream(f"{_SERVICE}/ModelStreamInfer")
        call = send(iter([message(64)] * 8), timeout=30)
        with suppress(asyncio.CancelledError):
            await call.read()
            call.cancel()
            await call.code()

    async def _new_connection(self) -> None:
        async with httpx.AsyncClient(base_url=self._url, trust_env=False) as client:
            answer = await client.post(V2_INFER, content=json_body(1))
        if answer.status_code != 200:
            raise Unexpected(f"{answer.status_code} on a new connection")

    async def _new_channel(self) -> None:
        own = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(self._address, options=own) as channel:
            await self._call(channel, message(1))


def _rows() -> int:
    """Mostly small, sometimes not: arenas grow by the largest."""
    return random.choice([1, 1, 1, 2, 4, 16, 256])


def _check(body: bytes, expected: bytes) -> None:
    if expected not in body:
        raise Unexpected(f"{body[:100]!r} has no {expected!r}")


def raw(rows: int) -> bytes:
    """A tensor of ones."""
    return struct.pack("<f", 1) * (rows * COLUMNS)


def json_body(rows: int) -> bytes:
    """A V2 request in JSON."""
    data = [1.0] * (rows * COLUMNS)
    tensor = {"name": "x", "datatype": "FP32", "shape": [rows, COLUMNS], "data": data}
    return json.dumps({"inputs": [tensor]}).encode()


def message(rows: int) -> bytes:
    """A V2 request as a protocol buffer."""
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[rows, COLUMNS])
    sent = pb.ModelInferRequest(
        model_name="digits", inputs=[tensor], raw_input_contents=[raw(rows)]
    )
    found: bytes = sent.SerializeToString()
    return found
