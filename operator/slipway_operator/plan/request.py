"""What people ask of a rollout, and what comes of it.

An action counts once, and only for the revision that it names; whatever is not done is answered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from slipway_operator.plan import conditions as c
from slipway_operator.plan.action import NONE, Action, Verb
from slipway_operator.plan.policy import Policy
from slipway_operator.plan.progress import AT_REST, STEPPING, Progress, State
from slipway_operator.plan.transition import Facts, aborting, next_step, prepared, promoting


def asked(progress: Progress, action: Action | None, facts: Facts, policy: Policy) -> Progress:
    """Take note of an action that is new, and do as it says where that makes sense."""
    if action is None or action.text == progress.handled:
        return progress
    noted = replace(progress, handled=action.text, answer="")
    target = noted.candidate or facts.stable
    if action.verb is Verb.UNKNOWN:
        return replace(noted, answer="it is not of the form VERB[:ARGUMENT] @HASH #NONCE")
    if action.target != target:
        return replace(noted, answer=f"it is about {action.target}, and now {target} is concerned")
    if action.verb is Verb.ROLLBACK:
        return _pinned(noted, action, facts)
    answered = _ANSWERS[action.verb](noted, facts, policy)
    if answered is None:
        return replace(noted, answer=f"{action.verb} has no meaning in state {noted.state}")
    return answered


def _pinned(noted: Progress, action: Action, facts: Facts) -> Progress:
    if action.argument == NONE:
        return replace(noted, pinned="", pinned_by="", pinned_from="")
    if action.argument not in facts.known:
        return replace(noted, answer=f"revision {action.argument} is none that has served here")
    return replace(noted, pinned=action.argument, pinned_by=action.text, pinned_from=facts.written)


def _on_abort(noted: Progress, facts: Facts, _: Policy) -> Progress | None:
    if noted.state in AT_REST or not facts.stable:
        return None
    if noted.state is State.ABORTING:
        return noted
    return aborting(noted, facts, c.ABORTED_BY_USER, "somebody asked for it")


def _on_promote(noted: Progress, facts: Facts, _: Policy) -> Progress | None:
    return promoting(noted, facts) if noted.state in STEPPING else None


def _on_approve(noted: Progress, facts: Facts, policy: Policy) -> Progress | None:
    if noted.state is State.PAUSED:
        if noted.reason == c.PREFLIGHT_UNAVAILABLE:
            return next_step(noted, facts, policy)
        # To remember it would open the step's own gate, later and unasked.
        if remedy := c.ENDED_BY_CAUSE.get(noted.reason):
            return replace(noted, answer=f"no approval ends the pause {noted.reason}: {remedy}")
    return replace(noted, approved=noted.step) if noted.state in STEPPING else None


def _on_skip(noted: Progress, facts: Facts, policy: Policy) -> Progress | None:
    return next_step(noted, facts, policy) if noted.state in STEPPING else None


def _on_retry(noted: Progress, facts: Facts, policy: Policy) -> Progress | None:
    if noted.state is not State.FAILED:
        return None
    return prepared(noted, facts, policy)


_ANSWERS: Final[dict[Verb, Callable[[Progress, Facts, Policy], Progress | None]]] = {
    Verb.ABORT: _on_abort,
    Verb.PROMOTE: _on_promote,
    Verb.APPROVE: _on_approve,
    Verb.SKIP_STEP: _on_skip,
    Verb.RETRY: _on_retry,
}
