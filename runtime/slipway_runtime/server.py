"""The life of a serving process: listen, load, serve, drain, end.

Shutdown, in order: not ready; keep answering while proxies forget this pod; close the listener;
finish what is in flight; end with 0. A second signal skips the wait, a third drops what is in
flight. The admin port answers until the end, so that probes see a draining pod and not a dead one.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from math import ceil
from pathlib import Path
from time import monotonic
from typing import Final

import uvicorn
import uvloop
from starlette.types import ASGIApp

from slipway_runtime.allocator import keep_freed_memory
from slipway_runtime.authentication.guard import Guard
from slipway_runtime.authentication.opening import Authentication, open_guard
from slipway_runtime.config import ServingConfig
from slipway_runtime.connections import ConnectionLimits, limited
from slipway_runtime.errors import ConfigError, SlipwayError
from slipway_runtime.inference.dataplane import DataPlane
from slipway_runtime.inference.signature import Signature
from slipway_runtime.monitoring.metrics import Metrics
from slipway_runtime.monitoring.telemetry import Telemetry, open_telemetry
from slipway_runtime.protocols import rest
from slipway_runtime.protocols.body import BodyBudget
from slipway_runtime.protocols.grpc_server import GrpcLimits, GrpcServer
from slipway_runtime.protocols.infer import InferEndpoint, Uncounted
from slipway_runtime.protocols.lane import Lane
from slipway_runtime.protocols.samples import sampled
from slipway_runtime.repository import Repository, Source
from slipway_runtime.settings import Settings

log: Final = logging.getLogger(__name__)

_BACKLOG: Final = 2048
_MAX_ADMIN_CONNECTIONS: Final = 64
_SPARE_FILES: Final = 128
"""File descriptors that are no client's connection."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the process listens, once it does; None for a protocol that is not served."""

    http: int | None
    grpc: int | None
    admin: int


@dataclass(frozen=True, slots=True)
class Assignment:
    """What to serve, from where, and on which address."""

    config: ServingConfig
    model: Path
    host: str
    locate: Callable[[], Path] | None = None
    """Finds the file again, where clients may have it loaded anew; None where they may not."""
    greet: Callable[[Ports, Signature], None] | None = None
    """Told once that the first model is ready."""
    authentication: Authentication | None = None
    """Who may ask; None for everybody."""
    samples: Path | None = None
    """Requests that the model is warmed up with."""


def serve(assignment: Assignment, settings: Settings) -> None:
    """Serve until a signal ends it.

    Raises:
        ConfigError: a port cannot be had.
        SupplyError: the model cannot be served.
    """
    keep_freed_memory()
    protocols = assignment.config.serving.protocols
    none: AbstractContextManager[None] = nullcontext()
    with (
        _listening(assignment.host, settings.admin_port) as admin,
        _listening(assignment.host, settings.http_port) if "REST" in protocols else none as http,
        _listening(assignment.host, settings.grpc_port) if "GRPC" in protocols else none as grpc,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(_run(assignment, settings, http, grpc, admin))


async def _run(
    assignment: Assignment,
    settings: Settings,
    http: socket.socket | None,
    grpc: socket.socket | None,
    admin: socket.socket,
) -> None:
    server = Server(assignment, settings)
    if server.grpc is not None and grpc is not None:
        await server.grpc.start(grpc)
    ports = Ports(
        http.getsockname()[1] if http else None,
        grpc.getsockname()[1] if grpc else None,
        admin.getsockname()[1],
    )
    told = {f"{name}_port": port for name, port in asdict(ports).items() if port is not None}
    log.info("listening", extra={"host": assignment.host, **told})
    await server.run(http, admin, ports)


class Server:
    """All ports, and the model behind them."""

    def __init__(self, assignment: Assignment, settings: Settings) -> None:
        config = assignment.config
        self._assignment: Final = assignment
        self._settings: Final = settings
        metrics = Metrics(
            model=config.name, version=config.model.version or "", revision=config.revision
        )
        metrics.serves(digest=config.digest or "", format_name="ONNX")
        file = assignment.samples
        samples = None if file is None else partial(sampled, file)
        self._dataplane: Final = DataPlane(config, metrics, samples)
        budget = BodyBudget(settings.max_inflight_bytes)
        release = version("slipway")
        self._telemetry: Final = open_telemetry(config, settings, os.environ, release=release)
        repository = _repository(self._dataplane, assignment, settings)
        self._guard: Final = _guard(assignment, metrics)
        client, admin = _apps(
            self._dataplane, metrics, budget, self._telemetry, repository, self._guard
        )
        limits = _limits(settings, metrics)
        self.grpc: GrpcServer | None = None
        if "GRPC" in config.serving.protocols:
            self.grpc = GrpcServer(
                self._dataplane,
                metrics,
                budget=budget,
                release=release,
                limits=GrpcLimits(
                    max_connections=limits.max_connections,
                    head_timeout_s=settings.head_timeout_s,
                    message_timeout_s=settings.body_timeout_s,
                    max_connection_age_s=settings.max_connection_age_s,
                    drain_s=settings.drain_s,
                ),
                telemetry=self._telemetry,
                repository=repository,
                guard=self._guard,
            )
        self._client: Final = _Listener(
            client, limits, settings.keep_alive_s, settings.drain_s, client
        )
        # Probes and scrapers have connections of their own: a flood of clients takes none.
        own = replace(limits, max_connections=_MAX_ADMIN_CONNECTIONS)
        self._admin: Final = _Listener(admin, own, settings.keep_alive_s, 1.0)
        self._signals: Final = _Signals()

    async def run(self, http: socket.socket | None, admin: socket.socket, ports: Ports) -> None:
        """Answer on all ports at once; load; serve until a signal; drain.

        Without `http` the client's listener is none, and there is nothing of it to drain.
        """
        failure: SlipwayError | None = None
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._admin.serve(sockets=[admin]))
            client = tasks.create_task(self._client.serve(sockets=[http])) if http else None
            following = tasks.create_task(self._guard.follow()) if self._guard else None
            try:
                await self._load(ports)
                await self._signals.received(1)
            except SlipwayError as err:
                failure = err
            await self._drain(client)
            if following:
                following.cancel()
        if failure:
            raise failure

    async def _load(self, ports: Ports) -> None:
        """Load the model, or stop waiting for it when a signal comes first."""
        begun_s = monotonic()
        load = asyncio.ensure_future(self._dataplane.load(self._assignment.model))
        stop = asyncio.ensure_future(self._signals.received(1))
        await asyncio.wait({load, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if load.done():
            load.result()
            # What is alive now stays: keep the collector from walking it again and again. It was
            # off from the start, where nearly nothing that is made is garbage.
            gc.freeze()
            gc.enable()
            took_ms = round((monotonic() - begun_s) * 1000)
            log.info("ready", extra={"model": self._assignment.config.name, "load_ms": took_ms})
            if self._assignment.greet:
                self._assignment.greet(ports, self._dataplane.signature)
        else:
            load.cancel()

    async def _drain(self, client: asyncio.Task[None] | None) -> None:
        """Leave without failing anybody: the order is the point."""
        was_ready = self._dataplane.state == "Ready"
        self._dataplane.start_draining()
        if was_ready:
            log.info("draining", extra={"endpoints_grace_s": self._settings.endpoints_grace_s})
            # Unready before closing: requests come until every proxy has noticed.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._signals.received(2), self._settings.endpoints_grace_s)
        self._client.should_exit = True
        hasten = asyncio.ensure_future(self._signals.received(3))
        finished = asyncio.ensure_future(self._finish(client))
        await asyncio.wait({finished, hasten}, return_when=asyncio.FIRST_COMPLETED)
        self._client.force_exit = True
        hasten.cancel()
        self._dataplane.close()
        if self.grpc:
            await self.grpc.stop(0)
        await finished
        await self._telemetry.close()
        self._admin.should_exit = True
        log.info("stopped")

    async def _finish(self, client: asyncio.Task[None] | None) -> None:
        ends = [client] if client else []
        await asyncio.gather(*ends, *([self.grpc.stop()] if self.grpc else []))


class _Signals:
    """Counts SIGTERM and SIGINT; Ctrl-C counts twice, nobody's endpoints wait for a laptop."""

    def __init__(self) -> None:
        self._count = 0
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._caught, 1)
        loop.add_signal_handler(signal.SIGINT, self._caught, 2)
        self._waiters: Final[list[tuple[int, asyncio.Future[None]]]] = []

    async def received(self, count: int) -> None:
        """Return once so many have come."""
        if self._count < count:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append((count, waiter))
            await waiter

    def _caught(self, weight: int) -> None:
        self._count += weight
        for count, waiter in self._waiters:
            if self._count >= count and not waiter.done():
                waiter.set_result(None)


class _Listener(uvicorn.Server):
    """uvicorn without its signal handling: it would close the listener at the first SIGTERM."""

    def __init__(
        self,
        app: ASGIApp,
        limits: ConnectionLimits,
        keep_alive_s: float,
        drain_s: float,
        lane: Lane | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                http=limited(limits, lane),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # nothing here depends on who asks, or over which scheme
                timeout_keep_alive=ceil(keep_alive_s),
                timeout_graceful_shutdown=ceil(drain_s),
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process."""
        yield


def _limits(settings: Settings, metrics: Metrics) -> ConnectionLimits:
    """The limits of a client's connection; as many connections as there are descriptors for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    files = max(1, hard - _SPARE_FILES) if hard != resource.RLIM_INFINITY else 2**31
    return ConnectionLimits(
        max_connections=min(settings.max_connections, files),
        head_timeout_s=settings.head_timeout_s,
        body_timeout_s=settings.body_timeout_s,
        max_age_s=settings.max_connection_age_s,
        rejected=metrics.rejected,
    )


def _repository(
    dataplane: DataPlane, assignment: Assignment, settings: Settings
) -> Repository | None:
    if assignment.locate is None:
        return None
    source = Source(assignment.locate, settings.max_model_bytes, settings.validate_timeout_s)
    return Repository(dataplane, source)


def _guard(assignment: Assignment, metrics: Metrics) -> Guard | None:
    if assignment.authentication is None:
        return None
    return open_guard(assignment.authentication, assignment.config.name, metrics.rejected)


def _apps(
    dataplane: DataPlane,
    metrics: Metrics,
    budget: BodyBudget,
    telemetry: Telemetry,
    repository: Repository | None,
    guard: Guard | None,
) -> tuple[InferEndpoint, ASGIApp]:
    routes = rest.client_routes(
        dataplane, metrics, release=version("slipway"), repository=repository
    )
    client = rest.app_of(routes)
    # Same origin: the API page sends its requests to the admin port.
    # It asks for no key: whoever reaches it may read /metrics already, and clients do not reach it.
    admin = rest.app_of(rest.admin_routes(dataplane, metrics, routes, guard), then=client)
    infer = InferEndpoint(
        dataplane, metrics, budget=budget, rest=client, telemetry=telemetry, guard=guard
    )
    tried = InferEndpoint(dataplane, Uncounted(), budget=budget, rest=admin, telemetry=Telemetry())
    return infer, tried


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket, taken before anything slow happens: a taken port is told at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        sock = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as err:
        raise ConfigError(
            f"port {port} on {host}: cannot be listened on ({os.strerror(err.errno or 0)})"
        ) from err
    with sock:
        yield sock
