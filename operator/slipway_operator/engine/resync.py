"""The ground truth: list everything, replace the cache, look at what differs.

Watches can miss a deletion (kopf does not replay DELETED after a gap), so the cache is compared
with full lists at the start and from time to time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from slipway_operator.api import v1alpha1
from slipway_operator.engine.cache import Cache, Census, Difference, ObjectKey
from slipway_operator.engine.workqueue import WorkQueue
from slipway_operator.kube.client import Listing
from slipway_operator.kube.errors import ApiError, NotFound
from slipway_operator.kube.kinds import MODEL_DEPLOYMENT, WATCHED, Kind, pruned

log = logging.getLogger(__name__)

CRD_NAME: Final = f"{v1alpha1.PLURAL}.{v1alpha1.GROUP}"
_LOOK_S: Final = 2.0
_MAX_DELAY_S: Final = 15.0


class Lister(Protocol):
    """The request a resync makes."""

    def pages(self, kind: Kind, namespace: str | None = None) -> AsyncIterator[Listing]:
        """Read all objects of a kind, page by page."""


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
        self._is_filled = False
        self.obstacle = ""
        """Why the cache is not filled yet."""

    async def first(self) -> int:
        """Fill the cache and ask for every ModelDeployment, patiently; tell the number of objects.

        Tries until it succeeds: without a cache there is nothing the operator could do, and kopf
        ends when it watches a kind whose CRD is not there.
        """
        delay = 0.25
        while not self._is_filled:
            try:
                await self._pass()
                self._is_filled = True
            except ApiError as error:
                delay = self._wait_s(error, delay)
                log.warning("cannot list, trying again", extra={"cause": self.obstacle})
                await asyncio.sleep(delay)
        for key in self._cache.model_deployments():
            self._queue.add(key, patient=True)
        return len(self._cache)

    def _wait_s(self, error: ApiError, before: float) -> float:
        """Note why the cache is not filled; tell the pause before the next attempt."""
        if isinstance(error, NotFound):
            self.obstacle = f"the CRD {CRD_NAME} is not installed; apply it"
            return _LOOK_S
        self.obstacle = f"cannot list: {error}"
        return min(_MAX_DELAY_S, before * 2)

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
            if not kind.is_namespaced and None not in self._namespaces:
                continue  # the rights are those of namespaces
            for namespace in self._namespaces:
                try:
                    objects += await self._compare(kind, namespace)
                except ApiError as error:
                    failed = error
        if failed is not None:
            raise failed
        return objects

    async def _compare(self, kind: Kind, namespace: str | None) -> int:
        found = await self._census(kind, namespace)
        for key in found.keys:
            self._queue.add(key)
        return found.objects

    async def _census(self, kind: Kind, namespace: str | None) -> Difference:
        if kind.is_shared:
            return await self._shared(kind, namespace)
        census, version = Census(self._cache, kind, namespace), ""
        try:
            async for page in self._lister.pages(kind, namespace):
                census.put(page.items)
                version = page.resource_version
        except NotFound:
            if kind is MODEL_DEPLOYMENT and not self._is_filled:
                raise
            return self._cache.replace(kind, [], "", namespace)  # there are no such objects
        return census.end(version)

    async def _shared(self, kind: Kind, namespace: str | None) -> Difference:
        found, version = list[dict[str, Any]](), ""
        with suppress(NotFound):  # then there are none
            async for page in self._lister.pages(kind, namespace):
                found += [pruned(kind, item) for item in page.items]
                version = page.resource_version
        concerned = self._cache.gateways.replace(kind, found, version, namespace)
        return Difference(frozenset(concerned), len(concerned))
