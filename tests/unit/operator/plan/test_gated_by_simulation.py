"""Canaries through a Gateway hold the invariants though its controller and proxies are late."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from slipway_operator.plan import allocation, machine, rollout
from slipway_operator.plan.gateways import KnownGateway
from slipway_operator.plan.progress import Progress, State
from slipway_operator.plan.traffic import Route
from slipway_operator.plan.verification import Standing
from tests.unit.operator.plan.canaries import ROLLOUT, STEPS, URIS
from tests.unit.operator.plan.gated import EXPOSURE, FEATURES, Gated, GatedCanary
from tests.unit.operator.plan.lives import LIFE
from tests.unit.operator.plan.world import BrokenLaw

TestGated = Gated.TestCase
TestGated.settings = LIFE


MANUAL: Final = [{**STEPS[0], "approval": "Manual"}, STEPS[1]]


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


def _until(world: GatedCanary, state: str, passes: int = 300) -> None:
    for _ in range(passes):
        if world.state == state:
            return
        world.tick(1)
        world.reconcile()
    raise AssertionError(f"never {state}, but {world.state}: {world.mdep['status']['message']}")


def test_chosen_requests_come_first_and_by_one_cut_all_others() -> None:
    chosen = {"headers": [{"name": "x-canary", "value": "yes"}], "hold": "20s"}
    world = begun(strategy="BlueGreen", steps=[chosen])
    _until(world, "Baking")
    route = world.route()
    assert route is not None
    assert route["spec"]["rules"][0]["matches"][0].get("headers")
    assert tuple(world.weights().values()) == (100,)
    world.settle(150)
    assert world.mdep["status"]["stable"]["revision"] == 2


def test_a_mirror_that_is_not_listed_is_skipped_and_told() -> None:
    world = begun(steps=[{"mirrorPercent": 20}, {"weight": 20, "hold": "20s"}])
    _until(world, "Baking")
    weight = world.mdep["status"]["rollout"]["weight"]
    assert (weight["desired"], weight["note"]) == (
        20, "step 1 is skipped: the GatewayClass does not list HTTPRouteRequestMirror",
    )  # fmt: skip


MIRRORED: Final[dict[str, Any]] = {
    "steps": [{"mirrorPercent": 100, "hold": "20s"}, {"weight": 20, "hold": "20s"}],
}


def _of_grpc(protocols: list[str], grpc: dict[str, Any], uri: str = URIS[0]) -> dict[str, Any]:
    exposure = {"gateway": {**EXPOSURE["gateway"], "grpc": grpc}}
    serving = {"protocols": protocols}
    return {**spec_of(uri, **MIRRORED), "exposure": exposure, "serving": serving}


@pytest.mark.parametrize(
    ("protocols", "grpc", "step"),
    [
        pytest.param(
            ["GRPC"], {"mode": "GRPCRoute", "hostnames": ["grpc.test"]}, 2,
            id="a GRPCRoute mirrors nothing",
        ),
        pytest.param(["GRPC"], {"mode": "SameHost"}, 1, id="the HTTPRoute does"),
        pytest.param(
            ["REST", "GRPC"], {"mode": "GRPCRoute", "hostnames": ["grpc.test"]}, 1,
            id="REST is mirrored beside a GRPCRoute",
        ),
    ],
)  # fmt: skip
def test_a_mirror_that_nothing_would_come_to_is_skipped_and_told(
    protocols: list[str], grpc: dict[str, Any], step: int
) -> None:
    features = FEATURES | {"HTTPRouteRequestMirror"}
    world = GatedCanary(_of_grpc(protocols, grpc))
    world.settle(100)
    world.gateway = KnownGateway(features=features)
    world.change(_of_grpc(protocols, grpc, URIS[1]))
    _until(world, "Baking")
    told = world.mdep["status"]["rollout"]
    note = "step 1 is skipped: gRPC that has a GRPCRoute is not mirrored"
    assert (told["step"], (told["weight"] or {}).get("note")) == (step, note if step > 1 else None)


def test_a_weight_that_is_not_confirmed_is_taken_back_and_tried_again_on_approval() -> None:
    world = begun(traffic={"settle": "5s", "verifyTimeout": "30s"})
    _until(world, "Baking")
    world.answers = False
    _until(world, "Paused")
    for _ in range(3):
        world.tick(1)
        world.reconcile()
    told = world.mdep["status"]["rollout"]
    assert (told["reason"], told["step"], told["weight"]["desired"]) == ("TrafficUnverified", 2, 20)
    assert tuple(world.weights().values()) == (80, 20)
    world.answers = True
    for _ in range(60):
        world.tick(5)
        world.reconcile()
    assert world.state == "Paused", "a person decides"
    world.act("approve", 1)
    _until(world, "Watching")


def test_a_gateway_that_goes_pauses_the_rollout_until_it_is_back() -> None:
    world = begun()
    _until(world, "Baking")
    world.gateway = KnownGateway("Gateway infra/public does not exist")
    _until(world, "Paused")
    assert world.mdep["status"]["rollout"]["reason"] == "GatewayNotReady"
    assert world.condition("TrafficVerified") == ("False", "GatewayNotReady")
    assert world.condition("Available") == ("True", "Serving")
    world.gateway = KnownGateway(features=frozenset())
    _until(world, "Watching")


def _held(world: GatedCanary) -> None:
    """Until the candidate has 20 % of the requests, and waits for somebody."""
    _until(world, "Paused")
    assert world.mdep["status"]["rollout"]["reason"] == "AwaitingApproval"
    assert tuple(world.weights().values()) == (80, 20)


def test_a_candidate_that_dies_while_it_waits_for_somebody_gets_no_more_requests() -> None:
    world = begun(steps=MANUAL)
    _held(world)
    world.kill_candidate()
    world.reconcile()
    assert (world.state, world.mdep["status"]["rollout"]["reason"]) == ("Aborting", "CandidateDown")
    world.reconcile()
    assert world.weights() == {world.stable: 100}
    world.settle(150)
    assert (world.state, world.condition("Available")) == ("Failed", ("True", "Serving"))


def test_a_candidate_that_dies_on_its_way_to_the_next_weight_gets_no_more_requests() -> None:
    world = begun()
    _until(world, "Baking")
    _until(world, "Shifting")
    assert (world.mdep["status"]["rollout"]["step"], *world.weights().values()) == (2, 80, 20)
    world.kill_candidate()
    world.reconcile()
    assert world.mdep["status"]["rollout"]["reason"] == "CandidateDown"
    world.reconcile()
    assert world.weights() == {world.stable: 100}


def test_pods_that_a_suspension_ended_are_waited_for_in_a_pause() -> None:
    world = begun(steps=MANUAL)
    _held(world)
    spec = world.mdep["spec"]
    world.change({**spec, "suspend": True})
    for _ in range(10):
        world.tick(5)
        world.reconcile()
    world.change(spec)
    world.reconcile()
    stable = world.deployment(world.stable)
    assert stable is not None
    stable["status"]["availableReplicas"] = 1  # and the candidate has none yet
    for _ in range(10):
        world.reconcile()
        assert world.state == "Paused"
        world.tick(1)
    world.kill_candidate()
    world.reconcile()
    assert world.mdep["status"]["rollout"]["reason"] == "CandidateDown"


def test_where_nobody_has_a_pod_the_first_that_comes_back_decides() -> None:
    world = begun(steps=MANUAL)
    _held(world)
    world.kill_candidate()
    world.kill(world.stable)
    for _ in range(5):
        world.reconcile()
        assert world.state == "Paused"
    world.tick(1)
    world.kill_candidate()  # the stable revision's come first
    world.reconcile()
    assert world.mdep["status"]["rollout"]["reason"] == "CandidateDown"


def test_a14_another_revision_is_asked_for_in_the_middle() -> None:
    world = begun()
    _until(world, "Baking")
    second = world.mdep["status"]["candidate"]["hash"]
    world.change(spec_of(URIS[2]))
    world.reconcile()
    assert world.mdep["status"]["rollout"]["reason"] == "Superseded"
    _until(world, "Preparing")
    assert world.mdep["status"]["candidate"]["hash"] != second
    assert set(world.weights()) == {world.stable}
    world.settle(200)
    assert world.mdep["status"]["stable"]["revision"] == 3


def test_a15_the_stable_revision_is_asked_for_again() -> None:
    world = begun()
    _until(world, "Baking")
    world.change(spec_of())
    world.reconcile()
    assert world.mdep["status"]["rollout"]["reason"] == "Reverted"
    world.reconcile()
    assert world.weights() == {world.stable: 100}, "at once"
    world.settle(150)
    assert world.mdep["status"]["stable"]["revision"] == 1


def test_a16_replicas_and_model_change_together() -> None:
    world = begun()
    _until(world, "Baking")
    world.change(spec_of(URIS[2], replicas=6))
    world.reconcile()
    stable = world.deployment(world.stable)
    assert stable is not None
    assert stable["spec"]["replicas"] == 6, "at once"
    assert world.mdep["status"]["rollout"]["reason"] == "Superseded"
    world.settle(200)
    assert world.mdep["status"]["stable"]["revision"] == 3


def test_a17_toggling_ends_with_the_last_word() -> None:
    world = begun()
    _until(world, "Baking")
    for nonce in range(50):
        world.act(("approve", "skip-step", "promote", "approve")[nonce % 4], nonce)
        world.change(spec_of(URIS[1], paused=nonce % 2 == 0))
        world.reconcile()
        world.tick(1)
        assert sum(world.weights().values()) == 100
    world.change(spec_of(URIS[1], paused=False))
    world.act("abort", 99)
    world.reconcile()
    assert world.state in ("Aborting", "Idle")
    world.settle(200)


def test_a56_a_step_that_there_is_no_more_is_the_last_that_there_is() -> None:
    world = begun()
    _until(world, "Baking")
    world.mdep["status"]["rollout"]["step"] = 99
    for _ in range(3):
        world.reconcile()
    assert world.mdep["status"]["rollout"]["step"] == 1
    world.settle(200)
    assert world.mdep["status"]["stable"]["revision"] == 2


Break = Callable[[pytest.MonkeyPatch], None]


def _function(module: Any, name: str, broken: Callable[..., Any]) -> Break:
    return lambda patch: patch.setattr(module, name, broken)


def _live() -> None:
    """A rollout that is over at its cut, while the Gateway's controller is mostly away."""
    world = begun(watch="0s")
    for turn in range(200):
        world.answers = turn % 10 == 0
        world.tick(1)
        world.reconcile()


def _jumps(progress: Progress, route: Route, live: int, *, can_share: bool) -> int:
    return {Route.SHARED: progress.weight, Route.CANDIDATE: 100}.get(route, 0)


def _without_row(state: State, name: str) -> Break:
    rows = tuple(r for r in machine._ROWS[state] if r.__name__ != name)
    return lambda patch: patch.setitem(machine._ROWS, state, rows)


def _dies_in(state: str) -> None:
    world = begun(steps=MANUAL if state == "Paused" else STEPS)
    _until(world, "Baking")
    _until(world, state)
    world.kill_candidate()
    world.reconcile()


@pytest.mark.parametrize("state", [State.SHIFTING, State.PAUSED])
def test_a_machine_that_sends_requests_to_nobody_is_found(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    _dies_in(state)
    _without_row(state, "_dies")(monkeypatch)
    with pytest.raises(BrokenLaw, match="no pod of it is left"):
        _dies_in(state)


@pytest.mark.parametrize(
    "mutate",
    [
        pytest.param(
            _function(rollout, "standing", lambda *found: Standing(True)),
            id="commits what no Gateway has taken",
        ),
        pytest.param(_function(allocation, "wanted_percent", _jumps), id="goes up before capacity"),
    ],
)
def test_a_broken_way_through_the_gateway_is_found(
    mutate: Break, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch)
    with pytest.raises(BrokenLaw):
        _live()
