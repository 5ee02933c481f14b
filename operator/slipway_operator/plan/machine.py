"""The state machine of a rollout: what is remembered and what is seen in, what comes next out.

Lives here: every transition. `advance` makes one; the first row that applies is it.
Stays out: numbers of pods and where traffic goes in each state (`tracks.py`, `traffic.py`), reading
the cluster (`rollout.py`), and time, which is an argument.

    Idle -> Preparing -> Shifting <-> Baking -> Promoting -> Watching -> Idle
                             |         |  Paused    |           |
                             +---------+---> Aborting <---------+  -> Failed, Idle or Preparing

Laws (`tests/unit/operator/plan/test_canaries_by_simulation.py`): no weight before capacity; a
revision is committed by one write, after every step was passed for that very hash; an abort is
taken in every state; while aborting the candidate's weight never rises; what may still have traffic
keeps its pods.
Source: `rollout.md` B5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from slipway_operator.plan import conditions as c
from slipway_operator.plan.action import NONE, Action, Verb
from slipway_operator.plan.policy import Otherwise, Policy, Step, Strategy
from slipway_operator.plan.progress import AT_REST, STEPPING, Progress, State
from slipway_operator.plan.ratio import percent
from slipway_operator.plan.traffic import Route
from slipway_operator.verdict.outcome import Action as OnFailure
from slipway_operator.verdict.outcome import Finding, Verdict


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why the candidate cannot become ready."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What was seen of both tracks, with the candidate that is remembered."""

    now: datetime
    desired: str
    """Hash of the revision that is asked for, by the spec or by a rollback."""
    written: str
    """Hash of the spec."""
    stable: str = ""
    """Hash; empty when there is none."""
    stable_pods: int = 0
    """Available ones."""
    stable_size: int = 0
    """As many as it is to have."""
    candidate_pods: int = 0
    needed: int = 1
    """Pods that the candidate has to have in its present state."""
    is_complete: bool = False
    """The candidate has all the pods that it needs to serve alone."""
    is_off: bool = False
    """Suspended, or no pods wanted."""
    is_late: bool = False
    """Kubernetes has given the candidate's Deployment up."""
    is_deployed: bool = False
    """The candidate has a Deployment: only then its deadline runs."""
    is_supplied: bool = False
    """The candidate's model has verified."""
    trouble: Trouble | None = None
    """It will not become ready by waiting."""
    returns: bool = False
    """The desired revision has served before and can come back at once."""
    route: Route = Route.STABLE
    """Where traffic goes."""
    shares: tuple[int, ...] = ()
    """Pods of the candidate at each step."""
    finding: Finding | None = None
    """The check that decides; None when all pass."""
    has_evidence: bool = False
    """The checks have seen anything at all."""
    known: frozenset[str] = frozenset()
    """Hashes of the revisions that a rollback can go to."""


_Row = Callable[[Progress, Facts, Policy], Progress | None]


def advance(progress: Progress | None, facts: Facts, policy: Policy) -> Progress | None:
    """Make the transition that is due; None when none is.

    Args:
        progress: as remembered; None when nothing is: the record of the stable revision then is
            all there is to know, or there is not even that.
        facts: what is seen; `needed` is of the state in `progress`.
        policy: what is wished.
    """
    if progress is None:
        start = Progress(State.IDLE).begun(State.IDLE, facts.now)
        return start if facts.stable else _prepared(start, facts, policy)
    for row in _ROWS[progress.state]:
        found = row(progress, facts, policy)
        if found is not None:
            return found
    return None


# --- what people ask for


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
    return _aborting(noted, facts, c.ABORTED_BY_USER, "somebody asked for it")


def _on_promote(noted: Progress, facts: Facts, _: Policy) -> Progress | None:
    return _promoting(noted, facts) if noted.state in STEPPING else None


def _on_approve(noted: Progress, _: Facts, __: Policy) -> Progress | None:
    return replace(noted, approved=noted.step) if noted.state in STEPPING else None


def _on_skip(noted: Progress, facts: Facts, policy: Policy) -> Progress | None:
    return _next_step(noted, facts, policy) if noted.state in STEPPING else None


def _on_retry(noted: Progress, facts: Facts, policy: Policy) -> Progress | None:
    if noted.state is not State.FAILED:
        return None
    return _prepared(noted, facts, policy)


_ANSWERS: Final[dict[Verb, _Row]] = {
    Verb.ABORT: _on_abort,
    Verb.PROMOTE: _on_promote,
    Verb.APPROVE: _on_approve,
    Verb.SKIP_STEP: _on_skip,
    Verb.RETRY: _on_retry,
}


# --- transitions that several states share


def _prepared(progress: Progress, facts: Facts, policy: Policy) -> Progress:
    """Begin with the desired revision."""
    again = progress.candidate == facts.desired
    return progress.at_rest(facts.now).begun(
        State.PREPARING,
        facts.now,
        candidate=facts.desired,
        attempt=progress.attempt + 1 if again else 1,
        is_fast=bool(facts.stable) and facts.returns and policy.rolls_back_fast,
    )


def _aborting(progress: Progress, facts: Facts, reason: str, message: str) -> Progress:
    return progress.begun(
        State.ABORTING, facts.now, reason=reason, message=message, weight=0, note=""
    )


def _paused(progress: Progress, facts: Facts, reason: str, message: str) -> Progress:
    return progress.begun(
        State.PAUSED, facts.now, reason=reason, message=message, paused_in=str(progress.state)
    )


def _promoting(progress: Progress, facts: Facts, note: str = "") -> Progress:
    return progress.begun(State.PROMOTING, facts.now, weight=100, note=note, is_exposed=True)


def _next_step(progress: Progress, facts: Facts, policy: Policy) -> Progress:
    """Go on to the first step that changes anything, or past the last one."""
    here = facts.shares[progress.step - 1] if _is_step(progress.step, policy) else 0
    for number, step in enumerate(policy.steps, start=1):
        share = facts.shares[number - 1]
        is_ahead = number > progress.step and step.weight > progress.weight
        if not is_ahead or (share == here and not step.is_manual):
            continue
        if policy.on_coarse is Otherwise.SKIP and coarse_note(step, share, facts, policy):
            continue
        note = coarse_note(step, share, facts, policy)
        return progress.begun(
            State.SHIFTING, facts.now, step=number, weight=step.weight, note=note,
            step_since="", is_exposed=True,
        )  # fmt: skip
    return _promoting(progress, facts)


def _is_step(number: int, policy: Policy) -> bool:
    return 0 < number <= len(policy.steps)


def coarse_note(step: Step, share: int, facts: Facts, policy: Policy) -> str:
    """Say that whole pods miss the weight by more than is put up with; empty when they do not."""
    total = max(2, facts.stable_size) if policy.conserves else facts.stable_size + share
    reached = percent(share, total)
    if abs(reached - step.weight) <= policy.tolerance_percent:
        return ""
    return f"{c.REPLICA_GRANULARITY}: {share} of {total} pods is {reached} %, not {step.weight} %"


# --- rows


def _begins(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    if facts.desired == facts.stable:
        return progress.at_rest(facts.now) if progress.state is State.FAILED else None
    is_same = progress.state is State.FAILED and facts.desired == progress.candidate
    # Of a model that could not be had the Job is deleted to try it again.
    is_cured = not facts.is_deployed and facts.trouble is None and progress.reason not in _OURS
    return None if is_same and not is_cured else _prepared(progress, facts, policy)


_OURS: Final = frozenset(
    {c.PROGRESS_DEADLINE, c.ANALYSIS_FAILED, c.CANDIDATE_DOWN, c.POST_PROMOTION, c.ABORTED_BY_USER}
)


def _retargets(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    """A first revision: nothing to go back to, and nothing to lose."""
    if facts.stable or facts.desired == progress.candidate:
        return None
    return _prepared(progress, facts, policy)


def _reverts(progress: Progress, facts: Facts, _: Policy) -> Progress | None:
    if facts.stable and facts.desired == facts.stable:
        return _aborting(progress, facts, c.REVERTED, "the stable revision is asked for again")
    return None


def _is_superseded(progress: Progress, facts: Facts, _: Policy) -> Progress | None:
    if facts.stable and facts.desired != progress.candidate:
        return _aborting(progress, facts, c.SUPERSEDED, "another revision is asked for")
    return None


def _changes_its_mind(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    """Once all traffic is on its way to the candidate, the promotion is finished first."""
    if facts.route is Route.CANDIDATE:
        return None
    return _reverts(progress, facts, policy) or _is_superseded(progress, facts, policy)


def _cannot_start(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    """Trouble that waiting does not cure, or the deadline. A first revision goes on trying."""
    if not facts.stable or facts.is_off or _may_fix_forward(facts, policy):
        return None
    if facts.trouble is not None and facts.candidate_pods < facts.needed:
        return _aborting(progress, facts, facts.trouble.reason, facts.trouble.message)
    if not facts.is_deployed:
        return None
    is_over = progress.is_over(progress.since, policy.progress_deadline_s, facts.now)
    if facts.is_late or is_over:
        text = f"{facts.candidate_pods} of {facts.needed} pods were ready in time"
        return _aborting(progress, facts, c.PROGRESS_DEADLINE, text)
    return None


def _fixes_forward(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    if not _may_fix_forward(facts, policy):
        return None
    return _promoting(progress, facts, f"{c.FIX_FORWARD}: the stable revision has no pods")


def _may_fix_forward(facts: Facts, policy: Policy) -> bool:
    """Whether a part of the candidate's pods is better than what there is."""
    is_down = facts.stable and not facts.stable_pods and not facts.is_off
    is_wished = policy.fixes_forward and policy.strategy is not Strategy.RECREATE
    return bool(is_down and facts.candidate_pods and is_wished)


def _waits_for_leave(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    """Before pods of the stable revision end for it."""
    is_next = policy.strategy is Strategy.RECREATE and facts.stable and facts.is_supplied
    if is_next and policy.is_paused and not facts.is_off:
        return _paused(progress, facts, c.PAUSED, _PAUSED_TEXT)
    return None


def _is_prepared(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    is_whole = facts.is_off or cuts(progress, policy, is_first=not facts.stable)
    if not (facts.is_complete if is_whole else facts.candidate_pods >= facts.needed):
        return None
    if facts.is_off or not facts.stable:
        return _promoting(progress, facts)
    if policy.is_paused:
        return _paused(progress, facts, c.PAUSED, _PAUSED_TEXT)
    return _promoting(progress, facts) if is_whole else _next_step(progress, facts, policy)


_PAUSED_TEXT: Final = "spec.rollout.paused is true"


def cuts(progress: Progress, policy: Policy, *, is_first: bool) -> bool:
    """Tell whether a candidate takes all traffic at once."""
    return is_first or progress.is_fast or not policy.steps


def _follows_steps(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    """The steps were edited: the weight stays, and the number is that of what comes next."""
    if _is_step(progress.step, policy) and policy.steps[progress.step - 1].weight == (
        progress.weight
    ):
        return None
    below = [n for n, s in enumerate(policy.steps, start=1) if s.weight <= progress.weight]
    number = max(below, default=0)
    return None if number == progress.step else replace(progress, step=number)


def _rests(progress: Progress, facts: Facts, _: Policy) -> Progress | None:
    """Without pods the step waits; when they may come again, it is reached anew."""
    if facts.is_off:
        return replace(progress, state=State.SHIFTING, since="", step_since="", routed_at="")
    return None if progress.since else progress.begun(State.SHIFTING, facts.now)


def _is_shifted(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    if facts.candidate_pods < facts.needed or facts.route is not Route.SHARED:
        return None
    if waits := _settling(progress, facts, policy):
        return waits
    if not _is_settled(progress, facts, policy):
        return None
    return progress.begun(
        State.BAKING, facts.now, routed_at=progress.routed_at,
        step_since=progress.step_since or _now(progress, facts),
    )  # fmt: skip


def _settling(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    """Remember when traffic was first seen where it belongs."""
    if progress.routed_at or not policy.settle_s:
        return None
    return replace(progress, routed_at=_now(progress, facts))


def _is_settled(progress: Progress, facts: Facts, policy: Policy) -> bool:
    if not policy.settle_s:
        return True
    return progress.is_over(progress.routed_at, policy.settle_s, facts.now)


def _now(progress: Progress, facts: Facts) -> str:
    return progress.begun(progress.state, facts.now).since


def _fails(progress: Progress, facts: Facts, _: Policy) -> Progress | None:
    found = facts.finding
    if found is None or found.verdict is not Verdict.FAIL or facts.is_off:
        return None
    text = f"check {found.name}: {found.message}"
    if found.action is OnFailure.ABORT:
        return _aborting(progress, facts, c.ANALYSIS_FAILED, text)
    if progress.state is State.PAUSED or progress.approved >= progress.step:
        return None
    return _paused(progress, facts, c.ANALYSIS_FAILED, text)


def _is_down(progress: Progress, facts: Facts, _: Policy) -> Progress | None:
    if facts.candidate_pods or facts.is_off:
        return None
    return _aborting(progress, facts, c.CANDIDATE_DOWN, "the candidate has no ready pod left")


def _holds(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    if policy.is_paused:
        return _paused(progress, facts, c.PAUSED, _PAUSED_TEXT)
    is_coarse = progress.note.startswith(c.REPLICA_GRANULARITY)
    if policy.on_coarse is Otherwise.PAUSE and is_coarse and progress.approved < progress.step:
        return _paused(progress, facts, c.REPLICA_GRANULARITY, progress.note)
    return None


def _passes(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    """End a step: its time is over, its checks have spoken, and whoever had to has approved."""
    step = step_of(progress, policy)
    if not progress.is_over(progress.step_since, step.hold_s, facts.now):
        return None
    is_approved = progress.approved >= progress.step
    if step.is_manual and not is_approved:
        text = f"step {progress.step} waits for the action approve"
        return _paused(progress, facts, c.AWAITING_APPROVAL, text)
    known = replace(progress, without_evidence=progress.without_evidence or not facts.has_evidence)
    return _next_step(known, facts, policy)


def step_of(progress: Progress, policy: Policy) -> Step:
    """Find the step; one that was edited away holds no longer."""
    if _is_step(progress.step, policy):
        return policy.steps[progress.step - 1]
    return Step(max(1, progress.weight), 0.0)


def _resumes(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    back = State(progress.paused_in or State.BAKING)
    match progress.reason:
        case c.PAUSED:
            is_free = not policy.is_paused
        case c.AWAITING_APPROVAL:
            is_free = not step_of(progress, policy).is_manual
        case c.REPLICA_GRANULARITY:
            is_free = policy.on_coarse is not Otherwise.PAUSE
        case _:
            is_free = facts.finding is None or facts.finding.verdict is not Verdict.FAIL
    if is_free or (progress.approved >= progress.step > 0 and progress.reason != c.PAUSED):
        return progress.begun(back, facts.now, routed_at=progress.routed_at)
    return None


def _is_cut(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    if facts.route is not Route.CANDIDATE or not _can_serve(progress, facts, policy):
        return None
    if waits := _settling(progress, facts, policy):
        return waits
    if not _is_settled(progress, facts, policy):
        return None
    is_watched = policy.watch_s and facts.stable and not progress.is_fast and not facts.is_off
    if not is_watched or progress.note.startswith(c.FIX_FORWARD):
        return _committed(progress, facts)
    return progress.begun(State.WATCHING, facts.now, weight=100, note=progress.note)


def _can_serve(progress: Progress, facts: Facts, policy: Policy) -> bool:
    """All pods are ready; or some are, and the stable revision has none."""
    return facts.is_complete or _may_fix_forward(facts, policy)


def _committed(progress: Progress, facts: Facts) -> Progress:
    """Make the candidate stable: the one write that a promotion is."""
    return progress.at_rest(facts.now, committed=progress.candidate)


def _harms(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    """The new revision fails with all traffic on it."""
    found = _is_down(progress, facts, policy) or _fails(progress, facts, policy)
    if found is None or found.state is not State.ABORTING:
        return None
    return replace(found, reason=c.POST_PROMOTION)


def _outlives(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    """Nothing speaks against it any more, or the next one waits."""
    if facts.is_off:  # there is nothing to watch
        return _committed(progress, facts)
    if facts.route is not Route.CANDIDATE:
        return None
    is_over = progress.is_over(progress.since, policy.watch_s, facts.now)
    return _committed(progress, facts) if is_over or facts.desired != progress.candidate else None


def _is_withdrawn(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    """Traffic has left the candidate, and with it whatever still used it."""
    if facts.route is not Route.STABLE:
        return None
    if progress.is_exposed and not progress.routed_at:
        return replace(progress, routed_at=_now(progress, facts))
    delay_s = policy.settle_s + policy.scale_down_delay_s
    if progress.is_exposed and not progress.is_over(progress.routed_at, delay_s, facts.now):
        return None
    if facts.desired == facts.stable:
        return progress.at_rest(facts.now)
    is_over = progress.reason in (c.SUPERSEDED, c.REVERTED)
    if is_over or facts.desired != progress.candidate:
        return _prepared(replace(progress, candidate=""), facts, policy)
    return progress.begun(
        State.FAILED, facts.now, reason=progress.reason, message=progress.message,
        is_exposed=False, step=0,
    )  # fmt: skip


_ROWS: Final[dict[State, tuple[_Row, ...]]] = {
    State.IDLE: (_begins,),
    State.FAILED: (_begins,),
    State.PREPARING: (
        _retargets, _reverts, _is_superseded, _waits_for_leave, _cannot_start, _fixes_forward,
        _is_prepared,
    ),
    State.SHIFTING: (
        _reverts, _is_superseded, _rests, _fails, _cannot_start, _fixes_forward, _follows_steps,
        _is_shifted,
    ),
    State.BAKING: (
        _reverts, _is_superseded, _rests, _fails, _is_down, _fixes_forward, _follows_steps,
        _holds, _passes,
    ),
    State.PAUSED: (
        _reverts, _is_superseded, _fails, _fixes_forward, _follows_steps, _resumes,
    ),
    State.PROMOTING: (_retargets, _changes_its_mind, _fails, _cannot_start, _is_cut),
    State.WATCHING: (_harms, _reverts, _outlives),
    State.ABORTING: (_is_withdrawn,),
}  # fmt: skip
"""The rows of each state, first match first. Of Idle's and Failed's the same one."""
