"""Tell how a download gets on: at most every 5 seconds, on standard error."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import Final

log: Final = logging.getLogger(__name__)

_EVERY_S: Final = 5.0


class Progress:
    """Counts bytes against the clock."""

    def __init__(self, total_bytes: int | None, *, clock: Callable[[], float] = monotonic) -> None:
        self._total_bytes: Final = total_bytes
        self._clock: Final = clock
        self._begun_s: Final = clock()
        self._told_s = self._begun_s
        self._received_bytes = 0

    def advance(self, received_bytes: int, size_bytes: int) -> None:
        """Note `received_bytes` more, `size_bytes` in all; log when the last line is old enough."""
        self._received_bytes += received_bytes
        now_s = self._clock()
        if now_s - self._told_s >= _EVERY_S:
            self._told_s = now_s
            self._tell(size_bytes, now_s - self._begun_s)

    def _tell(self, size_bytes: int, elapsed_s: float) -> None:
        fields: dict[str, object] = {
            "bytes": size_bytes,
            "bytes_per_s": round(self._received_bytes / elapsed_s),
        }
        if self._total_bytes:
            fields["percent"] = round(100 * size_bytes / self._total_bytes)
        log.info("fetching", extra=fields)
