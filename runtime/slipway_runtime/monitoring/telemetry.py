"""What is told of single requests: the access log and traces, behind two calls for each wire.

    exchange = telemetry.begin("rest", "/v2/models/{model}/infer", headers, verb="POST")
    response = await dataplane.infer(request, timing=exchange.timing)
    telemetry.end(exchange, 200, bytes_in=…, bytes_out=…)

Nothing of it may hold a request up or fail it: lines and spans go into bounded queues, and other
threads write them. A span is made when its request has ended, from the times that were noted, so
that a request which nobody watches costs one object.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from time import perf_counter
from typing import Final, Protocol

from slipway_runtime.config import ServingConfig
from slipway_runtime.inference.threads import in_thread
from slipway_runtime.inference.timing import Timing
from slipway_runtime.monitoring.access_log import AccessLog
from slipway_runtime.monitoring.exchange import Exchange, Headers
from slipway_runtime.monitoring.trace_context import SpanIds
from slipway_runtime.monitoring.trace_settings import wants_traces
from slipway_runtime.settings import Settings

log: Final = logging.getLogger(__name__)

CLIENT_GONE: Final = 499
"""The status of a request whose client hung up: no answer has it, but logs everywhere know it."""
_FIRST_ERROR: Final = 400
_CLOSE_S: Final = 3.0
"""How long the end of the process waits for a collector, or for a reader of the log."""


class Tracer(Protocol):
    """Who makes a span of a request."""

    def record(self, exchange: Exchange) -> SpanIds | None:
        """Make the spans of a finished request; None where its trace is not sampled."""

    def close(self) -> None:
        """Send what waits."""


class Telemetry:
    """The one thing that both doors know; by default it does nothing."""

    def __init__(self, log: AccessLog | None = None, tracer: Tracer | None = None) -> None:
        self._log: Final = log
        self._tracer: Final = tracer
        self._watches: Final = tracer is not None or (log is not None and log.is_sampling)

    def begin(self, protocol: str, route: str, headers: Headers, *, verb: str = "") -> Exchange:
        """Note that a request has come; `route` is a template, never what the client sent."""
        return Exchange(protocol, route, headers, verb, Timing() if self._watches else None)

    def end(
        self,
        exchange: Exchange,
        status: int,
        *,
        error: str = "",
        grpc_status: str = "",
        bytes_in: int = 0,
        bytes_out: int = 0,
    ) -> None:
        """Tell of a request that has got its answer, or that nobody waits for any more.

        Args:
            exchange: what `begin` returned.
            status: of HTTP; over gRPC, the one of the same outcome.
            error: the class of what went wrong, never its message.
            grpc_status: the name of the code, over gRPC.
            bytes_in: of the request's body or message.
            bytes_out: of the answer's, before compression.
        """
        if not self._watches and (status < _FIRST_ERROR or self._log is None):
            return
        exchange.duration_s = perf_counter() - exchange.begun_s
        exchange.status, exchange.error, exchange.grpc_status = status, error, grpc_status
        exchange.bytes_in, exchange.bytes_out = bytes_in, bytes_out
        span = self._tracer.record(exchange) if self._tracer else None
        if self._log and self._log.wants(exchange):
            self._log.write(exchange, span)

    async def close(self) -> None:
        """Write and send what waits, within a bounded time."""
        parts = [part for part in (self._log, self._tracer) if part is not None]
        ends = [asyncio.ensure_future(in_thread(part.close)) for part in parts]
        if not ends:
            return
        _, late = await asyncio.wait(ends, timeout=_CLOSE_S)
        if late:
            log.warning("telemetry not all sent", extra={"waited_s": _CLOSE_S})


def open_telemetry(
    config: ServingConfig, settings: Settings, environment: Mapping[str, str], *, release: str
) -> Telemetry:
    """Make what the settings and OpenTelemetry's variables ask for; its threads run from now on.

    Raises:
        ConfigError: a variable that cannot work.
    """
    tracer = None
    if wants_traces(environment):
        # Late: the library costs time and memory, and most pods send no traces.
        from slipway_runtime.monitoring.tracing import Tracing

        tracer = Tracing(resource=_resource(config, release), release=release)
        log.info("traces are sent", extra={"model": config.name})
    if not settings.access_log_sample and not settings.access_log_errors_per_s:
        return Telemetry(None, tracer)
    access_log = AccessLog(
        sample=settings.access_log_sample,
        errors_per_s=settings.access_log_errors_per_s,
        identity=_identity(config),
    )
    access_log.open()
    return Telemetry(access_log, tracer)


def _identity(config: ServingConfig) -> dict[str, str]:
    found = {"model": config.name, "revision": config.revision}
    return {**found, "version": config.model.version} if config.model.version else found


def _resource(config: ServingConfig, release: str) -> dict[str, str]:
    """Source: OpenTelemetry's semantic conventions, "Service" and "Kubernetes"."""
    return {
        "service.name": "slipway-runtime",
        "service.version": release,
        "k8s.namespace.name": config.namespace,
        **{f"slipway.{key}": value for key, value in _identity(config).items()},
    }
