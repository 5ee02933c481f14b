"""Traces over OTLP, by OpenTelemetry's SDK. The only door to it, imported only where it is wanted.

Importing it takes time and memory, and most pods send no traces. What the standard variables decide
(sampler, batch and queue sizes, headers, certificates) the SDK reads itself. Spans wait in its
bounded queue and are dropped when it is full; its complaints become one line a minute.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from time import monotonic, perf_counter_ns, time_ns
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState

from slipway_runtime.errors import ConfigError, clipped
from slipway_runtime.inference.timing import Timing
from slipway_runtime.monitoring.exchange import Exchange
from slipway_runtime.monitoring.trace_context import RemoteParent, SpanIds, remote_parent

log: Final = logging.getLogger(__name__)

_FIRST_SERVER_ERROR: Final = 500
_COMPLAIN_EVERY_S: Final = 60.0
_MAX_CAUSE_BYTES: Final = 400
_MAX_ID_BYTES: Final = 128


class Tracing:
    """Makes the spans of finished requests."""

    def __init__(self, *, resource: Mapping[str, str], release: str) -> None:
        """Start the thread that sends them.

        Raises:
            ConfigError: a variable that the SDK refuses.
        """
        _quieten()
        # The user's OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME win over what we know.
        told = {**resource, **OTELResourceDetector().detect().attributes}
        self._provider: Final = TracerProvider(
            resource=Resource.create(told), shutdown_on_exit=False
        )
        try:
            processor = BatchSpanProcessor(OTLPSpanExporter())
        except (ValueError, OSError) as err:
            raise ConfigError(f"environment: OTEL_…: {err}") from err
        self._provider.add_span_processor(processor)
        self._tracer: Final = self._provider.get_tracer("slipway-runtime", release)

    def record(self, exchange: Exchange) -> SpanIds | None:
        """Make the span of a finished request, and those of its queueing and execution.

        Returns:
            Its ids; None where the sampler does not take it.
        """
        clock = _Clock()
        end_ns = clock.epoch_ns(exchange.begun_s + exchange.duration_s)
        parent = remote_parent(exchange.header(b"traceparent"), exchange.header(b"tracestate"))
        span = self._tracer.start_span(
            f"{exchange.verb} {exchange.route}" if exchange.verb else exchange.route,
            Context() if parent is None else _context(parent),
            SpanKind.SERVER,
            _attributes(exchange),
            start_time=clock.epoch_ns(exchange.begun_s),
        )
        if not span.is_recording():
            return None
        if exchange.status >= _FIRST_SERVER_ERROR:
            span.set_status(StatusCode.ERROR)
        if exchange.timing is not None:
            self._record_parts(exchange.timing, span, clock, end_ns)
        span.end(end_ns)
        ids = span.get_span_context()
        return SpanIds(ids.trace_id, ids.span_id)

    def close(self) -> None:
        """Send what waits; slow where the collector is."""
        self._provider.shutdown()

    def _record_parts(self, timing: Timing, span: trace.Span, clock: _Clock, end_ns: int) -> None:
        """Children for the time in the queue and in the model, as far as it came."""
        if timing.enqueued_s is None:
            return
        inside = trace.set_span_in_context(span, Context())
        begun_ns, started_s = clock.epoch_ns(timing.enqueued_s), timing.started_s
        started_ns = end_ns if started_s is None else clock.epoch_ns(started_s)
        self._tracer.start_span("queue", inside, start_time=begun_ns).end(started_ns)
        if started_s is None:
            return
        took_s = timing.execution_s
        until_ns = end_ns if took_s is None else clock.epoch_ns(started_s + took_s)
        rows = {"slipway.batch.rows": timing.rows} if timing.rows else None
        part = self._tracer.start_span("execution", inside, attributes=rows, start_time=started_ns)
        part.end(until_ns)


class _Clock:
    """Brings times of the monotonic clock, which `perf_counter` reads too, to the wall's."""

    def __init__(self) -> None:
        self._offset_ns: Final = time_ns() - perf_counter_ns()

    def epoch_ns(self, clock_s: float) -> int:
        """Nanoseconds since the epoch, as spans have them."""
        return self._offset_ns + int(clock_s * 1e9)


def _context(parent: RemoteParent) -> Context:
    span = SpanContext(
        parent.trace_id,
        parent.span_id,
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if parent.is_sampled else TraceFlags.DEFAULT),
        trace_state=TraceState.from_header([parent.state]) if parent.state else None,
    )
    return trace.set_span_in_context(NonRecordingSpan(span), Context())


def _attributes(exchange: Exchange) -> dict[str, str | int]:
    """Source: OpenTelemetry's semantic conventions, "HTTP server" and "gRPC"; no header, no path.

    The path and the user agent are the client's own words.
    """
    found: dict[str, str | int] = {"slipway.protocol": exchange.protocol}
    if exchange.verb:
        found["http.request.method"] = exchange.verb
        found["http.route"] = exchange.route
        found["http.response.status_code"] = exchange.status
        found["http.request.body.size"] = exchange.bytes_in
        found["http.response.body.size"] = exchange.bytes_out
        found["url.scheme"] = "http"
    else:
        found["rpc.system.name"] = "grpc"
        found["rpc.method"] = exchange.route
        found["rpc.response.status_code"] = exchange.grpc_status
    if exchange.error:
        found["error.type"] = exchange.error
    if exchange.id:
        found["slipway.request.id"] = clipped(exchange.id, _MAX_ID_BYTES)
    return found


class _Complaints(logging.Handler):
    """What the SDK has to say about itself, at most once a minute: a collector may be away long."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._next_s = 0.0
        self._withheld = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Pass it on, or count it."""
        now_s = monotonic()
        if now_s < self._next_s:
            self._withheld += 1
            return
        self._next_s = now_s + _COMPLAIN_EVERY_S
        cause = clipped(record.getMessage(), _MAX_CAUSE_BYTES)
        log.warning("traces may be missing", extra={"cause": cause, "withheld": self._withheld})
        self._withheld = 0


def _quieten() -> None:
    """Send everything that the SDK logs through one handler; its exporter speaks once a batch."""
    library = logging.getLogger("opentelemetry")
    library.handlers[:] = [_Complaints()]
    library.propagate = False
    logging.getLogger("urllib3").setLevel(logging.ERROR)
