"""The Job of a check: one per candidate and step, no part of any selector, and what it says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from slipway_operator.plan.evaluation import (
    evaluation_drafts,
    evaluation_jobs,
    evaluations,
    evaluations_kept,
)
from slipway_operator.plan.names import MODEL, REVISION, Manifest, check_name
from slipway_operator.plan.policy import Check, CheckType, Policy, Step, TemplateKey
from slipway_operator.plan.progress import Progress, State
from slipway_operator.plan.snapshot import Snapshot
from slipway_operator.plan.template import template_of
from slipway_operator.verdict.outcome import Action, Finding, Verdict
from tests.builders import DEFAULTS, NOW, OTHER_URI, mdep, revision_of, spec_of

WHERE = TemplateKey("digits-judge", "job.yaml")
CHECK = Check("judge", CheckType.JOB, template=WHERE)
POLICY = Policy(steps=(Step(20), Step(50)), is_judged=True, checks=(CHECK,), max_step_s=600.0)
TEXT = """\
spec:
  activeDeadlineSeconds: 7200
  template:
    metadata: {labels: {team: ml}}
    spec:
      containers:
      - {name: main, image: judge, env: [{name: STABLE_URL, value: mine}, {name: A, value: b}]}
"""
BAKING = Progress(State.BAKING, "bbbbbbbbbb", step=1, step_since="2026-11-20T09:00:00Z")


def scene(
    *children: Manifest,
    pods: tuple[Manifest, ...] = (),
    text: str = TEXT,
    status: dict[str, Any] | None = None,
    name: str = "digits",
) -> Snapshot:
    return Snapshot(
        mdep(spec_of(), name=name, status=status), NOW, DEFAULTS,
        {(c["kind"], c["metadata"]["name"]): c for c in children}, pods,
        templates={WHERE: template_of(text)},
    )  # fmt: skip


def jobs(snapshot: Snapshot, progress: Progress = BAKING, policy: Policy = POLICY) -> list[Any]:
    stable = revision_of(snapshot.owner, spec_of())
    candidate = replace(revision_of(snapshot.owner, spec_of(OTHER_URI)), hash=progress.candidate)
    return list(evaluation_jobs(snapshot, policy, stable, candidate, progress))


def kept(snapshot: Snapshot, progress: Progress) -> list[Any]:
    candidate = replace(revision_of(snapshot.owner, spec_of(OTHER_URI)), hash="bbbbbbbbbb")
    return list(evaluations_kept(snapshot, candidate, progress))


def finding(snapshot: Snapshot, progress: Progress = BAKING, policy: Policy = POLICY) -> Finding:
    (found,) = evaluations(snapshot, policy, progress.candidate, progress)
    return found


def over(job: Manifest, kind: str, reason: str = "") -> Manifest:
    condition = {"type": kind, "status": "True", "reason": reason, "message": "played"}
    return {**job, "status": {"conditions": [condition]}}


def pod(job: Manifest, *codes: int) -> Manifest:
    ended = [{"name": f"c{i}", "state": {"terminated": {"exitCode": c}}}
             for i, c in enumerate(codes)]  # fmt: skip
    labels = {
        **job["spec"]["template"]["metadata"]["labels"],
        "batch.kubernetes.io/job-name": job["metadata"]["name"],
    }
    return {
        "metadata": {"name": "p", "labels": labels},
        "status": {"phase": "Failed", "containerStatuses": ended},
    }


def test_the_job_of_a_step() -> None:
    snapshot = scene()
    (job,) = jobs(snapshot)
    meta, spec = job["metadata"], job["spec"]
    assert meta["name"] == check_name("digits", "bbbbbbbbbb", "judge", "1-1")
    assert meta["ownerReferences"][0]["uid"] == snapshot.owner.uid
    assert (spec["backoffLimit"], spec["parallelism"], spec["completions"]) == (0, 1, 1)
    assert spec["activeDeadlineSeconds"] == 600, "no longer than the step may wait"
    (main,) = spec["template"]["spec"]["containers"]
    env = {e["name"]: e["value"] for e in main["env"]}
    stable = revision_of(snapshot.owner, spec_of()).hash
    assert env == {
        "STABLE_URL": f"http://digits-{stable}.t1.svc",
        "CANDIDATE_URL": "http://digits-bbbbbbbbbb.t1.svc",
        "A": "b",
    }
    assert len(main["env"]) == 3, "nobody else's STABLE_URL"
    assert spec["template"]["spec"]["serviceAccountName"] == "digits-runtime"


def test_no_selector_of_ours_matches_its_pods() -> None:
    (job,) = jobs(scene())
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert not {MODEL, REVISION} & labels.keys()
    assert labels["team"] == "ml"
    assert labels["app.kubernetes.io/managed-by"] == "slipway", "else nobody sees how it ends"


@pytest.mark.parametrize(
    "other",
    [
        replace(BAKING, step=2),
        replace(BAKING, attempt=2),
        replace(BAKING, candidate="cccccccccc"),
    ],
)
def test_another_step_attempt_or_candidate_has_another_job(other: Progress) -> None:
    (one,), (two,) = jobs(scene()), jobs(scene(), other)
    assert one["metadata"]["name"] != two["metadata"]["name"]


def test_two_checks_have_two_jobs() -> None:
    both = replace(POLICY, checks=(CHECK, replace(CHECK, name="jury")))
    names = {j["metadata"]["name"] for j in jobs(scene(), policy=both)}
    assert len(names) == 2


def test_its_name_fits_where_a_label_does() -> None:
    (job,) = jobs(scene(name="a" * 40))
    assert len(job["metadata"]["name"]) <= 63


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        pytest.param(BAKING, 1, id="a step that is reached"),
        pytest.param(replace(BAKING, state=State.PAUSED, paused_in="Baking"), 1, id="a pause"),
        pytest.param(replace(BAKING, state=State.SHIFTING), 0, id="not reached yet"),
        pytest.param(replace(BAKING, state=State.PROMOTING), 0, id="after the last"),
        pytest.param(replace(BAKING, state=State.ABORTING), 0, id="on the way back"),
    ],
)  # fmt: skip
def test_when_it_runs(progress: Progress, expected: int) -> None:
    assert len(jobs(scene(), progress)) == expected


def test_before_the_first_step_it_is_judged_and_not_made() -> None:
    snapshot = scene()
    stable = revision_of(snapshot.owner, spec_of())
    preparing = Progress(State.PREPARING, "bbbbbbbbbb", since="2026-11-20T09:00:00Z")
    assert jobs(snapshot, preparing) == []
    assert len(list(evaluation_drafts(snapshot, POLICY, stable, stable, preparing))) == 1
    assert list(evaluation_drafts(snapshot, POLICY, stable, stable, BAKING)) == []


@pytest.mark.parametrize(
    ("kind", "reason", "codes", "expected"),
    [
        pytest.param("Complete", "", (0,), Verdict.PASS, id="0"),
        pytest.param("Failed", "BackoffLimitExceeded", (1,), Verdict.FAIL, id="1"),
        pytest.param("Failed", "BackoffLimitExceeded", (2,), Verdict.INCONCLUSIVE, id="2"),
        pytest.param("Failed", "BackoffLimitExceeded", (3,), Verdict.NO_DATA, id="3"),
        pytest.param("Failed", "BackoffLimitExceeded", (137,), Verdict.NO_DATA, id="killed"),
        pytest.param("Failed", "BackoffLimitExceeded", (0, 1), Verdict.FAIL, id="one of two"),
        pytest.param("Failed", "BackoffLimitExceeded", (2, 1), Verdict.FAIL, id="1 before 2"),
        pytest.param("Failed", "DeadlineExceeded", (1,), Verdict.NO_DATA, id="it took too long"),
    ],
)
def test_what_it_says(kind: str, reason: str, codes: tuple[int, ...], expected: Verdict) -> None:
    (job,) = jobs(scene())
    found = finding(scene(over(job, kind, reason), pods=(pod(job, *codes),)))
    assert (found.name, found.verdict, found.is_awaited) == ("judge", expected, False)


def test_an_end_that_nobody_saw_is_no_data() -> None:
    (job,) = jobs(scene())
    found = finding(scene(over(job, "Failed", "BackoffLimitExceeded")))
    assert found.verdict is Verdict.NO_DATA
    assert "BackoffLimitExceeded: played" in found.message


def test_while_it_runs_the_step_waits() -> None:
    (job,) = jobs(scene())
    for snapshot in (scene(), scene(job)):
        found = finding(snapshot)
        assert (found.verdict, found.is_awaited) == (Verdict.RUNNING, True)


def test_what_cannot_be_made_is_told_and_not_waited_for() -> None:
    found = finding(scene(text="spec: {parallelism: 2}"))
    assert (found.verdict, found.is_awaited) == (Verdict.NO_DATA, False)
    assert "spec.parallelism" in found.message
    assert jobs(scene(text="spec: {parallelism: 2}")) == []


def test_a_verdict_outlives_its_job() -> None:
    (job,) = jobs(scene())
    before = finding(scene(over(job, "Complete")))
    entry = {"name": "judge", "verdict": "Pass", "message": before.message, "state": before.state}
    status = {"rollout": {"analysisOf": "bbbbbbbbbb-1"}, "analysis": [entry]}
    after = scene(status=status)
    assert finding(after) == before
    assert jobs(after) == [], "it is not asked again"
    assert finding(after, replace(BAKING, step=2)).verdict is Verdict.RUNNING, "the next step is"


@pytest.mark.parametrize(
    ("state", "verdict", "expected"),
    [
        pytest.param(State.WATCHING, "Pass", [Verdict.PASS], id="told after the cut, too"),
        pytest.param(State.WATCHING, "Fail", [], id="somebody let it pass"),
        pytest.param(State.FAILED, "Fail", [Verdict.FAIL], id="why it failed"),
    ],
)
def test_after_the_steps_it_says_what_it_said_last(
    state: State, verdict: str, expected: list[Verdict]
) -> None:
    (job,) = jobs(scene())
    entry = {"name": "judge", "message": "m", "state": f"{job['metadata']['name']} {verdict}"}
    status = {"rollout": {"analysisOf": "bbbbbbbbbb-1"}, "analysis": [entry]}
    after = replace(BAKING, state=state, step=0)
    found = evaluations(scene(status=status), POLICY, "bbbbbbbbbb", after)
    assert [f.verdict for f in found] == expected


def test_while_traffic_goes_back_it_is_told_why() -> None:
    (job,) = jobs(scene())
    ended = scene(over(job, "Failed", "BackoffLimitExceeded"), pods=(pod(job, 1),))
    assert finding(ended, replace(BAKING, state=State.ABORTING)).verdict is Verdict.FAIL


def test_its_action_is_the_checks() -> None:
    warns = replace(POLICY, checks=(replace(CHECK, action=Action.WARN),))
    (job,) = jobs(scene())
    ended = scene(over(job, "Failed", "BackoffLimitExceeded"), pods=(pod(job, 1),))
    assert finding(ended, policy=warns).verdict is Verdict.WARN


@pytest.mark.parametrize(
    ("progress", "running", "ended"),
    [
        pytest.param(BAKING, True, True, id="its own step"),
        pytest.param(replace(BAKING, step=2), False, True, id="the next step"),
        pytest.param(replace(BAKING, state=State.ABORTING), False, True, id="on the way back"),
        pytest.param(replace(BAKING, state=State.FAILED), False, True, id="for looking at"),
        pytest.param(Progress(State.IDLE), False, False, id="when all is over"),
    ],
)
def test_what_is_kept(progress: Progress, running: bool, ended: bool) -> None:
    (job,) = jobs(scene())
    name = ("Job", job["metadata"]["name"])
    assert kept(scene(job), progress) == [name] * running
    assert kept(scene(over(job, "Complete")), progress) == [name] * ended
