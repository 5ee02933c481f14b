"""Canaries hold the eleven invariants under crashes, flaps, late proxies and changes of mind."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from slipway_operator.api.v1alpha1 import parse_spec
from slipway_operator.plan import allocation, machine, rollout, scene
from slipway_operator.plan.allocation import candidate_size, stable_size
from slipway_operator.plan.autoscaler import HPA
from slipway_operator.plan.clock import parse
from slipway_operator.plan.evidence import Evidence, Sample, identity
from slipway_operator.plan.names import REVISION
from slipway_operator.plan.plan import Plan, plan
from slipway_operator.plan.policy import policy_of
from slipway_operator.plan.progress import Progress, State
from slipway_operator.plan.sizing import Size
from slipway_operator.plan.snapshot import Snapshot
from slipway_operator.plan.tracks import available
from slipway_operator.plan.traffic import Route, wanted_route
from slipway_operator.plan.transition import prepared
from tests.unit.operator.plan.canaries import (
    CRASHING,
    ROLLOUT,
    SILENT,
    URIS,
    WRONG,
    Canaries,
    Canary,
)
from tests.unit.operator.plan.lives import LIFE
from tests.unit.operator.plan.world import BAD_PODS, BrokenLaw

TestCanaries = Canaries.TestCase
TestCanaries.settings = LIFE


def spec_of(uri: str = URIS[0], replicas: int = 4, **more: Any) -> dict[str, Any]:
    return {"model": {"uri": uri}, "replicas": replicas, "rollout": {**ROLLOUT, **more}}


def _begun(**more: Any) -> Canary:
    world = Canary(spec_of(**more))
    world.settle(100)
    world.change(spec_of(URIS[1], **more))
    return world


def _until(world: Canary, state: str) -> None:
    for _ in range(200):
        if world.state == state:
            return
        world.tick(1)
        world.reconcile()
    raise AssertionError(f"never {state}, but {world.state}: {world.mdep['status']['message']}")


def test_a_canary_goes_through_its_steps() -> None:
    world = _begun()
    seen: list[tuple[Any, ...]] = []
    for _ in range(200):
        world.tick(1)
        world.reconcile()
        status = world.mdep["status"]
        weight = status["rollout"].get("weight", {})
        now = (world.state, weight.get("desired"), weight.get("applied"))
        if not seen or seen[-1] != now:
            seen.append(now)
    assert [s for s in seen if s[0] not in ("Preparing", "Shifting")] == [
        ("Baking", 20, 20),
        ("Baking", 50, 50),
        ("Promoting", 100, 50),
        ("Promoting", 100, 100),
        ("Watching", 100, 100),
        ("Idle", None, None),
    ]


def test_a_share_counts_when_the_endpoints_say_so() -> None:
    world = _begun()
    _until(world, "Shifting")
    world.slices = world.endpoints()
    for _ in range(30):
        world.tick(1)
        world.reconcile()
    name = world.owner.name
    assert REVISION not in world.objects["Service", name]["spec"]["selector"], "both are selected"
    assert world.state == "Shifting"
    assert world.mdep["status"]["rollout"]["weight"]["applied"] == 0
    world.slices = None
    _until(world, "Baking")
    assert world.mdep["status"]["rollout"]["weight"]["applied"] == 20
    pods = world.endpoints()
    world.slices = {**pods, name: 8, f"{name}-{world.desired}": 4}
    world.reconcile()
    assert world.mdep["status"]["rollout"]["weight"]["applied"] == 50, "not what is wanted"


def test_a_crashing_candidate_is_sent_back() -> None:
    world = Canary(spec_of())
    world.settle(100)
    first = world.desired
    world.change(spec_of(f"https://models.test/{CRASHING}"))
    world.settle(100)
    assert (world.state, world.selected()) == ("Failed", first)
    assert world.mdep["status"]["rollout"]["reason"] == "AnalysisFailed"
    assert world.condition("Stalled") == ("True", "RolloutAborted")
    assert world.condition("Available") == ("True", "Serving")


def test_what_was_given_up_stays_in_the_history_with_its_reason() -> None:
    world = Canary(spec_of())
    world.settle(100)
    world.change(spec_of(f"https://models.test/{CRASHING}"))
    world.settle(100)
    (failed,) = world.mdep["status"]["history"]
    assert (failed["revision"], failed["outcome"]) == (2, "Aborted")
    assert failed["reason"] == "AnalysisFailed"
    assert failed["digest"].startswith("sha256:")
    world.change(spec_of(URIS[1]))
    world.settle(150)
    told = [(e["revision"], e["outcome"], e.get("reason")) for e in world.mdep["status"]["history"]]
    assert told == [(1, "Promoted", None), (2, "Aborted", "AnalysisFailed")]


def _counted(world: Canary, good: float, bad: float) -> None:
    """Let the operator have read 10,000 good requests of stable, and some of the candidate."""
    policy = policy_of(parse_spec(world.mdep["spec"]))
    known = Evidence(identity(world.mdep["status"]["candidate"]["hash"], 1))
    for stable, candidate in ((Sample(0, 0), Sample(0, 0)), (Sample(10_000, 0), Sample(good, bad))):
        known = known.read({"s": stable}, {"c": candidate}, policy, is_cut=False)
    world.evidence = known


def test_evidence_sends_a_candidate_back() -> None:
    world = _begun()
    _until(world, "Baking")
    _counted(world, good=60, bad=40)
    world.reconcile()
    status = world.mdep["status"]
    assert (world.state, status["rollout"]["reason"]) == ("Aborting", "AnalysisFailed")
    by_name = {check["name"]: check for check in status["analysis"]}
    assert by_name["errors"]["verdict"] == "Fail"
    assert by_name["errors"]["candidate"] == {"n": 100, "x": 40}
    world.settle(100)
    assert (world.state, world.selected()) == ("Failed", world.stable)


def test_a_judged_step_waits_for_its_evidence_and_passes_on_it() -> None:
    checks = [{"name": "errors", "type": "ErrorRate"}]
    world = _begun(analysis={"checks": checks})
    _until(world, "Baking")
    for _ in range(60):
        world.tick(5)
        world.reconcile()
    assert world.state == "Baking"
    assert world.condition("AnalysisHealthy") == ("True", "NoEvidence")
    _counted(world, good=2_500, bad=0)
    world.reconcile()
    assert world.condition("AnalysisHealthy") == ("True", "ChecksMet")
    world.settle(150)
    assert world.mdep["status"]["stable"]["revision"] == 2


def test_evidence_that_was_told_outlives_the_operator() -> None:
    world = _begun()
    _until(world, "Baking")
    _counted(world, good=2_500, bad=0)
    world.reconcile()
    before = world.mdep["status"]["analysis"]
    world.evidence = None
    world.reconcile()
    assert world.mdep["status"]["analysis"] == before
    assert world.condition("TrafficVerified") == ("True", "TrafficSettled")


@pytest.mark.parametrize("state", ["Shifting", "Baking", "Watching"])
@pytest.mark.parametrize("fuse", range(9))
def test_a_crash_after_any_write_is_made_good(state: str, fuse: int) -> None:
    world = _begun()
    _until(world, state)
    world.tick(25)
    world.reconcile(fuse)
    world.settle(100)
    assert world.condition("Ready") == ("True", "Serving")


@pytest.mark.parametrize("state", ["Preparing", "Shifting", "Baking", "Promoting", "Watching"])
def test_going_back_to_the_stable_revision_is_possible_in_every_state(state: str) -> None:
    world = _begun()
    _until(world, state)
    world.change(spec_of())
    world.settle(150)
    assert world.condition("Ready") == ("True", "Serving")
    assert world.mdep["status"]["stable"]["revision"] == 1


def _pods(world: Canary) -> dict[str, tuple[int, int]]:
    """Wanted and available pods of each revision, by number."""
    return {
        d["metadata"]["annotations"]["slipway.dev/revision-number"]: (
            d["spec"]["replicas"], available(d)
        )
        for d in world.deployments()
    }  # fmt: skip


def test_conserving_takes_a_pod_for_each_that_is_ready() -> None:
    world = _begun(capacity="Conserve")
    for _ in range(150):
        world.tick(1)
        world.reconcile()
        assert sum(ready for _, ready in _pods(world).values()) >= 4
        if world.state in ("Shifting", "Baking"):
            assert sum(wanted for wanted, _ in _pods(world).values()) <= 6
        if world.state == "Baking" and world.mdep["status"]["rollout"]["step"] == 2:
            break
    world.reconcile()
    assert _pods(world) == {"1": (2, 2), "2": (2, 2)}
    world.settle(100)
    assert _pods(world) == {"1": (0, 0), "2": (4, 4)}


def test_an_abort_of_a_conserving_rollout_brings_the_pods_back_before_the_traffic() -> None:
    world = _begun(capacity="Conserve")
    _until(world, "Baking")
    world.act("abort", 1)
    for _ in range(20):
        world.reconcile()
        if world.selected() == world.stable:
            break
        world.tick(1)
    assert _pods(world)["1"] == (4, 4)


def test_the_pods_of_an_aborted_candidate_are_kept_as_long_as_was_said() -> None:
    world = _begun(onAbort="Keep", abortKeep="10m")
    _until(world, "Baking")
    kept = _pods(world)["2"][0]
    world.act("abort", 1)
    _until(world, "Failed")
    told = world.mdep["status"]["rollout"]["keptUntil"]
    until = world.now + timedelta(minutes=10)
    assert abs((parse(told) or world.now) - until) < timedelta(seconds=30)
    assert told in world.mdep["status"]["message"]
    while world.now < until - timedelta(minutes=1):
        world.tick(30)
        world.reconcile()
        assert _pods(world) == {"1": (4, 4), "2": (kept, kept)}
        assert world.selected() == world.stable
    world.settle(100)
    assert _pods(world)["2"] == (0, 0)
    assert "keptUntil" not in world.mdep["status"]["rollout"]
    assert "kept" not in world.mdep["status"]["message"]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"rollout": {**ROLLOUT, "onAbort": "ScaleDown"}}, id="ScaleDown again"),
        pytest.param({"model": {"uri": URIS[2]}}, id="another revision"),
        pytest.param({"replicas": 0}, id="no pods at all"),
    ],
)
def test_kept_pods_end_sooner_when_nobody_wants_them(change: dict[str, Any]) -> None:
    world = _begun(onAbort="Keep", abortKeep="168h")
    _until(world, "Baking")
    world.act("abort", 1)
    _until(world, "Failed")
    assert _pods(world)["2"][0]
    world.change({**world.mdep["spec"], **change})
    world.settle(150)
    assert _pods(world).get("2", (0, 0)) == (0, 0)


def test_recreating_never_has_pods_of_both() -> None:
    world = Canary(spec_of(strategy="Recreate", steps=[], watch="0s"))
    world.settle(100)
    world.change(spec_of(URIS[1], strategy="Recreate", steps=[], watch="0s"))
    for _ in range(60):
        world.tick(1)
        world.reconcile()
        assert min(wanted for wanted, _ in (*_pods(world).values(), (0, 0))) == 0
    assert _pods(world) == {"1": (0, 0), "2": (4, 4)}
    assert world.condition("Ready") == ("True", "Serving")


def test_a_recreated_revision_that_does_not_start_gives_its_place_back() -> None:
    world = Canary(spec_of(strategy="Recreate", steps=[]))
    world.settle(100)
    world.change(spec_of(f"https://models.test/{BAD_PODS}", strategy="Recreate", steps=[]))
    world.settle(100)
    assert world.state == "Failed"
    assert _pods(world) == {"1": (4, 4), "2": (0, 0)}


def _scaled(uri: str = URIS[0]) -> dict[str, Any]:
    recreated = {**ROLLOUT, "strategy": "Recreate", "steps": [], "watch": "0s"}
    scaling = {"minReplicas": 1, "maxReplicas": 6}
    return {"model": {"uri": uri}, "rollout": recreated, "autoscaling": scaling}


def _under_load() -> Canary:
    """A revision whose load has called for four pods, and an autoscaler that has spoken last."""
    world = Canary(_scaled())
    world.settle(100)
    for _ in range(80):  # until the floor of its own promotion is forgotten
        world.tick(5)
        world.autoscale(4)
        world.reconcile()
    assert _pods(world) == {"1": (4, 4)}
    return world


def _floor(world: Canary) -> dict[str, int]:
    found: dict[str, int] = world.mdep["status"]["rollout"].get("capacityFloor", {})
    return found


def test_recreating_gives_the_next_one_the_pods_that_the_load_has_called_for() -> None:
    world = _under_load()
    world.change(_scaled(URIS[1]))
    for _ in range(60):
        world.tick(1)
        world.reconcile()
        assert min(wanted for wanted, _ in (*_pods(world).values(), (0, 0))) == 0
        if not _pods(world)["1"][0]:
            assert 4 in _floor(world).values(), "or a crash now would forget it"
    assert _pods(world) == {"1": (0, 0), "2": (4, 4)}
    assert world.condition("Ready") == ("True", "Serving")


def test_what_made_room_in_vain_comes_back_with_as_many_pods() -> None:
    world = _under_load()
    world.change(_scaled(f"https://models.test/{BAD_PODS}"))
    for _ in range(60):
        world.tick(1)
        world.reconcile()
    assert world.state == "Failed"
    assert _pods(world) == {"1": (4, 4), "2": (0, 0)}
    (scaler,) = [o for (kind, _), o in world.objects.items() if kind == HPA]
    assert scaler["spec"]["minReplicas"] == 1, "the autoscaler may take them away again"


@pytest.mark.parametrize("fuse", range(6))
def test_a_crash_while_room_is_made_forgets_no_pod(fuse: int) -> None:
    world = _under_load()
    world.change(_scaled(URIS[1]))
    while _pods(world)["1"][0]:
        world.tick(1)
        world.reconcile(fuse)
        world.reconcile(fuse + 1)
    world.settle(100)
    assert _pods(world) == {"1": (0, 0), "2": (4, 4)}


def test_a_suspended_canary_rests_and_goes_on() -> None:
    world = _begun()
    _until(world, "Baking")
    spec = world.mdep["spec"]
    world.change({**spec, "suspend": True})
    for _ in range(60):
        world.tick(5)
        world.reconcile()
    assert world.state == "Shifting"
    assert world.condition("Ready") == ("True", "Suspended")
    assert set(_pods(world).values()) == {(0, 0)}
    world.change(spec)
    world.settle(150)
    assert world.condition("Ready") == ("True", "Serving")
    assert world.mdep["status"]["stable"]["revision"] == 2


def test_a_lost_status_and_another_spec_end_no_pod_that_may_have_traffic() -> None:
    world = _begun()
    _until(world, "Baking")
    second = world.mdep["status"]["candidate"]["hash"]
    world.change(spec_of(URIS[2]))
    world.lose_status()
    for _ in range(4):
        world.reconcile()  # the laws of the world are checked at every write
    assert world.mdep["status"]["candidate"]["hash"] == second
    assert world.state == "Aborting"
    world.settle(200)
    assert world.mdep["status"]["stable"]["revision"] == 3


def test_a_rollback_by_action_pins_until_the_spec_changes() -> None:
    world = _begun()
    world.settle(100)
    first = world.mdep["status"]["history"][0]["hash"]
    world.act(f"rollback:{first}", 1)
    _until(world, "Promoting")
    for _ in range(30):
        world.tick(1)
        world.reconcile()
    assert world.condition("Ready") == ("False", "PinnedToRevision")
    assert (world.selected(), world.stable) == (first, first)
    assert world.mdep["status"]["phase"] == "RollingBack"
    world.change(spec_of(URIS[2]))
    world.settle(150)
    assert world.condition("Ready") == ("True", "Serving")


TRIED: Final[dict[str, Any]] = {"preflight": {"golden": {}}}


def _tried(uri: str, **more: Any) -> Canary:
    """Begin a rollout with a preflight."""
    world = Canary(spec_of(**TRIED, **more))
    world.settle(100)
    world.change(spec_of(uri, **TRIED, **more))
    return world


@pytest.mark.parametrize("steps", [None, {"strategy": "BlueGreen", "steps": []}])
def test_a_candidate_that_passes_its_preflight_goes_on(steps: dict[str, Any] | None) -> None:
    world = _tried(URIS[1], **(steps or {}))
    seen = []
    for _ in range(200):
        world.tick(1)
        world.reconcile()
        if world.state not in seen:
            seen.append(world.state)
    expected = ["Preparing", "Preflight", *([] if steps else ["Shifting", "Baking"])]
    assert seen == [*expected, "Promoting", "Watching", "Idle"]
    assert world.mdep["status"]["stable"]["revision"] == 2


@pytest.mark.parametrize("steps", [None, {"strategy": "BlueGreen", "steps": []},
                                   {"strategy": "Recreate", "steps": []}])  # fmt: skip
def test_a_candidate_that_answers_wrongly_never_gets_a_request(
    steps: dict[str, Any] | None,
) -> None:
    world = _tried(f"https://models.test/{WRONG}", **(steps or {}))
    for _ in range(200):
        world.tick(1)
        world.reconcile()
        assert world.selected() == world.stable
    status = world.mdep["status"]
    assert (world.state, status["rollout"]["reason"]) == ("Failed", "PreflightFailed")
    assert "played: Fail" in status["message"]
    assert _pods(world) == {"1": (4, 4), "2": (0, 0)}
    assert world.condition("Stalled") == ("True", "RolloutAborted")


def test_a_preflight_that_cannot_be_made_waits_for_somebody() -> None:
    world = _tried(f"https://models.test/{SILENT}")
    _until(world, "Paused")
    assert world.mdep["status"]["rollout"]["reason"] == "PreflightUnavailable"
    assert (world.mdep["status"]["phase"], world.selected()) == ("Paused", world.stable)
    world.act("approve", 1)
    world.settle(150)
    assert world.mdep["status"]["stable"]["revision"] == 2


def test_recreating_gives_the_place_back_when_no_preflight_can_be_made() -> None:
    world = _tried(f"https://models.test/{SILENT}", strategy="Recreate", steps=[])
    world.settle(150)
    assert world.mdep["status"]["rollout"]["reason"] == "PreflightUnavailable"
    assert _pods(world) == {"1": (4, 4), "2": (0, 0)}


def test_a_preflight_waits_for_pods_as_long_as_there_are_to_be_none() -> None:
    world = _tried(URIS[1])
    _until(world, "Preflight")
    spec = world.mdep["spec"]
    world.change({**spec, "suspend": True})
    for _ in range(500):
        world.tick(10)
        world.reconcile()
    assert (world.state, world.condition("Ready")) == ("Preflight", ("True", "Suspended"))
    world.change(spec)
    world.settle(150)
    assert world.mdep["status"]["stable"]["revision"] == 2


@pytest.mark.parametrize("fuse", range(6))
def test_a_crash_during_a_preflight_is_made_good(fuse: int) -> None:
    world = _tried(URIS[1])
    _until(world, "Preflight")
    world.reconcile(fuse)
    world.settle(150)
    assert world.mdep["status"]["stable"]["revision"] == 2
    assert world.condition("Ready") == ("True", "Serving")


def _refuse() -> None:
    _tried(f"https://models.test/{WRONG}").settle(200)


def _passes_in_any_case(progress: Progress, facts: Any, policy: Any) -> Progress | None:
    return machine._is_prepared(dataclasses.replace(progress, preflight="x"), facts, policy)


Break = Callable[[pytest.MonkeyPatch], None]


def _function(module: Any, name: str, broken: Callable[..., Any]) -> Break:
    return lambda patch: patch.setattr(module, name, broken)


def _row(state: State, name: str, broken: Callable[..., Any]) -> Break:
    """Replace one row of one state."""
    rows = tuple(broken if r.__name__ == name else r for r in machine._ROWS[state])
    return lambda patch: patch.setitem(machine._ROWS, state, rows)


def _ends_the_candidate_at_once(scene: Any, seen: Any, progress: Progress) -> Size:
    if progress.state is State.ABORTING:
        return Size(0)
    return _SIZE(scene, seen, progress)


_SIZE = candidate_size


def _follows_the_weight(scene: Any, seen: Any, progress: Progress) -> Size:
    return Size(1) if progress.is_exposed else _STABLE_SIZE(scene, seen, progress)


_STABLE_SIZE = stable_size


def _shares_at_once(progress: Progress, *found: Any, is_first: bool) -> Route:
    if progress.is_exposed and not is_first:
        return Route.SHARED
    return _WANTED(progress, *found, is_first=is_first)


_WANTED = wanted_route


def _commits_what_is_asked_for(progress: Progress, facts: Any) -> Progress:
    return progress.at_rest(facts.now, committed=facts.desired)


def _deletes_stable(patch: pytest.MonkeyPatch) -> None:
    def planner(snapshot: Snapshot) -> Plan:
        decided = plan(snapshot)
        stable = (snapshot.status.get("stable") or {}).get("name")
        live = snapshot.child("Deployment", str(stable))
        if live is None or not (decided.status or {}).get("candidate"):
            return decided
        return dataclasses.replace(decided, delete=(*decided.delete, live))

    patch.setattr(Canaries, "planner", staticmethod(planner))


def _change_in(state: str) -> None:
    """Change the model while a rollout is in a state, and see what becomes of it."""
    world = _begun()
    for _ in range(300):
        world.tick(1)
        world.reconcile()
        if world.state == state:
            break
    assert world.state == state
    world.change(spec_of(URIS[2]))
    world.settle(300)


def _hunt() -> None:
    hunt = settings(LIFE, max_examples=500, phases=[Phase.generate], database=None,
                    derandomize=True, report_multiple_bugs=False)  # fmt: skip
    run_state_machine_as_test(Canaries, settings=hunt)


@pytest.mark.parametrize("state", ["Baking", "Promoting", "Watching"])
def test_a_change_of_mind_is_followed(state: str) -> None:
    _change_in(state)


@pytest.mark.parametrize(
    ("mutate", "live"),
    [
        pytest.param(
            _function(scene, "live_route", lambda *found, **more: Route.CANDIDATE),
            _hunt,
            id="commits without looking where traffic goes",
        ),
        pytest.param(
            _function(rollout, "candidate_size", _ends_the_candidate_at_once),
            _hunt,
            id="scales down before traffic has left",
        ),
        pytest.param(
            _function(machine, "_committed", _commits_what_is_asked_for),
            lambda: _change_in("Watching"),
            id="promotes what the spec asks for now",
        ),
        pytest.param(
            _function(allocation, "wanted_route", _shares_at_once),
            _hunt, id="moves traffic before capacity",
        ),
        pytest.param(_deletes_stable, _hunt, id="collects the stable revision"),
        pytest.param(
            _row(State.BAKING, "_is_superseded",
                 lambda p, f, policy: prepared(p, f, policy)
                 if f.desired != p.candidate else None),
            lambda: _change_in("Baking"),
            id="takes the next candidate without draining",
        ),
        pytest.param(
            _function(rollout, "stable_size", _follows_the_weight),
            _hunt,
            id="scales the stable revision down early",
        ),
        pytest.param(
            _row(State.PREFLIGHT, "_is_tried", _passes_in_any_case),
            _refuse,
            id="goes on whatever the preflight came to",
        ),
    ],
)  # fmt: skip
def test_a_broken_machine_is_found(
    mutate: Break, live: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch)
    with pytest.raises(BrokenLaw):
        live()
