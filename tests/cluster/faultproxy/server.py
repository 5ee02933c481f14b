"""Stand between the operator and the API server, and play the faults.

Lives here: the two HTTP servers of the process: the API server's double, and the control port.
Stays out: what matches (`rules`), what a refusal says (`answers`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

import aiohttp
from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from tests.cluster.faultproxy.faults import (
    Answer,
    Cut,
    Delay,
    Drop,
    EndAction,
    Fault,
    Hang,
    RequestAction,
    Seen,
)
from tests.cluster.faultproxy.rules import Asked, Rule, Rules, ends_streams
from tests.cluster.faultproxy.target import Target
from tests.cluster.faultproxy.upstream import Upstream, end_to_end

EXPIRED_EVENT: Final = {
    "type": "ERROR",
    "object": {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "too old resource version: 300 (809)",
        "reason": "Expired",
        "code": 410,
    },
}

_FAULT: Final = TypeAdapter(Fault)
_SEEN: Final = TypeAdapter(list[Seen])


@dataclass(slots=True, eq=False)
class Stream:
    """An open watch, and the word that it is to end."""

    number: int
    asked: Asked
    ended: asyncio.Future[EndAction] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Proxy:
    """The double of the API server: forwards, or plays the first fault that matches."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._streams: set[Stream] = set()
        self.rules = Rules()
        self.seen: list[Seen] = []

    def inject(self, fault: Fault) -> Rule:
        """Take up a fault; one that ends streams looks at the open ones at once."""
        now = _now()
        rule = self.rules.add(fault, now)
        if action := ends_streams(rule):
            for stream in sorted(self._streams, key=lambda stream: stream.number):
                if not stream.ended.done() and rule.claims(stream.asked, now):
                    self._note(stream.number, fault=rule.number)
                    stream.ended.set_result(action)
        return rule

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one request of the operator."""
        body = await request.read()
        asked = Asked(
            Target.of(request.method, request.path, request.query, body),
            request.path,
            request.rel_url.raw_query_string,
            request.headers.get("User-Agent", ""),
        )
        number = self._arrived(request.method, asked)
        found = self.rules.of_request(asked, _now())
        if found is None:
            return await self._forward(request, body, asked, number)
        rule, action = found
        self._note(number, fault=rule.number)
        return await self._play(request, body, asked, number, rule, action)

    async def _play(
        self,
        request: web.Request,
        body: bytes,
        asked: Asked,
        number: int,
        rule: Rule,
        action: RequestAction,
    ) -> web.StreamResponse:
        match action:
            case Delay(seconds):
                await asyncio.sleep(seconds)
                return await self._forward(request, body, asked, number)
            case Answer():
                self._note(number, status=action.code)
                return refusal(action, asked.target)
            case Drop(True):
                await self._forward_unheard(request, body, number)
            case Hang():
                remaining = None if rule.ends_at is None else max(0.0, rule.ends_at - _now())
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(rule.over.wait(), remaining)
        return _reset(request)

    async def _forward(
        self, request: web.Request, body: bytes, asked: Asked, number: int
    ) -> web.StreamResponse:
        streams = asked.target.verb == "watch" or "follow" in request.query
        self._note(number, forwarded=True)
        try:
            answer = await self._upstream.send(
                request.method, request.raw_path, request.headers, body, plain=streams
            )
            async with answer:
                self._note(number, status=answer.status)
                if streams and answer.status == 200:
                    return await self._pass_stream(request, answer, Stream(number, asked))
                return web.Response(
                    status=answer.status,
                    headers=end_to_end(answer.headers),
                    body=await answer.read(),
                )
        except aiohttp.ClientError:
            # What the operator would see without the proxy: the API server is gone.
            self._note(number, status=None)
            return _reset(request)

    async def _forward_unheard(self, request: web.Request, body: bytes, number: int) -> None:
        self._note(number, forwarded=True)
        with contextlib.suppress(aiohttp.ClientError):
            answer = await self._upstream.send(
                request.method, request.raw_path, request.headers, body, plain=True
            )
            async with answer:
                await answer.read()

    async def _pass_stream(
        self, request: web.Request, answer: aiohttp.ClientResponse, stream: Stream
    ) -> web.StreamResponse:
        if found := self.rules.of_stream(stream.asked, _now()):
            self._note(stream.number, fault=found[0].number)
            stream.ended.set_result(found[1])
        response = web.StreamResponse(status=200, headers=end_to_end(answer.headers))
        await response.prepare(request)
        self._streams.add(stream)
        pump = asyncio.create_task(self._pump(answer, response, stream))
        try:
            if not stream.ended.done():
                first: set[asyncio.Future[Any]] = {pump, stream.ended}
                await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._streams.discard(stream)
            pump.cancel()
            outcome = (await asyncio.gather(pump, return_exceptions=True))[0]
        if stream.ended.done():
            return await _end(request, response, stream.ended.result())
        if isinstance(outcome, aiohttp.ClientError):
            return _reset(request)
        return response

    async def _pump(
        self, answer: aiohttp.ClientResponse, response: web.StreamResponse, stream: Stream
    ) -> None:
        async for line in _lines(answer):
            if not self.rules.swallows(stream.asked, line, _now()):
                await response.write(line)

    def _arrived(self, method: str, asked: Asked) -> int:
        number = len(self.seen) + 1
        self.seen.append(
            Seen(
                number=number,
                at=time.time(),
                method=method,
                verb=asked.target.verb,
                path=asked.path,
                query=asked.query,
                user_agent=asked.user_agent,
                forwarded=False,
                status=None,
                fault=None,
            )
        )
        return number

    def _note(self, number: int, **changes: Any) -> None:
        self.seen[number - 1] = replace(self.seen[number - 1], **changes)


def refusal(answer: Answer, target: Target) -> web.Response:
    """Return the answer of an API server that refuses, body and headers."""
    headers = {} if answer.retry_after_s is None else {"Retry-After": str(answer.retry_after_s)}
    if not answer.reason:
        return web.Response(status=answer.code, text=answer.message, headers=headers)
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": answer.message.format_map(target.words),
        "reason": answer.reason,
        **_details(answer, target),
        "code": answer.code,
    }
    text = json.dumps(status, separators=(",", ":")) + "\n"
    return web.Response(
        status=answer.code, text=text, content_type="application/json", headers=headers
    )


def control(proxy: Proxy) -> web.Application:
    """Return the application of the control port; `client` is its only user."""
    injected: dict[int, Rule] = {}

    async def inject(request: web.Request) -> web.Response:
        try:
            rule = proxy.inject(_FAULT.validate_json(await request.read()))
        except ValidationError as wrong:
            return web.Response(status=400, text=str(wrong))
        injected[rule.number] = rule
        return web.json_response({"number": rule.number})

    async def tally(request: web.Request) -> web.Response:
        rule = injected[int(request.match_info["number"])]
        return web.json_response({"matched": rule.tally.matched, "fired": rule.tally.fired})

    async def clear(_: web.Request) -> web.Response:
        proxy.rules.clear()
        return web.json_response({})

    async def requests(_: web.Request) -> web.Response:
        return web.Response(body=_SEEN.dump_json(proxy.seen), content_type="application/json")

    application = web.Application()
    application.add_routes(
        [
            web.post("/faults", inject),
            web.get("/faults/{number}", tally),
            web.delete("/faults", clear),
            web.get("/requests", requests),
        ]
    )
    return application


@contextlib.asynccontextmanager
async def listening(application: web.Application) -> AsyncIterator[int]:
    """Serve an application on a free port of the loopback interface; yields the port."""
    # A client that hangs up must end its watch at the API server too, hence the cancellation.
    runner = web.AppRunner(
        application,
        access_log=None,
        handler_cancellation=True,
        keepalive_timeout=90,
        shutdown_timeout=0.1,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def double(proxy: Proxy) -> web.Application:
    """Return the application that stands for the API server."""
    application = web.Application(client_max_size=64 * 1024 * 1024)
    application.router.add_route("*", "/{path:.*}", proxy.handle)
    return application


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield the lines of a stream as they come, of any length, with their line feeds."""
    rest = b""
    async for chunk in answer.content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line + b"\n"
    if rest:
        yield rest


async def _end(
    request: web.Request, response: web.StreamResponse, action: EndAction
) -> web.StreamResponse:
    if isinstance(action, Cut) and not action.clean:
        return _reset(request)
    if not isinstance(action, Cut):
        await response.write(json.dumps(EXPIRED_EVENT, separators=(",", ":")).encode() + b"\n")
    await response.write_eof()
    return response


def _reset(request: web.Request) -> web.Response:
    """Drop the client's connection; what is returned reaches nobody."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _details(answer: Answer, target: Target) -> dict[str, Any]:
    """Return the `details` of a Status; like the API server's, without what is empty."""
    named = {"name": target.name, "group": target.group, "kind": target.resource}
    causes = [
        {
            "reason": cause.reason,
            "message": cause.message.format_map(target.words),
            "field": cause.field,
        }
        for cause in answer.causes
    ]
    details: dict[str, Any] = {
        **(named if answer.names_object else {}),
        "causes": [{key: value for key, value in cause.items() if value} for cause in causes],
        "retryAfterSeconds": answer.retry_after_s,
    }
    filled = {key: value for key, value in details.items() if value}
    return {"details": filled} if filled else {}


def _now() -> float:
    return asyncio.get_running_loop().time()
