"""What became of the revisions before: those that served, then those that were given up.

Lives here: `status.history`. A revision that was given up keeps its record, to be looked at and
tried again; why it was, only the status remembers.
Stays out: which records are kept (`children.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from slipway_operator.plan.children import ABORTED_LIMIT
from slipway_operator.plan.progress import State
from slipway_operator.plan.revision import Revision
from slipway_operator.plan.rollout import Rollout

ABORTED: Final = "Aborted"
PROMOTED: Final = "Promoted"
_GIVEN_UP: Final = (State.ABORTING, State.FAILED)


def history(rollout: Rollout, before: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Write it anew, with the reasons that the status before remembers."""
    reasons = {
        str(entry.get("hash")): str(entry.get("reason") or "")
        for entry in before.get("history") or ()
        if entry.get("outcome") == ABORTED
    }
    served = [_served(r) for r in rollout.others if r.promoted_at]
    given_up = [r for r in rollout.others if not r.promoted_at]
    current = rollout.candidate
    if current and rollout.stable and rollout.state in _GIVEN_UP and not current.promoted_at:
        given_up.insert(0, current)
        reasons[current.hash] = rollout.progress.reason
    return served + [_aborted(r, reasons.get(r.hash, "")) for r in given_up[:ABORTED_LIMIT]]


def _served(revision: Revision) -> dict[str, Any]:
    return {**_named(revision), "promotedAt": revision.promoted_at, "outcome": PROMOTED}


def _aborted(revision: Revision, reason: str) -> dict[str, Any]:
    return {**_named(revision), "outcome": ABORTED, **({"reason": reason} if reason else {})}


def _named(revision: Revision) -> dict[str, Any]:
    return {
        "revision": revision.number,
        "hash": revision.hash,
        "digest": revision.result.digest if revision.result else "",
        "version": revision.version,
    }
