"""A small API server on loopback: it remembers writes and sends the watch events it is told to.

It runs in a thread with a loop of its own, as the real one runs in a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web


class ApiServer:
    """The double; `objects` holds what was written, `say()` puts an event into every open watch.

    `opened` is set whenever a watch is opened.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.objects: dict[str, Any] = {}
        self.authorizations: list[str | None] = []
        self.port = 0
        self.opened = threading.Event()
        self._watches: set[asyncio.Queue[bytes | None]] = set()
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._stop = asyncio.Event()

    @property
    def open_watches(self) -> int:
        """How many watches are open at this moment."""
        return len(self._watches)

    def say(self, kind: str, name: str) -> None:
        """Send an event to every open watch."""
        event = {"type": kind, "object": {"metadata": {"name": name}}}
        self._to_watches(json.dumps(event).encode() + b"\n")

    def say_bytes(self, piece: bytes) -> None:
        """Send a piece of a line to every open watch."""
        self._to_watches(piece)

    def end_watches(self) -> None:
        """End every open watch, as a server does at its timeout."""
        self._to_watches(None)

    def _to_watches(self, piece: bytes | None) -> None:
        def put() -> None:
            for queue in self._watches:
                queue.put_nowait(piece)

        self._loop.call_soon_threadsafe(put)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.authorizations.append(request.headers.get("Authorization"))
        if request.query.get("watch"):
            return await self._watch(request)
        if request.method == "GET":
            found = {"path": request.rel_url.raw_path_qs, "objects": self.objects}
            return web.json_response(found, headers={"X-From": "upstream"})
        self.objects[request.rel_url.path] = json.loads(await request.read() or "null")
        return web.json_response({"kind": "Done"}, status=201)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._watches.add(queue)
        self.opened.set()
        try:
            while (piece := await queue.get()) is not None:
                await response.write(piece)
        finally:
            self._watches.discard(queue)
        return response

    async def _serve(self) -> None:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._tls).start()
        self.port = runner.addresses[0][1]
        self._started.set()
        await self._stop.wait()
        await runner.cleanup()

    @contextmanager
    def running(self) -> Iterator[ApiServer]:
        """Serve until the block is left."""
        thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        thread.start()
        self._started.wait()
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._stop.set)
            thread.join()
            self._loop.close()

    def write_kubeconfig(self, path: Path, *, token: str | None = None) -> Path:
        """Write a kubeconfig whose only context points here."""
        user = {"token": token} if token else {}
        config = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "n"}}],
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": "u", "user": user}],
        }
        path.write_text(yaml.safe_dump(config))
        return path
