"""Full lists find what the watches missed, and say so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from slipway_operator.engine.cache import Cache, ObjectKey
from slipway_operator.engine.resync import Resync
from slipway_operator.engine.workqueue import WorkQueue
from slipway_operator.kube.client import Listing
from slipway_operator.kube.errors import ApiError, NotFound, Unavailable
from slipway_operator.kube.kinds import MODEL_DEPLOYMENT, WATCHED, Kind
from tests.builders import mdep
from tests.unit.operator.engine.clock import cancelled, run


class Lister:
    """Lists ModelDeployments; everything else is empty."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = [mdep()]
        self.asked: list[tuple[str, str | None]] = []
        self.errors: list[ApiError] = []

    async def pages(self, kind: Kind, namespace: str | None = None) -> AsyncIterator[Listing]:
        self.asked.append((kind.kind, namespace))
        if self.errors:
            raise self.errors.pop(0)
        for item in self.items if kind is MODEL_DEPLOYMENT else []:
            yield Listing([item], "50")
        yield Listing([], "50")


class Parts:
    """A resync and what it works on."""

    def __init__(self, *namespaces: str) -> None:
        self.cache, self.queue, self.lister = Cache(), WorkQueue[ObjectKey](), Lister()
        self.drifts: list[int] = []
        self.resync = Resync(self.cache, self.queue, self.lister, namespaces, self.drifts.append)


def test_the_first_fills_the_cache_and_asks_for_every_model() -> None:
    async def main() -> None:
        parts = Parts()
        assert await parts.resync.first() == 1
        assert [k for k, _ in parts.lister.asked] == [k.kind for k in WATCHED]
        assert await parts.queue.get() == ("t1", "digits")
        assert parts.drifts == []

    run(main())


def test_the_first_tries_until_it_succeeds() -> None:
    async def main() -> None:
        parts = Parts()
        kinds = len(WATCHED)  # asked in each pass
        parts.lister.errors = [Unavailable(0, "NoAnswer", "refused") for _ in range(6 * kinds)]
        start = asyncio.get_running_loop().time()
        assert await parts.resync.first() == 1
        assert 20 < asyncio.get_running_loop().time() - start < 60

    run(main())


def test_the_first_waits_for_the_crd_and_says_so() -> None:
    async def main() -> None:
        parts = Parts()
        parts.lister.errors = [NotFound(404, "NotFound", "no such kind")]
        task = asyncio.create_task(parts.resync.first())
        await asyncio.sleep(1)
        assert "modeldeployments.slipway.dev is not installed" in parts.resync.obstacle
        assert await task == 1

    run(main())


def test_a_crd_that_is_deleted_later_is_an_empty_list() -> None:
    async def main() -> None:
        parts = Parts()
        await parts.resync.first()
        task = asyncio.create_task(parts.resync.run(600))
        parts.lister.errors = [NotFound(404, "NotFound", "no such kind")]
        await asyncio.sleep(601)
        assert (parts.drifts, len(parts.cache)) == ([1], 0)
        await cancelled(task)

    run(main())


def test_each_namespace_is_listed() -> None:
    async def main() -> None:
        parts = Parts("t1", "t2")
        await parts.resync.first()
        assert {n for _, n in parts.lister.asked} == {"t1", "t2"}

    run(main())


def test_what_the_watches_missed_is_counted_and_looked_at() -> None:
    async def main() -> None:
        parts = Parts()
        await parts.resync.first()
        task = asyncio.create_task(parts.resync.run(600))
        await asyncio.sleep(601)
        assert parts.drifts == [0]
        for expected in (1, 2):
            newer = mdep()
            newer["metadata"]["resourceVersion"] = str(50 + expected)
            parts.lister.items = [newer]
            await asyncio.sleep(600)
            assert parts.drifts[-1] == 1
        parts.lister.items = []
        await asyncio.sleep(600)
        assert (parts.drifts, len(parts.cache)) == ([0, 1, 1, 0], 1)
        await cancelled(task)

    run(main())


def test_a_resync_that_fails_is_tried_at_its_next_time() -> None:
    async def main() -> None:
        parts = Parts()
        await parts.resync.first()
        task = asyncio.create_task(parts.resync.run(600))
        parts.lister.errors = [Unavailable(0, "NoAnswer", "refused")]
        await asyncio.sleep(1201)
        assert parts.drifts == [0]
        assert not task.done()
        await cancelled(task)

    run(main())
