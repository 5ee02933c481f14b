"""Canaries through a Gateway hold the invariants though its controller and proxies are late."""

from __future__ import annotations

from typing import Any

from tests.unit.operator.plan.canaries import ROLLOUT, URIS
from tests.unit.operator.plan.gated import EXPOSURE, Gated, GatedCanary
from tests.unit.operator.plan.lives import LIFE

TestGated = Gated.TestCase
TestGated.settings = LIFE


def spec_of(uri: str = URIS[0], replicas: int = 4, **more: Any) -> dict[str, Any]:
    rollout = {**ROLLOUT, **more}
    return {"model": {"uri": uri}, "replicas": replicas, "rollout": rollout, "exposure": EXPOSURE}


def begun(**more: Any) -> GatedCanary:
    world = GatedCanary(spec_of(**more))
    world.settle(100)
    world.change(spec_of(URIS[1], **more))
    return world


def test_a_canary_goes_through_its_weights() -> None:
    world = begun()
    seen: list[tuple[Any, ...]] = []
    for _ in range(250):
        world.tick(1)
        world.reconcile()
        now = (world.state, tuple(world.weights().values()))
        if not seen or seen[-1] != now:
            seen.append(now)
    assert [s for s in seen if s[0] in ("Baking", "Watching")] == [
        ("Baking", (80, 20)),
        ("Baking", (50, 50)),
        ("Watching", (100,)),
    ]
    assert world.condition("Ready") == ("True", "Serving")
    assert world.condition("TrafficVerified") == ("True", "TrafficSettled")
