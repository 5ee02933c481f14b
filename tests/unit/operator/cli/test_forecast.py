"""The forecast is what the operator then does, and comes to the same rest."""

from __future__ import annotations

from typing import Any

import pytest

from slipway_operator.cli.forecast import Stage, created, forecast, with_taken
from slipway_operator.cli.show import human
from slipway_operator.plan.autoscaler import HPA
from tests.builders import OTHER_URI, Scene, spec_of
from tests.unit.operator.plan.world import World

NOW = "now"
VERIFIED = "when the model is fetched and verified"
READY = "when all pods are ready"
DRAINED = "60 seconds later"


def _told(stages: list[Stage]) -> dict[str, list[str]]:
    """Action and kind of everything, by stage."""
    return {
        stage.when: [f"{c.action} {c.manifest['kind']}" for c in stage.changes] for stage in stages
    }


def test_a_new_document_from_nothing_to_ready() -> None:
    stages = forecast(Scene(spec_of(replicas=2)).snapshot())
    assert _told(stages) == {
        NOW: ["create ServiceAccount", "create ControllerRevision", "create Job", "create Service"],
        VERIFIED: [
            "create ConfigMap", "create Service",
            "create Deployment", "create PodDisruptionBudget",
        ],
        READY: ["change ControllerRevision"],
    }  # fmt: skip
    assert [stage.ready for stage in stages] == [False, False, True]


def test_what_is_there_already_needs_nothing() -> None:
    world = World(spec_of(replicas=2))
    world.settle()
    assert _told(forecast(world.snapshot())) == {NOW: []}


def test_a_name_that_is_taken_hinders_its_stage_and_all_that_follow() -> None:
    stages = forecast(Scene(spec_of()).snapshot())
    which = next(k for k in created(stages[1:]) if k[0] == "Service")
    told = with_taken(stages, {which: "it is another's"})
    assert [s.ready for s in told] == [False, False, False]
    assert told[0] == stages[0]
    assert [s.message for s in told[1:]] == ["NameConflict: it is another's"] * 2
    hindered = {c.manifest["metadata"]["name"] for s in told for c in s.changes if c.obstacle}
    assert hindered == {which[1]}


def test_a_name_that_is_taken_is_shown_with_the_reason() -> None:
    stages = forecast(Scene(spec_of()).snapshot())
    taken = {which: "it is another's" for which in created(stages) if which[0] == "Job"}
    (line,) = [ln for ln in human("m", with_taken(stages, taken), with_diff=True).splitlines()
               if ln.startswith("  !")]  # fmt: skip
    assert line.split()[1] == "Job"
    assert line.endswith("it is another's")


def test_another_number_of_pods_is_one_change() -> None:
    world = World(spec_of())
    world.settle()
    world.change(spec_of(replicas=3))
    told = _told(forecast(world.snapshot()))
    assert told == {NOW: ["change Deployment", "create PodDisruptionBudget"]}


def test_another_model_takes_over_and_the_one_before_is_drained() -> None:
    world = World(spec_of())
    world.settle()
    world.change(spec_of(OTHER_URI))
    told = _told(forecast(world.snapshot()))
    assert list(told) == [NOW, VERIFIED, READY, DRAINED]
    assert told[NOW] == ["create ControllerRevision", "create Job"]
    assert "change Service" in told[READY]
    assert told[DRAINED] == ["change Deployment"]


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(spec_of(replicas=3), id="fixed"),
        pytest.param(spec_of(autoscaling={"minReplicas": 2}), id="autoscaled"),
        pytest.param(spec_of(replicas=0), id="no pods"),
        pytest.param(spec_of(suspend=True), id="suspended"),
    ],
)
def test_the_forecast_names_the_objects_that_the_operator_then_makes(spec: dict[str, Any]) -> None:
    world = World(spec)
    stages = forecast(world.snapshot())
    world.settle()
    foretold = {
        (c.manifest["kind"], c.manifest["metadata"]["name"]) for s in stages for c in s.changes
    }
    assert foretold == set(world.objects)
    assert stages[-1].message == world.mdep["status"]["message"]


def test_switching_to_an_autoscaler_keeps_the_pods() -> None:
    world = World(spec_of(replicas=4))
    world.settle()
    world.change(spec_of(replicas=4, autoscaling={}))
    (stage,) = forecast(world.snapshot())
    assert [c.manifest["kind"] for c in stage.changes if c.action == "create"] == [HPA]
    assert "serves with 4 of 4 replicas" in stage.message
