"""How long a client waits: the time its head gives us.

Pure.
A deadline only ever shortens the request timeout. It counts from the head of the request, so that
reading and decoding are part of it. Three ways to give one, the shortest counts:

- `X-Request-Timeout: 250ms` (or `1.5`, seconds): ours, for people and plain HTTP clients;
- `X-Envoy-Expected-Rq-Timeout-Ms: 250`: Envoy and what is built on it send it with every request
  whose route has a timeout, so a gateway's deadline reaches the queue by itself;
- `parameters.timeout` in the body, microseconds: Triton's clients (`asked.py`).
"""

from __future__ import annotations

import re
from typing import Final

from slipway_runtime.errors import InvalidRequest, shown
from slipway_runtime.units import DURATION_PATTERN, duration_s

TIMEOUT_HEADERS: Final = frozenset({b"x-request-timeout", b"x-envoy-expected-rq-timeout-ms"})

_NUMBER: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


def header_timeout_s(name: bytes, value: bytes) -> float | None:
    """Read one of `TIMEOUT_HEADERS`; 0 stands for no deadline, as it does for Envoy.

    Raises:
        InvalidRequest: it is no time.
    """
    text = value.decode("latin-1").strip()
    if _NUMBER.fullmatch(text):
        found = float(text) * (0.001 if name.endswith(b"-ms") else 1)
    elif not name.endswith(b"-ms") and re.fullmatch(DURATION_PATTERN, text):
        found = duration_s(text)
    else:
        raise InvalidRequest(
            f"{name.decode()}: got {shown(text)}, expected "
            + ("milliseconds" if name.endswith(b"-ms") else "seconds, or a duration as '250ms'")
        )
    return found or None


def shortest(*timeouts_s: float | None) -> float | None:
    """The smallest of those that are given."""
    return min((each for each in timeouts_s if each is not None), default=None)
