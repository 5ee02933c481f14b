"""One request to a server, by clients that are not the load tools: is it there, is it right."""

from __future__ import annotations

import http.client
import time
from dataclasses import dataclass
from typing import Final

import grpc

from benchmarks.runtime.errors import NotAvailable
from benchmarks.runtime.launches import Ports, Server
from benchmarks.runtime.processes import Processes
from benchmarks.runtime.workloads import (
    Tensors,
    Wire,
    answer,
    difference,
    grpc_answer,
    grpc_message,
    request,
)
from slipway_runtime.protocols.proto import open_inference_pb2 as pb

START_TIMEOUT_S: Final = 90.0

_REQUEST_TIMEOUT_S: Final = 20.0
_POLL_S: Final = 0.005
_METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"


@dataclass(frozen=True, slots=True)
class Reply:
    """What one HTTP request was answered."""

    status: int
    body: bytes
    headers: dict[str, str]


def wait_for_first_answers(server: Server, ports: Ports, processes: Processes) -> float:
    """Ask until every model has been answered with 200; seconds since the start.

    Raises:
        NotAvailable: the server ended, or did not answer in time.
    """
    wire: Wire = "plain" if server.is_plain else "json"
    # The naive servers have no second input: their minilm is loaded, and not asked.
    asked = [model for model in server.models if not (server.is_plain and model == "minilm")]
    for model in asked:
        while (status := _status(ports, model, wire)) != 200:
            processes.require_alive()
            if time.monotonic() - processes.started > START_TIMEOUT_S:
                raise NotAvailable(f"{model}: no 200 in {START_TIMEOUT_S:.0f} s, but {status}")
            # Nothing tells when a foreign server is ready; the wait is below what is measured.
            time.sleep(_POLL_S)
    return time.monotonic() - processes.started


def check(ports: Ports, model: str, wire: Wire, expected: Tensors) -> int:
    """Compare a server's answer with ONNX Runtime's own; the answer's size in bytes.

    Raises:
        NotAvailable: another status, or other numbers.
    """
    try:
        found, size = _grpc(ports, model) if wire == "grpc" else _http(ports, model, wire)
    except (OSError, grpc.RpcError, http.client.HTTPException, ValueError, KeyError) as err:
        raise NotAvailable(f"{model} over {wire}: {_short(err)}") from err
    if differs := difference(found, expected):
        raise NotAvailable(f"{model} over {wire}: {differs}")
    return size


def _http(ports: Ports, model: str, wire: Wire) -> tuple[Tensors, int]:
    reply = _ask(ports, model, wire)
    if reply.status != 200:
        raise NotAvailable(f"{model} over {wire}: HTTP {reply.status}: {reply.body[:200]!r}")
    return answer(wire, reply.body, reply.headers), len(reply.body)


def _grpc(ports: Ports, model: str) -> tuple[Tensors, int]:
    with grpc.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
        infer = channel.unary_unary(
            _METHOD,
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=bytes,
        )
        raw = infer(grpc_message(model), timeout=_REQUEST_TIMEOUT_S, wait_for_ready=True)
    return grpc_answer(pb.ModelInferResponse.FromString(raw)), len(raw) + 5


def _status(ports: Ports, model: str, wire: Wire) -> int | None:
    try:
        return _ask(ports, model, wire).status
    except (OSError, http.client.HTTPException):
        return None


def _ask(ports: Ports, model: str, wire: Wire) -> Reply:
    asked = request(model, wire)
    connection = http.client.HTTPConnection("127.0.0.1", ports.http, timeout=_REQUEST_TIMEOUT_S)
    try:
        connection.request("POST", asked.path, asked.body, dict(asked.headers))
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, response.read(), headers)
    finally:
        connection.close()


def _short(err: Exception) -> str:
    if isinstance(err, grpc.Call):
        return f"{err.code().name}: {err.details()}"
    return f"{type(err).__name__}: {err}"
