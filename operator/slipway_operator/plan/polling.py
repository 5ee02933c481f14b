"""Looking at a model's source again, and following what is found there.

Lives here: when the Job that looks is due, what has come of it, and what the spec asks for since
then: other bytes are asked for as if `model.digest` named them, so that all the rest is as after a
change of the spec.
Stays out: the shape of the Job (`workload.py`), how it looks (the runtime's `supply/look.py`), and
the rollout that follows (`rollout.py`).

The time of the last look is that of the Job, which stays until the next one is due: nothing is
written while nothing changes, and a restart looks at nothing early.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final

from slipway_operator.api.fields import seconds
from slipway_operator.api.v1alpha1 import Spec
from slipway_operator.plan import pods
from slipway_operator.plan.clock import later, parse
from slipway_operator.plan.conditions import NOT_FOUND, SUPPLY_FAILED
from slipway_operator.plan.names import POLL_OF, Manifest, poll_name, revision_name
from slipway_operator.plan.progress import AT_REST, State
from slipway_operator.plan.recovery import restored
from slipway_operator.plan.revision import Revision, read, revision_hash
from slipway_operator.plan.rollout import Rollout
from slipway_operator.plan.snapshot import Snapshot
from slipway_operator.plan.sources import missing
from slipway_operator.plan.supply import failure_of, finished_at, is_of, pod_end
from slipway_operator.plan.tracks import records
from slipway_operator.plan.workload import poll_job

RETRY_AFTER_S: Final = 900.0
"""The longest pause after a look that failed."""
_SPREAD: Final = 0.1
"""Of the pause, by which looks come later: not all of them at once."""
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_OF_NO_LOOK: Final = frozenset({"poll", "digest", "cache", "verify", "samples", "optimization"})
"""Fields of the model that the step which looks has no use for."""


@dataclass(frozen=True, slots=True)
class Polled:
    """What has been found, as `status.polled` remembers it."""

    of: str = ""
    """Hash of the spec as it is written; empty where nothing is polled."""
    digest: str = ""
    """Other bytes than those of the spec's own revision; empty when there are none."""
    mark: str = ""
    """What the store told in place of the bytes."""
    reason: str = ""
    """Why the last look failed."""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Polling:
    """What is to be done about the next look."""

    job: Manifest | None = None
    """To be made."""
    is_kept: bool = False
    """The Job that there is stays."""
    due: datetime | None = None


_NOTHING: Final = Polled()


def polled(snapshot: Snapshot) -> Polled:
    """Tell what is known of the source, from the status and from the last look."""
    spec = snapshot.mdep["spec"]
    model, told = spec.get("model"), snapshot.status.get("polled") or {}
    if not isinstance(model, Mapping) or model.get("digest") or not (model.get("poll") or told):
        return _NOTHING
    of = revision_hash(spec)
    is_same = told.get("of") == of
    if not model.get("poll"):  # what was found stays: to stop looking changes no model
        return Polled(of, str(told.get("digest", ""))) if is_same else _NOTHING
    before = _read(told) if is_same else _served_last(snapshot, of)
    job = snapshot.child("Job", poll_name(snapshot.owner.name))
    if job is None or not _looks_for(job, of):
        return before
    return _with_look(snapshot, before, job)


def followed(snapshot: Snapshot, found: Polled) -> Snapshot:
    """Let the spec ask for the bytes that were found."""
    if not found.digest:
        return snapshot
    spec = snapshot.mdep["spec"]
    asked = {**spec, "model": {**spec["model"], "digest": found.digest}}
    return replace(snapshot, mdep={**snapshot.mdep, "spec": asked})


def reported(found: Polled) -> dict[str, str]:
    """Write it as the status remembers it: that nothing was found of this spec, too.

    Else the next pass would take what served last for what is asked for.
    """
    return {key: value for key, value in asdict(found).items() if value}


def polling(snapshot: Snapshot, spec: Spec, found: Polled, rollout: Rollout) -> Polling:
    """Say what is to be done about the next look; one rollout is ended before the next begins."""
    if spec.model.poll is None or not found.of or rollout.is_off:
        return Polling()
    every_s = seconds(spec.model.poll.every)
    job = snapshot.child("Job", poll_name(snapshot.owner.name))
    if job is not None:
        return _of_job(snapshot, job, found, rollout, every_s)
    since = _since(snapshot, rollout)
    if since is None:
        return Polling()
    due = _due(snapshot, since, every_s)
    if snapshot.now < due:
        return Polling(due=due)
    return Polling(job=_job(snapshot, spec, found, rollout), is_kept=True)


def _of_job(
    snapshot: Snapshot, job: Manifest, found: Polled, rollout: Rollout, every_s: float
) -> Polling:
    if not _looks_for(job, found.of):
        return Polling()
    finished = finished_at(job)
    if finished is None:
        return Polling(is_kept=True)
    due = _due(snapshot, finished, min(every_s, RETRY_AFTER_S) if found.reason else every_s)
    is_next = snapshot.now >= due and _rests(rollout)
    return Polling(is_kept=not is_next, due=due)


def _looks_for(job: Manifest, of: str) -> bool:
    return (job["metadata"].get("labels") or {}).get(POLL_OF) == of


def _rests(rollout: Rollout) -> bool:
    """Nothing is under way; or a first model that cannot be had, which may be replaced."""
    is_stuck = rollout.stable is None and rollout.supply and rollout.supply.is_terminal
    return rollout.state in AT_REST or bool(is_stuck)


def _since(snapshot: Snapshot, rollout: Rollout) -> datetime | None:
    """From when the time to the first look counts; None while there is no time for one."""
    if not _rests(rollout):
        return None
    if rollout.stable is not None:
        is_failed = rollout.state is State.FAILED
        since = rollout.progress.since if is_failed else rollout.stable.promoted_at
        return parse(since) or snapshot.now
    job = snapshot.child("Job", revision_name(snapshot.owner.name, rollout.current.hash))
    return (finished_at(job) if job else None) or snapshot.now


def _due(snapshot: Snapshot, since: datetime, pause_s: float) -> datetime:
    """When the next look is due: later by a part of the pause that chance would not move."""
    seed = f"{snapshot.owner.uid}\n{since.isoformat()}".encode()
    share = int.from_bytes(hashlib.sha256(seed).digest()[:4], "big") / 2**32
    return later(since, pause_s * (1 + _SPREAD * share)) or snapshot.now


def _job(snapshot: Snapshot, spec: Spec, found: Polled, rollout: Rollout) -> Manifest:
    asked = followed(snapshot, found).mdep["spec"]
    revision = _recorded(snapshot, revision_hash(asked) if found.digest else found.of)
    model = {k: v for k, v in asked["model"].items() if k not in _OF_NO_LOOK}
    document = {
        "name": snapshot.owner.name,
        "namespace": snapshot.owner.namespace,
        "revision": found.of,
        "revisionNumber": rollout.current.number,
        "model": model,
    }
    if revision and revision.result and revision.result.source:
        document["source"] = revision.result.source
    known = {"--known-digest": found.digest or _digest(revision), "--known-mark": found.mark}
    given = {option: value for option, value in known.items() if value}
    defaults = snapshot.defaults
    return poll_job(snapshot.owner, spec, document, defaults, spec_hash=found.of, known=given)


def _read(told: Mapping[str, Any]) -> Polled:
    return Polled(*(str(told.get(k, "")) for k in ("of", "digest", "mark", "reason", "message")))


def _served_last(snapshot: Snapshot, of: str) -> Polled:
    """Nothing is remembered of a spec: what served last of it is what it asks for."""
    promoted = [r for r in records(snapshot).values() if r.promoted_at and _spec_hash(r) == of]
    last = max(promoted, key=lambda r: (r.promoted_at, r.number), default=None)
    model = last.spec.get("model") or {} if last else {}
    return Polled(of, str(model.get("digest") or ""))


def _spec_hash(revision: Revision) -> str:
    """Hash of the spec that a revision may have been found for."""
    model = revision.spec.get("model") or {}
    bare = {key: value for key, value in model.items() if key != "digest"}
    return revision_hash({**revision.spec, "model": bare})


def _with_look(snapshot: Snapshot, before: Polled, job: Manifest) -> Polled:
    """Add what the Job has found, once it has ended; during a rollout it has to wait."""
    mine = [p for p in snapshot.pods if is_of(p, job["metadata"]["uid"])]
    ends = [end for p in mine if (end := pod_end(p)) is not None]
    if ends:
        found = _look(ends[-1]) if ends[-1].get("exitCode") == 0 else None
        if found is None:
            return _failed(before, *_failure(ends[-1]))
        return _found(snapshot, before, *found) if _is_free(snapshot) else before
    if problem := pods.first_failure(snapshot, mine):
        text = missing(snapshot.mdep["spec"], problem.message, snapshot.owner.namespace)
        return _failed(before, NOT_FOUND if text else problem.reason, text or problem.message)
    if finished_at(job) is not None:
        return _failed(before, SUPPLY_FAILED, "the Job that looks ended, and its pod is gone")
    return before


def _is_free(snapshot: Snapshot) -> bool:
    state = (snapshot.status.get("rollout") or {}).get("state")
    return state in AT_REST or not snapshot.status.get("stable")


def _found(snapshot: Snapshot, before: Polled, digest: str, mark: str) -> Polled:
    own = _digest(_recorded(snapshot, before.of))
    if digest == (before.digest or own):
        return Polled(before.of, before.digest, mark)
    return Polled(before.of, "" if digest == own else digest, mark)


def _recorded(snapshot: Snapshot, revision: str) -> Revision | None:
    live = snapshot.child("ControllerRevision", revision_name(snapshot.owner.name, revision))
    found = read(live) if live else None
    return restored(snapshot, found) if found else None


def _digest(revision: Revision | None) -> str:
    """What lay at the source when a revision was resolved."""
    if revision is None or revision.result is None:
        return ""
    converted = revision.result.conversion
    return converted.source_digest if converted else revision.result.digest


def _failed(before: Polled, reason: str, message: str) -> Polled:
    return replace(before, reason=reason, message=message)


def _failure(end: Mapping[str, Any]) -> tuple[str, str]:
    if end.get("exitCode") == 0:
        return SUPPLY_FAILED, "the step that looks told nothing; its image may be an older one"
    return failure_of(end)


def _look(end: Mapping[str, Any]) -> tuple[str, str] | None:
    """Digest and mark that a look has found; None when it told neither."""
    message = pods.parse_termination(str(end.get("message") or "")) or {}
    match message.get("look"):
        case {"digest": str(digest), **rest} if _DIGEST.fullmatch(digest):
            mark = str(rest.get("mark", ""))
            return digest, mark if _DIGEST.fullmatch(mark) else ""
    return None
