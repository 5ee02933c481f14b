"""The loop that measures the load of models with a latency objective and tells what they need.

It reads pods and puts into the cache; what follows from a recommendation the next pass decides.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from pydantic import ValidationError

from slipway_operator.api import v1alpha1
from slipway_operator.engine.cache import Cache, ObjectKey
from slipway_operator.engine.scrape import NoReading
from slipway_operator.engine.turns import Manifest, Turns
from slipway_operator.engine.workqueue import WorkQueue
from slipway_operator.plan.capacity import Objective
from slipway_operator.plan.metering import Meter, Reading
from slipway_operator.plan.names import ADMIN_PORT
from slipway_operator.plan.sizing import objective_of

log = logging.getLogger(__name__)


class Reader(Protocol):
    """The request a measurement makes."""

    async def read(self, host: str, port: int) -> Reading:
        """Read one pod."""


class Metering(Turns):
    """Keeps the cache's capacities true."""

    def __init__(
        self,
        cache: Cache,
        queue: WorkQueue[ObjectKey],
        reader: Reader,
        is_leading: Callable[[], bool],
        port: int = ADMIN_PORT,
    ) -> None:
        super().__init__(cache, queue, is_leading, port)
        self._reader = reader
        self._meters: dict[ObjectKey, Meter] = {}

    def forget(self) -> None:
        """Begin anew: counters that nobody read meanwhile tell nothing of now."""
        self._meters.clear()

    async def look(self, clock: Callable[[], float]) -> None:
        """Measure every model with an objective once."""
        wanted = dict(self._objectives())
        for gone in self._meters.keys() - wanted.keys():
            del self._meters[gone]
            self._cache.capacities.pop(gone, None)
        await asyncio.gather(*(self._measure(k, o, clock) for k, o in wanted.items()))

    def _objectives(self) -> list[tuple[ObjectKey, Objective]]:
        found = []
        for key in self._cache.with_objective():
            try:
                objective = objective_of(v1alpha1.parse_spec(self._mdep(key)["spec"]))
            except ValidationError:  # told by the status already
                continue
            if objective is not None:
                found.append((key, objective))
        return found

    async def _measure(
        self, key: ObjectKey, objective: Objective, clock: Callable[[], float]
    ) -> None:
        status = self._mdep(key).get("status") or {}
        revision = str((status.get("stable") or {}).get("hash") or "")
        readings = await self._readings(key, revision)
        now = clock()
        floor = int((status.get("capacity") or {}).get("recommended") or 0)
        meter = self._meters.get(key, Meter()).read(revision, readings, now)
        self._meters[key] = meter = meter.judged(objective, now, floor)
        if meter.told is not None and meter.told != self._cache.capacities.get(key):
            self._cache.capacities[key] = meter.told
            self._queue.add(key)

    async def _readings(self, key: ObjectKey, revision: str) -> dict[str, Reading]:
        pods = self._serving(key, revision)
        found = await asyncio.gather(*map(self._reading, pods))
        return {
            pod["metadata"]["uid"]: reading
            for pod, reading in zip(pods, found, strict=True)
            if reading is not None
        }

    async def _reading(self, pod: Manifest) -> Reading | None:
        try:
            return await self._reader.read(pod["status"]["podIP"], self._port)
        except NoReading as error:
            log.debug("no reading", extra={"cause": str(error)})
            return None
