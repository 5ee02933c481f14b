"""The page over HTTP: reads only, bounded in every direction, and for this machine alone.

Lives here: routes, headers and limits. It listens on loopback, so that `kubectl port-forward`, and
with it Kubernetes' own rights, decides who may look; the Host header is checked, so that a site in
the same browser cannot look by a name of its own.
Stays out: what is shown (`pages.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from slipway_operator.engine.cache import Cache, ObjectKey
from slipway_operator.picture.picture import Picture, picture
from slipway_operator.ui.memory import Memory
from slipway_operator.ui.pages import (
    LONGEST_SEARCH,
    PER_PAGE,
    Selection,
    detail,
    message,
    overview,
)

log = logging.getLogger(__name__)

HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self';"
    " connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})
MOST_CONNECTIONS: Final = 32
MOST_PER_SECOND: Final = 40
"""A page costs a few milliseconds of the loop that reconciles, too."""
_LOOK_S: Final = 5.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class _Pace:
    """How much was asked in this second."""

    second: int = 0
    asked: int = 0

    def is_too_fast(self, now: float) -> bool:
        """Count one; tell whether it is one too many."""
        if int(now) != self.second:
            self.second, self.asked = int(now), 0
        self.asked += 1
        return self.asked > MOST_PER_SECOND


class Page:
    """Everything that the page needs."""

    def __init__(self, cache: Cache) -> None:
        self._cache, self._memory, self._pace = cache, Memory(), _Pace()
        self._server: web.Server | None = None

    async def serve(self, host: str, port: int) -> web.AppRunner:
        """Start listening; the runner ends it."""
        runner = web.AppRunner(
            self.application(), access_log=None, keepalive_timeout=15.0,
            max_line_size=4096, max_field_size=4096,
        )  # fmt: skip
        await runner.setup()
        self._server = runner.server
        await web.TCPSite(runner, host, port, backlog=MOST_CONNECTIONS).start()
        return runner

    async def remember(self) -> None:
        """Note the weights of all rollouts, for ever."""
        while True:
            self.look()
            await asyncio.sleep(_LOOK_S)

    def look(self) -> None:
        """Note the weights of all rollouts now."""
        for key in self._cache.model_deployments():
            if mdep := self._cache.model_deployment(key):
                self._memory.note(key, mdep, datetime.now(UTC))

    def application(self) -> web.Application:
        """Build the web application."""
        app = web.Application(middlewares=[self._guarded], client_max_size=1024)
        app.router.add_get("/", self._overview)
        app.router.add_get("/models/{namespace}/{name}", self._detail)
        for name, kind in (("style.css", "text/css"), ("live.js", "text/javascript")):
            text = files("slipway_operator.ui").joinpath(name).read_text()
            app.router.add_get(f"/{name}", _asset(text, kind))
        return app

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let good requests through, and give every answer the same headers."""
        refusal = self._refusal(request)
        if refusal is not None:
            answer: web.StreamResponse = _html(message(*refusal), refusal[0])
            answer.force_close()
        else:
            answer = await _answered(request, handler)
        answer.headers.update(HEADERS)
        return answer

    def _refusal(self, request: web.Request) -> tuple[int, str] | None:
        if _host(request) not in _HOSTS:
            return 403, "this page is for this machine alone: use kubectl port-forward"
        if request.method not in ("GET", "HEAD"):
            return 405, "this page only shows: GET and HEAD"
        open_now = len(self._server.connections) if self._server else 0
        if open_now > MOST_CONNECTIONS:
            return 503, "too many connections at once"
        if self._pace.is_too_fast(asyncio.get_running_loop().time()):
            return 429, "too many requests in this second"
        return None

    async def _overview(self, request: web.Request) -> web.Response:
        search = request.query.get("q", "")[:LONGEST_SEARCH].strip()
        found = sorted(
            key for key in self._cache.model_deployments()
            if search.lower() in f"{key.namespace}/{key.name}"
        )  # fmt: skip
        pages = max(1, -(-len(found) // PER_PAGE))
        number = min(pages, _number(request.query.get("page", "")))
        shown = found[(number - 1) * PER_PAGE : number * PER_PAGE]
        seen = [p for p in map(self._picture, shown) if p is not None]
        return _html(overview(seen, Selection(number, pages, len(found), search)))

    async def _detail(self, request: web.Request) -> web.Response:
        key = ObjectKey(request.match_info["namespace"], request.match_info["name"])
        seen = self._picture(key, with_pods=True)
        if seen is None:
            return _html(message(404, f"there is no ModelDeployment {'/'.join(key)}"), 404)
        return _html(detail(seen, self._memory.points(key)))

    def _picture(self, key: ObjectKey, *, with_pods: bool = False) -> Picture | None:
        mdep = self._cache.model_deployment(key)
        if mdep is None:
            return None
        pods = self._cache.pods(key) if with_pods else []
        return picture(mdep, datetime.now(UTC), pods=pods)


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as refused:
        return _html(message(refused.status, refused.reason), refused.status)
    except Exception:  # this page must not be in the way of anything
        log.exception("a page failed")
        return _html(message(500, "the page failed; the operator's log says how"), 500)


def _host(request: web.Request) -> str:
    try:
        return urlsplit(f"//{request.headers.get('Host', '')}").hostname or ""
    except ValueError:
        return ""


def _number(text: str) -> int:
    return max(1, int(text)) if text.isdecimal() and len(text) < 7 else 1


def _html(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="text/html", charset="utf-8")


def _asset(text: str, kind: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=text, content_type=kind)

    return answer
