"""The ground truth: list everything, replace the cache, look at what differs.

Watches can miss a deletion (kopf does not replay DELETED after a gap), so the cache is compared
with full lists at the start and from time to time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from slipway_operator.engine.cache import Cache, ObjectKey
from slipway_operator.engine.workqueue import WorkQueue
from slipway_operator.kube.client import Listing
from slipway_operator.kube.errors import ApiError, NotFound
from slipway_operator.kube.kinds import WATCHED, Kind

log = logging.getLogger(__name__)


class Lister(Protocol):
    """The request a resync makes."""

    async def list_all(self, kind: Kind, namespace: str | None = None) -> Listing:
        """Read all objects of a kind."""


class Resync:
    """Compares the cache with the cluster."""

    def __init__(
        self,
        cache: Cache,
        queue: WorkQueue[ObjectKey],
        lister: Lister,
        namespaces: Sequence[str],
        observe_drift: Callable[[int], None] = lambda objects: None,
    ) -> None:
        self._cache, self._queue, self._lister = cache, queue, lister
        self._namespaces: Sequence[str | None] = namespaces or (None,)
        self._observe_drift = observe_drift

    async def first(self) -> int:
        """Fill the cache and ask for every ModelDeployment, patiently; tell the number of objects.

        Tries until it succeeds: without a cache there is nothing the operator could do.
        """
        delay = 0.5
        while True:
            try:
                await self._pass()
                break
            except ApiError as error:
                log.warning("cannot list, trying again", extra={"cause": str(error)})
                await asyncio.sleep(delay)
                delay = min(15.0, delay * 2)
        for key in self._cache.model_deployments():
            self._queue.add(key, patient=True)
        return len(self._cache)

    async def run(self, every_s: float) -> None:
        """Compare again and again, for ever."""
        while True:
            await asyncio.sleep(every_s)
            try:
                objects = await self._pass()
            except ApiError as error:
                log.warning("resync failed", extra={"cause": str(error)})
                continue
            self._observe_drift(objects)
            for key in self._cache.model_deployments():
                self._queue.add(key, patient=True)

    async def _pass(self) -> int:
        """List every kind once; tell how many objects differed from the cache.

        Raises:
            ApiError: a kind could not be listed; the others were.
        """
        objects, failed = 0, None
        for kind in WATCHED:
            for namespace in self._namespaces:
                try:
                    objects += await self._compare(kind, namespace)
                except ApiError as error:
                    failed = error
        if failed is not None:
            raise failed
        return objects

    async def _compare(self, kind: Kind, namespace: str | None) -> int:
        listing = await self._list(kind, namespace)
        found = self._cache.replace(kind, listing.items, listing.resource_version, namespace)
        for key in found.keys:
            self._queue.add(key)
        return found.objects

    async def _list(self, kind: Kind, namespace: str | None) -> Listing:
        try:
            return await self._lister.list_all(kind, namespace)
        except NotFound:  # the CRD is not installed (yet): there are no such objects
            return Listing([], "")
