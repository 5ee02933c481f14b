"""How far a rollout has come: what the status remembers of it from one pass to the next.

Lives here: the states, and reading and writing `status.rollout`. It is written before anything is
done because of it (an intent log), by compare-and-swap: a crash between any two writes repeats a
step, never skips one.
Stays out: what comes next (`machine.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from slipway_operator.plan.clock import later, parse, timestamp


class State(StrEnum):
    """Where a rollout stands."""

    IDLE = "Idle"
    PREPARING = "Preparing"
    PREFLIGHT = "Preflight"
    SHIFTING = "Shifting"
    BAKING = "Baking"
    PAUSED = "Paused"
    PROMOTING = "Promoting"
    WATCHING = "Watching"
    ABORTING = "Aborting"
    FAILED = "Failed"


AT_REST: Final = frozenset({State.IDLE, State.FAILED})
STEPPING: Final = frozenset({State.SHIFTING, State.BAKING, State.PAUSED})
"""States in which the candidate has the weight of a step."""
BEFORE_CUT: Final = frozenset({State.PREPARING, State.PREFLIGHT, *STEPPING})


_STATES: Final = frozenset(State)


@dataclass(frozen=True, slots=True)
class Progress:
    """What is remembered. Times are as Kubernetes writes them, and empty for never."""

    state: State
    candidate: str = ""
    """Hash; empty in Idle."""
    attempt: int = 1
    since: str = ""
    """When this state began."""
    step: int = 0
    """Number of the step, from 1; 0 before the first."""
    weight: int = 0
    """Percent that the step is about; 0 before the first, 100 from the cut on."""
    step_since: str = ""
    """When the step's weight was first reached."""
    routed_at: str = ""
    """When traffic was first seen where this state wants it."""
    told_at: str = ""
    """When the routes of a gateway first said what this state wants."""
    verified: int = 0
    """Percent of the candidate that a gateway confirmed last."""
    is_exposed: bool = False
    """The candidate may have had traffic: it is not ended before its connections are."""
    is_fast: bool = False
    """It served before and comes back by one cut."""
    approved: int = 0
    """Number of the last step that a person has let pass."""
    preflight: str = ""
    """What the candidate has shown in its preflight; empty before it has passed."""
    without_evidence: bool = False
    """A step was passed though nothing was known."""
    paused_in: str = ""
    """The state that goes on after the pause."""
    reason: str = ""
    """Of an abort, a pause or a failure."""
    message: str = ""
    note: str = ""
    """What there is to say about the weight."""
    handled: str = ""
    """Text of the last action that was taken note of."""
    answer: str = ""
    """Why that action was ignored; empty when it was not."""
    pinned: str = ""
    """Hash of the revision that a rollback asks for instead of the spec."""
    pinned_by: str = ""
    pinned_from: str = ""
    """Hash of the spec when it did: another spec ends it."""
    committed: str = ""
    """Hash that has become stable in this very pass; not written."""

    def begun(self, state: State, now: datetime, **more: Any) -> Progress:
        """Enter a state."""
        fresh: dict[str, Any] = {"reason": "", "message": "", "paused_in": "", "routed_at": "",
                                 "told_at": ""}  # fmt: skip
        return replace(self, state=state, since=timestamp(now), **{**fresh, **more})

    def at_rest(self, now: datetime, **more: Any) -> Progress:
        """Forget the rollout, but not what people have asked for."""
        kept = replace(
            Progress(State.IDLE),
            handled=self.handled, answer=self.answer,
            pinned=self.pinned, pinned_by=self.pinned_by, pinned_from=self.pinned_from,
        )  # fmt: skip
        return kept.begun(State.IDLE, now, **more)

    def is_over(self, since: str, seconds: float, now: datetime) -> bool:
        """Tell whether a stretch of time that began then has passed."""
        until = self.until(since, seconds)
        return until is not None and now >= until

    def until(self, since: str, seconds: float) -> datetime | None:
        """When a stretch of time that began then is over; None when it never began."""
        begun = parse(since)
        return later(begun, seconds) if begun else None


def read(status: Mapping[str, Any]) -> Progress | None:
    """Read what a status remembers; None when it remembers nothing of a rollout."""
    told = status.get("rollout") or {}
    desired = status.get("desired") or {}
    if told.get("state") not in _STATES:
        return None
    weight = told.get("weight") or {}
    return Progress(
        state=State(told["state"]),
        candidate=str((status.get("candidate") or {}).get("hash") or ""),
        attempt=_attempt(told.get("id")),
        since=str(told.get("since") or ""),
        step=int(told.get("step") or 0),
        weight=int(weight.get("desired") or 0),
        step_since=str(told.get("stepSince") or ""),
        routed_at=str(told.get("routedAt") or ""),
        told_at=str(told.get("toldAt") or ""),
        verified=int(told.get("verifiedWeight") or 0),
        is_exposed=bool(told.get("exposed")),
        is_fast=bool(told.get("fast")),
        approved=int(told.get("approvedStep") or 0),
        preflight=str(told.get("preflight") or ""),
        without_evidence=bool(told.get("withoutEvidence")),
        paused_in=str(told.get("pausedIn") or ""),
        reason=str(told.get("reason") or ""),
        message=str(told.get("message") or ""),
        note=str(weight.get("note") or ""),
        handled=str(told.get("handledAction") or ""),
        answer=str(told.get("actionAnswer") or ""),
        pinned=str(desired.get("hash") or "") if desired.get("pinnedBy") else "",
        pinned_by=str(desired.get("pinnedBy") or ""),
        pinned_from=str(desired.get("pinnedFrom") or ""),
    )


def _attempt(identity: object) -> int:
    number = str(identity or "").rpartition("-")[2]
    return int(number) if number.isdigit() and len(number) < 9 else 1


def written(progress: Progress) -> dict[str, Any]:
    """Write what `read` reads of `status.rollout`, but for the id and the weight."""
    report = {
        "state": str(progress.state),
        "since": progress.since,
        "step": progress.step,
        "stepSince": progress.step_since,
        "routedAt": progress.routed_at,
        "toldAt": progress.told_at,
        "verifiedWeight": progress.verified,
        "exposed": progress.is_exposed,
        "fast": progress.is_fast,
        "approvedStep": progress.approved,
        "preflight": progress.preflight,
        "withoutEvidence": progress.without_evidence,
        "pausedIn": progress.paused_in,
        "reason": progress.reason,
        "message": progress.message,
        "handledAction": progress.handled,
        "actionAnswer": progress.answer,
    }
    return {k: v for k, v in report.items() if v}
