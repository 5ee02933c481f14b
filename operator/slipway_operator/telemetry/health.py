"""Probes and metrics over HTTP: `/livez`, `/readyz`, `/metrics`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

Check = Callable[[], str | None]
"""Tells what is wrong; None when nothing is."""


@dataclass(frozen=True, slots=True)
class Health:
    """What the probes ask."""

    is_live: Check
    is_ready: Check
    registry: CollectorRegistry

    def application(self) -> web.Application:
        """Build the web application."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/livez", self._live),
                web.get("/readyz", self._ready),
                web.get("/metrics", self._metrics),
            ]
        )
        return app

    async def _live(self, _: web.Request) -> web.Response:
        return _answer(self.is_live())

    async def _ready(self, _: web.Request) -> web.Response:
        return _answer(self.is_ready())

    async def _metrics(self, _: web.Request) -> web.Response:
        text = generate_latest(self.registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})


def _answer(problem: str | None) -> web.Response:
    return web.Response(status=503 if problem else 200, text=f"{problem or 'ok'}\n")


async def serve(health: Health, host: str, port: int) -> web.AppRunner:
    """Start listening; the runner ends it."""
    runner = web.AppRunner(health.application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner
