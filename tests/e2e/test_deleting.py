"""The end of a ModelDeployment."""

from __future__ import annotations

import json
import socket
from typing import Final

import numpy as np

from tests.e2e.files import multiplier, request
from tests.e2e.models import Models
from tests.kubeapi import Manifest, eventually

_HOLD: Final = "slipway.dev/e2e-hold"
_HTTP_PORT: Final = 8080
_ROW: Final = np.array([[1.0, 2.0]], dtype=np.float32)


def test_deleting_answers_what_was_begun_and_leaves_nothing_behind(models: Models) -> None:
    models.serve(multiplier(2), replicas=2)
    pods = models.pods()
    for pod in pods:  # held, so that their last status can be read
        _hold(models, pod, [_HOLD])
    address = pods[0]["status"]["podIP"]
    head, rest = _halves(json.dumps(request(_ROW)).encode())
    with socket.create_connection((address, _HTTP_PORT), timeout=30) as begun:
        begun.sendall(head)
        models.kubectl("delete", "mdep", "m", "--wait=false")
        eventually(lambda: not _accepts(address), "the pod accepts no more", timeout_s=30)
        begun.sendall(rest)
        answer = _read(begun)
    assert answer.startswith(b"HTTP/1.1 200 OK"), answer
    assert b'"data":[2.0,4.0]' in answer
    ended = eventually(lambda: _exits(models), "both pods have ended", timeout_s=60)
    assert ended == [0, 0]
    for pod in pods:
        _hold(models, pod, [])
    eventually(lambda: not models.versions(), "nothing is owned any more", timeout_s=30)
    eventually(lambda: not models.api.find("Pod", models.namespace), "no pod", timeout_s=30)


def _hold(models: Models, pod: Manifest, finalizers: list[str]) -> None:
    patch = {"metadata": {"finalizers": finalizers or None}}
    models.api.merge("Pod", models.namespace, pod["metadata"]["name"], patch)


def _halves(body: bytes) -> tuple[bytes, bytes]:
    lines = [
        b"POST /v2/models/m/infer HTTP/1.1",
        b"Host: m",
        b"Content-Type: application/json",
        b"Content-Length: %d" % len(body),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body[:10], body[10:]


def _accepts(address: str) -> bool:
    try:
        socket.create_connection((address, _HTTP_PORT), timeout=2).close()
    except OSError:
        return False
    return True


def _read(connection: socket.socket) -> bytes:
    """Everything until the server closes the connection, which it announces while it drains."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def _exits(models: Models) -> list[int] | None:
    """Exit statuses of the serving containers, once all have ended."""
    states = [
        c["state"].get("terminated")
        for pod in models.pods()
        for c in pod["status"]["containerStatuses"]
    ]
    return [s["exitCode"] for s in states if s] if all(states) else None
