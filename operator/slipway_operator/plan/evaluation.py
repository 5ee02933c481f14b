"""The check `Job`: a Job of the user's runs once in each step, and its exit status is the verdict.

Lives here: the Job of one step, which of them ought to exist, and what they came to. Pure.
Stays out: what a user may write (`template.py`), reading it (`engine/templates.py`).

Exit status 0 is Pass, 1 Fail, 2 Inconclusive; whatever else ends a Job is no data: an image that is
not there, or a deadline, says nothing of the candidate. A verdict stands in the status, so that it
outlives its Job.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from slipway_operator.plan.evidence import identity
from slipway_operator.plan.names import (
    CHECK_REVISION,
    CHECK_STEP,
    Manifest,
    Owner,
    check_labels,
    check_name,
    child,
    revision_name,
    service_account_name,
)
from slipway_operator.plan.policy import Check, CheckType, Policy
from slipway_operator.plan.progress import AT_REST, BEFORE_CUT, Progress, State
from slipway_operator.plan.revision import REST, Revision
from slipway_operator.plan.service import GRPC_SERVICE_PORT
from slipway_operator.plan.snapshot import ChildKey, Snapshot
from slipway_operator.plan.template import Template
from slipway_operator.verdict.outcome import Finding, Verdict

STABLE_URL: Final = "STABLE_URL"
CANDIDATE_URL: Final = "CANDIDATE_URL"
_KEPT_S: Final = 3600
"""How long a Job that is over may be looked at."""
_VERDICTS: Final = {0: Verdict.PASS, 1: Verdict.FAIL, 2: Verdict.INCONCLUSIVE}
_SETTLED: Final = frozenset({Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.WARN})


def evaluations(
    snapshot: Snapshot, policy: Policy, candidate: str, progress: Progress
) -> list[Finding]:
    """Say what each check came to in this step; after the steps, what it came to last."""
    is_before = progress.state in BEFORE_CUT
    look = _finding if is_before else _past
    found = (look(snapshot, c, candidate, progress) for c in policy.of_type(CheckType.JOB))
    pairs = zip(found, policy.of_type(CheckType.JOB), strict=True)
    return [finding.acted(check.action) for finding, check in pairs if finding is not None]


def evaluation_jobs(
    snapshot: Snapshot, policy: Policy, stable: Revision, candidate: Revision, progress: Progress
) -> Iterator[Manifest]:
    """Render the Jobs of a step that has begun and that nothing is known of yet."""
    if not _is_reached(progress):
        return
    for check in policy.of_type(CheckType.JOB):
        template = _template(snapshot, check)
        name = _name(snapshot, check, candidate.hash, progress)
        is_known = _remembered(snapshot, check, name, candidate.hash, progress) is not None
        if template is not None and not template.problem and not is_known:
            tracks = stable, candidate
            yield _job(snapshot.owner, name, template, policy, tracks, _step(progress))


def evaluation_drafts(
    snapshot: Snapshot, policy: Policy, stable: Revision, candidate: Revision, progress: Progress
) -> Iterator[Manifest]:
    """The Jobs that the first step will need, for the API server to judge before it begins."""
    if progress.state in (State.PREPARING, State.PREFLIGHT):
        first = replace(progress, state=State.BAKING, step=1, step_since=progress.since)
        yield from evaluation_jobs(snapshot, policy, stable, candidate, first)


def evaluations_kept(
    snapshot: Snapshot, candidate: Revision | None, progress: Progress
) -> Iterator[ChildKey]:
    """What is over may be looked at until the rollout is; what runs for another step is not."""
    if candidate is None or progress.state is State.IDLE:
        return
    for job in snapshot.of_kind("Job"):
        labels = job["metadata"].get("labels") or {}
        is_ours = labels.get(CHECK_REVISION) == candidate.hash
        is_now = labels.get(CHECK_STEP) == _step(progress) and progress.state not in (
            State.ABORTING, *AT_REST,
        )  # fmt: skip
        if is_ours and (is_now or _ending(job) is not None):
            yield "Job", job["metadata"]["name"]


def _is_reached(progress: Progress) -> bool:
    is_held = progress.state is State.BAKING or (
        progress.state is State.PAUSED and progress.paused_in == State.BAKING
    )
    return is_held and bool(progress.step_since)


def _step(progress: Progress) -> str:
    return f"{progress.attempt}-{progress.step}"


def _name(snapshot: Snapshot, check: Check, candidate: str, progress: Progress) -> str:
    return check_name(snapshot.owner.name, candidate, check.name, _step(progress))


def _template(snapshot: Snapshot, check: Check) -> Template | None:
    return snapshot.templates.get(check.template) if check.template else None


def _finding(snapshot: Snapshot, check: Check, candidate: str, progress: Progress) -> Finding:
    name = _name(snapshot, check, candidate, progress)
    if not _is_reached(progress):
        template = _template(snapshot, check)
        problem = template.problem if template else ""
        text = problem or "it runs when the step's weight is reached"
        return Finding(check.name, Verdict.NO_DATA, text)
    if (known := _remembered(snapshot, check, name, candidate, progress)) is not None:
        return known
    job = snapshot.child("Job", name)
    return _unbegun(snapshot, check) if job is None else _seen(snapshot, check, job)


def _past(snapshot: Snapshot, check: Check, candidate: str, progress: Progress) -> Finding | None:
    """What a Job has said; of one that failed and was let pass nobody wants to hear again."""
    job = snapshot.child("Job", _name(snapshot, check, candidate, progress))
    found = _remembered(snapshot, check, "", candidate, progress)
    if job is not None and _ending(job) is not None:
        found = _seen(snapshot, check, job)
    is_over = progress.state in (State.ABORTING, State.FAILED)
    return None if found and found.verdict is Verdict.FAIL and not is_over else found


def _remembered(
    snapshot: Snapshot, check: Check, name: str, candidate: str, progress: Progress
) -> Finding | None:
    """What the status knows of a very Job, or of any when none is named."""
    told = snapshot.status.get("rollout") or {}
    if told.get("analysisOf") != identity(candidate, progress.attempt):
        return None
    for entry in snapshot.status.get("analysis") or ():
        job, _, verdict = str(entry.get("state") or "").partition(" ")
        is_it = entry.get("name") == check.name and job and name in ("", job)
        if is_it and verdict in _SETTLED:
            text = str(entry.get("message") or "")
            return Finding(check.name, Verdict(verdict), text, state=f"{job} {verdict}")
    return None


def _unbegun(snapshot: Snapshot, check: Check) -> Finding:
    template = _template(snapshot, check)
    if template is not None and template.problem:
        return Finding(check.name, Verdict.NO_DATA, template.problem)
    return Finding(check.name, Verdict.RUNNING, "its Job is about to begin", is_awaited=True)


def _seen(snapshot: Snapshot, check: Check, job: Manifest) -> Finding:
    name, ending = job["metadata"]["name"], _ending(job)
    if ending is None:
        return Finding(check.name, Verdict.RUNNING, f"Job {name} runs", is_awaited=True)
    kind, reason, message = ending
    status = 0 if kind == "Complete" else _exit_status(snapshot, name)
    is_said = kind == "Complete" or reason == "BackoffLimitExceeded"
    if is_said and status in _VERDICTS:
        verdict = _VERDICTS[status]
        text = f"Job {name} ended with status {status}"
        return Finding(check.name, verdict, text, state=f"{name} {verdict}")
    how = f"status {status}" if is_said and status is not None else f"{reason}: {message}"
    return Finding(check.name, Verdict.NO_DATA, f"Job {name} ended with {how}")


def _ending(job: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """How a Job is over; None while it is not."""
    for found in (job.get("status") or {}).get("conditions") or ():
        if found.get("type") in ("Complete", "Failed") and found.get("status") == "True":
            return found["type"], str(found.get("reason") or ""), str(found.get("message") or "")
    return None


def _exit_status(snapshot: Snapshot, job: str) -> int | None:
    """The worst that a container of the Job's pod has said: 1 before 2 before anything else."""
    for pod in snapshot.pods:
        if (pod["metadata"].get("labels") or {}).get("batch.kubernetes.io/job-name") != job:
            continue
        found = [
            ((c.get("state") or {}).get("terminated") or {}).get("exitCode")
            for c in (pod.get("status") or {}).get("containerStatuses") or ()
        ]
        said = [code for code in found if code]
        return min(said, default=None)
    return None


def _job(
    owner: Owner,
    name: str,
    template: Template,
    policy: Policy,
    tracks: tuple[Revision, Revision],
    step: str,
) -> Manifest:
    stable, candidate = tracks
    manifest = child("batch/v1", "Job", owner, name)
    labels = check_labels(owner.name, candidate.hash, step)
    manifest["metadata"]["labels"] |= {
        CHECK_REVISION: labels[CHECK_REVISION], CHECK_STEP: labels[CHECK_STEP],
    }  # fmt: skip
    longest = max(1, int(policy.max_step_s))
    metadata: Manifest = {"labels": {**template.labels, **labels}}
    if template.annotations:
        metadata["annotations"] = dict(template.annotations)
    urls = {STABLE_URL: _url(owner, stable), CANDIDATE_URL: _url(owner, candidate)}
    manifest["spec"] = {
        "backoffLimit": 0,
        "completions": 1,
        "parallelism": 1,
        "activeDeadlineSeconds": min(template.deadline_s or longest, longest),
        "ttlSecondsAfterFinished": _KEPT_S,
        "template": {"metadata": metadata, "spec": _pod(owner, template, urls)},
    }
    return manifest


def _pod(owner: Owner, template: Template, urls: Mapping[str, str]) -> Manifest:
    pod: Manifest = {"serviceAccountName": service_account_name(owner.name), **template.pod}
    for kind in ("initContainers", "containers"):
        if kind in pod:
            pod[kind] = [_told(container, urls) for container in pod[kind]]
    return pod


def _told(container: Mapping[str, Any], urls: Mapping[str, str]) -> Manifest:
    own = [entry for entry in container.get("env") or () if entry.get("name") not in urls]
    given = [{"name": name, "value": url} for name, url in urls.items()]
    return {**container, "env": [*given, *own]}


def _url(owner: Owner, revision: Revision) -> str:
    """Where a revision alone answers; over gRPC where there is nothing else."""
    host = f"{revision_name(owner.name, revision.hash)}.{owner.namespace}.svc"
    return f"http://{host}" if REST in revision.protocols else f"{host}:{GRPC_SERVICE_PORT}"
