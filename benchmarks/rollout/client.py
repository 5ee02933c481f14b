"""The load: a program inside the node's network that asks at a steady rate and notes every answer.

`python -m benchmarks.rollout.client PLAN` with a plan as JSON (`Plan`). One line of JSON for each
request: when it was sent and answered, over which wire, by which revision, and how it ended.
Requests leave on time whatever became of those before (open loop); no more than `_OPEN` are open.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, TextIO, TypeAlias

import aiohttp
import grpc
import grpc.aio

from benchmarks.rollout.versions import COLUMNS
from slipway_runtime.protocols.proto import open_inference_pb2 as pb

REVISION: Final = "x-model-revision"
_METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"
_TIMEOUT_S: Final = 10.0
_OPEN: Final = 200
_CHANNELS: Final = 4

Answer: TypeAlias = tuple[str, str]
"""Revision, empty where nobody told it; and `ok`, or what went wrong."""
Unary: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to ask, where and how often."""

    model: str
    rest: str
    """URL up to the path."""
    grpc: str
    """HOST:PORT."""
    host: str
    """The name that a gateway routes by; empty where there is none."""
    rates: dict[str, float]
    """Requests per second by wire: `rest-new`, `rest-kept`, `grpc`."""

    def json(self) -> str:
        """The plan as an argument."""
        return json.dumps(asdict(self))


class Client:
    """All wires of one plan; made inside of the loop that runs it."""

    def __init__(self, plan: Plan, out: TextIO) -> None:
        self._plan, self._out = plan, out
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        self._new = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True, limit=0), timeout=timeout
        )
        self._kept = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60), timeout=timeout
        )
        own: list[tuple[str, Any]] = [("grpc.use_local_subchannel_pool", 1)]
        own += [("grpc.default_authority", plan.host)] if plan.host else []
        self._channels = [
            grpc.aio.insecure_channel(plan.grpc, options=own) for _ in range(_CHANNELS)
        ]
        self._wires: dict[str, Callable[[list[float]], Awaitable[Answer]]] = {
            "rest-new": lambda row: self._post(self._new, row),
            "rest-kept": lambda row: self._post(self._kept, row),
            "grpc": self._call,
        }

    async def run(self, over: asyncio.Event) -> None:
        """Ask until it is over, and wait for the answers that are due."""
        async with asyncio.TaskGroup() as tasks:
            for wire, rate in self._plan.rates.items():
                if rate:
                    tasks.create_task(self._repeat(wire, 1 / rate, over))
        await self._new.close()
        await self._kept.close()
        for channel in self._channels:
            await channel.close()

    async def _repeat(self, wire: str, pause_s: float, over: asyncio.Event) -> None:
        due_s = time.monotonic() + random.uniform(0, pause_s)
        limit = asyncio.Semaphore(_OPEN)
        async with asyncio.TaskGroup() as asked:
            while not over.is_set():
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                due_s += pause_s
                await limit.acquire()
                task = asked.create_task(self._ask(wire))
                task.add_done_callback(lambda _: limit.release())

    async def _ask(self, wire: str) -> None:
        row = [random.random() for _ in range(COLUMNS)]
        sent_s = time.time()
        began_s = time.monotonic()
        revision, outcome = await self._wires[wire](row)
        took_s = time.monotonic() - began_s
        line = [round(sent_s, 4), round(took_s, 5), wire, revision, outcome]
        self._out.write(json.dumps(line) + "\n")

    async def _post(self, session: aiohttp.ClientSession, row: list[float]) -> Answer:
        url = f"{self._plan.rest}/v2/models/{self._plan.model}/infer"
        headers = {"Host": self._plan.host} if self._plan.host else {}
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, COLUMNS], "data": row}
        try:
            async with session.post(url, json={"inputs": [tensor]}, headers=headers) as answer:
                await answer.read()
                outcome = "ok" if answer.status == 200 else str(answer.status)
                return answer.headers.get(REVISION, ""), outcome
        except (aiohttp.ClientError, TimeoutError) as error:
            return "", type(error).__name__

    async def _call(self, row: list[float]) -> Answer:
        values = pb.InferTensorContents(fp32_contents=row)
        tensor = pb.ModelInferRequest.InferInputTensor(
            name="x", datatype="FP32", shape=[1, COLUMNS], contents=values
        )
        sent = pb.ModelInferRequest(model_name=self._plan.model, inputs=[tensor])
        send: Unary = random.choice(self._channels).unary_unary(_METHOD)
        call = send(sent.SerializeToString(), timeout=_TIMEOUT_S)
        try:
            await call
        except grpc.aio.AioRpcError as error:
            return _revision([*(error.trailing_metadata() or ())]), error.code().name
        return _revision([*await call.trailing_metadata()]), "ok"


def _revision(metadata: list[Any]) -> str:
    return next((str(value) for key, value in metadata if key == REVISION), "")


async def main(plan: Plan) -> None:
    """Ask until the program is told to end."""
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    await Client(plan, sys.stdout).run(over)


if __name__ == "__main__":
    asyncio.run(main(Plan(**json.loads(sys.argv[1]))))
