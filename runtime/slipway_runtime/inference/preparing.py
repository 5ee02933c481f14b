"""What is done to a request's tensors before the model, beside the event loop.

A few at a time, as many as there are threads to compute with; as many may wait as the queue holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from slipway_runtime.errors import QueueFull
from slipway_runtime.inference.datatypes import Tensor
from slipway_runtime.inference.threads import in_thread

Feeds = Mapping[str, Tensor]


class Preparer:
    """Runs one slow function for many requests; belongs to a loop."""

    def __init__(self, change: Callable[[Feeds], Feeds], *, threads: int, max_waiting: int) -> None:
        self._change: Final = change
        self._turns: Final = asyncio.Semaphore(threads)
        self._max_waiting: Final = max_waiting
        self._waiting = 0

    async def __call__(self, inputs: Feeds) -> Feeds:
        """Change the tensors of one request.

        Raises:
            QueueFull: as many as may wait are waiting.
            ServingError: what the function raises.
        """
        if self._waiting >= self._max_waiting:
            raise QueueFull(
                f"queue: {self._waiting} requests wait to be decoded, expected fewer than "
                f"{self._max_waiting}; retry later"
            )
        self._waiting += 1
        try:
            async with self._turns:
                return await in_thread(lambda: self._change(inputs))
        finally:
            self._waiting -= 1
