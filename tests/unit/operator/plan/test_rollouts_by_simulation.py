"""Rollouts hold their laws under crashes after any write, faults and changes of mind.

The laws are in `world.py`, where every write checks them: nothing is deployed before it is
verified; the apex selects the stable revision or one whose pods are all ready; the stable revision
and the one that the apex selects keep their pods; when faults stop, it comes to rest where the spec
(or, with a bad model, the stable revision) says, and the plan of that rest is empty.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from slipway_operator.plan import allocation, children, rollout, scene, sizing
from slipway_operator.plan.plan import Plan, plan
from slipway_operator.plan.sizing import Size
from slipway_operator.plan.snapshot import Snapshot
from slipway_operator.plan.traffic import Route
from tests.builders import spec_of
from tests.unit.operator.plan.lives import LIFE
from tests.unit.operator.plan.machine import URIS, Rollouts
from tests.unit.operator.plan.world import BrokenLaw, World

TestRollouts = Rollouts.TestCase
TestRollouts.settings = LIFE


def test_a_first_revision_and_its_successor_come_to_rest() -> None:
    world = World(spec_of(URIS[0], replicas=2))
    world.settle()
    first = world.desired
    world.change(spec_of(URIS[1], replicas=2))
    world.settle()
    found = world.deployment(first)
    assert world.condition("Ready") == ("True", "Serving")
    assert found is not None
    assert found["spec"]["replicas"] == 0


def test_going_back_fetches_nothing_again() -> None:
    world = World(spec_of(URIS[0]))
    world.settle()
    first = world.desired
    world.change(spec_of(URIS[1]))
    world.settle()
    second = world.desired
    world.change(spec_of(URIS[0]))
    world.settle()
    assert world.supplied == [first, second]
    assert world.mdep["status"]["stable"]["revision"] == 1


@pytest.mark.parametrize("fuse", range(12))
@pytest.mark.parametrize("passes_before", range(6))
def test_a_crash_after_any_write_of_any_pass_of_a_rollout_is_made_good(
    passes_before: int, fuse: int
) -> None:
    world = World(spec_of(URIS[0], replicas=2))
    world.settle()
    world.change(spec_of(URIS[1], replicas=2))
    for _ in range(passes_before):
        world.reconcile()
        world.tick()
    world.reconcile(fuse)
    world.settle()
    assert world.condition("Ready") == ("True", "Serving")


@pytest.mark.parametrize("fuse", range(8))
def test_a_crash_while_the_number_of_pods_changes_hands_costs_no_pod(fuse: int) -> None:
    world = World(spec_of(URIS[0], replicas=3))
    world.settle()
    world.change(spec_of(URIS[0], replicas=3, autoscaling={}))
    world.reconcile(fuse)  # the laws of the world are checked at every write
    world.settle()
    assert [d["spec"]["replicas"] for d in world.deployments()] == [3]
    world.autoscale(2)
    world.settle()
    assert [d["spec"]["replicas"] for d in world.deployments()] == [2]


def test_a_candidate_gets_as_many_pods_as_the_load_has_called_for() -> None:
    world = World(spec_of(URIS[0], autoscaling={"minReplicas": 2, "maxReplicas": 9}))
    world.settle()
    world.autoscale(7)
    world.settle()
    world.change(spec_of(URIS[1], autoscaling={"minReplicas": 2, "maxReplicas": 9}))
    world.settle()
    assert sorted(d["spec"]["replicas"] for d in world.deployments()) == [0, 7]
    world.autoscale(1)
    assert sorted(d["spec"]["replicas"] for d in world.deployments()) == [0, 7]
    world.tick(300)
    world.settle()
    world.autoscale(1)
    assert sorted(d["spec"]["replicas"] for d in world.deployments()) == [0, 2]


Break = Callable[[pytest.MonkeyPatch], None]


def _function(module: Any, name: str, broken: Callable[..., Any]) -> Break:
    return lambda patch: patch.setattr(module, name, broken)


def _everywhere(name: str, broken: Callable[..., Any]) -> Break:
    """Replace a function in both modules that decide by it."""

    def mutate(patch: pytest.MonkeyPatch) -> None:
        for module in (allocation, rollout):
            patch.setattr(module, name, broken)

    return mutate


def _planner(broken: Callable[[Snapshot, Plan], Plan]) -> Break:
    def planner(snapshot: Snapshot) -> Plan:
        return broken(snapshot, plan(snapshot))

    return lambda patch: patch.setattr(Rollouts, "planner", staticmethod(planner))


def _apex_first(_: Snapshot, decided: Plan) -> Plan:
    apex_first = sorted(decided.apply, key=lambda m: m["kind"] != "Service")
    return dataclasses.replace(decided, apply=tuple(apex_first))


def _deletes_what_was(snapshot: Snapshot, decided: Plan) -> Plan:
    """Collects the stable revision's Deployment as soon as there is a candidate."""
    stable = (snapshot.status.get("stable") or {}).get("name")
    live = snapshot.child("Deployment", str(stable))
    if live is None or not (decided.status or {}).get("candidate"):
        return decided
    return dataclasses.replace(decided, delete=(*decided.delete, live))


def _writes_again(_: Snapshot, decided: Plan) -> Plan:
    apply = [{**m, "metadata": {**m["metadata"], "annotations": {"at": str(id(m))}}}
             for m in decided.apply]  # fmt: skip
    return dataclasses.replace(decided, apply=tuple(apply))


@pytest.mark.parametrize(
    "mutate",
    [
        pytest.param(
            _everywhere("is_complete", lambda workload, size: True),
            id="promotes before all pods are ready",
        ),
        pytest.param(
            _function(scene, "live_route", lambda *found, **more: Route.CANDIDATE),
            id="commits before the apex selects it",
        ),
        pytest.param(
            _function(rollout, "deadline_exceeded", lambda workload: False),
            id="never gives a revision up",
        ),
        pytest.param(
            _function(children, "_draining", lambda snapshot, found, revision: 0),
            id="scales down what the apex selects",
        ),
        pytest.param(
            _function(children, "_size", lambda *found: Size(0)),
            id="scales the stable revision down",
        ),
        pytest.param(
            _function(children, "_resizes", lambda *found: ()),
            id="lets go of the number of pods without a handover",
        ),
        pytest.param(
            _function(sizing, "desired_replicas", lambda workload: 0),
            id="promotes a candidate with fewer pods than the stable revision",
        ),
        pytest.param(
            _function(children, "_history", lambda found: []), id="forgets what served before"
        ),
        pytest.param(_planner(_deletes_what_was), id="collects the stable revision too early"),
        pytest.param(_planner(_writes_again), id="writes though nothing has changed"),
    ],
)
def test_a_broken_planner_is_found(mutate: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch)
    hunt = settings(LIFE, max_examples=1500, phases=[Phase.generate], database=None,
                    derandomize=True, report_multiple_bugs=False)  # fmt: skip
    with pytest.raises(BrokenLaw):
        run_state_machine_as_test(Rollouts, settings=hunt)
