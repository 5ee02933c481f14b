"""Real servers that answer as no Prometheus should: soon, and in bounds, it is no data."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from slipway_operator.engine.bounded import BoundedClient
from slipway_operator.engine.prometheus import Prometheus
from slipway_operator.plan.queries import Question
from slipway_operator.verdict.promql import Reading
from tests.stores.authority import Authority

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
GOOD = {"status": "success", "data": {"resultType": "vector", "result": [
    {"metric": {}, "value": [1.0, "0.5"]}]}}  # fmt: skip


@asynccontextmanager
async def serving(handler: Handler, trust: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    app = web.Application()
    app.add_routes([web.get("/api/v1/query", handler)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=trust).start()
    try:
        yield f"http{'s' if trust else ''}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def asking(**more: Any) -> AsyncIterator[Prometheus]:
    client = BoundedClient()
    try:
        yield Prometheus(client, **{"timeout_s": 0.5, **more})
    finally:
        await client.close()


async def _good(_: web.Request) -> web.StreamResponse:
    return web.json_response(GOOD)


async def test_the_query_comes_as_it_was_written() -> None:
    query = 'sum(a{x="é&b=c#%2B"}) + on() 100 * b / c > bool 1'
    seen = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(request.query["query"])
        return web.json_response(GOOD)

    async with serving(answer) as address, asking() as prometheus:
        assert await prometheus.ask(Question(address, query)) == Reading(0.5)
    assert seen == [query]


async def _hangs(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def _drips(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    while True:
        await answer.write(b" ")
        await asyncio.sleep(0.05)


async def _is_200_mb(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Length": str(200 << 20)})
    await answer.prepare(request)
    while True:
        await answer.write(b" " * 65536)


async def _is_a_bomb(_: web.Request) -> web.StreamResponse:
    return web.Response(body=gzip.compress(b" " * (8 << 20)), headers={"Content-Encoding": "gzip"})


async def _points_elsewhere(_: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("http://127.0.0.1:1/api/v1/query")


async def _is_a_page(_: web.Request) -> web.StreamResponse:
    return web.Response(text="<html>sign in</html>", content_type="text/html")


async def _is_broken(_: web.Request) -> web.StreamResponse:
    raise web.HTTPServiceUnavailable(text="Service Unavailable")


async def _is_empty(_: web.Request) -> web.StreamResponse:
    return web.json_response({"status": "success", "data": {"resultType": "vector", "result": []}})


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(_hangs, "TimeoutError", id="hangs"),
        pytest.param(_drips, "TimeoutError", id="comes drop by drop"),
        pytest.param(_is_200_mb, "more than 1048576 bytes", id="200 MB"),
        pytest.param(_is_a_bomb, "not JSON", id="small, and unpacked it would be 8 MB"),
        pytest.param(_points_elsewhere, "status 302", id="points elsewhere"),
        pytest.param(_is_a_page, "not JSON: '<html>", id="HTML"),
        pytest.param(_is_broken, "status 503", id="5xx"),
        pytest.param(_is_empty, "no series", id="empty"),
    ],
)
async def test_a65_what_is_no_answer_is_no_data(answer: Handler, expected: str) -> None:
    async with serving(answer) as address, asking() as prometheus:
        found = await prometheus.ask(Question(address, "up"))
    assert found.value is None
    assert expected in found.reason


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "http://nowhere.invalid", "http://[::1"])
async def test_a65_where_nobody_listens_there_is_no_data(address: str) -> None:
    async with asking() as prometheus:
        found = await prometheus.ask(Question(address, 'a{secret="x"}'))
    assert found.value is None
    assert found.reason.startswith(address), "without the query, which may be long"
    assert "secret" not in found.reason


async def test_without_any_address_it_is_told() -> None:
    async with asking() as prometheus:
        found = await prometheus.ask(Question("", "up"))
    assert "analysis.prometheus.address is empty" in found.reason


async def test_the_token_goes_to_the_operators_own_prometheus_alone(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first\n")
    seen = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("Authorization"))
        return web.json_response(GOOD)

    async with (
        serving(answer) as own,
        serving(answer) as other,
        asking(address=own, folder=tmp_path) as prometheus,
    ):
        await prometheus.ask(Question("", "up"))
        await prometheus.ask(Question(other, "up"))
        (tmp_path / "token").write_text("second")
        await prometheus.ask(Question(own, "up"))
    assert seen == ["Bearer first", None, "Bearer second"]


async def test_a_token_that_is_none_is_told_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"sec\nret")
    async with serving(_good) as own, asking(address=own, folder=tmp_path) as prometheus:
        found = await prometheus.ask(Question("", "up"))
    assert found.value is None
    assert "ret" not in found.reason.replace("return", "").replace("credentials", "")


async def test_its_certificate_is_trusted_and_no_other(tmp_path: Path) -> None:
    known, strange, folder = tmp_path / "known", tmp_path / "strange", tmp_path / "mounted"
    for made in (known, strange, folder):
        made.mkdir()
    authority, stranger = Authority(known), Authority(strange)
    shown = authority.certificate("127.0.0.1")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(shown.file, shown.key)
    trusted = folder / "ca.crt"
    async with serving(_good, server) as own, asking(address=own, folder=folder) as prometheus:
        for who, expected in ((stranger, None), (authority, 0.5), (stranger, None)):
            trusted.write_bytes(who.file.read_bytes())
            assert (await prometheus.ask(Question("", "up"))).value == expected
        trusted.write_text("not a certificate")
        assert "credentials" in (await prometheus.ask(Question("", "up"))).reason
