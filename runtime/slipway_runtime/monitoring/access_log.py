"""The access log: one line for a request, if it is taken; which ones is decided without chance.

Requests that went well are taken by a fixed share. Those that failed are all taken, up to so many
lines a second, clients' faults and the server's counted apart: a client that does nothing but
mistakes must not hide what is wrong with the server.
No line holds a payload, an error's message (it may quote one), an address, or a header but the two
that exist to find a request again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from slipway_runtime.errors import clipped
from slipway_runtime.logs import LineQueue
from slipway_runtime.monitoring.exchange import Exchange
from slipway_runtime.monitoring.trace_context import SpanIds, remote_parent

log: Final = logging.getLogger(__name__)

_FIRST_ERROR: Final = 400
_FIRST_SERVER_ERROR: Final = 500
_GOLDEN_RATIO: Final = 0.6180339887498949
_MAX_ID_BYTES: Final = 128
_MAX_LINES: Final = 4096
"""Lines that wait to be written, of about 1 KiB at most."""


class Share:
    """Takes a share of a sequence: the multiples of the golden ratio that end below it.

    They are spread as evenly as can be without a period that clients who take turns could fall in
    with.

    >>> quarter = Share(0.25)
    >>> "".join(".x"[quarter.takes()] for _ in range(24))
    '.x..x....x..x....x....x.'
    """

    def __init__(self, fraction: float) -> None:
        self._fraction: Final = fraction
        self._phase = 0.0

    def takes(self) -> bool:
        """Tell whether the next one is taken."""
        self._phase = (self._phase + _GOLDEN_RATIO) % 1.0
        return self._phase < self._fraction


class Allowance:
    """So many a second; what is not used is kept for one second."""

    def __init__(self, per_s: float) -> None:
        self._per_s: Final = per_s
        self._most: Final = max(1.0, per_s) if per_s else 0.0
        self._left = self._most
        self._seen_s: float | None = None

    def spends(self, now_s: float) -> bool:
        """Take one, if there is one.

        >>> two = Allowance(2)
        >>> [two.spends(0.0), two.spends(0.1), two.spends(0.2), two.spends(0.6)]
        [True, True, False, True]
        """
        passed_s = 0.0 if self._seen_s is None else now_s - self._seen_s
        self._seen_s = now_s
        self._left = min(self._most, self._left + passed_s * self._per_s)
        if self._left < 1:
            return False
        self._left -= 1
        return True


class AccessLog:
    """Chooses requests and writes their lines."""

    def __init__(
        self,
        *,
        sample: float,
        errors_per_s: float,
        identity: dict[str, str],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.is_sampling: Final = sample > 0
        self._share: Final = Share(sample)
        self._client_errors: Final = Allowance(errors_per_s)
        self._server_errors: Final = Allowance(errors_per_s)
        self._identity: Final = identity
        self._clock: Final = clock
        self._suppressed = 0
        self._lines: Final = LineQueue(__name__, _MAX_LINES)

    def open(self) -> None:
        """Write from a thread from now on."""
        self._lines.start()

    def close(self) -> None:
        """Write what waits; for as long as the reader takes."""
        self._lines.finish()

    def wants(self, exchange: Exchange) -> bool:
        """Tell whether a finished request gets a line; to be asked once for each."""
        is_taken = self._share.takes()
        if is_taken or exchange.status < _FIRST_ERROR:
            return is_taken
        is_ours = exchange.status >= _FIRST_SERVER_ERROR
        allowance = self._server_errors if is_ours else self._client_errors
        is_taken = allowance.spends(self._clock())
        self._suppressed += not is_taken
        return is_taken

    def write(self, exchange: Exchange, span: SpanIds | None) -> None:
        """Write its line."""
        fields = {**line(exchange, span), **self._identity}
        if missing := self._suppressed + self._lines.dropped:
            fields["suppressed"] = missing
            self._suppressed = self._lines.dropped = 0
        log.info("request", extra=fields)


def line(exchange: Exchange, span: SpanIds | None) -> dict[str, Any]:
    """What a line says of a request; what is not known is left out."""
    timing = exchange.timing
    fields = {
        "protocol": exchange.protocol,
        "method": exchange.verb,
        "route": exchange.route,
        "status": exchange.status,
        "grpc_status": exchange.grpc_status,
        "error": exchange.error,
        "duration_ms": _milliseconds(exchange.duration_s),
        "queue_ms": _milliseconds(timing.queue_s if timing else None),
        "execution_ms": _milliseconds(timing.execution_s if timing else None),
        "batch_rows": timing.rows if timing else 0,
        "bytes_in": exchange.bytes_in,
        "bytes_out": exchange.bytes_out,
        "id": _shortened(exchange.id),
        "request_id": _shortened(_first(exchange.header(b"x-request-id"))),
        **_trace(exchange, span),
    }
    kept = ("bytes_in", "bytes_out")
    return {key: value for key, value in fields.items() if value or key in kept}


def _trace(exchange: Exchange, span: SpanIds | None) -> dict[str, str]:
    if span is not None:
        return {"trace_id": f"{span.trace_id:032x}", "span_id": f"{span.span_id:016x}"}
    parent = remote_parent(exchange.header(b"traceparent"))
    return {} if parent is None else {"trace_id": f"{parent.trace_id:032x}"}


def _first(values: list[bytes]) -> str | None:
    return values[0].decode("latin-1") if values else None


def _shortened(text: str | None) -> str:
    return clipped(text, _MAX_ID_BYTES) if text else ""


def _milliseconds(duration_s: float | None) -> float | None:
    return None if duration_s is None else round(duration_s * 1000, 3)
