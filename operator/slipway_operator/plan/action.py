"""What a person asks of a rollout, by annotation: `VERB[:ARGUMENT] @TARGET #NONCE`.

The annotation is never removed, so that no tool which keeps objects as they are in Git has to fight
for it: an action counts once, by its whole text, and only for the revision that it names.
Examples: `abort @3f9c1d20ab #1`, `rollback:8a1c00ffee @3f9c1d20ab #now`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

ACTION: Final = "slipway.dev/rollout-action"
NONE: Final = "none"
"""The argument of a rollback that takes an earlier one back."""

_FORM: Final = re.compile(
    r"(promote|approve|abort|retry|skip-step|rollback:([0-9a-f]{10}|none))"
    r" @([0-9a-f]{10}) #(\S{1,64})"
)
_LONGEST: Final = 256


class Verb(StrEnum):
    """What can be asked."""

    PROMOTE = "promote"
    APPROVE = "approve"
    ABORT = "abort"
    RETRY = "retry"
    SKIP_STEP = "skip-step"
    ROLLBACK = "rollback"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Action:
    """One request."""

    text: str
    """As it was written, cut to a length that a status has room for."""
    verb: Verb
    argument: str = ""
    target: str = ""
    """Hash of the revision it is about."""


def action_of(mdep: Mapping[str, Any]) -> Action | None:
    """Read the annotation; None when there is none.

    >>> action_of({"metadata": {"annotations": {ACTION: "abort @3f9c1d20ab #1"}}}).verb
    <Verb.ABORT: 'abort'>
    """
    notes = mdep["metadata"].get("annotations") or {}
    written = str(notes.get(ACTION) or "").strip()
    if not written:
        return None
    text, found = written[:_LONGEST], _FORM.fullmatch(written)
    if found is None:
        return Action(text, Verb.UNKNOWN)
    return Action(text, Verb(found[1].split(":")[0]), found[2] or "", found[3])
