"""The hot path: every way of asking for an inference over HTTP, as raw ASGI ahead of any framework.

A framework's request path costs more than the whole answer of a small model. Everything else of
the REST surface is in `rest.py`; what differs between the wires is in their dialects.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Final, Protocol
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from slipway_runtime.authentication.guard import Guard
from slipway_runtime.errors import (
    RequestTooLarge,
    ServingError,
    Unauthenticated,
    shown,
)
from slipway_runtime.inference.dataplane import DataPlane
from slipway_runtime.inference.request import InferenceResponse
from slipway_runtime.inference.signature import Signature
from slipway_runtime.monitoring.exchange import Exchange
from slipway_runtime.monitoring.telemetry import CLIENT_GONE, Telemetry
from slipway_runtime.protocols.admission import Admission
from slipway_runtime.protocols.asked import Asked
from slipway_runtime.protocols.body import (
    THREAD_ABOVE_BYTES,
    BodyBudget,
    BodyLimit,
    ClientGone,
    Part,
    discard,
)
from slipway_runtime.protocols.client import Client, client_of
from slipway_runtime.protocols.compression import deflated, inflate, inflated_limit
from slipway_runtime.protocols.dialect import Answer, Dialect, Identity, Target
from slipway_runtime.protocols.envelope import CLOSE, Envelope, Headers, Stamp
from slipway_runtime.protocols.head import Head, read_head
from slipway_runtime.protocols.lane import LaneRequest, PlainHead
from slipway_runtime.protocols.patience import shortest
from slipway_runtime.protocols.predict import Plain, TorchServe
from slipway_runtime.protocols.v1 import V1
from slipway_runtime.protocols.v2 import V2
from slipway_runtime.protocols.wire import REJECTIONS, further_headers, status_of, unexpected
from slipway_runtime.units import quantity_bytes

log: Final = logging.getLogger(__name__)

_THREAD_ABOVE_ELEMENTS: Final = THREAD_ABOVE_BYTES // 8
_LINGER_BYTES: Final = 64 * 2**20
_LINGER_S: Final = 2.0
_UNAUTHENTICATED: Final = status_of(Unauthenticated())
_JSON: Final = (b"content-type", b"application/json")
_BINARY: Final = (b"content-type", b"application/octet-stream")
_DIALECTS: Final[tuple[Dialect, ...]] = (V2(), V1(), Plain(), TorchServe())


class Counter(Protocol):
    """Who counts requests: `Metrics`, or nobody."""

    def answered(self, protocol: str, code: int, duration_s: float) -> None:
        """An inference request was answered."""

    def rejected(self, reason: str) -> None:
        """One was turned away."""


class Uncounted:
    """Counts nothing: what people try out on the admin port is no traffic."""

    def answered(self, protocol: str, code: int, duration_s: float) -> None:
        """Forget it."""

    def rejected(self, reason: str) -> None:
        """Forget it."""


class InferEndpoint:
    """Answers inference requests, and passes every other path on."""

    def __init__(
        self,
        dataplane: DataPlane,
        metrics: Counter,
        *,
        budget: BodyBudget,
        rest: ASGIApp,
        telemetry: Telemetry,
        guard: Guard | None = None,
    ) -> None:
        """Prepare.

        Args:
            dataplane: what answers.
            metrics: what counts.
            budget: of bodies in flight.
            rest: gets every other path.
            telemetry: logs and traces.
            guard: who admits requests, those to `rest` too; None for everybody's.
        """
        config = dataplane.config
        serving = config.serving
        self._dataplane: Final = dataplane
        self._metrics: Final = metrics
        self._budget: Final = budget
        self._stamp: Final = Stamp(dataplane)
        self.guard: Final = guard
        inner = Envelope(rest, self._stamp)
        self._rest: Final[ASGIApp] = inner if guard is None else Admission(inner, guard)
        self._telemetry: Final = telemetry
        self._identity: Final = Identity(config.name, dataplane.version)
        self.body_timeout_s = serving.request_timeout_s
        self._json_limit: Final = BodyLimit(serving.json_limit_bytes, serving.request_timeout_s)
        self._binary_limit: Final = BodyLimit(
            quantity_bytes(serving.max_request_bytes),
            serving.request_timeout_s,
            "serving.maxRequestBytes",
        )
        # One: parsing holds the GIL, and each parse holds a few times its body.
        self._codec: Final = ThreadPoolExecutor(1, "codec")
        v2, usual = _DIALECTS[0], Target(config.name)
        versioned = Target(config.name, dataplane.version)
        base = f"/v2/models/{quote(config.name)}"
        # The paths that clients really send are found without taking them apart.
        self._known: Final[Mapping[bytes, tuple[Dialect, Target]]] = {
            f"{base}/infer".encode(): (v2, usual),
            f"{base}/versions/{dataplane.version}/infer".encode(): (v2, versioned),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        found = None
        if scope["type"] == "http":
            found = self._known.get(scope["raw_path"]) or _found(scope["raw_path"])
        if found is None:
            await self._rest(scope, receive, send)
            return
        dialect, target = found
        # One that has no credentials is told so, whatever else is wrong with it.
        is_ours = scope["method"] in dialect.verbs
        if is_ours or (self.guard is not None and not self.guard.admits(scope["headers"])):
            await self._answer(dialect, target, scope, receive, send)
        else:
            await self._refuse_verb(scope, send, dialect)

    async def _refuse_verb(self, scope: Scope, send: Send, dialect: Dialect) -> None:
        allowed = ", ".join(dialect.verbs)
        message = f"path {shown(scope['path'])}: got {scope['method']}, expected {allowed}"
        answer = Answer(dialect.refusal(405, "MethodNotAllowed", message))
        await send(self._start(405, answer, [(b"allow", allowed.encode())]))
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(
        self, dialect: Dialect, target: Target, scope: Scope, receive: Receive, send: Send
    ) -> None:
        exchange = self._telemetry.begin(
            dialect.label, dialect.route(target), scope["headers"], verb=scope["method"]
        )
        client = client_of(scope)
        answer, head, error, body, is_read = Answer(b""), Head(), None, b"", False
        try:
            if self.guard is not None:
                self.guard.check(scope["headers"])
            head = read_head(scope)
            limit = self._limit(dialect, head)
            held = limit.announced(scope)
            if head.coding:
                held = inflated_limit(held, limit.max_bytes)
            with self._budget.hold(held):
                body = await limit.read(receive)
                is_read = True
                if client is not None:
                    client.watch()
                answer = await self._infer(dialect, target, head, body, limit, exchange)
        except (ClientGone, asyncio.CancelledError) as err:
            if isinstance(err, asyncio.CancelledError) and not _is_hung_up(client):
                raise
            self._left(exchange, len(body))
            return
        except Exception as err:  # noqa: BLE001  # told, and logged where it is a bug
            error = self._explained(err)
        if client is not None:
            client.unwatch()
        status, answer, extra = self._concluded(dialect, exchange, answer, error, len(body))
        if error is None and head.answer_coding:
            coding = head.answer_coding
            answer = await self._compressed(answer, coding)
            extra = [(b"content-encoding", coding.encode())]
        if not is_read:
            await self._refuse_unread(send, receive, status, answer, extra)
        elif client is None or not client.answer(
            status,
            _block(answer, extra) + self._stamp.block(exchange.revision),
            answer.body,
            is_last=self._stamp.is_last,
        ):
            await send(self._start(status, answer, extra, exchange.revision))
            await send({"type": "http.response.body", "body": answer.body})

    def takes(self, target: bytes) -> bool:
        """Whether a target is one of those that clients really send."""
        return target in self._known

    def allows(self, head: PlainHead) -> bool:
        """Whether a body of this size would be read."""
        return head.length <= self._size_limit(is_json=head.json_bytes is None).max_bytes

    async def serve(self, request: LaneRequest) -> None:
        """Answer a request that came the short way."""
        dialect, target = self._known[request.head.target]
        exchange = self._telemetry.begin(
            dialect.label, dialect.route(target), request.head.headers, verb="POST"
        )
        body, head = request.body, Head(json_bytes=request.head.sizes.json_bytes)
        answer, error = Answer(b""), None
        try:
            limit = self._size_limit(is_json=head.json_bytes is None)
            self._budget.take(len(body))
            try:
                answer = await self._infer(dialect, target, head, body, limit, exchange)
            finally:
                self._budget.give(len(body))
        except asyncio.CancelledError:
            if not request.is_gone:
                raise
            self._left(exchange, len(body))
            return
        except Exception as err:  # noqa: BLE001  # told, and logged where it is a bug
            error = self._explained(err)
        status, answer, extra = self._concluded(dialect, exchange, answer, error, len(body))
        block = _block(answer, extra) + self._stamp.block(exchange.revision)
        request.reply(status, block, answer.body, is_last=self._stamp.is_last)

    def _left(self, exchange: Exchange, bytes_in: int) -> None:
        """Nobody waits for the answer any more."""
        gone = ClientGone.__name__
        self._metrics.rejected(gone)
        self._telemetry.end(exchange, CLIENT_GONE, error=gone, bytes_in=bytes_in)

    def _explained(self, err: Exception) -> ServingError:
        """What a client is told of a failure."""
        if isinstance(err, ServingError):
            # Its frames hold the body, which is no longer counted while we linger.
            return err.with_traceback(None)
        log.error(
            "inference request failed",
            extra={"model": self._dataplane.config.name},
            exc_info=err,
        )
        return unexpected(err)

    def _concluded(
        self,
        dialect: Dialect,
        exchange: Exchange,
        answer: Answer,
        error: ServingError | None,
        bytes_in: int,
    ) -> tuple[int, Answer, Headers]:
        """Count and log a request; its status, what is sent, and further headers."""
        took_s = perf_counter() - exchange.begun_s
        if error is None:
            self._metrics.answered(dialect.label, 200, took_s)
            self._telemetry.end(exchange, 200, bytes_in=bytes_in, bytes_out=len(answer.body))
            return 200, answer, []
        status, kind = status_of(error), type(error).__name__
        self._metrics.answered(dialect.label, status, took_s)
        if status in REJECTIONS:
            self._metrics.rejected(kind)
        answer = Answer(dialect.refusal(status, kind, str(error)))
        self._telemetry.end(
            exchange, status, error=kind, bytes_in=bytes_in, bytes_out=len(answer.body)
        )
        return status, answer, further_headers(status, error)

    def _limit(self, dialect: Dialect, head: Head) -> BodyLimit:
        model = self._dataplane.loaded
        is_file = model is not None and dialect.is_file(head, model.signature)
        return self._size_limit(is_json=head.json_bytes is None and not is_file)

    def _size_limit(self, *, is_json: bool) -> BodyLimit:
        return self._json_limit if is_json else self._binary_limit

    async def _compressed(self, answer: Answer, coding: str) -> Answer:
        if len(answer.body) <= THREAD_ABOVE_BYTES:
            return Answer(deflated(answer.body, coding), answer.json_bytes)
        loop = asyncio.get_running_loop()
        body = await loop.run_in_executor(self._codec, deflated, answer.body, coding)
        return Answer(body, answer.json_bytes)

    def _start(
        self, status: int, answer: Answer, extra: Headers, revision: str | None = None
    ) -> Message:
        headers = [*_headers(answer), *extra]
        if status != _UNAUTHENTICATED:  # who serves what is for those who may ask
            headers += self._stamp.headers(revision)
        if self._stamp.is_last:
            headers.append(CLOSE)
        return {"type": "http.response.start", "status": status, "headers": headers}

    async def _refuse_unread(
        self, send: Send, receive: Receive, status: int, answer: Answer, extra: Headers
    ) -> None:
        """Answer before the body is read.

        What follows on the connection is no request, so close it, but read on a little, or the
        client gets a reset instead of the answer.
        """
        await send(self._start(status, answer, [*extra, CLOSE]))
        await send({"type": "http.response.body", "body": answer.body, "more_body": True})
        await discard(receive, at_most_bytes=_LINGER_BYTES, at_most_s=_LINGER_S)
        await send({"type": "http.response.body", "body": b""})

    async def _infer(
        self,
        dialect: Dialect,
        target: Target,
        head: Head,
        body: Part,
        limit: BodyLimit,
        exchange: Exchange,
    ) -> Answer:
        if target.model is not None:
            self._dataplane.check_name(target.model, target.version)
        with self._dataplane.using() as model:
            exchange.revision = model.origin.revision
            asked = await self._decoded(dialect, head, body, limit, model.signature)
            exchange.id = asked.request.id
            timeout_s = shortest(head.timeout_s, asked.timeout_s)
            if timeout_s is not None:
                timeout_s -= perf_counter() - exchange.begun_s
            response = await model.infer(asked.request, timeout_s=timeout_s, timing=exchange.timing)
        return await self._encoded(dialect, response, asked)

    async def _decoded(
        self, dialect: Dialect, head: Head, body: Part, limit: BodyLimit, signature: Signature
    ) -> Asked:
        def decode() -> Asked:
            if not head.coding:
                return dialect.decode(body, head, signature)
            content = inflate(bytes(body), head.coding, limit.max_bytes)
            return dialect.decode(content, head, signature)

        # One that is larger than its own body is wrong, and not too large: the codec says so.
        if (
            head.json_bytes is not None
            and head.json_bytes > self._json_limit.max_bytes
            and (head.coding is not None or head.json_bytes <= len(body))
        ):
            raise RequestTooLarge(
                f"inference-header-content-length: got {head.json_bytes}, expected at most "
                f"{self._json_limit.max_bytes}; serving.maxJSONBytes sets the limit"
            )
        if head.coding is None and (
            len(body) <= THREAD_ABOVE_BYTES or _is_numbers(head, signature)
        ):
            return decode()
        return await asyncio.get_running_loop().run_in_executor(self._codec, decode)

    async def _encoded(self, dialect: Dialect, response: InferenceResponse, asked: Asked) -> Answer:
        elements = sum(tensor.size for _, tensor in response.outputs)
        if elements <= _THREAD_ABOVE_ELEMENTS or all(form.is_binary for form in asked.forms):
            return dialect.encode(response, asked, self._identity)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._codec, dialect.encode, response, asked, self._identity
        )


def _found(raw_path: bytes) -> tuple[Dialect, Target] | None:
    for dialect in _DIALECTS:
        target = dialect.target(raw_path)
        if target is not None:
            return dialect, target
    return None


def _is_numbers(head: Head, signature: Signature) -> bool:
    """Whether a large body is mere numbers in binary, which are viewed and not read."""
    return (
        head.json_bytes is not None
        and head.json_bytes <= THREAD_ABOVE_BYTES
        and all(spec.datatype != "BYTES" for spec in signature.inputs)
    )


def _is_hung_up(client: Client | None) -> bool:
    """Whether a cancelled task was cancelled because nobody waits for it any more."""
    task = asyncio.current_task()
    if client is None or not client.is_gone or task is None:
        return False
    task.uncancel()
    return True


def _headers(answer: Answer) -> Headers:
    json_bytes = answer.json_bytes
    length = (b"content-length", b"%d" % len(answer.body))
    if json_bytes is None:
        return [_JSON, length]
    return [_BINARY, length, (b"inference-header-content-length", b"%d" % json_bytes)]


def _block(answer: Answer, extra: Headers) -> bytes:
    if answer.json_bytes is None and not extra:
        return b"content-type: application/json\r\ncontent-length: %d\r\n" % len(answer.body)
    return b"".join(b"%s: %s\r\n" % pair for pair in (*_headers(answer), *extra))
