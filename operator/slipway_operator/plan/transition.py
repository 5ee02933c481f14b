"""What the transitions of a rollout are made of: what is seen, and how a state is entered.

Stays out: when a transition is due (`machine.py`, `request.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from slipway_operator.plan import conditions as c
from slipway_operator.plan.clock import timestamp
from slipway_operator.plan.policy import Otherwise, Policy, Step
from slipway_operator.plan.progress import Progress, State
from slipway_operator.plan.ratio import percent
from slipway_operator.plan.traffic import Route
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
    deployed_at: str = ""
    """When the candidate got its Deployment, from which its deadline runs; empty: it has none."""
    is_supplied: bool = False
    """The candidate's model has verified."""
    hindrance: str = ""
    """Why its model is not there yet, though a later attempt may fetch it; empty: nothing is
    known to stand in the way."""
    trouble: Trouble | None = None
    """It will not become ready by waiting."""
    returns: bool = False
    """The desired revision has served before and can come back at once."""
    route: Route = Route.STABLE
    """Where traffic goes."""
    shares: tuple[int, ...] = ()
    """Pods of the candidate at each step."""
    is_weighted: bool = False
    """Routes of a gateway carry the weights."""
    is_placed: bool = True
    """They say what the present state wants."""
    is_verified: bool = True
    """Every Gateway has taken them as they are."""
    is_blind: bool = False
    """One of them does not tell what it has taken."""
    gate_obstacle: str = ""
    """Why no Gateway takes traffic, or no route can be written; empty when nothing stands in the
    way."""
    verification: str = ""
    """What the Gateways say, in words."""
    is_contested: bool = False
    """Somebody changes the routes again and again."""
    is_limited: bool = False
    """The step needs more pods than the candidate may have."""
    is_listed: bool = True
    """What carries the weights without a gateway lists the candidate's pods."""
    skips: tuple[str, ...] = ()
    """Of each step why it cannot be made; empty for those that can."""
    mismatch: str = ""
    """How the candidate's share of the requests differs from its weight; empty when it fits."""
    preflight: Finding | None = None
    """What the candidate's preflight came to; None while it is not known."""
    finding: Finding | None = None
    """The check that stands in the way; None when all pass."""
    verdict: Verdict = Verdict.NO_DATA
    """What all checks together come to."""
    is_awaited: bool = False
    """One of them will come to something: a Job runs."""
    known: frozenset[str] = frozenset()
    """Hashes of the revisions that a rollback can go to."""


def prepared(progress: Progress, facts: Facts, policy: Policy) -> Progress:
    """Begin with the desired revision."""
    again = progress.candidate == facts.desired
    return progress.at_rest(facts.now).begun(
        State.PREPARING,
        facts.now,
        candidate=facts.desired,
        attempt=progress.attempt + 1 if again else 1,
        is_fast=bool(facts.stable) and facts.returns and policy.rolls_back_fast,
    )


def is_overdue(progress: Progress, policy: Policy, now: datetime) -> bool:
    """Tell whether a model that is not there has had its time; pods get theirs when it is."""
    is_awaited = progress.state is State.PREPARING
    return is_awaited and progress.is_over(progress.since, policy.progress_deadline_s, now)


def aborting(progress: Progress, facts: Facts, reason: str, message: str) -> Progress:
    """Take the traffic back."""
    return progress.begun(
        State.ABORTING, facts.now, reason=reason, message=message, weight=0, note=""
    )


def paused(progress: Progress, facts: Facts, reason: str, message: str) -> Progress:
    """Wait where the rollout is."""
    return progress.begun(
        State.PAUSED, facts.now, reason=reason, message=message, paused_in=str(progress.state)
    )


def promoting(progress: Progress, facts: Facts, note: str = "") -> Progress:
    """Go past the last step."""
    return progress.begun(State.PROMOTING, facts.now, weight=100, note=note, is_exposed=True)


def next_step(progress: Progress, facts: Facts, policy: Policy) -> Progress:
    """Go on to the first step that changes anything, or past the last one."""
    here = facts.shares[progress.step - 1] if is_step(progress.step, policy) else 0
    skipped = ""
    for number, step in enumerate(policy.steps, start=1):
        share = facts.shares[number - 1]
        is_ahead = number > progress.step and (step.is_aside or step.weight > progress.weight)
        if is_ahead and facts.skips and (why := facts.skips[number - 1]):
            skipped = f"step {number} is skipped: {why}"
            continue
        is_same = share == here and not facts.is_weighted
        if not is_ahead or (is_same and not step.is_manual):
            continue
        if policy.on_coarse is Otherwise.SKIP and coarse_note(step, share, facts, policy):
            continue
        note = coarse_note(step, share, facts, policy) or skipped
        return progress.begun(
            State.SHIFTING, facts.now, step=number, weight=step.weight or progress.weight,
            note=note, step_since="", is_exposed=True,
        )  # fmt: skip
    return promoting(progress, facts, skipped)


def kept_until(progress: Progress, policy: Policy) -> datetime | None:
    """When the pods of an aborted candidate end that are kept to be looked at; None: at once."""
    if progress.state is not State.FAILED or not policy.abort_keep_s:
        return None
    return progress.until(progress.since, policy.abort_keep_s)


def is_step(number: int, policy: Policy) -> bool:
    """Tell whether there is a step of that number."""
    return 0 < number <= len(policy.steps)


def coarse_note(step: Step, share: int, facts: Facts, policy: Policy) -> str:
    """Say that whole pods miss the weight by more than is put up with; empty when they do not."""
    if facts.is_weighted:
        return ""
    total = max(2, facts.stable_size) if policy.conserves else facts.stable_size + share
    reached = percent(share, total)
    if abs(reached - step.weight) <= policy.tolerance_percent:
        return ""
    return f"{c.REPLICA_GRANULARITY}: {share} of {total} pods is {reached} %, not {step.weight} %"


def step_of(progress: Progress, policy: Policy) -> Step:
    """Find the step; one that was edited away holds no longer."""
    if is_step(progress.step, policy):
        return policy.steps[progress.step - 1]
    return Step(max(1, progress.weight), 0.0)


def now(facts: Facts) -> str:
    """The time of looking, as it is remembered."""
    return timestamp(facts.now)


def settling(progress: Progress, facts: Facts, policy: Policy) -> Progress | None:
    """Remember when traffic was first seen where it belongs; None when nothing is new."""
    if facts.is_weighted and not progress.told_at:
        return replace(progress, told_at=now(facts))
    if not facts.is_verified:  # and what was once may be lost again
        return replace(progress, routed_at="") if progress.routed_at else None
    if progress.routed_at or not policy.settle_s:
        return None
    return replace(progress, routed_at=now(facts))


def is_settled(progress: Progress, facts: Facts, policy: Policy) -> bool:
    """Tell whether every proxy has had the time to learn where traffic goes.

    Of a Gateway that does not tell what it has taken, twice the time.
    """
    if not facts.is_verified:
        return False
    seconds = policy.settle_s * (2 if facts.is_blind else 1)
    return not seconds or progress.is_over(progress.routed_at, seconds, facts.now)
