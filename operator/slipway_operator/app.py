"""The composition root: builds the parts, starts them in order, ends them in order.

Order of the start: client, health server, first resync (now ready), elector, workers, and kopf
last: it takes every task that starts after it for a hung one at its exit.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import kopf
from aiohttp import web
from prometheus_client import CollectorRegistry

from slipway_operator.engine import analysing as analysis
from slipway_operator.engine import preflight, querying, templates
from slipway_operator.engine.analysing import Analysing
from slipway_operator.engine.bounded import BoundedClient
from slipway_operator.engine.cache import Cache, ObjectKey
from slipway_operator.engine.compatibility import warn_of_another_crd
from slipway_operator.engine.discovery import Discovery
from slipway_operator.engine.elector import Elector, LeaseTimes
from slipway_operator.engine.events import EventRecorder
from slipway_operator.engine.metering import Metering
from slipway_operator.engine.preflight import Preflights
from slipway_operator.engine.prometheus import Prometheus
from slipway_operator.engine.querying import Queries
from slipway_operator.engine.reconciler import Reconciler
from slipway_operator.engine.resync import Resync
from slipway_operator.engine.scrape import Scraper
from slipway_operator.engine.templates import Templates
from slipway_operator.engine.watch import Sight, build_registry, kopf_settings, overlooked
from slipway_operator.engine.workqueue import WorkQueue
from slipway_operator.engine.writer import Writer
from slipway_operator.kube.client import KubeClient, TokenBucket
from slipway_operator.kube.connection import Connection, connect
from slipway_operator.kube.errors import ApiError
from slipway_operator.kube.kinds import MODEL_DEPLOYMENT
from slipway_operator.plan.workload import RuntimeDefaults
from slipway_operator.settings import Settings
from slipway_operator.telemetry.health import Health, serve
from slipway_operator.telemetry.metrics import Metrics
from slipway_operator.ui.server import Page

log = logging.getLogger(__name__)

Task = asyncio.Task[None]

_LOOPBACK = "127.0.0.1"
_FINISH_S = 10.0
_EVENTS_S = 1.0
"""The next pod waits for the Lease meanwhile."""
_QUERIES = 64
_QUERIES_OF_ONE = 8
"""Queries at once, and to one address: one that hangs keeps nobody else waiting."""


@dataclass(frozen=True, slots=True)
class App:
    """The parts of one running operator."""

    settings: Settings
    connection: Connection
    metrics: Metrics
    kube: KubeClient
    cache: Cache
    queue: WorkQueue[ObjectKey]
    elector: Elector
    recorder: EventRecorder
    resync: Resync
    discovery: Discovery
    metering: Metering
    analysing: Analysing
    preflights: Preflights
    queries: Queries
    templates: Templates
    prometheus: Prometheus
    scraper: Scraper
    client: BoundedClient
    reconciler: Reconciler


def build(settings: Settings, connection: Connection) -> App:
    """Connect the parts; nothing runs yet."""
    metrics = Metrics(CollectorRegistry())
    bucket = TokenBucket(settings.api_qps, settings.api_burst)
    times = LeaseTimes(
        settings.lease_duration_s, settings.lease_renew_deadline_s, settings.lease_retry_s
    )
    kube = KubeClient(
        connection,
        bucket,
        observe=metrics.requested,
        fence=lambda: elector.fence(),
        write_timeout_s=max(1.0, times.duration_s - times.renew_deadline_s),
    )
    cache, queue = Cache(), WorkQueue[ObjectKey](metrics.waited)
    metrics.gauges(lambda: len(queue), lambda: len(cache))
    elector = Elector(
        kube, settings.lease_namespace, settings.lease_name, settings.identity, times, metrics.leads
    )
    metrics.rollouts.source = lambda: _all_models(cache) if elector.is_leading else ()
    recorder = EventRecorder(kube, settings.identity)
    resync = Resync(cache, queue, kube, settings.watch_namespaces, metrics.drifted)
    defaults = RuntimeDefaults(
        settings.runtime_image, settings.runtime_image_pull_policy, settings.insecure_registries,
        settings.converter_image,
    )  # fmt: skip
    scraper, client = Scraper(), BoundedClient()
    metering = Metering(cache, queue, scraper, lambda: elector.is_leading)
    analysing = Analysing(cache, queue, scraper, lambda: elector.is_leading)
    preflights = Preflights(cache, queue, kube, client, lambda: elector.is_leading)
    prometheus = _prometheus(settings)
    queries = Queries(cache, queue, prometheus, lambda: elector.is_leading)
    jobs = Templates(cache, queue, kube, lambda: elector.is_leading)
    reconciler = Reconciler(
        cache, queue, Writer(cache, kube), elector, recorder, defaults,
        observe=metrics.reconciled, failed=metrics.failed, evidence=analysing.told,
        preflights=preflights.told,
        answers=queries.told, templates=jobs.told,
    )  # fmt: skip
    return App(
        settings, connection, metrics, kube, cache, queue, elector, recorder, resync,
        Discovery(cache, queue, kube), metering, analysing, preflights, queries, jobs,
        prometheus, scraper, client, reconciler,
    )  # fmt: skip


def _prometheus(settings: Settings) -> Prometheus:
    folder = Path(settings.prometheus_folder) if settings.prometheus_folder else None
    client = BoundedClient(_QUERIES, _QUERIES_OF_ONE)
    return Prometheus(client, settings.prometheus_address.rstrip("/"), folder)


def _all_models(cache: Cache) -> Iterator[dict[str, Any]]:
    found = map(cache.model_deployment, cache.model_deployments())
    return (mdep for mdep in found if mdep is not None)


async def run(settings: Settings) -> None:
    """Run the operator until SIGTERM."""
    connection = await connect()
    app = build(settings, connection)
    _spare_the_collector()
    synced = asyncio.Event()
    runners = [await _serve_health(app, synced)]
    tasks = [asyncio.create_task(app.recorder.run())]
    if settings.ui_enabled:
        page = Page(app.cache)
        runners.append(await page.serve(_LOOPBACK, settings.ui_port))
        tasks.append(asyncio.create_task(page.remember()))
    workers: list[Task] = []
    try:
        await app.discovery.first()
        objects = await app.resync.first()
        synced.set()
        log.info("caches filled", extra={"objects": objects})
        if not settings.watch_namespaces:  # with rights in namespaces alone it would be refused
            await warn_of_another_crd(app.kube)
        # Only now: a Lease held by one that cannot act keeps those away that can.
        tasks.append(asyncio.create_task(app.elector.run()))
        tasks.append(asyncio.create_task(app.resync.run(settings.resync_s)))
        tasks.append(asyncio.create_task(app.discovery.run(settings.discovery_s)))
        tasks.append(asyncio.create_task(app.metering.run(settings.metering_s)))
        tasks.append(asyncio.create_task(app.analysing.run(analysis.LOOK_S)))
        tasks.append(asyncio.create_task(app.preflights.run(preflight.LOOK_S)))
        tasks.append(asyncio.create_task(app.queries.run(querying.LOOK_S)))
        tasks.append(asyncio.create_task(app.templates.run(templates.LOOK_S)))
        workers += [asyncio.create_task(app.reconciler.work()) for _ in range(settings.workers)]
        await _until_end(_watch(app), (*tasks, *workers))
    finally:
        await _end(app, tasks, workers, runners)


def _spare_the_collector() -> None:
    """Let full garbage collections pass over what was imported: it stays.

    They would walk through 79,000 objects, tens of milliseconds in which nothing else runs.
    """
    gc.collect()
    gc.freeze()


async def _until_end(watch: Coroutine[Any, Any, None], background: Sequence[Task]) -> None:
    """Run until the watches end; a background task that ends has failed, and so have we."""
    watching = asyncio.create_task(watch)
    done, _ = await asyncio.wait({watching, *background}, return_when=asyncio.FIRST_COMPLETED)
    if watching not in done:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    for task in done:
        await task


async def _serve_health(app: App, synced: asyncio.Event) -> web.AppRunner:
    def ready() -> str | None:
        if synced.is_set():
            return None
        return app.resync.obstacle or "the caches are not filled yet"

    # Live as long as the loop answers. What a resync finds different may only be on its way, and a
    # background task that fails ends the process by itself.
    health = Health(lambda: None, ready, app.metrics.registry)
    return await serve(health, app.settings.health_host, app.settings.health_port)


async def _watch(app: App) -> None:
    """Watch until SIGTERM; begin anew where kinds are overlooked."""
    tried: set[str] = set()
    while True:
        sight, renew = Sight(), asyncio.Event()
        looking = asyncio.create_task(_until_blind(app, sight, tried))  # before kopf, see above
        watching = asyncio.create_task(_watch_once(app, sight, renew))
        await asyncio.wait({watching, looking}, return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            looking.cancel()
            return await watching
        log.warning("watched by nobody, beginning anew", extra={"kinds": await looking})
        renew.set()
        await watching


async def _until_blind(app: App, sight: Sight, tried: set[str]) -> list[str]:
    """Return when the API server has kinds that kopf knows nothing of.

    Those of other projects have to be overlooked at two looks, because kopf may be about to see
    them, and are tried once: what it does not want to watch it will not want next time.
    """
    before: set[str] = set()
    while True:
        await asyncio.sleep(app.settings.discovery_s)
        with suppress(ApiError):
            if not sight.has(MODEL_DEPLOYMENT) and await app.kube.serves(MODEL_DEPLOYMENT):
                return [MODEL_DEPLOYMENT.kind]
        missing = app.cache.missing_kinds
        tried -= missing
        found = overlooked(sight, missing, is_clusterwide=not app.settings.watch_namespaces) - tried
        if before & found:
            tried |= found
            return sorted(found)
        before = found


async def _watch_once(app: App, sight: Sight, stop: asyncio.Event) -> None:
    namespaces = app.settings.watch_namespaces
    await kopf.operator(
        registry=build_registry(
            app.cache,
            app.queue,
            app.connection,
            app.metrics.watched,
            is_clusterwide=not namespaces,
        ),
        settings=kopf_settings(is_clusterwide=not namespaces),
        clusterwide=not namespaces,
        namespaces=list(namespaces),
        standalone=True,
        # Left out, kopf looks up the user's name, and 65532 has none. Its NewType is not exported.
        identity=cast(Any, app.settings.identity),
        insights=sight.insights,
        stop_flag=stop,
    )


async def _end(
    app: App,
    tasks: list[Task],
    workers: list[Task],
    runners: list[web.AppRunner],
) -> None:
    """Let workers finish their key, give the Lease up, close."""
    try:
        async with asyncio.timeout(_FINISH_S):
            await app.queue.close()
    except TimeoutError:
        log.warning("a reconcile did not finish in time")
    await app.recorder.flush(_EVENTS_S)
    for task in (*workers, *tasks):
        task.cancel()
    await asyncio.gather(*workers, *tasks, return_exceptions=True)
    await app.elector.release()
    for runner in runners:
        await runner.cleanup()
    await app.scraper.close()
    await app.client.close()
    await app.prometheus.client.close()
    await app.kube.close()
    log.info("ended")
