"""Readings from real servers: what is not a pod's counters is no reading, soon and in bounds."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway_operator.api import v1alpha1
from slipway_operator.engine.cache import Cache, CacheKey, ObjectKey
from slipway_operator.engine.metering import Metering
from slipway_operator.engine.scrape import NoReading, Scraper, parsed
from slipway_operator.engine.workqueue import WorkQueue
from slipway_operator.kube.kinds import MODEL_DEPLOYMENT, POD
from slipway_operator.plan.revision import revision_hash
from tests.builders import Scene, mdep, spec_of

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def exposition(requests: int, *, each_s: float = 0.01) -> str:
    """Counters of a pod in Prometheus' text format."""
    time = requests * each_s
    return "\n".join(
        [
            "# TYPE slipway_requests_total counter",
            f'slipway_requests_total{{code="200",protocol="rest"}} {requests}',
            'slipway_requests_total{code="400",protocol="rest"} 77',
            'slipway_requests_total{code="429",protocol="rest"} 3',
            "# TYPE slipway_queue_duration_seconds histogram",
            f'slipway_queue_duration_seconds_bucket{{le="+Inf"}} {requests}',
            f"slipway_queue_duration_seconds_count {requests}",
            "slipway_queue_duration_seconds_sum 0.5",
            "# TYPE slipway_execution_duration_seconds histogram",
            f'slipway_execution_duration_seconds_bucket{{le="0.025"}} {requests}',
            f'slipway_execution_duration_seconds_bucket{{le="+Inf"}} {requests}',
            f"slipway_execution_duration_seconds_count {requests}",
            f"slipway_execution_duration_seconds_sum {time}",
            "# TYPE slipway_busy_seconds_total counter",
            f"slipway_busy_seconds_total {time}",
            "",
        ]
    )


async def _serving(answer: Answer) -> tuple[web.AppRunner, int]:
    app = web.Application()
    app.add_routes([web.get("/metrics", answer)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, int(runner.addresses[0][1])


def test_counters_are_read_and_the_clients_mistakes_are_no_load() -> None:
    found = parsed(exposition(100))
    assert (found.requests, found.inferences, found.executions) == (103, 100, 100)
    assert (found.execution_s, found.busy_s) == (1.0, 1.0)
    assert found.execution_buckets == ((0.025, 100), (float("inf"), 100))


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        pytest.param("slipway_busy_seconds_total NaN", "got nan", id="no number"),
        pytest.param("slipway_busy_seconds_total -1", "got -1", id="negative"),
        pytest.param("slipway_busy_seconds_total 1e300", "got 1e+300", id="too large to be added"),
        pytest.param(
            'slipway_execution_duration_seconds_bucket{le="1e200"} 1', "le='1e200'", id="edge"
        ),
        pytest.param("slipway_execution_duration_seconds_bucket 1", "could not", id="no edge"),
        pytest.param('slipway_requests_total{code="2', "", id="cut off"),
        pytest.param("slipway_requests_total{=} {}", "", id="punctuation"),
    ],
)
def test_what_a_hostile_image_says_is_no_number_to_reckon_with(wrong: str, expected: str) -> None:
    with pytest.raises(ValueError, match=re.escape(expected) or "."):
        parsed(exposition(10) + wrong + "\n")


@settings(max_examples=200)
@given(st.text(alphabet=st.sampled_from('slipway_requests_total{}="le,+Inf 0123e-.\n#TYPE')))
def test_whatever_it_says_it_is_a_reading_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        parsed(exposition(10) + text)


async def _hanging(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def _endless(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    while True:
        await answer.write(b"# a comment\n" * 1000)


async def _elsewhere(_: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("http://127.0.0.1:1/metrics")


async def _page(_: web.Request) -> web.StreamResponse:
    return web.Response(text="<html>")


async def _other(_: web.Request) -> web.StreamResponse:
    return web.Response(text="process_cpu_seconds_total 1\n")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(_hanging, "TimeoutError", id="hangs"),
        pytest.param(_endless, "more than 65536 bytes", id="never ends"),
        pytest.param(_elsewhere, "status 302", id="points elsewhere"),
        pytest.param(_page, "ValueError", id="a web page"),
        pytest.param(_other, "no sample of 'slipway_queue", id="not a runtime"),
    ],
)
async def test_a65_what_is_no_reading_is_told(answer: Answer, expected: str) -> None:
    runner, port = await _serving(answer)
    scraper = Scraper(timeout_s=0.3, max_bytes=65536)
    try:
        with pytest.raises(NoReading) as told:
            await scraper.read("127.0.0.1", port)
        assert expected in str(told.value)
    finally:
        await scraper.close()
        await runner.cleanup()


async def test_nothing_that_listens_is_no_reading() -> None:
    scraper = Scraper()
    try:
        with pytest.raises(NoReading):
            await scraper.read("127.0.0.1", 1)
    finally:
        await scraper.close()


SPEC = spec_of(autoscaling={"latencyObjective": {"target": "50ms"}})
KEY = ObjectKey("t1", "digits")


def _filled(spec: dict[str, object], pod_ip: str) -> Cache:
    """A cache with a model that serves by one ready pod."""
    cache = Cache()
    cache.put(MODEL_DEPLOYMENT, mdep(spec, status={"stable": {"hash": revision_hash(SPEC)}}))
    scene = Scene(SPEC).pod(SPEC, {}, conditions=[{"type": "Ready", "status": "True"}])
    (pod,) = scene.pods
    pod["status"]["podIP"] = pod_ip
    cache.put(POD, {**pod, "metadata": {**pod["metadata"], "resourceVersion": "5"}})
    return cache


async def test_a_load_becomes_a_recommendation_and_a_pass_of_the_reconciler() -> None:
    total = [0]

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text=exposition(total[0]))

    runner, port = await _serving(answer)
    scraper, queue, cache = Scraper(), WorkQueue[ObjectKey](), _filled(SPEC, "127.0.0.1")
    metering = Metering(cache, queue, scraper, lambda: True, port)
    try:
        await metering.look(lambda: 1000.0)
        assert cache.capacities == {}
        total[0] = 15 * 120
        await metering.look(lambda: 1015.0)
        found = cache.capacities[KEY]
        assert (round(found.arrival_rate), round(found.service_rate)) == (120, 100)
        assert found.utilization_percent == 100
        assert found.recommended >= 2
        assert queue_has(queue)
        snapshot = cache.snapshot(KEY, Scene().now, Scene().snapshot().defaults)
        assert snapshot is not None
        assert snapshot.capacity == found
        cache.put(MODEL_DEPLOYMENT, _newer(mdep(spec_of())))
        await metering.look(lambda: 1030.0)
        assert cache.capacities == {}
    finally:
        await scraper.close()
        await runner.cleanup()


def queue_has(queue: WorkQueue[ObjectKey]) -> bool:
    """Whether a key waits."""
    return len(queue) == 1


def _newer(manifest: dict[str, object]) -> dict[str, object]:
    metadata = manifest["metadata"]
    assert isinstance(metadata, dict)
    return {**manifest, "metadata": {**metadata, "resourceVersion": "9"}}


async def test_a_pod_that_does_not_answer_takes_nothing_down() -> None:
    cache, scraper = _filled(SPEC, "127.0.0.1"), Scraper()
    metering = Metering(cache, WorkQueue[ObjectKey](), scraper, lambda: True, port=1)
    try:
        await metering.look(lambda: 1000.0)
        await metering.look(lambda: 1015.0)
    finally:
        await scraper.close()
    assert cache.capacities == {}
    assert cache.get(CacheKey(v1alpha1.KIND, *KEY)) is not None
