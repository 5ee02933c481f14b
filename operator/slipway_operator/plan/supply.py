"""What the supply step of a revision has found out, is doing, or failed at.

Lives here: reading the supply Job and its pods, and when to try again.
Stays out: the shape of the Job (`workload.py`) and what it does (the runtime's `supply/`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from slipway_operator.plan import pods
from slipway_operator.plan.clock import later, parse
from slipway_operator.plan.conditions import (
    DIGEST_MISMATCH,
    FETCHING,
    MOUNT_FAILED,
    NOT_FOUND,
    OOM_KILLED,
    SUPPLY_FAILED,
    UNSCHEDULABLE,
    VERIFIED,
)
from slipway_operator.plan.conversion import ADMIT, CONVERT, is_converting
from slipway_operator.plan.names import Manifest, revision_name
from slipway_operator.plan.revision import Revision, SupplyResult
from slipway_operator.plan.snapshot import Snapshot
from slipway_operator.plan.sources import missing
from slipway_operator.plan.workload import EXIT_TERMINAL, FETCH, RuntimeDefaults, convertible

_STEPS: Final = frozenset({FETCH, CONVERT, ADMIT})
_REASON: Final = re.compile(r"[A-Z][A-Za-z]{1,63}")
RETRY_AFTER_S: Final = 60
"""Pause before a Job that gave up on a transient cause is started anew."""


@dataclass(frozen=True, slots=True)
class Supply:
    """Where the supply of one revision stands."""

    reason: str
    message: str
    result: SupplyResult | None = None
    is_terminal: bool = False
    """Only a new spec (or deleting the Job) helps."""
    restart: bool = False
    """The Job has to go, so that a new one can start."""
    is_foreign: bool = False
    """The model has to be converted, which its revision does not know yet."""
    retry_at: datetime | None = None
    cause: str = ""
    """What went wrong, without what comes next; empty: the message says no more."""

    @property
    def failed(self) -> bool:
        """The step has not succeeded and something is wrong."""
        return self.result is None and self.reason != FETCHING

    @property
    def hindrance(self) -> str:
        """What a later attempt may overcome; empty where there is nothing, or no later attempt."""
        if not self.failed or self.is_terminal:
            return ""
        return f"{self.reason}: {self.cause or self.message}"

    def at_rest(self) -> Supply:
        """Leave it as it is: its revision was given up. What still runs comes to its end."""
        said = self.cause or self.message
        return replace(self, message=said, restart=False, retry_at=None)


def supply(snapshot: Snapshot, revision: Revision) -> Supply:
    """Read where the supply of a revision stands; what was once verified stays so."""
    if revision.result is not None:
        return _verified(revision.result)
    name = revision_name(snapshot.owner.name, revision.hash)
    job = snapshot.child("Job", name)
    if job is None:
        return Supply(FETCHING, f"the model is going to be fetched from {revision.uri}")
    if is_converting(revision.template) and not is_converting(_template(job)):
        # The Job that found out what the model is goes before the one that converts it can come.
        return Supply(FETCHING, "the model is going to be converted", restart=True)
    uid = job["metadata"]["uid"]  # not those of a Job before this one
    mine = [p for p in pods.supply_pods(snapshot, revision.hash) if is_of(p, uid)]
    return _of_pods(snapshot, revision, job, mine)


def result_of_pods(snapshot: Snapshot, revision: str) -> SupplyResult | None:
    """What the newest pod that succeeded has told, of whichever Job; None when none is there."""
    for pod in reversed(pods.supply_pods(snapshot, revision)):
        end = pod_end(pod)
        if end is not None and end.get("exitCode") == 0 and (result := _result(end)):
            return result
    return None


def learnt(revision: Revision, found: Supply, defaults: RuntimeDefaults) -> Revision:
    """Give a revision what its supply step has found out."""
    if found.result is not None:
        return revision.resolved(found.result)
    return convertible(revision, defaults) if found.is_foreign else revision


def _template(job: Manifest) -> Mapping[str, Any]:
    return (job.get("spec") or {}).get("template") or {}


def _verified(result: SupplyResult) -> Supply:
    text = f"{result.format} model of {result.size_bytes} bytes, {result.digest}"
    return Supply(VERIFIED, text, result=result)


def _compared(revision: Revision, result: SupplyResult) -> Supply:
    """Hold the step to the digest of the spec: its image may be of the user's own making."""
    wanted = (revision.spec.get("model") or {}).get("digest")
    found = result.conversion.source_digest if result.conversion else result.digest
    if wanted in (None, found):
        return _verified(result)
    text = f"model.digest: got {found}, expected {wanted}; correct the digest or the model"
    return Supply(DIGEST_MISMATCH, text, is_terminal=True)


def _of_pods(snapshot: Snapshot, revision: Revision, job: Manifest, mine: list[Manifest]) -> Supply:
    ended = [(p, e) for p in mine if (e := pod_end(p)) is not None]
    for _, end in reversed(ended):
        if end.get("exitCode") == 0 and (result := _result(end)):
            return _compared(revision, result)
        if end.get("exitCode") == EXIT_TERMINAL:
            return _converted(snapshot, revision, end) or _terminal(job, end)
    finished = finished_at(job)
    if finished is None:
        return _running(snapshot, revision, mine, ended)
    return _gave_up(snapshot, job, finished, ended)


def is_of(pod: Manifest, job_uid: str) -> bool:
    """Tell whether a pod is a Job's."""
    return any(r.get("uid") == job_uid for r in pod["metadata"].get("ownerReferences") or ())


def pod_end(pod: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """How a pod's steps ended: as the first that failed, or else as the last."""
    status = pod.get("status") or {}
    for container in status.get("initContainerStatuses") or ():
        end = _end_of(container)
        if end is not None and end.get("exitCode"):
            return end
    ends = map(_end_of, status.get("containerStatuses") or ())
    return next((end for end in ends if end is not None), None)


def _end_of(container: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if container.get("name") not in _STEPS:
        return None
    ended: Mapping[str, Any] | None = (container.get("state") or {}).get("terminated")
    return ended


def _converted(snapshot: Snapshot, revision: Revision, end: Mapping[str, Any]) -> Supply | None:
    """Go on with a conversion where that is all that is missing; None where it is not."""
    message = pods.parse_termination(str(end.get("message") or "")) or {}
    match message.get("failure"):
        case {"format": str(format_)} if snapshot.defaults.converter_image and not is_converting(
            revision.template
        ):
            text = f"the model is of the format {format_}, and is going to be converted"
            return Supply(FETCHING, text, restart=True, is_foreign=True)
    return None


def _result(end: Mapping[str, Any]) -> SupplyResult | None:
    message = pods.parse_termination(str(end.get("message") or ""))
    return SupplyResult.parse(message.get("result")) if message else None


def failure_of(end: Mapping[str, Any]) -> tuple[str, str]:
    """Tell reason and message of an end; a process that was killed left no JSON."""
    message = pods.parse_termination(str(end.get("message") or "")) or {}
    match message.get("failure"):
        case {"reason": str(reason), "message": str(text)} if _REASON.fullmatch(reason):
            return reason, text
    if end.get("reason") == OOM_KILLED:
        return OOM_KILLED, (
            "the supply step was killed for memory;"
            " raise spec.runtime.supplyResources.limits.memory"
        )
    return SUPPLY_FAILED, (
        f"the supply step ended with status {end.get('exitCode')}: {pods.termination_message(end)}"
    )


def _terminal(job: Manifest, end: Mapping[str, Any]) -> Supply:
    reason, text = failure_of(end)
    name = job["metadata"]["name"]
    again = f"; to try the same again, delete the Job {name!r}"
    return Supply(reason, text + again, is_terminal=True)


def _running(
    snapshot: Snapshot,
    revision: Revision,
    mine: list[Manifest],
    ended: list[tuple[Manifest, Mapping[str, Any]]],
) -> Supply:
    live = [p for p in mine if pod_end(p) is None]
    if problem := pods.first_failure(snapshot, live):
        return _hindered(snapshot, revision, problem)
    if ended:
        reason, text = failure_of(ended[-1][1])
        again = f"{text}; attempt {len(ended)} failed, trying again"
        return Supply(reason, again, cause=text)
    is_converted = is_converting(revision.template)
    verb = "fetched and converted" if is_converted else "fetched"
    return Supply(
        FETCHING,
        f"the model is being {verb} from {revision.uri};"
        f" how far it is: {_logs(snapshot, revision, FETCH)}"
        + (f", then -c {CONVERT}" if is_converted else ""),
    )


def _logs(snapshot: Snapshot, revision: Revision, container: str) -> str:
    """Where progress is told; here it would be a write for each step of it."""
    name = revision_name(snapshot.owner.name, revision.hash)
    return f"kubectl logs -n {snapshot.owner.namespace} job/{name} -c {container}"


def _hindered(snapshot: Snapshot, revision: Revision, problem: pods.PodFailure) -> Supply:
    if problem.reason in (MOUNT_FAILED, UNSCHEDULABLE) and (
        text := missing(revision.spec, problem.message, snapshot.owner.namespace)
    ):
        return Supply(NOT_FOUND, f"{text}, the supply step then goes on by itself")
    return Supply(problem.reason, f"supply step, pod {problem.pod}: {problem.message}")


def finished_at(job: Manifest) -> datetime | None:
    """When a Job ended, well or badly."""
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True":
            return parse(condition.get("lastTransitionTime"))
    return None


def _gave_up(
    snapshot: Snapshot,
    job: Manifest,
    finished: datetime,
    ended: list[tuple[Manifest, Mapping[str, Any]]],
) -> Supply:
    reason, text = (
        failure_of(ended[-1][1])
        if ended
        else (SUPPLY_FAILED, f"Job {job['metadata']['name']!r} ended and its pods are gone")
    )
    at = later(finished, RETRY_AFTER_S) or snapshot.now
    if snapshot.now >= at:
        return Supply(reason, f"{text}; starting anew", restart=True, cause=text)
    again = f"{text}; all attempts failed, starting anew in a minute"
    return Supply(reason, again, retry_at=at, cause=text)
