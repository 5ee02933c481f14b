"""The state machine of a rollout: what is remembered and what is seen in, what comes next out.

Lives here: every transition. `advance` makes one; the first row that applies is it.
Stays out: numbers of pods and where traffic goes in each state (`tracks.py`, `traffic.py`), reading
the cluster (`rollout.py`), and time, which is an argument.

    Idle -> Preparing -> (Preflight) -> Shifting <-> Baking -> Promoting -> Watching -> Idle
                              |            |         |  Paused    |           |
                              +------------+---------+---> Aborting <---------+
                                                              -> Failed, Idle or Preparing

Laws (`tests/unit/operator/plan/test_canaries_by_simulation.py`): no weight before capacity; a
revision is committed by one write, after every step was passed for that very hash; an abort is
taken in every state; while aborting the candidate's weight never rises; what may still have traffic
keeps its pods.
Source: `rollout.md` B5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from slipway_operator.plan import conditions as c
from slipway_operator.plan.policy import Otherwise, Policy, Strategy
from slipway_operator.plan.progress import Progress, State
from slipway_operator.plan.traffic import Route
from slipway_operator.plan.transition import (
    Facts,
    aborting,
    is_overdue,
    is_settled,
    is_step,
    next_step,
    now,
    paused,
    prepared,
    promoting,
    settling,
    step_of,
)
from slipway_operator.verdict.outcome import Action as OnFailure
from slipway_operator.verdict.outcome import Verdict

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
        return start if facts.stable else prepared(start, facts, policy)
    for row in _ROWS[progress.state]:
        found = row(progress, facts, policy)
        if found is not None:
            return found
    return None


def _begins(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    if facts.desired == facts.stable:
        return progress.at_rest(facts.now) if progress.state is State.FAILED else None
    is_same = progress.state is State.FAILED and facts.desired == progress.candidate
    # Of a model that could not be had the Job is deleted to try it again.
    is_cured = not facts.deployed_at and facts.trouble is None and progress.reason not in _OURS
    return None if is_same and not is_cured else prepared(progress, facts, policy)


_OURS: Final = frozenset(
    {
        c.PROGRESS_DEADLINE, c.ANALYSIS_FAILED, c.CANDIDATE_DOWN, c.POST_PROMOTION,
        c.ABORTED_BY_USER, c.PREFLIGHT_FAILED, c.PREFLIGHT_UNAVAILABLE,
    }
)  # fmt: skip


def _retargets(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    """A first revision: nothing to go back to, and nothing to lose."""
    if facts.stable or facts.desired == progress.candidate:
        return None
    return prepared(progress, facts, policy)


def _reverts(progress: Progress, facts: Facts, _: Policy) -> Progress | None:
    if facts.stable and facts.desired == facts.stable:
        return aborting(progress, facts, c.REVERTED, "the stable revision is asked for again")
    return None


def _is_superseded(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    if progress.is_exposed and _may_fix_forward(facts, policy):
        return None  # to wait for the stable revision would keep a fix from everybody
    if facts.stable and facts.desired != progress.candidate:
        return aborting(progress, facts, c.SUPERSEDED, "another revision is asked for")
    return None


def _changes_its_mind(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    """Once all traffic is on its way to the candidate, the promotion is finished first."""
    if facts.route is Route.CANDIDATE and facts.is_verified:
        return None
    return _reverts(progress, facts, policy) or _is_superseded(progress, facts, policy)


def _remembers_hindrance(progress: Progress, facts: Facts, _: Policy) -> Progress | None:
    """Each new Job begins with nothing known; what hindered the last one says more at the end."""
    known = progress.message if not facts.is_supplied else ""
    told = facts.hindrance or known
    return None if told == progress.message else replace(progress, message=told)


def _cannot_start(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    """Trouble that waiting does not cure, or a deadline. A first revision goes on trying."""
    if not facts.stable:
        return None
    if not facts.is_supplied and (found := _cannot_be_supplied(progress, facts, policy)):
        return found
    if facts.is_off or _may_fix_forward(facts, policy):
        return None
    if facts.trouble is not None and facts.candidate_pods < facts.needed:
        return aborting(progress, facts, facts.trouble.reason, facts.trouble.message)
    if not facts.deployed_at:
        return None
    since = max(progress.since, facts.deployed_at)  # a model may have taken long to come
    is_over = progress.is_over(since, policy.progress_deadline_s, facts.now)
    if facts.is_late or is_over:
        text = f"{facts.candidate_pods} of {facts.needed} pods were ready in time"
        return aborting(progress, facts, c.PROGRESS_DEADLINE, text)
    return None


def _cannot_be_supplied(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    """No model, for good or in its time, which runs without pods, too: it is fetched all the same.

    Nothing is known of how long pods take, so their time begins anew when they are made.
    """
    if facts.trouble is not None:
        return aborting(progress, facts, facts.trouble.reason, facts.trouble.message)
    if not is_overdue(progress, policy, facts.now):
        return None
    text = f"the model was not there in time: {progress.message or 'it was still being fetched'}"
    return aborting(progress, facts, c.PROGRESS_DEADLINE, text)


def _fixes_forward(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    if not _may_fix_forward(facts, policy):
        return None
    if _is_to_be_tried(progress, facts, policy):  # a wrong answer is worse than none
        is_first = progress.state is State.PREPARING
        return progress.begun(State.PREFLIGHT, facts.now) if is_first else None
    return promoting(progress, facts, f"{c.FIX_FORWARD}: the stable revision has no pods")


def _may_fix_forward(facts: Facts, policy: Policy) -> bool:
    """Whether a part of the candidate's pods is better than what there is."""
    is_down = facts.stable and not facts.stable_pods and not facts.is_off
    is_wished = policy.fixes_forward and policy.strategy is not Strategy.RECREATE
    return bool(is_down and facts.candidate_pods and is_wished)


def _waits_for_leave(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    """Before pods of the stable revision end for it."""
    is_next = policy.strategy is Strategy.RECREATE and facts.stable and facts.is_supplied
    if is_next and policy.is_paused and not facts.is_off:
        return paused(progress, facts, c.PAUSED, _PAUSED_TEXT)
    return None


def _is_prepared(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    is_whole = facts.is_off or cuts(progress, policy, is_first=not facts.stable)
    if not (facts.is_complete if is_whole else facts.candidate_pods >= facts.needed):
        return None
    if _is_to_be_tried(progress, facts, policy):
        return progress.begun(State.PREFLIGHT, facts.now)
    if facts.is_off or not facts.stable:
        return promoting(progress, facts)
    if policy.is_paused:
        return paused(progress, facts, c.PAUSED, _PAUSED_TEXT)
    if facts.gate_obstacle:
        return paused(progress, facts, c.GATEWAY_NOT_READY, facts.gate_obstacle)
    return promoting(progress, facts) if is_whole else next_step(progress, facts, policy)


def _is_to_be_tried(progress: Progress, facts: Facts, policy: Policy) -> bool:
    """What comes back served before; what comes first has nothing to be better than."""
    is_due = policy.preflight is not None and not (progress.preflight or progress.is_exposed)
    return bool(is_due and facts.stable and not progress.is_fast)


def _loses_pods(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    is_enough = facts.candidate_pods >= facts.needed
    return None if is_enough else _cannot_start(progress, facts, policy)


def _is_tried(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    """A candidate that answers wrongly never gets a request of a client."""
    found = facts.preflight
    if policy.preflight is None or progress.preflight:
        return _is_prepared(progress, facts, policy)
    if facts.is_off:  # nobody can be asked, and no time runs
        return replace(progress, since="")
    if not progress.since:
        return progress.begun(State.PREFLIGHT, facts.now)
    if found is None:
        return None
    match found.verdict:
        case Verdict.PASS:
            return replace(progress, preflight=found.message)
        case Verdict.FAIL:
            return aborting(progress, facts, c.PREFLIGHT_FAILED, found.message)
    if policy.strategy is Strategy.RECREATE:  # nobody serves while it waits
        return aborting(progress, facts, c.PREFLIGHT_UNAVAILABLE, found.message)
    return paused(progress, facts, c.PREFLIGHT_UNAVAILABLE, found.message)


_PAUSED_TEXT: Final = "spec.rollout.paused is true"


def cuts(progress: Progress, policy: Policy, *, is_first: bool) -> bool:
    """Tell whether a candidate takes all traffic at once."""
    return is_first or progress.is_fast or not policy.steps


def _follows_steps(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    """The steps were edited: the weight stays, and the number is that of what comes next."""
    if progress.reason == c.TRAFFIC_UNVERIFIED:  # the weight before that of the step is back
        return None
    here = policy.steps[progress.step - 1] if is_step(progress.step, policy) else None
    if here and (here.is_aside or here.weight == progress.weight):
        return None
    below = [n for n, s in enumerate(policy.steps, start=1) if 0 < s.weight <= progress.weight]
    number = max(below, default=0)
    return None if number == progress.step else replace(progress, step=number)


def _rests(progress: Progress, facts: Facts, _: Policy) -> Progress | None:
    """Without pods the step waits; when they may come again, it is reached anew."""
    if facts.is_off:
        return replace(
            progress, state=State.SHIFTING, since="", step_since="", routed_at="", told_at="",
            verified=0,
        )  # fmt: skip
    return None if progress.since else progress.begun(State.SHIFTING, facts.now)


def _loses_the_gate(progress: Progress, facts: Facts, _: Policy) -> Progress | None:
    """What carries the weights is not there, or somebody fights for it."""
    if facts.gate_obstacle:
        return paused(progress, facts, c.GATEWAY_NOT_READY, facts.gate_obstacle)
    if facts.is_contested:
        return paused(progress, facts, c.ROUTE_CONTESTED, CONTESTED_TEXT)
    return None


CONTESTED_TEXT: Final = "somebody has changed a route three times in five minutes; stop who does"


def _is_limited(progress: Progress, facts: Facts, _: Policy) -> Progress | None:
    if not facts.is_limited:
        return None
    text = f"{progress.weight} % need more pods than autoscaling.maxReplicas allows; raise it"
    return paused(progress, facts, c.CAPACITY_LIMITED, text)


def _is_shifted(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    is_ready = facts.candidate_pods >= facts.needed and facts.is_placed and facts.is_listed
    if not is_ready or facts.route is not Route.SHARED:
        return None
    if waits := settling(progress, facts, policy):
        return waits
    if not is_settled(progress, facts, policy):
        return _is_unverified(progress, facts, policy)
    return progress.begun(
        State.BAKING, facts.now, routed_at=progress.routed_at, told_at=progress.told_at,
        step_since=progress.step_since or now(facts), verified=progress.weight,
    )  # fmt: skip


def _is_unverified(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    """Go back to the weight that a Gateway has confirmed, and ask somebody."""
    is_over = progress.is_over(progress.told_at, policy.verify_timeout_s, facts.now)
    if facts.is_verified or not is_over:
        return None
    text = f"weight {progress.weight} was not confirmed in time: {facts.verification}"
    approved = min(progress.approved, progress.step - 1)
    before = replace(progress, weight=progress.verified, approved=approved)
    return paused(before, facts, c.TRAFFIC_UNVERIFIED, text)


def _loses_its_way(progress: Progress, facts: Facts, _: Policy) -> Progress | None:
    """A weight that was confirmed is not any more: it has to be again; the hold goes on."""
    if facts.is_placed and facts.is_verified:
        return None
    return progress.begun(State.SHIFTING, facts.now)


def _differs(progress: Progress, facts: Facts, _: Policy) -> Progress | None:
    """The Gateway says one thing, and the requests another."""
    if not facts.mismatch or progress.approved >= progress.step:
        return None
    return paused(progress, facts, c.TRAFFIC_MISMATCH, facts.mismatch)


def _fails(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    """A check speaks against the candidate, and there is something better to go back to.

    What comes back by one cut is wanted back, whatever it was like.
    """
    found = facts.finding
    if found is None or found.verdict is not Verdict.FAIL or facts.is_off or progress.is_fast:
        return None
    if not facts.stable_pods and policy.strategy is not Strategy.RECREATE:
        return None
    text = f"check {found.name}: {found.message}"
    if found.action is OnFailure.ABORT:
        return aborting(progress, facts, c.ANALYSIS_FAILED, text)
    if progress.state is State.PAUSED or progress.approved >= progress.step:
        return None
    return paused(progress, facts, c.ANALYSIS_FAILED, text)


def _is_down(progress: Progress, facts: Facts, _: Policy) -> Progress | None:
    if facts.candidate_pods or facts.is_off:
        return None
    return aborting(progress, facts, c.CANDIDATE_DOWN, "the candidate has no ready pod left")


def _dies(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    """What was given requests has nobody left to answer them, and the stable revision has.

    Before a weight was reached pods may be missing: they are waited for, and nobody is sent there.
    """
    is_reached = progress.verified or progress.told_at
    return _is_down(progress, facts, policy) if is_reached and facts.stable_pods else None


def _is_reached_again(progress: Progress, facts: Facts, _: Policy) -> Progress | None:
    """During a pause pods may go on purpose, and come back some time after that."""
    if facts.is_off:
        return replace(progress, verified=0) if progress.verified else None
    is_there = facts.candidate_pods >= facts.needed and facts.is_placed and facts.is_listed
    if not (is_there and facts.is_verified and facts.route is Route.SHARED):
        return None
    return replace(progress, verified=progress.weight) if not progress.verified else None


def _holds(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    if policy.is_paused:
        return paused(progress, facts, c.PAUSED, _PAUSED_TEXT)
    is_coarse = progress.note.startswith(c.REPLICA_GRANULARITY)
    if policy.on_coarse is Otherwise.PAUSE and is_coarse and progress.approved < progress.step:
        return paused(progress, facts, c.REPLICA_GRANULARITY, progress.note)
    return None


def _passes(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    """End a step: its time is over, its checks have spoken, and whoever had to has approved."""
    step = step_of(progress, policy)
    if not progress.is_over(progress.step_since, step.hold_s, facts.now):
        return None
    is_approved = progress.approved >= progress.step
    if not is_approved and (waits := _undecided(progress, facts, policy)):
        return waits
    if step.is_manual and not is_approved:
        text = f"step {progress.step} waits for the action approve"
        return paused(progress, facts, c.AWAITING_APPROVAL, text)
    known = replace(
        progress, without_evidence=progress.without_evidence or facts.verdict is Verdict.NO_DATA
    )
    return next_step(known, facts, policy)


def _undecided(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    """What follows when the checks do not pass; None when the step may, all the same."""
    if facts.is_awaited and not progress.is_over(progress.step_since, policy.max_step_s, facts.now):
        return progress
    if facts.verdict is Verdict.NO_DATA:
        is_over = progress.is_over(progress.step_since, policy.max_step_s, facts.now)
        if policy.is_judged and not is_over:
            return progress
        return _otherwise(policy.on_no_data, c.INSUFFICIENT_TRAFFIC, progress, facts)
    if facts.verdict in (Verdict.RUNNING, Verdict.INCONCLUSIVE):
        return _otherwise(policy.on_inconclusive, c.INCONCLUSIVE, progress, facts)
    return None


def _otherwise(policy: Otherwise, reason: str, progress: Progress, facts: Facts) -> Progress | None:
    text = f"check {facts.finding.name}: {facts.finding.message}" if facts.finding else ""
    match policy:
        case Otherwise.PAUSE:
            return paused(progress, facts, reason, text)
        case Otherwise.ABORT:
            return aborting(progress, facts, reason, text)
    return None


def _resumes(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    back = State(progress.paused_in or State.BAKING)
    is_approved = progress.approved >= progress.step > 0
    if progress.reason == c.TRAFFIC_UNVERIFIED:
        before = replace(progress, step=progress.step - 1, approved=progress.step - 1)
        return next_step(before, facts, policy) if is_approved else None
    match progress.reason:
        case c.PAUSED:
            is_free = not policy.is_paused
        case c.AWAITING_APPROVAL:
            is_free = not step_of(progress, policy).is_manual
        case c.REPLICA_GRANULARITY:
            is_free = policy.on_coarse is not Otherwise.PAUSE
        case c.GATEWAY_NOT_READY:
            is_free = not facts.gate_obstacle
        case c.ROUTE_CONTESTED:
            is_free = not facts.is_contested
        case c.CAPACITY_LIMITED:
            is_free = not facts.is_limited
        case c.TRAFFIC_MISMATCH:
            is_free = not facts.mismatch
        case c.PREFLIGHT_UNAVAILABLE:
            is_free = policy.preflight is None or (
                facts.preflight is not None and facts.preflight.verdict is not Verdict.NO_DATA
            )
        case c.ANALYSIS_FAILED:
            is_free = facts.verdict is not Verdict.FAIL
        case _:
            is_free = facts.verdict is Verdict.PASS
    if is_free or (is_approved and progress.reason not in c.ENDED_BY_CAUSE):
        return progress.begun(
            back, facts.now, routed_at=progress.routed_at, told_at=progress.told_at
        )
    return None


def _is_cut(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    is_there = facts.route is Route.CANDIDATE and facts.is_placed
    if not is_there or not _can_serve(progress, facts, policy):
        return None
    if waits := settling(progress, facts, policy):
        return waits
    if not is_settled(progress, facts, policy):
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
        return _cannot_withdraw(progress, facts, policy)
    if progress.is_exposed and not progress.routed_at:
        return _withdrawing(progress, facts, policy)
    delay_s = policy.settle_s + policy.scale_down_delay_s
    if progress.is_exposed and not progress.is_over(progress.routed_at, delay_s, facts.now):
        return None
    if facts.desired == facts.stable:
        return progress.at_rest(facts.now)
    is_over = progress.reason in (c.SUPERSEDED, c.REVERTED)
    if is_over or facts.desired != progress.candidate:
        return prepared(replace(progress, candidate=""), facts, policy)
    return progress.begun(
        State.FAILED, facts.now, reason=progress.reason, message=progress.message,
        is_exposed=False, step=0,
    )  # fmt: skip


def _withdrawing(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    """Remember since when traffic is away; a Gateway that says nothing is not waited for for ever.

    One that is not there sends nothing.
    """
    if facts.is_weighted and not progress.told_at:
        return replace(progress, told_at=now(facts))
    is_sure = (facts.is_placed and facts.is_verified) or facts.gate_obstacle
    is_over = progress.is_over(progress.told_at, policy.verify_timeout_s, facts.now)
    return replace(progress, routed_at=now(facts)) if is_sure or is_over else None


def _cannot_withdraw(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    """The stable revision has no pods to go back to, and a third one is asked for.

    To wait would keep a fix from everybody: what answers becomes stable, and the fix comes next.
    """
    is_other = facts.desired not in (facts.stable, progress.candidate)
    if not is_other or not _may_fix_forward(facts, policy):
        return None
    return promoting(progress, facts, f"{c.FIX_FORWARD}: the stable revision has no pods")


_ROWS: Final[dict[State, tuple[_Row, ...]]] = {
    State.IDLE: (_begins,),
    State.FAILED: (_begins,),
    State.PREPARING: (
        _retargets, _reverts, _is_superseded, _remembers_hindrance, _waits_for_leave,
        _cannot_start, _fixes_forward, _is_prepared,
    ),
    State.PREFLIGHT: (
        _reverts, _is_superseded, _is_tried, _loses_pods, _fixes_forward,
    ),
    State.SHIFTING: (
        _reverts, _is_superseded, _rests, _fails, _dies, _cannot_start, _fixes_forward,
        _follows_steps, _loses_the_gate, _is_limited, _is_shifted,
    ),
    State.BAKING: (
        _reverts, _is_superseded, _rests, _fails, _is_down, _fixes_forward, _follows_steps,
        _loses_the_gate, _loses_its_way, _differs, _holds, _passes,
    ),
    State.PAUSED: (
        _reverts, _is_superseded, _fails, _dies, _fixes_forward, _follows_steps, _resumes,
        _is_reached_again,
    ),
    State.PROMOTING: (_retargets, _changes_its_mind, _fails, _cannot_start, _is_cut),
    State.WATCHING: (_harms, _reverts, _outlives),
    State.ABORTING: (_is_withdrawn,),
}  # fmt: skip
"""The rows of each state, first match first. Of Idle's and Failed's the same one."""
