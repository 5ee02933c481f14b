"""How often, how long and how fast: the patience of the supply step."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import sleep

_MAX_RETRY_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class Patience:
    """Limits of talking to a store."""

    attempts: int = 5
    """Failures in a row, without progress, before giving up."""
    backoff_s: float = 0.5
    """Upper end of the first pause; doubles with each failure."""
    max_backoff_s: float = 20.0
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 30.0
    """Longest silence of a store."""
    min_bytes_per_s: int = 1024
    """A store that drips more slowly, over one read timeout, counts as silent."""
    sleep: Callable[[float], None] = sleep

    def pause_s(self, failures: int, retry_after_s: float | None) -> float:
        """How long to wait after so many failures: what the store asks and more, or a backoff.

        Both are spread by chance: a store that many pods have asked too much of tells all of them
        the same, and they would be back together.
        """
        if retry_after_s is not None:
            asked_s = min(retry_after_s, _MAX_RETRY_AFTER_S)
            return asked_s + random.uniform(0, max(self.backoff_s, asked_s / 2))
        return random.uniform(0, min(self.max_backoff_s, self.backoff_s * 2 ** (failures - 1)))


def retry_after_s(
    header: str | None, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> float | None:
    """Read a Retry-After header, in seconds or as a date; None when there is nothing to read."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        return max(0.0, (parsedate_to_datetime(header) - now()).total_seconds())
    except (TypeError, ValueError):
        return None
