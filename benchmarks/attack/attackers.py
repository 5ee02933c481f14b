"""The attackers: what they send, and how often. Loopback only, and bounded.

An attack is a bounded rate of pieces of work, each with a connection of its own or shared. Rates
are those of one hostile client with a modest line, not of a botnet: against many the place to
defend is in front of the pod.
"""

from __future__ import annotations

import gzip
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import count, islice, repeat
from typing import Final

from benchmarks.attack.client import REQUEST
from tests.unit.runtime import http2
from tests.unit.runtime.hostile import connected_to, request
from tests.unit.runtime.http2 import Peer, Type, call, connection, frame, headers, message, rst

MAX_IDLE: Final = 500
JSON_LIMIT: Final = 8 * 2**20


@dataclass(frozen=True, slots=True)
class Target:
    """Where to: `host:port` of both client ports."""

    http: str
    grpc: str


@dataclass(frozen=True, slots=True)
class Attack:
    """What is done so often a second, until the attacker is ended."""

    name: str
    rate_per_s: float
    once: Callable[[Target], None]


def run(attack: Attack, target: Target, core: int) -> None:
    """Attack until the process is ended, at the attack's rate, behind everybody else's work.

    However nice it is, a normal process would keep the core for a slice of some milliseconds from a
    client that wakes up: calls that were built while others waited cost them two and a half times.
    """
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    os.sched_setaffinity(0, {core})
    next_s = time.monotonic()
    while True:
        with suppress(OSError, AssertionError):
            attack.once(target)
        # Behind its time, it goes on from now: the rate is a bound.
        next_s = max(next_s + 1 / attack.rate_per_s, time.monotonic())
        time.sleep(max(0.0, next_s - time.monotonic()))


def _sent(target: Target, raw: bytes) -> None:
    """Send a request on a connection of its own, and take what comes."""
    with connected_to(target.http, 30) as sock:
        with suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(raw)
            sock.shutdown(socket.SHUT_WR)
        while sock.recv(65_536):
            pass


def _posted(body: bytes, *more: tuple[str, str]) -> Callable[[Target], None]:
    raw = request(body=body, headers=more)
    return lambda target: _sent(target, raw)


_HELD: Final = ExitStack()
_IDLE: Final[list[socket.socket]] = []


def _slow_loris(target: Target) -> None:
    """One more connection with half a head; each gets a byte in turn, the oldest are given up."""
    sock = _HELD.enter_context(connected_to(target.http))
    sock.sendall(b"POST /v2/models/digits/infer HTTP/1.1\r\nHost: x\r\nX-A: ")
    _IDLE.append(sock)
    for each in _IDLE[-50:]:
        with suppress(OSError):
            each.sendall(b"a")
    if len(_IDLE) > MAX_IDLE:
        _IDLE.pop(0).close()


def _silent_grpc(target: Target) -> None:
    peer = _HELD.enter_context(connection(target.grpc))
    peer.hello(headers(1) + headers(3))
    _IDLE.append(peer.sock)
    if len(_IDLE) > MAX_IDLE:
        _IDLE.pop(0).close()


def _churn(target: Target) -> None:
    """A connection that asks once and goes."""
    with connected_to(target.http) as sock:
        sock.sendall(request("GET", "/v2/health/live"))
        sock.recv(4096)


def _flooded(frames: Callable[[], Iterator[bytes]], size: int) -> Callable[[Target], None]:
    def once(target: Target) -> None:
        with connection(target.grpc) as peer:
            peer.hello()
            peer.flood(islice(frames(), size))

    return once


def _resets() -> Iterator[bytes]:
    return (call(n, REQUEST) + rst(n) for n in count(1, 2))


def _pings() -> Iterator[bytes]:
    return repeat(frame(Type.PING, payload=bytes(8)))


def _settings() -> Iterator[bytes]:
    return repeat(http2.settings(window=65_535))


def _empty_data() -> Iterator[bytes]:
    yield headers(1)
    yield from repeat(frame(Type.DATA, 0, 1))


def _continuations() -> Iterator[bytes]:
    yield frame(Type.HEADERS, 0, 1, http2.block(http2.call_headers()))
    yield from repeat(frame(Type.CONTINUATION, 0, 1, bytes(1000)))


def _stalled(target: Target) -> None:
    """Calls whose answers nobody takes."""
    peer: Peer = _HELD.enter_context(connection(target.grpc))
    peer.hello(b"".join(call(n, REQUEST) for n in islice(count(1, 2), 50)), window=0)
    _IDLE.append(peer.sock)
    if len(_IDLE) > MAX_IDLE // 10:
        _IDLE.pop(0).close()


def _exploding(bomb: bytes) -> Callable[[Target], None]:
    """A message that becomes a thousand times its size."""

    def once(target: Target) -> None:
        with connection(target.grpc) as peer:
            peer.hello()
            peer.until(lambda: peer.server_settings)
            peer.send(headers(1, http2.INFER, ("grpc-encoding", "gzip")))
            peer.send_data(1, message(bomb, flag=1))
            peer.until_ended()

    return once


def _bad_call(target: Target) -> None:
    with connection(target.grpc) as peer:
        peer.hello(b"".join(call(n, b"\xff" * 50) for n in islice(count(1, 2), 20)))
        peer.until_ended(39)


def _numbers(bytes_: int) -> bytes:
    """Numbers of which the last is none: read to the end, and refused."""
    data: list[float | str] = [0.123456789] * (bytes_ // 13)
    data[-1] = "x"
    tensor = {"name": "x", "datatype": "FP32", "shape": [len(data), 1], "data": data}
    return json.dumps({"inputs": [tensor]}).encode()


def attacks() -> tuple[Attack, ...]:
    """All of them."""
    bomb = gzip.compress(bytes(64 * 2**20), 6)
    below = JSON_LIMIT - 2**16
    coded = ("Content-Encoding", "gzip")
    return (
        Attack("slow-loris, 100 conn/s", 100, _slow_loris),
        Attack("connection churn, 200/s", 200, _churn),
        Attack("small bad requests, 200/s", 200, _posted(b'{"inputs": [{"name": 1}]}')),
        Attack("8 MiB of JSON numbers, 2/s", 2, _posted(_numbers(below))),
        Attack("8 MiB of JSON lists, 2/s", 2, _posted(b'{"inputs": ' + b"[]," * (below // 3))),
        Attack("100,000 deep JSON, 20/s", 20, _posted(b"[" * 100_000)),
        Attack("gzip bombs of 64 MiB, 5/s", 5, _posted(bomb, coded)),
        Attack("gRPC rapid reset, 5 x 1,000/s", 5, _flooded(_resets, 1000)),
        Attack("gRPC pings, 5 x 5,000/s", 5, _flooded(_pings, 5000)),
        Attack("gRPC settings, 5 x 5,000/s", 5, _flooded(_settings, 5000)),
        Attack("gRPC empty DATA, 5 x 5,000/s", 5, _flooded(_empty_data, 5000)),
        Attack("gRPC CONTINUATION, 5 x 1,000/s", 5, _flooded(_continuations, 1000)),
        Attack("gRPC silent, 50 conn/s", 50, _silent_grpc),
        Attack("gRPC stalled, 5 x 50 calls/s", 5, _stalled),
        Attack("gRPC gzip bombs of 64 MiB, 5/s", 5, _exploding(bomb)),
        Attack("gRPC bad messages, 20 x 20/s", 20, _bad_call),
    )
