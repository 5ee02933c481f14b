"""The metrics of one served revision, on a registry of its own. `docs/metrics.md` has their table.

Belongs to the event loop, which alone counts (`meters.py`). Series are bound once: looking a label
set up costs more than counting. Edges are fixed, so that
revisions, pods and releases can be added up and compared.
"""

from __future__ import annotations

from time import time
from typing import Final

from prometheus_client import CollectorRegistry, Gauge

from slipway_runtime.monitoring.meters import Counter, Counters, Histogram, Histograms

IDENTITY: Final = ("model", "version", "revision")
DURATION_EDGES_S: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
BATCH_EDGES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_OK: Final = 200
_MAX_SIZES: Final = 256
"""Batch sizes that are told apart for Triton's statistics: clients choose them."""


class Metrics:
    """Everything the runtime counts; `registry` is what /metrics renders."""

    def __init__(self, *, model: str, version: str, revision: str) -> None:
        self.registry: Final = CollectorRegistry()
        self._identity: Final = {"model": model, "version": version, "revision": revision}
        self._requests: Final = self._counter(
            "slipway_requests", "Inference requests by wire and outcome.", "protocol", "code"
        )
        self._request_duration: Final = self._histogram(
            "slipway_request_duration_seconds",
            "From the head of an inference request to its answer.",
            DURATION_EDGES_S,
            "protocol",
        )
        self._queue_durations: Final = self._histogram(
            "slipway_queue_duration_seconds",
            "Time an inference waited for its turn.",
            DURATION_EDGES_S,
        )
        self._execution_durations: Final = self._histogram(
            "slipway_execution_duration_seconds", "Time the model computed.", DURATION_EDGES_S
        )
        self._batch_sizes: Final = self._histogram(
            "slipway_batch_size", "Rows of one execution.", BATCH_EDGES
        )
        self._queue_lengths: Final = self._gauge(
            "slipway_queue_length", "Requests that wait for their turn."
        )
        self._busy_seconds: Final = self._counter(
            "slipway_busy_seconds", "Time the model computed, summed."
        )
        self._rejected: Final = self._counter(
            "slipway_rejected", "Inference requests that were turned away, by reason.", "reason"
        )
        self._info: Final = self._gauge(
            "slipway_model_info", "1; its labels say which bytes are served.", "digest", "format"
        )
        self._outputs: Final = self._counter(
            "slipway_output", "Predictions by class of one output.", "output", "bucket"
        )
        self.last_success_s = 0.0
        """When an inference was last answered well, in seconds since the epoch."""
        self.runs: Final[dict[int, list[float]]] = {}
        """How many runs had so many rows, and their seconds: the first so many sizes that came."""
        self._by_code: Final[dict[tuple[str, int], Counter]] = {}
        self._by_protocol: Final[dict[str, Histogram]] = {}
        self._bind()

    def _bind(self) -> None:
        """Look up the series of this identity."""
        self._queue_duration = self._queue_durations.labels(**self._identity)
        self._execution_duration = self._execution_durations.labels(**self._identity)
        self._batch_size = self._batch_sizes.labels(**self._identity)
        self._busy = self._busy_seconds.labels(**self._identity)
        self.queue_length = self._queue_lengths.labels(**self._identity)

    def answered(self, protocol: str, code: int, duration_s: float) -> None:
        """Count one answered inference request of a wire."""
        key = (protocol, code)
        counter = self._by_code.get(key)
        if counter is None:
            counter = self._requests.labels(protocol=protocol, code=str(code), **self._identity)
            self._by_code[key] = counter
            self._by_protocol[protocol] = self._request_duration.labels(
                protocol=protocol, **self._identity
            )
        counter.inc()
        if code == _OK:
            self.last_success_s = time()
        self._by_protocol[protocol].observe(duration_s)

    def rejected(self, reason: str) -> None:
        """Count one request that was turned away; reasons are class names of `errors.py`."""
        self._rejected.labels(reason=reason, **self._identity).inc()

    def waited(self, queue_s: float) -> None:
        """Count a request whose turn has come."""
        self._queue_duration.observe(queue_s)

    def executed(self, *, execution_s: float, rows: int) -> None:
        """Count one run of the model, which may answer several requests."""
        self._execution_duration.observe(execution_s)
        self._batch_size.observe(rows)
        self._busy.inc(execution_s)
        run = self.runs.get(rows)
        if run is None:
            run = [0, 0.0]
            if len(self.runs) < _MAX_SIZES:
                self.runs[rows] = run
        run[0] += 1
        run[1] += execution_s

    def serves(self, *, digest: str, format_name: str, revision: str | None = None) -> None:
        """Say which bytes are served now; another revision's counts begin at 0.

        In a cluster another revision has pods of its own; on a laptop it is loaded beside nothing.
        """
        if revision is not None and revision != self._identity["revision"]:
            self._identity["revision"] = revision
            self._forget()
        self._info.clear()
        self._info.labels(digest=digest, format=format_name, **self._identity).set(1)

    def _forget(self) -> None:
        for family in (
            self._requests,
            self._request_duration,
            self._queue_durations,
            self._execution_durations,
            self._batch_sizes,
            self._busy_seconds,
            self._queue_lengths,
            self._rejected,
            self._outputs,
        ):
            family.clear()
        self._by_code.clear()
        self._by_protocol.clear()
        self.runs.clear()
        self._bind()

    def output_bucket(self, output: str, bucket: str) -> Counter:
        """The counter of one class of one output."""
        return self._outputs.labels(output=output, bucket=bucket, **self._identity)

    def _counter(self, name: str, text: str, *labels: str) -> Counters:
        return Counters(name, text, (*IDENTITY, *labels), self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, (*IDENTITY, *labels), registry=self.registry)

    def _histogram(
        self, name: str, text: str, edges: tuple[float, ...], *labels: str
    ) -> Histograms:
        return Histograms(name, text, edges, (*IDENTITY, *labels), self.registry)
