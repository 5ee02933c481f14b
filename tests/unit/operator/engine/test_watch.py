"""What a watch brings is noted at once, and acted upon in company."""

from __future__ import annotations

import asyncio
from typing import Any

from slipway_operator.engine.cache import Cache, ObjectKey
from slipway_operator.engine.watch import SETTLE_S, notice
from slipway_operator.engine.workqueue import WorkQueue
from slipway_operator.kube.kinds import DEPLOYMENT, MODEL_DEPLOYMENT
from tests.builders import mdep
from tests.unit.operator.engine.clock import run

KEY = ObjectKey("t1", "digits")


def _child(version: int) -> dict[str, Any]:
    owner = {"kind": "ModelDeployment", "name": "digits", "uid": "u", "controller": True}
    metadata = {"namespace": "t1", "name": "d", "uid": "c", "resourceVersion": str(version)}
    return {"kind": "Deployment", "metadata": {**metadata, "ownerReferences": [owner]}}


def test_a_spec_is_looked_at_at_once() -> None:
    async def main() -> None:
        cache, queue = Cache(), WorkQueue[ObjectKey]()
        notice(MODEL_DEPLOYMENT, False, mdep(), cache, queue)
        start = asyncio.get_running_loop().time()
        assert await queue.get() == KEY
        assert asyncio.get_running_loop().time() == start

    run(main())


def test_a_burst_of_controllers_is_one_pass() -> None:
    async def main() -> None:
        cache, queue = Cache(), WorkQueue[ObjectKey]()
        start = asyncio.get_running_loop().time()
        for version in range(1, 6):
            notice(DEPLOYMENT, False, _child(version), cache, queue)
            await asyncio.sleep(SETTLE_S / 10)
        assert await queue.get() == KEY
        assert asyncio.get_running_loop().time() - start < 1.1 * SETTLE_S
        queue.done(KEY)
        await asyncio.sleep(10 * SETTLE_S)
        assert len(queue) == 0

    run(main())


def test_a_spec_does_not_wait_for_the_burst_before_it() -> None:
    async def main() -> None:
        cache, queue = Cache(), WorkQueue[ObjectKey]()
        notice(DEPLOYMENT, False, _child(1), cache, queue)
        notice(MODEL_DEPLOYMENT, False, mdep(), cache, queue)
        assert len(queue) == 1

    run(main())


def test_what_is_known_already_is_no_news() -> None:
    async def main() -> None:
        cache, queue = Cache(), WorkQueue[ObjectKey]()
        cache.put(DEPLOYMENT, _child(1))
        notice(DEPLOYMENT, False, _child(1), cache, queue)
        await asyncio.sleep(10 * SETTLE_S)
        assert len(queue) == 0

    run(main())


def test_a_child_that_goes_is_missed() -> None:
    async def main() -> None:
        cache, queue = Cache(), WorkQueue[ObjectKey]()
        cache.put(DEPLOYMENT, _child(1))
        notice(DEPLOYMENT, True, _child(2), cache, queue)
        assert await queue.get() == KEY
        assert len(cache) == 0

    run(main())
