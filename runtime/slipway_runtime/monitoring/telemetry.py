"""What is told of single requests: the access log and traces, behind two calls for each wire.

    exchange = telemetry.begin("rest", "/v2/models/{model}/infer", headers, verb="POST")
    response = await dataplane.infer(request, timing=exchange.timing)
    telemetry.end(exchange, 200, bytes_in=…, bytes_out=…)

Nothing of it may hold a request up or fail it: lines and spans go into bounded queues, and other
threads write them. A span is made when its request has ended, from the times that were noted, so
that a request which nobody watches costs one object.
"""

from __future__ import annotations

from time import perf_counter
from typing import Final, Protocol

from slipway_runtime.inference.timing import Timing
from slipway_runtime.monitoring.exchange import Exchange, Headers

CLIENT_GONE: Final = 499
"""The status of a request whose client hung up: no answer has it, but logs everywhere know it."""
_FIRST_ERROR: Final = 400


class SpanRef(Protocol):
    """The ids of a span, as hexadecimal digits."""

    @property
    def trace_id(self) -> str:
        """32 of them."""

    @property
    def span_id(self) -> str:
        """16 of them."""


class AccessLog(Protocol):
    """Who writes a line for a request."""

    @property
    def is_sampling(self) -> bool:
        """Whether requests that went well are of interest."""

    def wants(self, exchange: Exchange) -> bool:
        """Tell whether a finished request gets a line."""

    def write(self, exchange: Exchange, span: SpanRef | None) -> None:
        """Write it."""


class Tracer(Protocol):
    """Who makes a span of a request."""

    def record(self, exchange: Exchange) -> SpanRef | None:
        """Make the spans of a finished request; None where its trace is not sampled."""


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
