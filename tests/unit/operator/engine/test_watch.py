"""What a watch brings is noted at once, and acted upon in company."""

from __future__ import annotations

import asyncio
from typing import Any

from kopf._cogs.structs.references import Resource  # what it counts in, and exports not

from slipway_operator.engine.cache import Cache, ObjectKey
from slipway_operator.engine.watch import SETTLE_S, Sight, notice, overlooked
from slipway_operator.engine.workqueue import WorkQueue
from slipway_operator.kube.kinds import DEPLOYMENT, GATEWAY, MODEL_DEPLOYMENT, OPTIONAL, Kind
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


def _sight(*kinds: Kind) -> Sight:
    """Kopf has looked, and watches these kinds."""
    sight = Sight()
    sight.insights.watched_resources.update(Resource(k.group, k.version, k.plural) for k in kinds)
    sight.insights.ready_resources.set()
    return sight


def test_a_kind_that_came_later_is_overlooked_until_it_is_watched() -> None:
    others = {k.kind for k in OPTIONAL} - {"Gateway"}
    assert overlooked(_sight(), others, is_clusterwide=False) == {"Gateway"}
    assert overlooked(_sight(GATEWAY), others, is_clusterwide=False) == set()
    assert overlooked(_sight(), {*others, "Gateway"}, is_clusterwide=False) == set()
    assert overlooked(Sight(), others, is_clusterwide=False) == set(), "it has not looked yet"


def test_what_the_rights_do_not_reach_is_not_overlooked() -> None:
    others = {k.kind for k in OPTIONAL} - {"GatewayClass"}
    assert overlooked(_sight(), others, is_clusterwide=False) == set()
    assert overlooked(_sight(), others, is_clusterwide=True) == {"GatewayClass"}
