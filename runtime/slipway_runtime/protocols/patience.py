"""How long a client waits: the time its head gives us, and whether it is still there.

A deadline only ever shortens the request timeout. It counts from the head of the request, so that
reading and decoding are part of it. Three ways to give one, the shortest counts:

- `X-Request-Timeout: 250ms` (or `1.5`, seconds): ours, for people and plain HTTP clients;
- `X-Envoy-Expected-Rq-Timeout-Ms: 250`: Envoy and what is built on it send it with every request
  whose route has a timeout, so a gateway's deadline reaches the queue by itself;
- `parameters.timeout` in the body, microseconds: Triton's clients (`asked.py`).
"""

from __future__ import annotations

import asyncio
import re
from types import TracebackType
from typing import Final

from starlette.types import Receive

from slipway_runtime.errors import InvalidRequest, shown
from slipway_runtime.protocols.body import ClientGone
from slipway_runtime.units import DURATION_PATTERN, duration_s

TIMEOUT_HEADERS: Final = frozenset({b"x-request-timeout", b"x-envoy-expected-rq-timeout-ms"})

_WATCH_AFTER_S: Final = 0.02
"""Most requests are answered before; watching one costs as much as a small inference."""
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


class UnlessGone:
    """Cancels what runs inside the block once the client has hung up, and raises ClientGone.

    `with UnlessGone(receive): …`; the body has to be read before, so that `receive` has nothing
    to tell but the end.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive: Final = receive
        self._is_gone = False
        self._watch: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "ASGI applications run in tasks"  # noqa: S101  # for mypy
        self._task = task
        self._timer = task.get_loop().call_later(_WATCH_AFTER_S, self._begin)

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._watch:
            self._watch.cancel()
        if self._is_gone and isinstance(err, asyncio.CancelledError):
            self._task.uncancel()
            raise ClientGone from err

    def _begin(self) -> None:
        self._watch = self._task.get_loop().create_task(self._look())

    async def _look(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._is_gone = True
        self._task.cancel()
