"""What is done in each situation: one snapshot in, the whole decision out."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway_operator.api.status import Status
from slipway_operator.plan import conditions as c
from slipway_operator.plan.children import key
from slipway_operator.plan.names import MODEL_DIGEST, Manifest, revision_selector
from slipway_operator.plan.plan import Note, Plan, Problem, notes, plan, with_problems
from slipway_operator.plan.revision import read, revision_hash
from slipway_operator.plan.workload import EXIT_TERMINAL
from tests.builders import (
    LONG_AGO,
    OTHER_URI,
    URI,
    Scene,
    ago,
    digest_of,
    failure_message,
    result_of,
    spec_of,
    success_message,
)
from tests.unit.operator.plan.world import World, is_applied

LAW = settings(max_examples=40, deadline=None)  # machines of CI stutter
FIRST = spec_of(URI)
SECOND = spec_of(OTHER_URI)
H1, H2 = revision_hash(FIRST), revision_hash(SECOND)
R1, R2 = f"digits-{H1}", f"digits-{H2}"


def _decided(scene: Scene) -> Plan:
    found = plan(scene.snapshot())
    assert found.status is not None
    Status.model_validate(found.status)  # nothing that the schema would prune
    return found


def _names(manifests: tuple[Manifest, ...]) -> list[tuple[str, str]]:
    return [key(m) for m in manifests]


def _writes(scene: Scene) -> list[tuple[str, str]]:
    live = scene.children
    wanted = _decided(scene).apply
    return [key(m) for m in wanted if key(m) not in live or not is_applied(live[key(m)], m)]


def _applied(decided: Plan, kind: str, name: str) -> Manifest:
    return next(m for m in decided.apply if key(m) == (kind, name))


def _conditions(decided: Plan) -> dict[str, tuple[str, str]]:
    found = (decided.status or {})["conditions"]
    return {x["type"]: (x["status"], x["reason"]) for x in found}


def _message(decided: Plan, kind: str = "Ready") -> str:
    found = {x["type"]: x["message"] for x in (decided.status or {})["conditions"]}
    return str(found[kind])


def _summary(decided: Plan) -> tuple[Any, ...]:
    status = decided.status or {}
    ready, available, reconciling, stalled, supplied = _conditions(decided).values()
    return (status["phase"], ready, available, reconciling[0], stalled, supplied)


NO_PODS = ("False", "NoReadyPods")
SERVES = ("True", "Serving")
FETCHING = ("False", "Fetching")
VERIFIED = ("True", "Verified")
FINE = ("False", "Settled")


def _first() -> Scene:
    return Scene(FIRST).recorded(FIRST, resolved=False).job(FIRST)


def _second() -> Scene:
    """The first revision serves, the spec asks for the second, whose supply runs."""
    scene = Scene(SECOND, generation=2).serving(FIRST)
    return scene.recorded(SECOND, number=2, resolved=False).job(SECOND, number=2)


def _resolved() -> Scene:
    """The second revision's model is verified and its pods are starting."""
    scene = Scene(SECOND, generation=2).serving(FIRST)
    scene.recorded(SECOND, number=2).job(SECOND, ended="Complete", number=2)
    return scene.deployed(SECOND, available=0, number=2)


def _complete() -> Scene:
    """The second revision's pods are all ready."""
    return _resolved().deployed(SECOND, number=2)


def _unsupplied(exit_code: int, reason: str, message: str, **pod: Any) -> Scene:
    text = failure_message(reason, message)
    return _first().supply_ended(FIRST, exit_code, text, **pod)


def _waiting(reason: str, message: str = "") -> Mapping[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def _crashed(exit_code: int, message: str = "", reason: str = "Error") -> Mapping[str, Any]:
    return {"terminated": {"exitCode": exit_code, "message": message, "reason": reason}}


def _starting() -> Scene:
    """The first revision is verified and its pods are starting."""
    scene = Scene(FIRST).recorded(FIRST).job(FIRST, ended="Complete")
    return scene.deployed(FIRST, available=0).apex(FIRST)


@pytest.mark.parametrize(
    ("scene", "expected"),
    [
        pytest.param(
            Scene(FIRST),
            ("Pending", ("False", "SupplyingModel"), NO_PODS, "True", FINE, FETCHING),
            id="a fresh object",
        ),
        pytest.param(
            _first(),
            ("Pending", ("False", "SupplyingModel"), NO_PODS, "True", FINE, FETCHING),
            id="the supply runs",
        ),
        pytest.param(
            _unsupplied(EXIT_TERMINAL, "DigestMismatch", "got other bytes"),
            ("Failed", ("False", "ModelNotSupplied"), NO_PODS, "False",
             ("True", "DigestMismatch"), ("False", "DigestMismatch")),
            id="other bytes than the digest names",
        ),
        pytest.param(
            _unsupplied(EXIT_TERMINAL, "NotFound", "404"),
            ("Failed", ("False", "ModelNotSupplied"), NO_PODS, "False",
             ("True", "NotFound"), ("False", "NotFound")),
            id="no such model",
        ),
        pytest.param(
            _unsupplied(1, "Unavailable", "503"),
            ("Pending", ("False", "ModelNotSupplied"), NO_PODS, "True",
             FINE, ("False", "Unavailable")),
            id="a passing trouble is tried again",
        ),
        pytest.param(
            _first().supply_ended(FIRST, 137, reason="OOMKilled"),
            ("Pending", ("False", "ModelNotSupplied"), NO_PODS, "True",
             FINE, ("False", "OOMKilled")),
            id="the supply step is killed for memory",
        ),
        pytest.param(
            _first().supply_pod(FIRST, _waiting("ImagePullBackOff"), phase="Pending"),
            ("Pending", ("False", "ModelNotSupplied"), NO_PODS, "True",
             FINE, ("False", "ImagePullFailed")),
            id="the supply step's image cannot be pulled",
        ),
        pytest.param(
            _first().supply_ended(FIRST, 0, success_message(URI), phase="Succeeded"),
            ("Progressing", ("False", "PodsNotReady"), NO_PODS, "True", FINE, VERIFIED),
            id="the model is verified",
        ),
        pytest.param(
            _starting().pod(FIRST, _waiting("ErrImagePull"), phase="Pending"),
            ("Failed", ("False", "PodsFailing"), NO_PODS, "False",
             ("True", "ImagePullFailed"), VERIFIED),
            id="the first revision's image cannot be pulled",
        ),
        pytest.param(
            _starting().pod(FIRST, _waiting("InvalidImageName"), phase="Pending"),
            ("Failed", ("False", "PodsFailing"), NO_PODS, "False",
             ("True", "InvalidImageName"), VERIFIED),
            id="the image's name is none",
        ),
        pytest.param(
            _starting().pod(FIRST, _waiting("CrashLoopBackOff"), restartCount=1,
                            lastState=_crashed(1, "boom")),
            ("Progressing", ("False", "PodsFailing"), NO_PODS, "True", FINE, VERIFIED),
            id="a first crash may pass",
        ),
        pytest.param(
            _starting().pod(FIRST, _waiting("CrashLoopBackOff"), restartCount=2,
                            lastState=_crashed(1, "boom")),
            ("Failed", ("False", "PodsFailing"), NO_PODS, "False",
             ("True", "CrashLoopBackOff"), VERIFIED),
            id="a crash loop",
        ),
        pytest.param(
            _starting().pod(FIRST, _crashed(137, reason="OOMKilled"), restartCount=3),
            ("Failed", ("False", "PodsFailing"), NO_PODS, "False",
             ("True", "OOMKilled"), VERIFIED),
            id="killed for memory",
        ),
        pytest.param(
            _starting().pod(FIRST, {}, phase="Pending", conditions=[
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                 "message": "0/3 nodes are available"}]),
            ("Progressing", ("False", "PodsFailing"), NO_PODS, "True", FINE, VERIFIED),
            id="no node has room, which may pass",
        ),
        pytest.param(
            Scene(FIRST).recorded(FIRST).apex(FIRST)
            .deployed(FIRST, available=0, deadline_exceeded=True),
            ("Failed", ("False", "PodsNotReady"), NO_PODS, "False",
             ("True", "ProgressDeadline"), VERIFIED),
            id="the first revision is late, and goes on trying",
        ),
        pytest.param(
            Scene(FIRST).serving(FIRST),
            ("Healthy", SERVES, SERVES, "False", FINE, VERIFIED),
            id="the first revision serves",
        ),
        pytest.param(
            Scene({**FIRST, "replicas": 2}).serving(FIRST, replicas=2, available=1),
            ("Degraded", ("False", "PodsNotReady"), SERVES, "True", FINE, VERIFIED),
            id="a pod of two is missing",
        ),
        pytest.param(
            Scene(FIRST).serving(FIRST, available=0),
            ("Degraded", ("False", "PodsNotReady"), NO_PODS, "True", FINE, VERIFIED),
            id="no pod is ready",
        ),
        pytest.param(
            Scene({**FIRST, "suspend": True}).serving(FIRST, replicas=0),
            ("Suspended", ("True", "Suspended"), ("False", "Suspended"), "False", FINE, VERIFIED),
            id="suspended",
        ),
        pytest.param(
            Scene({**FIRST, "replicas": 0}).serving(FIRST, replicas=0),
            ("Suspended", ("True", "Suspended"), ("False", "Suspended"), "False", FINE, VERIFIED),
            id="no replicas wanted",
        ),
        pytest.param(
            _second(),
            ("Progressing", ("False", "RollingOut"), SERVES, "True", FINE, FETCHING),
            id="a second revision is fetched",
        ),
        pytest.param(
            _resolved(),
            ("Progressing", ("False", "RollingOut"), SERVES, "True", FINE, VERIFIED),
            id="a second revision's pods start",
        ),
        pytest.param(
            _complete().apex(SECOND),
            ("Healthy", SERVES, SERVES, "False", FINE, VERIFIED),
            id="a second revision takes over",
        ),
        pytest.param(
            _second().supply_ended(SECOND, EXIT_TERMINAL, failure_message("InvalidModel", "bad")),
            ("Degraded", ("False", "RolloutAborted"), SERVES, "False",
             ("True", "RolloutAborted"), ("False", "InvalidModel")),
            id="a second revision's model is bad",
        ),
        pytest.param(
            _resolved().deployed(SECOND, available=0, number=2, deadline_exceeded=True),
            ("Degraded", ("False", "RolloutAborted"), SERVES, "False",
             ("True", "RolloutAborted"), VERIFIED),
            id="a second revision is late",
        ),
    ],
)  # fmt: skip
def test_the_status_of_a_situation(scene: Scene, expected: tuple[Any, ...]) -> None:
    assert _summary(_decided(scene)) == expected


def test_a_fresh_object_is_recorded_and_fetched_and_nothing_is_deployed() -> None:
    decided = _decided(Scene(FIRST))
    assert _names(decided.apply) == [
        ("ServiceAccount", "digits-runtime"),
        ("ControllerRevision", R1),
        ("Job", R1),
        ("Service", "digits"),
    ]
    assert (decided.delete, decided.requeue_after_s) == ((), 1800.0), "its deadline"


def test_a_model_that_is_being_fetched_is_told_with_where_its_progress_is() -> None:
    decided = _decided(_first())
    assert _message(decided, "ModelSupplied") == (
        f"the model is being fetched from {URI};"
        f" how far it is: kubectl logs -n t1 job/{R1} -c fetch"
    )
    (job,) = (m for m in _decided(Scene(FIRST)).apply if m["kind"] == "Job")
    containers = job["spec"]["template"]["spec"]["containers"]
    assert [c["name"] for c in containers] == ["fetch"]


def test_time_alone_changes_nothing_that_is_told_of_fetching() -> None:
    scene = _first()
    scene.status(_decided(scene).status or {})
    assert _decided(scene.after(600)).status == scene.mdep["status"]


def test_a_missing_configmap_is_named_and_the_step_goes_on_by_itself() -> None:
    spec = spec_of("configmap://digits-v1/model.onnx")
    scene = Scene(spec).recorded(spec, resolved=False).job(spec)
    scene.supply_pending(spec, 'MountVolume.SetUp failed: configmap "digits-v1" not found')
    decided = _decided(scene)
    assert _conditions(decided)["ModelSupplied"] == ("False", "NotFound")
    assert _conditions(decided)["Stalled"] == FINE
    assert "ConfigMap 'digits-v1' does not exist in namespace 't1'" in _message(decided)


def test_a_terminal_cause_says_how_to_try_again() -> None:
    decided = _decided(_unsupplied(EXIT_TERMINAL, "NotFound", "no such file"))
    assert _message(decided, "Stalled") == (
        f"no such file; to try the same again, delete the Job '{R1}'"
    )


def test_a_job_that_gave_up_is_left_for_a_minute() -> None:
    scene = Scene(FIRST).recorded(FIRST, resolved=False).job(FIRST, ended="Failed", at=ago(20))
    scene.supply_ended(FIRST, 1, failure_message("Unavailable", "503"))
    decided = _decided(scene)
    assert (decided.delete, decided.requeue_after_s) == ((), 40.0)


def test_a_job_that_gave_up_goes_after_a_minute_and_is_not_written_in_that_pass() -> None:
    scene = Scene(FIRST).recorded(FIRST, resolved=False).job(FIRST, ended="Failed", at=ago(60))
    decided = _decided(scene)
    assert _names(decided.delete) == [("Job", R1)]
    assert ("Job", R1) not in _names(decided.apply)
    assert decided.requeue_after_s == 1800.0, "its deadline"


def test_a_verified_model_is_deployed_with_its_digest() -> None:
    scene = _first().supply_ended(FIRST, 0, success_message(URI))
    decided = _decided(scene)
    kinds = ["ControllerRevision", "ConfigMap", "Service", "Deployment"]
    assert _names(decided.apply) == [
        ("ServiceAccount", "digits-runtime"), *((k, R1) for k in kinds), ("Service", "digits"),
    ]  # fmt: skip
    template = _applied(decided, "Deployment", R1)["spec"]["template"]
    assert template["metadata"]["annotations"][MODEL_DIGEST] == digest_of(URI)


def test_what_wrote_the_model_is_told_and_outlives_its_record() -> None:
    result = {**result_of(URI).manifest(), "framework": "pytorch"}
    scene = Scene(FIRST).recorded(FIRST, resolved=False).job(FIRST, ended="Complete")
    scene.supply_ended(FIRST, 0, json.dumps({"result": result}), phase="Succeeded")
    scene.deployed(FIRST).apex(FIRST)
    decided = _decided(scene)
    assert (decided.status or {})["model"]["framework"] == "pytorch"
    kept = read(_applied(decided, "ControllerRevision", R1))
    assert kept is not None
    assert kept.result is not None
    assert kept.result.framework == "pytorch"
    scene.status(decided.status or {}).without("ControllerRevision", R1)
    scene.pods.clear()
    assert (_decided(scene).status or {})["model"]["framework"] == "pytorch"


def test_what_could_not_be_read_is_not_verified() -> None:
    decided = _decided(_first().supply_ended(FIRST, 0, "not JSON"))
    assert [k for k, _ in _names(decided.apply) if k == "Deployment"] == []


def test_the_stable_revision_keeps_the_apex_and_its_pods_while_another_starts() -> None:
    decided = _decided(_resolved())
    apex = _applied(decided, "Service", "digits")
    assert apex["spec"]["selector"] == revision_selector("digits", H1)
    assert _applied(decided, "Deployment", R1)["spec"]["replicas"] == 1


def test_the_apex_moves_when_all_pods_are_ready_and_it_was_announced() -> None:
    announced = _decided(_complete()).status
    assert announced is not None
    assert _writes(_complete()) == []
    decided = _decided(_complete().status(announced))
    assert decided.status is not None
    assert _writes(_complete().status(announced)) == [("Service", "digits")]
    apex = _applied(decided, "Service", "digits")
    assert apex["spec"]["selector"] == revision_selector("digits", H2)
    assert (decided.status["stable"]["hash"], decided.status["candidate"]["hash"]) == (H1, H2)
    assert decided.status["rollout"]["state"] == "Promoting"


def test_the_commit_is_one_status_write_and_the_pods_before_stay() -> None:
    scene = _complete().apex(SECOND)
    decided = _decided(scene)
    assert decided.status is not None
    assert _writes(scene) == [("ControllerRevision", R2)]
    assert decided.status["stable"]["hash"] == H2
    assert "candidate" not in decided.status
    assert decided.status["history"] == [
        {
            "revision": 1, "hash": H1, "digest": digest_of(URI), "version": "",
            "promotedAt": LONG_AGO, "outcome": "Promoted",
        }
    ]  # fmt: skip
    assert _applied(decided, "Deployment", R1)["spec"]["replicas"] == 1
    assert decided.requeue_after_s == 60.0


@pytest.mark.parametrize(
    ("since_s", "expected"),
    [
        pytest.param(0, (1, 60.0), id="at once"),
        pytest.param(59, (1, 1.0), id="a second before"),
        pytest.param(60, (0, None), id="when the delay is over"),
        pytest.param(9999, (0, None), id="long after"),
    ],
)
def test_the_pods_before_end_after_the_delay(
    since_s: int, expected: tuple[int, float | None]
) -> None:
    scene = Scene(SECOND).retired(FIRST).deployed(FIRST)
    scene.serving(SECOND, number=2, promoted_at=ago(since_s))
    decided = _decided(scene)
    replicas = _applied(decided, "Deployment", R1)["spec"]["replicas"]
    assert (replicas, decided.requeue_after_s) == expected


def test_a_revision_before_gets_no_new_pods() -> None:
    scene = Scene({**SECOND, "replicas": 5}).retired(FIRST)
    scene.serving(SECOND, number=2, promoted_at=ago(1), replicas=5)
    assert _applied(_decided(scene), "Deployment", R1)["spec"]["replicas"] == 0


def test_going_back_takes_the_same_number_and_fetches_nothing() -> None:
    scene = Scene(FIRST, generation=3).retired(FIRST).serving(SECOND, number=2)
    decided = _decided(scene)
    assert ("Job", R1) not in _names(decided.apply)
    assert _applied(decided, "ControllerRevision", R1)["revision"] == 1
    assert _applied(decided, "Deployment", R1)["spec"]["replicas"] == 1
    assert (decided.status or {})["candidate"]["revision"] == 1


def test_going_back_in_the_middle_of_a_rollout_ends_the_candidate() -> None:
    scene = _resolved()
    scene.mdep["spec"] = dict(FIRST)
    decided = _decided(scene)
    assert {k for k, n in _names(decided.delete) if n == R2} == {
        "ConfigMap", "Deployment", "Job", "Service",
    }  # fmt: skip
    assert _summary(decided)[0] == "Healthy"


def test_what_the_apex_still_selects_keeps_its_pods_for_one_more_pass() -> None:
    """A crash after the record of a commit, then a change of mind: the apex is written last."""
    scene = _complete().apex(SECOND).recorded(SECOND, number=2, promoted_at=ago(5))
    scene.mdep["spec"] = dict(FIRST)
    decided = _decided(scene)
    assert _applied(decided, "Deployment", R2)["spec"]["replicas"] == 1
    assert _names(decided.apply)[-1] == ("Service", "digits")
    again = _decided(scene.apex(FIRST))
    assert _applied(again, "Deployment", R2)["spec"]["replicas"] == 0


def test_a_superseded_candidate_leaves_its_record() -> None:
    third = spec_of("https://models.test/third.onnx")
    scene = _resolved()
    scene.mdep["spec"] = third
    decided = _decided(scene)
    assert {n for k, n in _names(decided.delete)} == {R2}
    assert ("ControllerRevision", R2) in _names(decided.apply)
    assert (decided.status or {})["candidate"]["revision"] == 3


def test_records_that_never_served_are_kept_up_to_three() -> None:
    scene = Scene(FIRST).serving(FIRST)
    for number in range(2, 8):
        scene.recorded(spec_of(f"https://models.test/{number}"), number=number)
    gone = [scene.children[k]["revision"] for k in _names(_decided(scene).delete)]
    assert sorted(gone) == [2, 3, 4]


def test_revisions_that_served_are_kept_up_to_five() -> None:
    newest = spec_of("https://models.test/8")
    scene = Scene(newest).serving(newest, number=8, promoted_at=ago(100))
    for number in range(1, 8):
        at = ago(10_000 - number)
        scene.retired(spec_of(f"https://models.test/{number}"), number=number, promoted_at=at)
    decided = _decided(scene)
    gone = [read(scene.children[k]) for k in _names(decided.delete) if k[0] == "ControllerRevision"]
    assert sorted(r.number for r in gone if r) == [1, 2]


def test_an_abort_for_the_deadline_scales_the_candidate_down() -> None:
    scene = _resolved().deployed(SECOND, available=0, number=2, deadline_exceeded=True)
    decided = _decided(scene)
    assert decided.status is not None
    assert _applied(decided, "Deployment", R2)["spec"]["replicas"] == 0
    assert decided.status["rollout"]["reason"] == "ProgressDeadline"
    assert "revision r1" in _message(decided)


def test_an_abort_lasts_until_the_spec_changes() -> None:
    late = _resolved().deployed(SECOND, available=0, number=2, deadline_exceeded=True)
    status = _decided(late).status or {}
    calm = _resolved().deployed(SECOND, replicas=0, number=2).status(status)
    assert _summary(_decided(calm))[1] == ("False", "RolloutAborted")
    calm.mdep["spec"] = spec_of("https://models.test/third.onnx")
    assert _summary(_decided(calm))[1] == ("False", "RollingOut")


def test_suspending_ends_all_pods_and_keeps_everything_else() -> None:
    scene = Scene({**FIRST, "suspend": True, "replicas": 3}).serving(FIRST, replicas=3)
    decided = _decided(scene)
    assert _applied(decided, "Deployment", R1)["spec"]["replicas"] == 0
    assert _names(decided.delete) == [("PodDisruptionBudget", R1)]


def test_a_lost_status_is_found_again_in_the_records() -> None:
    scene = Scene(SECOND).retired(FIRST, promoted_at=ago(500))
    scene.serving(SECOND, number=2, promoted_at=ago(400))
    del scene.mdep["status"]
    decided = _decided(scene)
    assert (decided.status or {})["stable"]["hash"] == H2
    assert (_writes(scene), decided.delete) == ([], ())


def test_a_deleted_record_comes_back_as_it_was() -> None:
    scene = Scene(FIRST).serving(FIRST, number=7)
    scene.status(_decided(scene).status or {})
    before = copy.deepcopy(scene.children["ControllerRevision", R1])
    scene.without("ControllerRevision", R1)
    decided = _decided(scene)
    again = _applied(decided, "ControllerRevision", R1)
    assert (again["revision"], again["data"]) == (before["revision"], before["data"])
    assert again["metadata"]["annotations"].items() <= before["metadata"]["annotations"].items()
    assert _writes(scene) == [("ControllerRevision", R1)]


def test_a_deleted_record_comes_back_and_outlives_the_commit_of_its_successor() -> None:
    scene = _complete().apex(SECOND)
    scene.status({
        "stable": {"hash": H1}, "rollout": {"promotedAt": LONG_AGO},
        "model": {"digest": digest_of(URI), "format": "ONNX", "sizeBytes": 1234},
    })  # fmt: skip
    scene.without("ControllerRevision", R1)
    decided = _decided(scene)
    assert decided.delete == ()
    assert ("ControllerRevision", R1) in _names(decided.apply)


def test_a_spec_that_is_not_understood_changes_nothing_and_says_which_field() -> None:
    scene = Scene(FIRST, generation=4).serving(FIRST)
    scene.status(_decided(scene).status or {})
    scene.mdep["spec"]["canary"] = {"steps": 3}
    decided = _decided(scene)
    assert (decided.apply, decided.delete, decided.requeue_after_s) == ((), (), None)
    assert _conditions(decided)["Stalled"] == ("True", "InvalidSpec")
    assert _conditions(decided)["Available"] == SERVES
    assert _message(decided).startswith("spec.canary: ")


def test_a_child_that_ought_not_to_be_goes_but_not_twice() -> None:
    scene = Scene(FIRST).serving(FIRST)
    scene.deployed(SECOND, number=2)
    scene.children["Deployment", R2]["metadata"]["deletionTimestamp"] = LONG_AGO
    assert sorted(_names(_decided(scene).delete)) == [("ConfigMap", R2), ("Service", R2)]


@pytest.mark.parametrize(
    ("problems", "expected"),
    [
        pytest.param([], ("Healthy", "Serving", "False", "False"), id="none"),
        pytest.param(
            [Problem("ApplyFailed", "quota", is_terminal=False)],
            ("Degraded", "ApplyFailed", "True", "False"),
            id="one that may pass",
        ),
        pytest.param(
            [
                Problem("ApplyFailed", "quota", is_terminal=False),
                Problem("NameConflict", "taken", is_terminal=True),
            ],
            ("Degraded", "NameConflict", "False", "True"),
            id="the gravest counts",
        ),
    ],
)
def test_refused_writes_are_told(problems: list[Problem], expected: tuple[str, ...]) -> None:
    scene = Scene(FIRST, generation=9).serving(FIRST)
    report = with_problems(scene.snapshot(), _decided(scene).status or {}, problems)
    by_type = {x["type"]: x for x in report["conditions"]}
    assert (
        report["phase"], by_type["Ready"]["reason"], by_type["Reconciling"]["status"],
        by_type["Stalled"]["status"],
    ) == expected  # fmt: skip
    assert {x["observedGeneration"] for x in report["conditions"]} == {9}


def _status(**reasons: tuple[str, str]) -> dict[str, Any]:
    return {
        "conditions": [
            {"type": t, "status": s, "reason": r, "message": f"{t} {r}"}
            for t, (s, r) in reasons.items()
        ]
    }


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param({}, {}, [], id="nothing"),
        pytest.param(
            _status(Ready=("True", "Serving")), _status(Ready=("True", "Serving")), [], id="as was"
        ),
        pytest.param(
            {}, _status(Ready=("False", "SupplyingModel")),
            [Note("Normal", "SupplyingModel", "Ready SupplyingModel")], id="it begins",
        ),
        pytest.param(
            _status(Ready=("False", "PodsNotReady")), _status(Ready=("True", "Serving")),
            [Note("Normal", "Serving", "Ready Serving")], id="it serves",
        ),
        pytest.param(
            _status(Ready=("True", "Serving")), _status(Ready=("False", "PodsFailing")),
            [Note("Warning", "PodsFailing", "Ready PodsFailing")], id="it fails",
        ),
        pytest.param(
            {}, _status(Stalled=("True", "NotFound")),
            [Note("Warning", "NotFound", "Stalled NotFound")], id="it stalls",
        ),
        pytest.param({}, _status(Stalled=("False", "Settled")), [], id="nothing stalls"),
        pytest.param({}, _status(Available=("True", "Serving")), [], id="Available is silent"),
        pytest.param(
            {"rollout": {"state": "Shifting", "step": 1}},
            {"rollout": {"state": "Baking", "step": 1}, "message": "at 20 %"},
            [Note("Normal", "RolloutBaking", "at 20 %")], id="a step is reached",
        ),
        pytest.param(
            {"rollout": {"state": "Baking", "step": 1}},
            {"rollout": {"state": "Aborting"}, "message": "why"},
            [Note("Warning", "RolloutAborting", "why")], id="traffic goes back",
        ),
        pytest.param(
            {"rollout": {"state": "Baking", "step": 1}},
            {"rollout": {"state": "Baking", "step": 1, "handledAction": "a", "actionAnswer": "no"}},
            [Note("Warning", "ActionIgnored", "a: no")], id="an action has no meaning",
        ),
        pytest.param(
            {}, {"rollout": {"state": "Idle", "handledAction": "a"}},
            [Note("Normal", "ActionTaken", "a")], id="an action is taken note of",
        ),
    ],
)  # fmt: skip
def test_notes(before: dict[str, Any], after: dict[str, Any], expected: list[Note]) -> None:
    assert notes(before, after) == expected


SCENES = [
    Scene(FIRST), _first(), _starting(), _second(), _resolved(), _complete(),
    _complete().apex(SECOND), Scene(FIRST).serving(FIRST),
    _unsupplied(EXIT_TERMINAL, "NotFound", "404"), _unsupplied(1, "Unavailable", "503"),
]  # fmt: skip


@LAW
@given(index=st.integers(0, len(SCENES) - 1), order=st.randoms(use_true_random=False))
def test_equal_input_gives_equal_output(index: int, order: Any) -> None:
    snapshot = SCENES[index].snapshot()
    items = list(snapshot.children.items())
    order.shuffle(items)
    other = SCENES[index]
    shuffled = Scene(other.mdep["spec"])
    shuffled.mdep, shuffled.children, shuffled.pods = other.mdep, dict(items), other.pods
    assert repr(plan(shuffled.snapshot())) == repr(plan(snapshot))


@pytest.mark.parametrize("index", range(len(SCENES)))
def test_planning_leaves_its_input_as_it_was(index: int) -> None:
    snapshot = SCENES[index].snapshot()
    before = copy.deepcopy(snapshot)
    plan(snapshot)
    assert snapshot == before


@pytest.mark.parametrize("index", range(len(SCENES)))
def test_every_reason_that_is_given_is_listed(index: int) -> None:
    reasons = {reason for _, reason in _conditions(_decided(SCENES[index])).values()}
    assert reasons <= c.REASONS.keys()


def test_a_settled_world_needs_nothing() -> None:
    world = World(spec_of(replicas=2))
    world.settle()
    snapshot = world.snapshot()
    decided = plan(snapshot)
    assert all(is_applied(world.objects[key(m)], m) for m in decided.apply)
    assert (decided.delete, decided.status, decided.requeue_after_s) == (
        (), snapshot.status, None,
    )  # fmt: skip
