"""The page over HTTP: what is answered, what is refused, and with which headers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from slipway_operator.engine.cache import Cache
from slipway_operator.kube.kinds import MODEL_DEPLOYMENT
from slipway_operator.ui.pages import PER_PAGE
from slipway_operator.ui.server import HEADERS, MOST_PER_SECOND, Page
from tests.statuses import recorded


def _filled(models: int = 3) -> Cache:
    cache = Cache()
    for number in range(models):
        mdep = recorded("baking-counted")
        mdep["metadata"] |= {"name": f"m{number:04}", "uid": f"u{number}", "resourceVersion": "1"}
        cache.put(MODEL_DEPLOYMENT, mdep)
    return cache


@pytest.fixture
async def url() -> AsyncIterator[str]:
    page = Page(_filled(PER_PAGE + 1))
    page.look()
    runner = await page.serve("127.0.0.1", 0)
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def _ask(
    url: str, method: str = "GET", host: str | None = None
) -> tuple[int, str, dict[str, str]]:
    headers = {"Host": host} if host else {}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, headers=headers) as answer,
    ):
        return answer.status, await answer.text(), dict(answer.headers)


@pytest.mark.parametrize(
    ("path", "status", "expected"),
    [
        pytest.param("/", 200, "51 ModelDeployments", id="all"),
        pytest.param("/?page=2", 200, "page 2 of 2", id="the second page"),
        pytest.param("/?page=99999", 200, "page 2 of 2", id="beyond the last"),
        pytest.param("/?page=-1%00", 200, "page 1 of 2", id="no number"),
        pytest.param("/?q=m0050", 200, "1 ModelDeployments", id="a search"),
        pytest.param("/models/t1/m0001", 200, "candidate 24 of 4000", id="one"),
        pytest.param("/models/t1/none", 404, "there is no ModelDeployment t1/none", id="none"),
        pytest.param("/models/t1/%3Cscript%3E", 404, "&lt;script&gt;", id="a hostile name"),
        pytest.param("/style.css", 200, "color-scheme", id="the style"),
        pytest.param("/live.js", 200, "use strict", id="the script"),
        pytest.param("/../app.py", 404, "Not Found", id="no other file"),
        pytest.param("/metrics", 404, "Not Found", id="nothing else"),
    ],
)
async def test_what_is_answered(url: str, path: str, status: int, expected: str) -> None:
    told = await _ask(url + path)
    assert told[0] == status
    assert expected in told[1]
    assert HEADERS.items() <= told[2].items()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_it_only_shows(url: str, method: str) -> None:
    status, _, headers = await _ask(url, method)
    assert status == 405
    assert HEADERS.items() <= headers.items()


async def test_a_head_has_no_body(url: str) -> None:
    status, text, _ = await _ask(url, "HEAD")
    assert (status, text) == (200, "")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        pytest.param("localhost:8083", 200, id="forwarded"),
        pytest.param("[::1]:9", 200, id="forwarded over IPv6"),
        pytest.param("evil.example", 403, id="a site that resolves to this machine"),
        pytest.param("localhost.evil.example", 403, id="and looks like it"),
        pytest.param("[", 403, id="no name at all"),
    ],
)
async def test_it_is_for_this_machine_alone(url: str, host: str, status: int) -> None:
    assert (await _ask(url, host=host))[0] == status


async def test_more_than_enough_is_refused(url: str) -> None:
    told = await asyncio.gather(*(_ask(f"{url}/style.css") for _ in range(3 * MOST_PER_SECOND)))
    assert {status for status, _, _ in told} & {429, 503}
    assert any(status == 200 for status, _, _ in told)


def test_the_answers_allow_nothing_from_elsewhere() -> None:
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "http" not in policy
