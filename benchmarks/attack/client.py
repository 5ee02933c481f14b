"""The good client: requests at a steady rate, on connections that stay.

A request that is due while the one before it waits is late, and its latency counts from when it was
due: else a server that stalls for a second would be measured once, and not a hundred times.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from typing import Final

from benchmarks.attack.verdict import Turns
from slipway_runtime.protocols.proto import open_inference_pb2 as pb
from tests.unit.runtime.hostile import Reply, connected_to, received, request
from tests.unit.runtime.http2 import PREFACE, Peer, call, settings, window_update

INTERVAL_S: Final = 0.01
_ROW: Final = [1.0]
_TENSOR: Final = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": _ROW}
REST: Final = request(body=json.dumps({"inputs": [_TENSOR]}).encode())
REQUEST: Final[bytes] = pb.ModelInferRequest(
    model_name="digits",
    inputs=[pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, 1])],
    raw_input_contents=[b"\x00\x00\x80\x3f"],
).SerializeToString()


class RestClient:
    """V2 over REST."""

    name: Final = "REST"

    def __init__(self, address: str) -> None:
        self._address: Final = address
        self._sock: socket.socket | None = None

    def ask(self) -> bool:
        """One inference; whether it was answered as it should be."""
        if self._sock is None:
            self._sock = connected_to(self._address, 10)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock.sendall(REST)
        reply: Reply = received(self._sock)
        if reply.headers.get("connection") == "close":
            self.close()
        return reply.status == 200

    def close(self) -> None:
        """Begin anew with the next one."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None


class GrpcClient:
    """V2 over gRPC, by hand: a library's threads would be measured with the server."""

    name: Final = "gRPC"

    def __init__(self, address: str) -> None:
        self._address: Final = address
        self._peer: Peer | None = None
        self._stream = 1

    def ask(self) -> bool:
        """One inference; whether it was answered as it should be."""
        if self._peer is None:
            sock = connected_to(self._address, 10)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._peer, self._stream = Peer(sock), 1
            # A window for all it will ever be sent.
            self._peer.send(PREFACE + settings() + window_update(0, 2**30))
        self._peer.send(call(self._stream, REQUEST))
        answer = self._peer.until_ended(self._stream)
        del self._peer.streams[self._stream]
        self._stream += 2
        is_good = answer.status == 0
        if self._peer.goaway is not None or self._peer.is_closed:
            self.close()
        return is_good

    def close(self) -> None:
        """Begin anew with the next one."""
        if self._peer is not None:
            self._peer.sock.close()
            self._peer = None


def measure(ask: Callable[[], bool], close: Callable[[], None], duration_s: float) -> Turns:
    """Ask for so long; what is not answered well within seconds is a failure."""
    latencies: list[float] = []
    failures = 0
    due_s = time.perf_counter()
    end_s = due_s + duration_s
    while due_s < end_s:
        # The rate is part of what is asked: an early request would find less of a queue.
        time.sleep(max(0.0, due_s - time.perf_counter()))
        try:
            is_good = ask()
        except (OSError, AssertionError):
            is_good = False
            close()
        latencies.append(time.perf_counter() - due_s)
        failures += not is_good
        due_s += INTERVAL_S
    return Turns(latencies, failures)


def pinned(core: int) -> None:
    """Keep this process on a core."""
    os.sched_setaffinity(0, {core})
