"""A loop that looks at models again and again, in the one process that leads.

A second one would double the load on pods and could write nothing. What is looked at, and what is
remembered between two looks, each of `metering.py`, `analysing.py` and `preflight.py` says.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Final

from slipway_operator.engine.cache import Cache, ObjectKey
from slipway_operator.engine.workqueue import WorkQueue
from slipway_operator.plan.names import ADMIN_PORT, REVISION

Manifest = dict[str, Any]


class Turns(ABC):
    """What looks at pods; a key is put into the queue when there is news of it."""

    def __init__(
        self,
        cache: Cache,
        queue: WorkQueue[ObjectKey],
        is_leading: Callable[[], bool],
        port: int = ADMIN_PORT,
    ) -> None:
        self._cache: Final = cache
        self._queue: Final = queue
        self._is_leading: Final = is_leading
        self._port: Final = port

    async def run(self, every_s: float) -> None:
        """Look for ever."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await asyncio.sleep(every_s)
                if self._is_leading():
                    await self.look(loop.time)
                else:
                    self.forget()
        finally:
            self.forget()

    @abstractmethod
    async def look(self, clock: Callable[[], float]) -> None:
        """Look at every model once."""

    @abstractmethod
    def forget(self) -> None:
        """Remember nothing: whoever leads writes the status, from which this one begins anew."""

    def _mdep(self, key: ObjectKey) -> Manifest:
        return self._cache.model_deployment(key) or {"spec": {}}

    def _serving(self, key: ObjectKey, revision: str) -> list[Manifest]:
        """The pods of a revision that can be asked."""
        return [p for p in self._cache.pods(key) if serves(p, revision)]


def serves(pod: Mapping[str, Any], revision: str) -> bool:
    """Tell whether a pod of a revision is ready, and where it can be read."""
    status = pod.get("status") or {}
    ready = any(
        c.get("type") == "Ready" and c.get("status") == "True"
        for c in status.get("conditions") or ()
    )
    labels = pod["metadata"].get("labels") or {}
    return bool(ready and status.get("podIP") and labels.get(REVISION) == revision)
