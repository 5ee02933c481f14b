"""At most one leads: under hangs, refusals, freezes and a graceful end; on a clock that jumps."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from slipway_operator.engine.elector import Elector, LeaseTimes
from slipway_operator.kube.errors import Conflict, NotFound, Unavailable
from slipway_operator.kube.kinds import Kind
from tests.unit.operator.engine.clock import cancelled, run

Lease = dict[str, Any]
TIMES = LeaseTimes(duration_s=15, renew_deadline_s=10, retry_s=2)


class Cluster:
    """One Lease, compare-and-swap."""

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self.version = 0

    def write(self, lease: Lease, *, create: bool) -> Lease:
        if create and self.lease is not None:
            raise Conflict(409, "AlreadyExists", "it exists")
        if not create:
            assert self.lease is not None
            current = self.lease["metadata"]["resourceVersion"]
            if lease["metadata"]["resourceVersion"] != current:
                raise Conflict(409, "Conflict", "modified")
        self.version += 1
        self.lease = copy.deepcopy(lease)
        self.lease["metadata"]["resourceVersion"] = str(self.version)
        return copy.deepcopy(self.lease)


class Link:
    """One process's way to the cluster, which can hang or refuse."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.fault = ""

    async def _pass(self) -> None:
        await asyncio.sleep(0.01)
        if self.fault == "hang":
            await asyncio.sleep(10_000)
        if self.fault == "refuse":
            raise Unavailable(0, "NoAnswer", "connection refused")

    async def get(self, kind: Kind, namespace: str, name: str) -> Lease:
        await self._pass()
        if self.cluster.lease is None:
            raise NotFound(404, "NotFound", name)
        return copy.deepcopy(self.cluster.lease)

    async def create(self, manifest: Lease) -> Lease:
        await self._pass()
        return self.cluster.write(manifest, create=True)

    async def replace(self, manifest: Lease) -> Lease:
        await self._pass()
        return self.cluster.write(manifest, create=False)


class Pair:
    """Two processes and who led when."""

    def __init__(self, times: LeaseTimes = TIMES) -> None:
        self.cluster = Cluster()
        self.links = [Link(self.cluster), Link(self.cluster)]
        self.told: list[list[bool]] = [[], []]
        self.electors = [
            Elector(link, "t1", "lease", f"pod-{i}", times, self.told[i].append)
            for i, link in enumerate(self.links)
        ]
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, which: int) -> None:
        self.tasks.append(asyncio.create_task(self.electors[which].run()))

    @property
    def leaders(self) -> list[int]:
        return [i for i, e in enumerate(self.electors) if e.is_leading]

    async def until(self, expected: list[int], within_s: float) -> float:
        """Wait until exactly these lead; two never do, not for a moment."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        while self.leaders != expected:
            assert len(self.leaders) < 2
            assert loop.time() - start < within_s, self.leaders
            await asyncio.sleep(0.05)
        return loop.time() - start


@asynccontextmanager
async def _led_by_first(times: LeaseTimes = TIMES) -> AsyncIterator[Pair]:
    pair = Pair(times)
    pair.start(0)
    await pair.until([0], 1)
    pair.start(1)
    await asyncio.sleep(5)
    assert pair.leaders == [0]
    try:
        yield pair
    finally:
        await cancelled(*pair.tasks)


def _test(body: Callable[[Pair], Awaitable[None]], times: LeaseTimes = TIMES) -> None:
    async def main() -> None:
        async with _led_by_first(times) as pair:
            await body(pair)

    run(main())


def test_the_first_leads_for_as_long_as_it_renews() -> None:
    async def body(pair: Pair) -> None:
        for _ in range(600):
            await asyncio.sleep(1)
            assert pair.leaders == [0]
        assert pair.told == [[True], []]

    _test(body)


@pytest.mark.parametrize("fault", ["hang", "refuse"])
def test_a_leader_that_cannot_renew_stops_before_another_takes_over(fault: str) -> None:
    async def body(pair: Pair) -> None:
        pair.links[0].fault = fault
        assert await pair.until([], 11) <= 10.1
        assert await pair.until([1], 12) >= 3
        assert pair.told[1] == [True]
        pair.links[0].fault = ""
        await asyncio.sleep(60)
        assert pair.leaders == [1]

    _test(body)


@pytest.mark.parametrize("seconds", [2.0, 2.5, 2.9, 3.4])
def test_fractions_of_a_second_let_nobody_take_over_early(seconds: float) -> None:
    async def body(pair: Pair) -> None:
        pair.links[0].fault = "refuse"
        await pair.until([], 5)
        await pair.until([1], 12)

    _test(body, LeaseTimes(duration_s=seconds, renew_deadline_s=seconds - 0.05, retry_s=0.1))


def test_a_frozen_leader_does_not_lead_when_it_wakes_up() -> None:
    async def body(pair: Pair) -> None:
        await cancelled(pair.tasks[0])  # nothing of it runs any more
        await pair.until([1], 20)
        assert not pair.electors[0].is_leading

    _test(body)


def test_a_graceful_end_lets_the_other_take_over_at_its_next_attempt() -> None:
    async def body(pair: Pair) -> None:
        await cancelled(pair.tasks[0])
        await pair.electors[0].release()
        assert pair.leaders == []
        assert await pair.until([1], 5) <= TIMES.retry_s + 0.1
        assert pair.told[0] == [True, False]

    _test(body)


def test_a_release_that_hangs_ends() -> None:
    async def body(pair: Pair) -> None:
        await cancelled(pair.tasks[0])
        pair.links[0].fault = "hang"
        await pair.electors[0].release()
        assert pair.leaders == []

    _test(body)


def test_one_that_never_led_releases_nothing() -> None:
    async def body(pair: Pair) -> None:
        version = pair.cluster.version
        await pair.electors[1].release()
        assert (pair.leaders, pair.cluster.version) == ([0], version)

    _test(body)


def test_leading_waits_for_the_leadership() -> None:
    async def body(pair: Pair) -> None:
        waiting = asyncio.create_task(pair.electors[1].leading())
        await asyncio.sleep(30)
        assert not waiting.done()
        pair.links[0].fault = "refuse"
        await asyncio.wait_for(waiting, 30)
        assert pair.leaders == [1]

    _test(body)


def test_the_holders_own_duration_counts() -> None:
    async def body(pair: Pair) -> None:
        assert pair.cluster.lease is not None
        pair.links[0].fault = "refuse"
        await pair.until([], 11)
        pair.cluster.lease["spec"]["leaseDurationSeconds"] = 100
        await asyncio.sleep(50)
        assert pair.leaders == []

    _test(body)


def test_both_start_at_once_and_one_leads() -> None:
    async def main() -> None:
        pair = Pair()
        pair.start(0)
        pair.start(1)
        await asyncio.sleep(30)
        assert len(pair.leaders) == 1
        await cancelled(*pair.tasks)

    run(main())


def test_transitions_are_counted() -> None:
    async def body(pair: Pair) -> None:
        assert pair.cluster.lease is not None
        assert pair.cluster.lease["spec"]["leaseTransitions"] == 1
        await cancelled(pair.tasks[0])
        await pair.until([1], 20)
        spec = pair.cluster.lease["spec"]
        assert (spec["leaseTransitions"], spec["holderIdentity"]) == (2, "pod-1")

    _test(body)


def test_a_lease_is_given_up_though_a_renewal_arrives_that_was_cut_off() -> None:
    async def main() -> None:
        async with _led_by_first() as pair:
            await cancelled(pair.tasks[0])
            late = copy.deepcopy(pair.cluster.lease)
            assert late is not None
            pair.cluster.write(late, create=False)  # its answer never came
            await pair.electors[0].release()
            assert pair.cluster.lease is not None
            assert pair.cluster.lease["spec"]["holderIdentity"] == ""

    run(main())
