"""What people can ask of a rollout where it stands, and what would help.

Lives here: the sentences. What really comes of an action, the operator decides (`plan/request.py`)
and answers; only what can have no meaning is refused before it is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from slipway_operator.picture.words import entries, inside, word
from slipway_operator.plan.action import NONE, Verb
from slipway_operator.plan.conditions import ENDED_BY_CAUSE

AT_REST: Final = frozenset({"Idle", "Failed", ""})
_STEPPING: Final = frozenset({"Shifting", "Baking"})

Status = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Hint:
    """A verb, and what it would do now. Without a verb: something else that helps."""

    verb: str
    text: str


def hints(status: Status) -> tuple[Hint, ...]:
    """Say what helps where the rollout stands, most likely first."""
    state = word(status, "rollout", "state")
    found = {"Paused": _paused, "Failed": _failed, "Idle": _idle}.get(state)
    if found:
        return found(status)
    if state in _STEPPING:
        return (
            Hint("promote", "skip all steps that are left"),
            Hint("skip-step", "go on to the next step at once"),
            _ABORT,
        )
    can_abort = state and word(status, "stable", "hash") and state != "Aborting"
    return (_ABORT,) if can_abort else ()


_ABORT: Final = Hint("abort", "send the candidate back")


def _paused(status: Status) -> tuple[Hint, ...]:
    if remedy := _remedy(status):
        return (Hint("", f"{remedy} to go on"), _ABORT)
    return (
        Hint("approve", "let this step pass"),
        Hint("promote", "skip all steps that are left"),
        _ABORT,
    )


def _remedy(status: Status) -> str:
    """What ends a pause that no approval does; empty where one does, and where there is none."""
    if word(status, "rollout", "state") != "Paused":
        return ""
    return ENDED_BY_CAUSE.get(word(status, "rollout", "reason"), "")


def _failed(_: Status) -> tuple[Hint, ...]:
    return (
        Hint("retry", "try the same revision again"),
        Hint("", "apply another spec, or the one before"),
    )


def _idle(status: Status) -> tuple[Hint, ...]:
    if word(status, "desired", "pinnedBy"):
        return (Hint("rollback --undo", "serve again what the spec asks for"),)
    if entries(status, "history"):
        return (Hint("rollback", "bring the revision before back"),)
    return ()


class Refused(Exception):
    """The action can have no meaning now; the text says why, and what helps."""


@dataclass(frozen=True, slots=True)
class Request:
    """An action, ready to be written."""

    text: str
    """The whole annotation."""
    about: str
    """What it concerns, for people."""


def request(verb: Verb, argument: str, mdep: Mapping[str, Any], nonce: str) -> Request:
    """Write an action for where the rollout of a ModelDeployment stands.

    Args:
        verb: what is asked.
        argument: of a rollback: a hash, its beginning, a revision's number, NONE to take one back,
            or empty for the revision before.
        mdep: as it was read.
        nonce: makes the action count once.

    Raises:
        Refused: it can have no meaning now.
    """
    status, name = inside(mdep, "status") or {}, word(mdep, "metadata", "name")
    target = word(status, "candidate", "hash") or word(status, "stable", "hash")
    if not target:
        raise Refused(f"{name}: the operator has not told of any revision yet, so {verb} has none")
    if verb is Verb.ROLLBACK:
        chosen = _chosen(status, argument, name)
        about = "the pin" if chosen == NONE else f"revision {chosen}"
        return Request(f"{verb}:{chosen} @{target} #{nonce}", about)
    _has_meaning(verb, status, name)
    return Request(f"{verb} @{target} #{nonce}", f"revision {target}")


def _has_meaning(verb: Verb, status: Status, name: str) -> None:
    state = word(status, "rollout", "state")
    is_wrong = state != "Failed" if verb is Verb.RETRY else state in AT_REST
    if is_wrong or (verb is Verb.APPROVE and _remedy(status)):
        raise Refused(
            f"{name}: {verb} has no meaning in state {state or 'unknown'}:"
            f" {word(status, 'message') or 'nothing is told'}{_advice(status, name)}"
        )


def _advice(status: Status, name: str) -> str:
    found = hints(status)
    texts = [f"slipway {h.verb} {name}: {h.text}" if h.verb else h.text for h in found]
    return f" (what helps: {'; '.join(texts)})" if texts else ""


def _chosen(status: Status, argument: str, name: str) -> str:
    """Find the revision that a rollback means."""
    if argument == NONE:
        if not word(status, "desired", "pinnedBy"):
            raise Refused(f"{name}: no rollback is in force, so there is none to take back")
        return NONE
    known = entries(status, "history")
    if not known:
        raise Refused(f"{name}: status.history is empty: no earlier revision has served")
    found = [e for e in known if not argument or _is_meant(e, argument)]
    hashes = list(dict.fromkeys(word(e, "hash") for e in found))
    if argument and not hashes and _is_meant(inside(status, "stable") or {}, argument):
        raise Refused(f"{name}: revision {argument} serves already")
    if not hashes or (argument and len(hashes) > 1):
        what = f"no revision {argument!r}" if not hashes else f"several revisions {argument!r}…"
        rows = ", ".join(f"r{word(e, 'revision')} {word(e, 'hash')}" for e in known)
        raise Refused(f"{name}: {what} has served; these have: {rows}")
    return hashes[0]


def _is_meant(entry: object, argument: str) -> bool:
    number = argument.removeprefix("r")
    if number.isdigit() and len(number) < 7 and number == word(entry, "revision"):
        return True
    found = word(entry, "hash")
    return bool(found) and len(argument) >= 4 and found.startswith(argument)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an action."""

    is_done: bool
    text: str


def outcome(text: str, mdep: Mapping[str, Any]) -> Outcome | None:
    """Tell what became of an action; None while nobody has taken note of it."""
    status, name = inside(mdep, "status") or {}, word(mdep, "metadata", "name")
    # Not cleaned: the text is compared.
    handled = inside(status, "rollout", "handledAction")
    if handled == text:
        answer = word(status, "rollout", "actionAnswer")
        if answer:
            return Outcome(False, f"{name}: not done: {answer}{_advice(status, name)}")
        state = word(status, "rollout", "state")
        return Outcome(True, f"{name}: {state}: {word(status, 'message')}")
    written = inside(mdep, "metadata", "annotations", "slipway.dev/rollout-action")
    if written != text:
        return Outcome(
            False, f"{name}: another action was asked for meanwhile: {clean_of(written)}"
        )
    return None


def clean_of(written: object) -> str:
    """Show an action that somebody else wrote."""
    return word({"written": written}, "written") or "none"
