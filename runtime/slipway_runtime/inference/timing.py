"""When one inference waited and computed: what a trace and a log line tell of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Timing:
    """Filled in by the batcher; times are of the monotonic clock, None where it came not so far."""

    enqueued_s: float | None = None
    started_s: float | None = None
    execution_s: float | None = None
    """How long the model computed, for all that shared the run; repeated runs are summed."""
    rows: int = 0
    """Rows of that run, of all the requests that shared it."""

    @property
    def queue_s(self) -> float | None:
        """How long it waited for its turn; None where that never came."""
        if self.enqueued_s is None or self.started_s is None:
            return None
        return self.started_s - self.enqueued_s
