"""How many pods there are, and when the field `replicas` changes hands."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from slipway_operator.api.managers import FIELD_MANAGER
from slipway_operator.plan.capacity import Capacity
from slipway_operator.plan.names import Manifest
from slipway_operator.plan.plan import plan
from slipway_operator.plan.sizing import Size, resized
from tests.builders import LONG_AGO, OTHER_URI, Scene, ago, spec_of

OURS = [{"manager": FIELD_MANAGER}]
SHARED = [*OURS, {"manager": "kube-controller-manager"}]


def _live(replicas: int, owners: list[Manifest]) -> Manifest:
    return {"metadata": {"managedFields": owners}, "spec": {"replicas": replicas}}


@pytest.mark.parametrize(
    ("live", "size", "expected"),
    [
        pytest.param(_live(5, OURS), Size(2, True), 5, id="ours alone: handed over as it is"),
        pytest.param(_live(1, OURS), Size(3, True), 3, id="handed over at the floor"),
        pytest.param(_live(5, SHARED), Size(2, True), None, id="already another's, too"),
        pytest.param(_live(5, []), Size(2, True), None, id="not ours any more"),
        pytest.param(_live(1, []), Size(3, True), 3, id="fewer than the floor"),
        pytest.param(_live(0, OURS), Size(0, True), 0, id="asleep and ours alone"),
        pytest.param(_live(5, OURS), Size(2), None, id="ours for good"),
        pytest.param(None, Size(2, True), None, id="not there yet"),
    ],
)
def test_a_number_of_pods_is_written_for_the_autoscaler(
    live: Manifest | None, size: Size, expected: int | None
) -> None:
    assert resized(live, size) == expected


def _scaled(**autoscaling: Any) -> dict[str, Any]:
    return spec_of(autoscaling=autoscaling)


def _autoscalers(scene: Scene) -> list[Manifest]:
    kinds = ("HorizontalPodAutoscaler", "ScaledObject")
    return [m for m in plan(scene.snapshot()).apply if m["kind"] in kinds]


def _bounds(scaler: Manifest) -> tuple[int, int]:
    return scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]


def _rolling(replicas: int, **autoscaling: Any) -> Scene:
    """A stable revision with some pods, and a verified candidate."""
    wanted = spec_of(OTHER_URI, autoscaling=autoscaling)
    scene = Scene(wanted).serving(spec_of(), replicas=replicas)
    return scene.recorded(wanted, number=2)


@pytest.mark.parametrize(
    ("replicas", "autoscaling", "expected"),
    [
        pytest.param(7, {"minReplicas": 2}, [(2, 10), (7, 10)], id="as many as the stable has"),
        pytest.param(1, {"minReplicas": 2}, [(2, 10), (2, 10)], id="never below minReplicas"),
        pytest.param(7, {"maxReplicas": 5}, [(1, 5), (5, 5)], id="never above maxReplicas"),
    ],
)
def test_the_floor_of_a_candidate(
    replicas: int, autoscaling: dict[str, int], expected: list[tuple[int, int]]
) -> None:
    found = _autoscalers(_rolling(replicas, **autoscaling))
    assert [_bounds(s) for s in found] == expected


def test_the_floor_of_a_rollout_never_falls() -> None:
    scene = _rolling(2)
    first = plan(scene.snapshot()).status or {}
    told = {**first, "rollout": {**first["rollout"], "capacityFloor": {"candidate": 6}}}
    assert _bounds(_autoscalers(scene.status(told))[1]) == (6, 10)


@pytest.mark.parametrize(
    ("promoted_at", "expected"),
    [
        pytest.param(ago(299), 6, id="held for five minutes"),
        pytest.param(ago(300), 1, id="then as the spec says"),
        pytest.param(LONG_AGO, 1, id="long after"),
    ],
)
def test_the_floor_outlives_the_promotion_until_the_autoscaler_knows_the_load(
    promoted_at: str, expected: int
) -> None:
    scene = Scene(_scaled()).serving(_scaled(), replicas=6, promoted_at=promoted_at)
    told = {**scene.mdep["status"], "rollout": {"capacityFloor": {"stable": 6}}}
    decided = plan(scene.status(told).snapshot())
    (scaler,) = [m for m in decided.apply if m["kind"] == "HorizontalPodAutoscaler"]
    assert _bounds(scaler) == (expected, 10)
    floor = (decided.status or {})["rollout"].get("capacityFloor")
    assert floor == ({"stable": 6} if expected == 6 else None)


def test_under_autoscaling_the_field_is_left_to_the_autoscaler() -> None:
    scene = Scene(_scaled()).serving(_scaled(), replicas=4)
    (found,) = [m for m in plan(scene.snapshot()).apply if m["kind"] == "Deployment"]
    assert "replicas" not in found["spec"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param(spec_of(replicas=3, autoscaling={"external": True}), 3, id="external"),
        pytest.param(spec_of(replicas=0, autoscaling={"external": True}), 0, id="external, none"),
        pytest.param(spec_of(autoscaling={}, suspend=True), 0, id="suspended"),
        pytest.param(spec_of(replicas=2), 2, id="fixed"),
        pytest.param(spec_of(replicas=0), 0, id="none"),
    ],
)
def test_without_an_autoscaler_the_number_is_exact(spec: dict[str, Any], expected: int) -> None:
    scene = Scene(spec).serving(spec, replicas=4)
    decided = plan(scene.snapshot())
    (found,) = [m for m in decided.apply if m["kind"] == "Deployment"]
    assert found["spec"]["replicas"] == expected
    assert decided.resize == ()
    assert _autoscalers(scene) == []


def test_what_is_drained_has_no_autoscaler_and_keeps_its_pods() -> None:
    now = _scaled()
    before = spec_of(OTHER_URI, autoscaling={})
    scene = Scene(now).retired(before).serving(now, number=2, replicas=3, promoted_at=ago(5))
    scene.deployed(before, replicas=3)
    apply = plan(scene.snapshot()).apply
    sizes = {
        m["metadata"]["name"]: m["spec"].get("replicas") for m in apply if m["kind"] == "Deployment"
    }
    assert sizes == {scene.name_of(now): None, scene.name_of(before): 3}
    assert [m["metadata"]["name"] for m in _autoscalers(scene)] == [scene.name_of(now)]


def test_the_status_says_that_replicas_is_ignored() -> None:
    scene = Scene(_scaled(minReplicas=2)).serving(_scaled(minReplicas=2), replicas=3)
    status = plan(scene.snapshot()).status or {}
    assert status["message"] == (
        "revision r1 " + status["stable"]["hash"][:4] + " serves with 3 of 3 replicas"
        " (autoscaled from 2 to 10; spec.replicas is ignored)"
    )  # fmt: skip
    assert status["summary"]["replicas"] == "3/3"


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        pytest.param(
            {"type": "ScalingActive", "status": "False", "reason": "FailedGetResourceMetric",
             "message": "no metrics"},
            "is ignored; the autoscaler does not scale: FailedGetResourceMetric: no metrics)",
            id="A63 no metrics",
        ),
        pytest.param(
            {"type": "ScalingActive", "status": "False", "reason": "ScalingDisabled",
             "message": "scaling is disabled since the replica count of the target is zero"},
            "is ignored)",
            id="A63 nothing to scale",
        ),
        pytest.param(
            {"type": "ScalingActive", "status": "True", "reason": "ValidMetricFound",
             "message": "successfully calculated"},
            "is ignored)",
            id="A63 it scales",
        ),
    ],
)  # fmt: skip
def test_why_an_autoscaler_does_not_scale_is_told_and_the_model_is_ready(
    condition: Manifest, expected: str
) -> None:
    scene = Scene(_scaled()).serving(_scaled(), replicas=3)
    (scaler,) = _autoscalers(scene)
    live = {**scaler, "status": {"conditions": [condition]}}
    scene.children["HorizontalPodAutoscaler", scaler["metadata"]["name"]] = live
    status = plan(scene.snapshot()).status or {}
    assert status["message"].endswith(expected)
    assert status["conditions"][0]["status"] == "True"


def test_pods_that_an_autoscaler_is_adding_do_not_make_a_model_unready() -> None:
    scene = Scene(_scaled()).serving(_scaled(), replicas=5, available=2)
    ready = (plan(scene.snapshot()).status or {})["conditions"][0]
    assert (ready["status"], ready["message"].partition(" (")[0][-10:]) == ("True", "5 replicas")


KEDA = {"minReplicas": 0, "keda": {"triggers": [{"type": "cron"}], "pollingInterval": "1m500ms"}}


def test_a_scaled_object_takes_the_place_of_the_hpa() -> None:
    scene = Scene(_scaled(**KEDA)).serving(_scaled(**KEDA), replicas=0)
    (found,) = _autoscalers(scene)
    name = scene.name_of(spec_of())
    assert found["spec"] == {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "minReplicaCount": 0,
        "maxReplicaCount": 10,
        "pollingInterval": 61,
        "cooldownPeriod": 300,
        "triggers": [{"type": "cron"}],
    }
    ready, available = (plan(scene.snapshot()).status or {})["conditions"][:2]
    assert (ready["status"], ready["reason"]) == ("True", "ScaledToZero")
    assert (available["status"], available["reason"]) == ("False", "ScaledToZero")


def test_nothing_sleeps_while_a_rollout_runs() -> None:
    found = _autoscalers(_rolling(0, **KEDA))
    assert [s["spec"]["minReplicaCount"] for s in found] == [1, 1]


def test_a_missing_keda_is_told_and_takes_nothing_down() -> None:
    scene = Scene(_scaled(**KEDA)).serving(_scaled(**KEDA), replicas=2)
    scene.missing_kinds |= {"ScaledObject"}
    decided = plan(scene.snapshot())
    assert _autoscalers(scene) == []
    assert "Deployment" not in {m["kind"] for m in decided.delete}
    reasons = {c["type"]: (c["status"], c["reason"]) for c in (decided.status or {})["conditions"]}
    assert reasons["Stalled"] == ("True", "AutoscalerMissing")
    assert reasons["Ready"] == ("False", "AutoscalerMissing")
    assert reasons["Available"] == ("True", "Serving")
    assert "install KEDA" in (decided.status or {})["message"]


def test_a_budget_goes_with_what_may_have_several_pods() -> None:
    kinds = [m["kind"] for m in plan(Scene(_scaled()).serving(_scaled()).snapshot()).apply]
    assert "PodDisruptionBudget" in kinds
    alone = _scaled(maxReplicas=1)
    kinds = [m["kind"] for m in plan(Scene(alone).serving(alone).snapshot()).apply]
    assert "PodDisruptionBudget" not in kinds


OBJECTIVE = {"latencyObjective": {"target": "50ms"}, "maxReplicas": 8}
NEEDS = Capacity(41.2, 18.04, 76, 3, "p99 of 38 ms is expected, the target is 50 ms")
TOLD = {
    "lambda": "41.2", "mu": "18.0", "utilizationPercent": 76, "recommended": 3,
    "reason": "p99 of 38 ms is expected, the target is 50 ms",
}  # fmt: skip


def _objective(**scaling: Any) -> Scene:
    return Scene(_scaled(**OBJECTIVE, **scaling)).serving(_scaled(**OBJECTIVE, **scaling))


@pytest.mark.parametrize(
    ("needs", "told", "expected"),
    [
        pytest.param(None, None, 1, id="nothing measured yet"),
        pytest.param(NEEDS, None, 3, id="as measured"),
        pytest.param(None, TOLD, 3, id="after a restart, as told before"),
        pytest.param(replace(NEEDS, recommended=2), TOLD, 2, id="what is new wins"),
        pytest.param(replace(NEEDS, recommended=20), None, 8, id="never above maxReplicas"),
    ],
)
def test_the_latency_objective_moves_the_floor(
    needs: Capacity | None, told: dict[str, Any] | None, expected: int
) -> None:
    scene = _objective()
    scene.capacity = needs
    scene.status({**scene.mdep["status"], **({"capacity": told} if told else {})})
    assert _bounds(_autoscalers(scene)[0]) == (expected, 8)


def test_the_higher_floor_is_written_at_once() -> None:
    scene = _objective()
    scene.capacity = NEEDS
    assert [r.replicas for r in plan(scene.snapshot()).resize] == [3]


def test_the_capacity_is_told_when_the_recommendation_changes_and_only_then() -> None:
    scene = _objective()
    scene.capacity = NEEDS
    assert (plan(scene.snapshot()).status or {})["capacity"] == TOLD
    scene.status({**scene.mdep["status"], "capacity": TOLD})
    scene.capacity = replace(NEEDS, arrival_rate=45.0, utilization_percent=80)
    assert (plan(scene.snapshot()).status or {})["capacity"] == TOLD


def test_without_an_objective_there_is_no_capacity() -> None:
    scene = Scene(_scaled()).serving(_scaled())
    scene.status({**scene.mdep["status"], "capacity": TOLD})
    assert "capacity" not in (plan(scene.snapshot()).status or {})
    assert _bounds(_autoscalers(scene)[0]) == (1, 10)
