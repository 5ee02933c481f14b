"""Probes tell what is wrong, and metrics are exposed."""

from __future__ import annotations

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from slipway_operator.telemetry.faults import Fault
from slipway_operator.telemetry.health import Health, serve
from slipway_operator.telemetry.metrics import Metrics


@pytest.mark.parametrize(
    ("path", "problem", "expected"),
    [
        ("/livez", None, (200, "ok\n")),
        ("/livez", "the watches missed something", (503, "the watches missed something\n")),
        ("/readyz", None, (200, "ok\n")),
        ("/readyz", "the caches are not filled yet", (503, "the caches are not filled yet\n")),
    ],
)
async def test_a_probe(path: str, problem: str | None, expected: tuple[int, str]) -> None:
    health = Health(
        lambda: problem if path == "/livez" else None,
        lambda: problem if path == "/readyz" else None,
        CollectorRegistry(),
    )
    assert await _get(health, path) == expected


async def _get(health: Health, path: str) -> tuple[int, str]:
    runner = await serve(health, "127.0.0.1", 0)
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}{path}"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return answer.status, await answer.text()
    finally:
        await runner.cleanup()


async def test_the_metrics_have_their_names() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.reconciled("settled", 0.01)
    metrics.failed(Fault.DENIED)
    metrics.waited(0.01)
    metrics.requested("PATCH", "Deployment", 200)
    metrics.watched("Pod")
    metrics.drifted(2)
    metrics.leads(is_leading=True)
    metrics.gauges(lambda: 3, lambda: 4)
    status, text = await _get(Health(lambda: None, lambda: None, metrics.registry), "/metrics")
    assert status == 200
    for line in (
        'slipway_reconcile_total{result="settled"} 1.0',
        'slipway_reconcile_errors_total{reason="denied"} 1.0',
        'slipway_reconcile_errors_total{reason="forbidden"} 0.0',
        "slipway_reconcile_duration_seconds_count 1.0",
        "slipway_queue_latency_seconds_count 1.0",
        "slipway_queue_depth 3.0",
        'slipway_api_requests_total{code="200",kind="Deployment",verb="PATCH"} 1.0',
        'slipway_watch_events_total{kind="Pod"} 1.0',
        "slipway_watch_drift_total 2.0",
        "slipway_leader 1.0",
        "slipway_cached_objects 4.0",
    ):
        assert f"\n{line}\n" in text
