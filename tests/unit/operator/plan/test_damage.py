"""What somebody else breaks, or what never went well, takes nothing down that serves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slipway_operator.plan import conditions as c
from slipway_operator.plan.names import PROMOTED_AT, SUPPLY_RESULT
from slipway_operator.plan.plan import Plan, Problem, plan, with_problems
from slipway_operator.plan.revision import revision_hash
from slipway_operator.plan.workload import PROGRESS_DEADLINE_S
from tests.builders import Scene, ago, result_of, spec_of, success_message

FIRST = spec_of("https://m.test/1.onnx")
SECOND = spec_of("https://m.test/2.onnx")
R1 = f"digits-{revision_hash(FIRST)}"
R2 = f"digits-{revision_hash(SECOND)}"


def decided(scene: Scene) -> Plan:
    return plan(scene.snapshot())


def applied(found: Plan, kind: str, name: str) -> dict[str, Any]:
    return next(m for m in found.apply if (m["kind"], m["metadata"]["name"]) == (kind, name))


def finding(found: Plan, kind: str) -> tuple[str, str]:
    assert found.status is not None
    condition = c.find(found.status["conditions"], kind)
    assert condition is not None
    return condition["status"], condition["reason"]


@pytest.mark.parametrize("lost", [SUPPLY_RESULT, PROMOTED_AT])
def test_a_lost_note_of_the_stable_record_is_written_again(lost: str) -> None:
    scene = Scene(FIRST).serving(FIRST)
    del scene.children["ControllerRevision", R1]["metadata"]["annotations"][lost]
    found = decided(scene)
    assert found.delete == ()
    assert lost in applied(found, "ControllerRevision", R1)["metadata"]["annotations"]
    assert applied(found, "Deployment", R1)["spec"]["replicas"] == 1


def test_a_record_of_another_version_does_not_stop_the_upkeep() -> None:
    scene = Scene(FIRST).serving(FIRST)
    scene.children["ControllerRevision", R1]["data"]["spec"]["runtime"] = {"unheardOf": 1}
    found = decided(scene)
    assert found.delete == ()
    assert applied(found, "Deployment", R1)["spec"]["replicas"] == 1


def test_a_first_revision_that_serves_in_part_stays_until_its_successor_is_ready() -> None:
    wanted = {**SECOND, "replicas": 3}
    scene = Scene(wanted).recorded(FIRST).job(FIRST, ended="Complete")
    scene.deployed(FIRST, replicas=3, available=2).apex(FIRST)
    found = decided(scene)
    assert found.delete == ()
    assert found.status is not None
    assert found.status["stable"]["name"] == R1
    assert (
        applied(found, "Service", "digits")["spec"]["selector"]["slipway.dev/revision"] == R1[-10:]
    )


def test_a_stable_revision_without_pods_makes_way_for_a_candidate_that_has_some() -> None:
    wanted = {**SECOND, "replicas": 3}
    scene = Scene(wanted).serving(FIRST, replicas=3, available=0).recorded(SECOND, number=2)
    scene.job(SECOND, ended="Complete", number=2)
    scene.deployed(SECOND, replicas=3, available=1, number=2, deadline_exceeded=True)
    announced = decided(scene).status
    assert announced is not None
    found = decided(scene.status(announced))
    assert (
        applied(found, "Service", "digits")["spec"]["selector"]["slipway.dev/revision"] == R2[-10:]
    )


def test_a_revision_that_comes_back_and_does_not_start_is_given_up_by_our_own_clock() -> None:
    scene = Scene(SECOND).serving(FIRST).recorded(SECOND, number=2)
    scene.job(SECOND, ended="Complete", number=2).deployed(SECOND, available=0, number=2)
    told = {"state": "Preparing", "id": "2-1", "since": ago(PROGRESS_DEADLINE_S + 1)}
    stable, candidate = {"hash": revision_hash(FIRST)}, {"hash": revision_hash(SECOND)}
    scene.status({"stable": stable, "candidate": candidate, "desired": candidate, "rollout": told})
    found = decided(scene)
    assert finding(found, c.STALLED) == ("True", c.ROLLOUT_ABORTED)
    scene.status({**(found.status or {})})
    assert applied(decided(scene), "Deployment", R2)["spec"]["replicas"] == 0


def test_a_promotion_whose_record_was_refused_is_not_told() -> None:
    scene = Scene(SECOND).serving(FIRST).recorded(SECOND, number=2)
    scene.job(SECOND, ended="Complete", number=2).deployed(SECOND, number=2).apex(SECOND)
    found = decided(scene)
    assert found.status is not None
    assert found.status["stable"]["name"] == R2
    refused = [Problem(c.APPLY_FAILED, "policy says no", is_terminal=False)]
    told = with_problems(scene.snapshot(), found.status, refused)
    assert told["stable"]["hash"] == revision_hash(FIRST)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        pytest.param({"running": {}}, c.CRASH_LOOP, id="running between two crashes"),
        pytest.param({"waiting": {"reason": "CrashLoopBackOff"}}, c.CRASH_LOOP, id="waiting"),
    ],
)
def test_a_crash_loop_is_one_failure_all_the_time(state: dict[str, Any], reason: str) -> None:
    scene = Scene(FIRST).recorded(FIRST).job(FIRST, ended="Complete").apex(FIRST)
    last = {"terminated": {"exitCode": 1, "reason": "Error"}}
    scene.deployed(FIRST, available=0).pod(FIRST, state=state, restartCount=7, lastState=last)
    assert finding(decided(scene), c.STALLED) == ("True", reason)


def test_a_pod_that_was_evicted_is_no_failure_of_now() -> None:
    scene = Scene(FIRST).recorded(FIRST).job(FIRST, ended="Complete").apex(FIRST)
    scene.deployed(FIRST, available=0).pod(FIRST, state={"terminated": {"exitCode": 137}})
    scene.pods[-1]["status"]["phase"] = "Failed"
    assert finding(decided(scene), c.STALLED)[0] == "False"


def test_pods_that_kubernetes_refuses_to_make_are_explained() -> None:
    scene = Scene(FIRST).recorded(FIRST).job(FIRST, ended="Complete").apex(FIRST)
    scene.deployed(FIRST, available=0)
    refused = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: q"}
    scene.children["Deployment", R1]["status"]["conditions"] = [refused]
    found = decided(scene)
    assert finding(found, c.READY) == ("False", c.PODS_FAILING)
    assert found.status is not None
    assert found.status["lastFailure"]["reason"] == c.FAILED_CREATE
    assert "exceeded quota: q" in found.status["message"]


def test_a_result_that_could_not_be_recorded_is_read_from_the_pod_again() -> None:
    """The Deployment was written, its record refused: all but the digest would be forgotten."""
    uri = "https://m.test/1.onnx"
    scene = Scene(FIRST).recorded(FIRST).job(FIRST, ended="Complete").deployed(FIRST)
    scene.supply_ended(FIRST, 0, success_message(uri))
    del scene.children["ControllerRevision", R1]["metadata"]["annotations"][SUPPLY_RESULT]
    notes = applied(decided(scene), "ControllerRevision", R1)["metadata"]["annotations"]
    assert json.loads(notes[SUPPLY_RESULT]) == result_of(uri).manifest()
