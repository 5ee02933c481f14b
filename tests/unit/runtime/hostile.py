"""What the tests of hostile requests share: raw HTTP, and models that are easy to offend."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from tests.unit.runtime import models
from tests.unit.runtime.processes import Serving

INFER = "/v2/models/digits/infer"
ECHOED = ("FP32", "FP64", "FP16", "INT64", "INT32", "INT8", "UINT8", "UINT64", "BOOL", "BYTES")


@dataclass(frozen=True)
class Reply:
    """An answer, taken apart."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The body as strict JSON."""
        return json.loads(self.body, parse_constant=_refuse_constant)

    @property
    def error(self) -> str:
        """The message; the body holds nothing else, and is short."""
        document = self.document
        assert list(document) == ["error"], document
        assert len(self.body) <= 1024
        assert "Traceback" not in document["error"]
        assert "/site-packages/" not in document["error"]
        message: str = document["error"]
        return message


def _refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def connected(server: Serving, timeout_s: float = 30) -> socket.socket:
    return connected_to(server.url.removeprefix("http://"), timeout_s)


def connected_to(address: str, timeout_s: float = 15) -> socket.socket:
    """A connection to `host:port`."""
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout_s)


def request(
    method: str = "POST",
    path: str | bytes = INFER,
    body: bytes = b"",
    headers: tuple[tuple[str, str], ...] = (),
) -> bytes:
    """The bytes of a request, however odd."""
    target = path.encode() if isinstance(path, str) else path
    lines = [method.encode() + b" " + target + b" HTTP/1.1", b"Host: x"]
    names = {name.lower() for name, _ in headers}
    if not names & {"content-length", "transfer-encoding"}:
        lines.append(b"Content-Length: %d" % len(body))
    lines += [f"{name}: {value}".encode("latin-1") for name, value in headers]
    return b"\r\n".join([*lines, b"", body])


def received(sock: socket.socket, method: str = "POST") -> Reply:
    """Read one answer."""
    answer = http.client.HTTPResponse(sock, method=method)
    answer.begin()
    found = Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    answer.close()
    return found


def asked(server: Serving, raw: bytes, method: str = "POST") -> Reply:
    """Send bytes on a connection of their own; read one answer."""
    with connected(server) as sock:
        # It may be refused before it was all sent; the answer is there.
        with suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(raw)
        return received(sock, method)


def tensor(**changes: Any) -> dict[str, Any]:
    """A good input of the model `affine`, with changes; None removes a field."""
    good = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 1, 1, 1]}
    return {key: value for key, value in {**good, **changes}.items() if value is not REMOVED}


REMOVED: Any = object()


def body(*inputs: Any, **more: Any) -> bytes:
    """A request of these inputs, one good one where none is given."""
    return json.dumps({"inputs": list(inputs or (tensor(),)), **more}).encode()


GOOD = request(body=body())
"""A request that the model `affine` answers with 18/7, 22/7 and 26/7."""


def plain(**changes: Any) -> bytes:
    return body(tensor(**changes))


def echo(**data: Any) -> bytes:
    """A request to the model `echoes`: the data of some datatypes, a 1 of every other."""
    inputs = []
    for datatype in ECHOED:
        values = data.get(datatype, ["1" if datatype == "BYTES" else 1])
        inputs.append(
            {
                "name": f"in_{datatype}",
                "datatype": datatype,
                "shape": [len(values)],
                "data": values,
            }
        )
    inputs.append({"name": "scalar", "datatype": "INT64", "shape": [], "data": [7]})
    return json.dumps({"inputs": inputs, "id": data.get("id", "e")}).encode()


def echoes() -> Any:
    """Every datatype in and out, a scalar, and a logarithm that is NaN or infinite on request."""
    nodes = [helper.make_node("Identity", [f"in_{d}"], [f"out_{d}"]) for d in ECHOED]
    nodes.append(helper.make_node("Identity", ["scalar"], ["out_scalar"]))
    nodes.append(helper.make_node("Log", ["in_FP32"], ["log"]))
    dimension = {datatype: f"n_{datatype}" for datatype in ECHOED}
    inputs = [models.tensor(f"in_{d}", d, [dimension[d]]) for d in ECHOED]
    outputs = [models.tensor(f"out_{d}", d, [dimension[d]]) for d in ECHOED]
    inputs.append(models.tensor("scalar", "INT64", []))
    outputs.append(models.tensor("out_scalar", "INT64", []))
    outputs.append(models.tensor("log", "FP32", [dimension["FP32"]]))
    return models.model_of(nodes, inputs, outputs)


def bomb() -> Any:
    """Expand a number to `n` elements: what an innocent request asks of the memory."""
    return models.model_of(
        [
            helper.make_node("Expand", ["one", "n"], ["large"]),
            helper.make_node("ReduceSum", ["large"], ["total"], keepdims=0),
        ],
        [models.tensor("n", "INT64", [1])],
        [models.tensor("total", "FP32", [])],
        [numpy_helper.from_array(np.array([1], np.float32), "one")],
    )


def slow(trips: int) -> Any:
    """The model `counting`, with so many trips on top: its warm-up on a zero takes its time."""
    model = models.counting()
    model.graph.initializer.append(numpy_helper.from_array(np.array([trips], np.int64), "trips0"))
    model.graph.node.insert(0, helper.make_node("Add", ["n", "trips0"], ["m"]))
    model.graph.node[1].input[0] = "m"
    return model


def two_rows() -> Any:
    """Fails on a value over 1e6 in the batch: a request that poisons those it runs with."""
    return models.model_of(
        [
            helper.make_node("Cast", ["x"], ["index"], to=models.ONNX_TYPES["INT64"]),
            helper.make_node("Gather", ["table", "index"], ["y"], axis=0),
        ],
        [models.tensor("x", "FP32", ["batch", 1])],
        [models.tensor("y", "FP32", ["batch", 1])],
        [numpy_helper.from_array(np.arange(100, dtype=np.float32), "table")],
    )


def resident_bytes(server: Serving) -> int:
    return _memory(server, "VmRSS")


def _memory(server: Serving, name: str) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


@contextmanager
def memory_bounded(server: Serving, mib: float) -> Iterator[None]:
    """Whatever the block does, the server's peak is at most so much above where it began."""
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")  # the peak starts anew
    before = resident_bytes(server)
    yield
    grown = (_memory(server, "VmHWM") - before) / 2**20
    assert grown < mib, f"{grown:.1f} MiB at the peak, expected less than {mib}"


@contextmanager
def answered_meanwhile(*asks: Callable[[], bool], within_s: float = 5.0) -> Iterator[None]:
    """Good clients, on connections of their own, get right answers in time all through the block.

    The bound is generous, because tests share their machine; benchmarks measure it.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(len(asks)) as pool:
        clients = [pool.submit(_slowest, ask, stop) for ask in asks]
        try:
            yield
        finally:
            stop.set()
        assert max(client.result() for client in clients) < within_s


def _slowest(ask: Callable[[], bool], stop: threading.Event) -> float:
    slowest = 0.0
    while True:
        begun = monotonic()
        assert ask()
        slowest = max(slowest, monotonic() - begun)
        if stop.wait(0.005):
            return slowest
