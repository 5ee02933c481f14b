"""The hot path: `POST /v2/models/{m}[/versions/{v}]/infer` as raw ASGI, ahead of FastAPI.

A framework's request path costs more than the whole answer of a small model. Everything else of
the REST surface is in `rest.py`.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from slipway_runtime.errors import InferenceFailed, ServingError, shown
from slipway_runtime.inference.dataplane import DataPlane
from slipway_runtime.inference.request import InferenceRequest
from slipway_runtime.monitoring.metrics import Metrics
from slipway_runtime.protocols import codec_json
from slipway_runtime.protocols.body import BodyBudget, BodyLimit, ClientGone, discard
from slipway_runtime.protocols.wire import REJECTIONS, RETRY_AFTER_S, error_body, status_of

log: Final = logging.getLogger(__name__)

PROTOCOL: Final = "rest"
_THREAD_ABOVE_BYTES: Final = 256 * 1024
"""Larger bodies are parsed in a thread: they would hold the loop for milliseconds."""
_LINGER_BYTES: Final = 64 * 2**20
_LINGER_S: Final = 2.0


class Target(NamedTuple):
    """The model and version that a path names."""

    model: str
    version: str | None


class InferEndpoint:
    """Answers inference requests, and passes every other path on."""

    def __init__(
        self, dataplane: DataPlane, metrics: Metrics, *, budget: BodyBudget, rest: ASGIApp
    ) -> None:
        config = dataplane.config
        self._dataplane: Final = dataplane
        self._metrics: Final = metrics
        self._budget: Final = budget
        self._rest: Final = rest
        self._limit: Final = BodyLimit(
            config.serving.json_limit_bytes, config.serving.request_timeout_s
        )
        # One: parsing holds the GIL, and each parse holds a few times its body.
        self._decoder: Final = ThreadPoolExecutor(1, "decode")
        usual = Target(config.name, None)
        # The paths that clients really send are found without taking them apart.
        self._known: Final = {
            f"/v2/models/{quote(config.name)}/infer".encode(): usual,
            f"/v2/models/{quote(config.name)}/versions/{dataplane.version}/infer".encode(): usual,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        target = None
        if scope["type"] == "http":
            target = self._known.get(scope["raw_path"]) or infer_target(scope["raw_path"])
        if target is None:
            await self._rest(scope, receive, send)
        elif scope["method"] == "POST":
            await self._answer(target, scope, receive, send)
        else:
            await _refuse_verb(scope, receive, send)

    async def _answer(self, target: Target, scope: Scope, receive: Receive, send: Send) -> None:
        begun_s = perf_counter()
        body, error, is_read = b"", None, False
        try:
            with self._budget.hold(self._limit.announced(scope)):
                request = await self._limit.read(receive)
                is_read = True
                body = await self._infer(target, request)
        except ClientGone:
            return
        except ServingError as err:
            error = err
        except Exception as err:
            log.exception("inference request failed", extra={"model": self._dataplane.config.name})
            error = InferenceFailed(
                f"internal error ({type(err).__name__}); the server's log has the cause"
            )
        status = 200 if error is None else status_of(error)
        self._count(status, error, perf_counter() - begun_s)
        await _send(
            send, receive, status, body if error is None else error_body(str(error)), is_read
        )

    async def _infer(self, target: Target, body: bytes) -> bytes:
        self._dataplane.check_name(*target)
        request = await self._decoded(body)
        response = await self._dataplane.infer(request)
        return codec_json.encode(
            response, model_name=self._dataplane.config.name, model_version=self._dataplane.version
        )

    async def _decoded(self, body: bytes) -> InferenceRequest:
        signature = self._dataplane.signature
        if len(body) <= _THREAD_ABOVE_BYTES:
            return codec_json.decode(body, signature)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._decoder, codec_json.decode, body, signature)

    def _count(self, status: int, error: ServingError | None, duration_s: float) -> None:
        self._metrics.answered(PROTOCOL, status, duration_s)
        if error is not None and status in REJECTIONS:
            self._metrics.rejected(type(error).__name__)


def infer_target(raw_path: bytes) -> Target | None:
    """Tell which model an inference path names; None for every other path.

    Splits before it decodes, so that an encoded slash stays inside a name.

    >>> infer_target(b"/v2/models/a%2Fb/versions/3/infer")
    Target(model='a/b', version='3')
    """
    parts = raw_path.split(b"/")
    if len(parts) not in (5, 7) or parts[:3] != [b"", b"v2", b"models"] or parts[-1] != b"infer":
        return None
    if len(parts) == 7 and parts[4] != b"versions":
        return None
    version = _decoded_part(parts[5]) if len(parts) == 7 else None
    return Target(_decoded_part(parts[3]), version)


def _decoded_part(part: bytes) -> str:
    return unquote(part.decode("latin-1"), errors="replace")


async def _refuse_verb(scope: Scope, receive: Receive, send: Send) -> None:
    body = error_body(f"path {shown(scope['path'])}: got {scope['method']}, expected POST")
    await send(_start(405, body, (b"allow", b"POST")))
    await send({"type": "http.response.body", "body": body})


def _start(status: int, body: bytes, *extra: tuple[bytes, bytes]) -> Message:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *extra,
    ]
    if status in RETRY_AFTER_S:
        headers.append((b"retry-after", b"%d" % RETRY_AFTER_S[status]))
    return {"type": "http.response.start", "status": status, "headers": headers}


async def _send(send: Send, receive: Receive, status: int, body: bytes, is_read: bool) -> None:
    if is_read:
        await send(_start(status, body))
        await send({"type": "http.response.body", "body": body})
        return
    # Answered before the body is read: what follows on the connection is no request, so close it,
    # but read on a little, or the client gets a reset instead of the answer.
    await send(_start(status, body, (b"connection", b"close")))
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await discard(receive, at_most_bytes=_LINGER_BYTES, at_most_s=_LINGER_S)
    await send({"type": "http.response.body", "body": b""})
