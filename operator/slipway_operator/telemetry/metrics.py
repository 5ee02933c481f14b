"""The operator's own metrics; label values come from fixed sets only."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from slipway_operator.telemetry.faults import Fault
from slipway_operator.telemetry.rollouts import Rollouts

_LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """One registry with everything in it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self._reconciles = Counter(
            "slipway_reconcile", "Reconciles by result.", ["result"], registry=registry
        )
        self._errors = Counter(
            "slipway_reconcile_errors",
            "What stood against reconciles, by cause.",
            ["reason"],
            registry=registry,
        )
        for fault in Fault:  # a rate needs a zero to rise from
            self._errors.labels(fault)
        self._durations = Histogram(
            "slipway_reconcile_duration_seconds",
            "Time of one reconcile.",
            buckets=_LATENCY,
            registry=registry,
        )
        self._latency = Histogram(
            "slipway_queue_latency_seconds",
            "Time a key waited for a worker.",
            buckets=_LATENCY,
            registry=registry,
        )
        self._depth = Gauge(
            "slipway_queue_depth", "Keys that wait for a worker.", registry=registry
        )
        self._requests = Counter(
            "slipway_api_requests",
            "Requests to the API server; code 0 is no answer.",
            ["verb", "kind", "code"],
            registry=registry,
        )
        self._events = Counter(
            "slipway_watch_events", "Objects that the watches brought.", ["kind"], registry=registry
        )
        self._drift = Counter(
            "slipway_watch_drift",
            "Objects that a resync found different from what the watches had brought.",
            registry=registry,
        )
        self._leader = Gauge(
            "slipway_leader", "1 while this process holds the Lease.", registry=registry
        )
        self._objects = Gauge("slipway_cached_objects", "Objects in the cache.", registry=registry)
        self.rollouts = Rollouts()
        registry.register(self.rollouts)

    def reconciled(self, result: str, seconds: float) -> None:
        """Count a reconcile."""
        self._reconciles.labels(result).inc()
        self._durations.observe(seconds)

    def failed(self, fault: Fault) -> None:
        """Count what stood against a reconcile."""
        self._errors.labels(fault).inc()

    def waited(self, seconds: float) -> None:
        """Count a key's wait."""
        self._latency.observe(seconds)

    def requested(self, verb: str, kind: str, status: int) -> None:
        """Count a request."""
        self._requests.labels(verb, kind, str(status)).inc()

    def watched(self, kind: str) -> None:
        """Count a watch event."""
        self._events.labels(kind).inc()

    def drifted(self, objects: int) -> None:
        """Count what a resync found."""
        self._drift.inc(objects)

    def leads(self, is_leading: bool) -> None:
        """Tell whether this process leads."""
        self._leader.set(int(is_leading))

    def gauges(self, depth: Callable[[], float], objects: Callable[[], float]) -> None:
        """Read these when scraped."""
        self._depth.set_function(depth)
        self._objects.set_function(objects)
