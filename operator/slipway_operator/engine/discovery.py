"""Which kinds of other projects the API server has: they come and go while the operator runs."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from slipway_operator.engine.cache import Cache, ObjectKey
from slipway_operator.engine.workqueue import WorkQueue
from slipway_operator.kube.errors import ApiError
from slipway_operator.kube.kinds import OPTIONAL, Kind

log = logging.getLogger(__name__)


class Asker(Protocol):
    """The request a discovery makes."""

    async def serves(self, kind: Kind) -> bool:
        """Tell whether the API server has a kind."""


class Discovery:
    """Keeps the cache's list of missing kinds true."""

    def __init__(self, cache: Cache, queue: WorkQueue[ObjectKey], asker: Asker) -> None:
        self._cache, self._queue, self._asker = cache, queue, asker

    async def look(self) -> None:
        """Ask once; a change concerns every ModelDeployment.

        Raises:
            ApiError: the API server did not say; what was known stays.
        """
        served = [await self._asker.serves(kind) for kind in OPTIONAL]
        found = zip(OPTIONAL, served, strict=True)
        missing = frozenset(kind.kind for kind, is_served in found if not is_served)
        if missing == self._cache.missing_kinds:
            return
        log.info("kinds of other projects", extra={"missing": sorted(missing)})
        self._cache.missing_kinds = missing
        for key in self._cache.model_deployments():
            self._queue.add(key, patient=True)

    async def first(self) -> None:
        """Ask until there is an answer: without it everything optional would look missing."""
        delay = 0.5
        while True:
            try:
                return await self.look()
            except ApiError as error:
                log.warning("discovery failed, trying again", extra={"cause": str(error)})
                await asyncio.sleep(delay)
                delay = min(15.0, delay * 2)

    async def run(self, every_s: float) -> None:
        """Ask again and again, for ever."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.look()
            except ApiError as error:
                log.warning("discovery failed", extra={"cause": str(error)})
