"""Which revision serves, which one is being prepared, and what happens next.

Lives here: the decision about one ModelDeployment, from what is remembered and what is seen.
Stays out: the transitions (`machine.py`), what they remember (`progress.py`), rendering
(`children.py`) and reporting (`status.py`).

What moves traffic or takes pods away follows from what the status said before this pass; what only
adds may follow from what it will say after it. So nothing is taken that was not announced, and a
crash between any two writes repeats a step, never skips one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from slipway_operator.api.v1alpha1 import Spec
from slipway_operator.plan import conditions as c
from slipway_operator.plan import machine
from slipway_operator.plan.action import action_of
from slipway_operator.plan.allocation import (
    aside_of,
    candidate_size,
    larger,
    route_of,
    split_of,
    stable_size,
)
from slipway_operator.plan.clock import later, parse, timestamp
from slipway_operator.plan.evidence import Evidence
from slipway_operator.plan.gateways import Gate
from slipway_operator.plan.names import Manifest
from slipway_operator.plan.policy import Policy, Step, policy_of
from slipway_operator.plan.progress import BEFORE_CUT, Progress, State, read
from slipway_operator.plan.request import asked
from slipway_operator.plan.revision import GRPC, REST, Revision, revision_hash
from slipway_operator.plan.routes import Split, is_as_wanted, live_routes, routes
from slipway_operator.plan.scene import (
    Scene,
    Tracks,
    created_at,
    deadline_exceeded,
    evidence_of,
    findings_of,
    gate_seen,
    is_complete,
    pods_of_stable,
    see,
    trial_of,
    trouble_of,
)
from slipway_operator.plan.sizing import Size, Sizes, desired_replicas
from slipway_operator.plan.snapshot import Snapshot
from slipway_operator.plan.supply import Supply, learnt, supply
from slipway_operator.plan.tracks import (
    Records,
    others,
    records,
    stable_revision,
    workload_of,
)
from slipway_operator.plan.traffic import Listed, Route, announced_percent, is_used, live_route
from slipway_operator.plan.transition import Facts, is_overdue, step_of
from slipway_operator.plan.verification import Standing, mismatch, standing
from slipway_operator.verdict.counts import Interval
from slipway_operator.verdict.outcome import Finding, together, worst

_MOST_TRANSITIONS: Final = 6
"""In one pass. Longer chains do not exist; a bug must not hang the worker."""

CONTEST_S: Final = 300.0
"""How long a fight for a route is remembered."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """The decision about one ModelDeployment."""

    progress: Progress
    """What is to be remembered."""
    policy: Policy
    desired: str
    """Hash of the revision that the spec, or a rollback, asks for."""
    stable: Revision | None
    candidate: Revision | None
    supply: Supply | None
    """Of the candidate, or of the stable revision when there is none."""
    others: tuple[Revision, ...]
    """Every other revision on record, newest first."""
    sizes: Sizes
    """How many pods each track has now."""
    full: Sizes
    """How many pods each track has when it serves alone."""
    route: Route = Route.STABLE
    """Where traffic is to go now."""
    live: Route = Route.STABLE
    """Where it goes."""
    gate: Gate | None = None
    """The Gateways that clients come through; None when the spec names none."""
    split: Split | None = None
    """Who gets how much through them."""
    percent: int = 0
    """What their routes send to the candidate now."""
    listed: Listed = field(default_factory=Listed)
    """Endpoints behind the apex Service, where both tracks share it."""
    deployed_at: str = ""
    """When the candidate got its Deployment; empty: it has none."""
    is_overdue: bool = False
    """The model of the candidate ought to be there by now, and is not."""
    standing: Standing | None = None
    """Whether they do what the routes are to say."""
    findings: tuple[Finding, ...] = ()
    observed: Interval | None = None
    """What both tracks were asked lately."""

    @property
    def state(self) -> State:
        """Where the rollout stands."""
        return self.progress.state

    @property
    def deadline_passed(self) -> bool:
        """Whether the candidate's pods did not become ready in time, and it was aborted."""
        return self.progress.reason == c.PROGRESS_DEADLINE and self._had_pods

    @property
    def _had_pods(self) -> bool:
        """Whether there was more to wait for than its model when the present state began.

        A model that comes after its revision was given up gets a Deployment, too, without pods.
        """
        return bool(self.deployed_at) and self.deployed_at <= self.progress.since

    @property
    def current(self) -> Revision:
        """The revision that is asked for."""
        found = self.candidate or self.stable
        if found is None:
            raise ValueError("a rollout has a stable revision or a candidate")
        return found

    @property
    def size(self) -> Size:
        """How many pods the revision that is asked for is to have."""
        if self.candidate is None:
            return self.full.stable
        is_partial = self.state in BEFORE_CUT and self.policy.steps
        return self.sizes.candidate if is_partial else self.full.candidate

    @property
    def is_off(self) -> bool:
        """Whether there are to be no pods at all."""
        return (self.full.stable if self.candidate is None else self.full.candidate).is_off

    @property
    def apex(self) -> Revision:
        """The revision that the apex Service selects, or whose ports it has when it is shared."""
        if self.stable is None or (self.route is Route.CANDIDATE and self.candidate is not None):
            return self.current
        return self.stable


def decide(snapshot: Snapshot, spec: Spec) -> Rollout:
    """Choose the tracks and the next step."""
    spec_hash = revision_hash(snapshot.mdep["spec"])
    known: Records = records(snapshot)
    stable = stable_revision(snapshot, known, spec_hash, spec)
    if stable is not None:  # recovered perhaps: it must outlive the commit of its successor
        known = {**known, stable.hash: stable}
    gate = gate_seen(snapshot, spec)
    scene = Scene(snapshot, spec, policy_of(spec), known, stable, spec_hash, gate)
    before = _remembered(scene)
    lost = _exposed(scene) if before is None else None
    return _decision(scene, before, lost, _transitions(scene, before or lost))


def _remembered(scene: Scene) -> Progress | None:
    """What the status says; None when it cannot be true of what there is."""
    told = read(scene.snapshot.status)
    if told is None:
        return None
    if scene.stable is None and told.state not in (State.PREPARING, State.PROMOTING):
        return None
    return told if told.candidate or told.state is State.IDLE else None


def _exposed(scene: Scene) -> Progress | None:
    """A lost status, and traffic at a revision that nobody asks for any more: it goes back first.

    Else its pods would end while proxies still use them.
    """
    stable, snapshot = scene.stable, scene.snapshot
    route = live_route(snapshot, stable, None, is_gated=scene.gate is not None)
    if stable is None or route is Route.STABLE:
        return None
    for revision in scene.known.values():
        is_asked_for = revision.hash in (stable.hash, scene.spec_hash)
        if (
            is_used(snapshot, revision)
            and not is_asked_for
            and desired_replicas(workload_of(snapshot, revision))
        ):
            lost = Progress(State.IDLE, candidate=revision.hash, is_exposed=True)
            return lost.begun(State.ABORTING, snapshot.now, reason=c.SUPERSEDED)
    return None


def _transitions(scene: Scene, before: Progress | None) -> Progress:
    """Make every transition that is due."""
    progress = _asked(scene, before) if before else None
    if progress is not None and _is_settled(scene, progress):
        return progress
    for _ in range(_MOST_TRANSITIONS):
        facts = _facts(scene, progress)
        following = machine.advance(progress, facts, scene.policy)
        if following is None or following == progress:
            break
        progress = following
        if progress.committed:
            break
    if progress is None:
        raise ValueError("a rollout has a state")
    return progress


def _is_settled(scene: Scene, progress: Progress) -> bool:
    """Most passes of most models: what is asked for serves, and nothing need be looked at."""
    desired = progress.pinned or scene.spec_hash
    is_stable = scene.stable is not None and scene.stable.hash == desired
    return progress.state is State.IDLE and is_stable


def _asked(scene: Scene, before: Progress) -> Progress:
    """Take what people ask for into account."""
    progress = before
    if progress.pinned and progress.pinned_from != scene.spec_hash:
        progress = replace(progress, pinned="", pinned_by="", pinned_from="")
    action = action_of(scene.snapshot.mdep)
    if action is None or action.text == progress.handled:
        return progress
    return asked(progress, action, _facts(scene, progress), scene.policy)


def _facts(scene: Scene, progress: Progress | None) -> Facts:
    desired = (progress.pinned if progress else "") or scene.spec_hash
    present = progress or Progress(State.IDLE)
    is_stable = scene.stable is not None and scene.stable.hash == desired
    seen = see(scene, present.candidate or ("" if is_stable else desired))
    served = {r.hash for r in scene.known.values() if r.promoted_at and r.result is not None}
    workload, found = seen.workload, findings_of(scene, seen, present)
    through = _through_gate(scene, seen, present)
    needed = max(1, candidate_size(scene, seen, present).replicas)
    return Facts(
        now=scene.snapshot.now,
        desired=desired,
        written=scene.spec_hash,
        stable=scene.stable.hash if scene.stable else "",
        stable_pods=seen.stable_pods,
        stable_size=pods_of_stable(scene, seen.full),
        candidate_pods=seen.candidate_pods,
        needed=needed,
        is_complete=workload is not None and is_complete(workload, seen.full.candidate),
        is_off=seen.full.candidate.is_off,
        is_late=workload is not None and deadline_exceeded(workload),
        deployed_at=created_at(workload),
        is_supplied=bool(seen.supply and seen.supply.result),
        hindrance=seen.supply.hindrance if seen.supply else "",
        trouble=trouble_of(scene.snapshot, seen),
        returns=desired in served,
        route=seen.live,
        shares=seen.shares,
        preflight=trial_of(scene, present),
        finding=worst(found),
        verdict=together(found),
        is_awaited=any(f.is_awaited for f in found),
        known=frozenset(served),
        is_listed=scene.gate is not None or seen.listed.candidate >= needed,
        **through,
    )


def _through_gate(scene: Scene, seen: Tracks, progress: Progress) -> dict[str, Any]:
    """What is seen of the Gateways. A first revision waits for none: nothing is lost by it."""
    if scene.gate is None or scene.stable is None:
        return {"skips": tuple(_AWAY if s.is_aside else "" for s in scene.policy.steps)}
    wanted = _routes(scene, scene.gate, seen, progress)
    found = standing(scene.gate, wanted, live_routes(scene.snapshot))
    needed = seen.shares[progress.step - 1] if 0 < progress.step <= len(seen.shares) else 0
    steps = scene.policy.steps
    return {
        "is_weighted": True,
        "skips": tuple(_skipped(scene.gate, step, _spoken(scene, seen)) for step in steps),
        "is_placed": all(is_as_wanted(scene.snapshot, route) for route in wanted),
        "is_verified": found.is_verified,
        "is_blind": found.is_blind,
        "gate_obstacle": found.message if found.is_gone else "",
        "verification": found.message,
        "is_contested": bool(scene.snapshot.contested),
        "mismatch": _mismatch(scene, seen, progress),
        "is_limited": seen.full.candidate.is_floor and needed > seen.full.candidate.replicas,
    }


_AWAY: Final = "it needs exposure.gateway"


def _skipped(gate: Gate, step: Step, spoken: frozenset[str]) -> str:
    """Why a step cannot be made; empty when it can.

    Args:
        gate: the way in.
        step: what is to be done.
        spoken: protocols that both revisions speak.
    """
    if not step.mirror_percent:
        return ""
    if missing := gate.cannot_mirror(step.mirror_percent):
        return f"the GatewayClass does not list {missing}"
    mirrored = {REST, GRPC} if gate.has_grpc_rule else {REST}
    return "" if spoken & mirrored else "gRPC that has a GRPCRoute is not mirrored"


def _spoken(scene: Scene, seen: Tracks) -> frozenset[str]:
    tracks = (r for r in (scene.stable, seen.candidate) if r is not None)
    return frozenset({REST, GRPC}).intersection(*(r.protocols for r in tracks))


def _mismatch(scene: Scene, seen: Tracks, progress: Progress) -> str:
    """Whether requests are shared as the routes say, since that was confirmed."""
    if seen.candidate is None or progress.state not in (State.BAKING, State.PAUSED):
        return ""
    known = evidence_of(scene.snapshot, seen.candidate, progress)
    is_aside = step_of(progress, scene.policy).is_aside  # then more comes than the weight says
    share = known.share if known.weight == progress.weight and not is_aside else None
    return mismatch(share, progress.weight, scene.policy.min_requests)


def _routes(scene: Scene, gate: Gate, seen: Tracks, progress: Progress) -> list[Manifest]:
    """The routes that a state leads to in the end."""
    percent = announced_percent(progress, is_first=scene.stable is None)
    split = Split(scene.stable, seen.candidate, percent, *aside_of(progress, scene.policy))
    return [] if gate.trouble else list(routes(scene.snapshot.owner, gate, split))


def _standing(scene: Scene, seen: Tracks, progress: Progress) -> Standing | None:
    """Whether the Gateways do what a state leads to."""
    if scene.gate is None:
        return None
    wanted = _routes(scene, scene.gate, seen, progress)
    found = standing(scene.gate, wanted, live_routes(scene.snapshot))
    if scene.snapshot.contested and not found.is_gone:
        return Standing(False, c.ROUTE_CONTESTED, machine.CONTESTED_TEXT)
    if found.is_verified and not all(is_as_wanted(scene.snapshot, route) for route in wanted):
        return Standing(False, c.TRAFFIC_MOVING, "the routes are about to change")
    if found.is_verified and (text := _mismatch(scene, seen, progress)):
        return Standing(False, c.TRAFFIC_MISMATCH, text)
    return found


def _decision(
    scene: Scene, before: Progress | None, lost: Progress | None, after: Progress
) -> Rollout:
    seen = see(scene, after.committed or after.candidate)
    if after.committed and seen.candidate is not None:
        return _commit(scene, seen, seen.candidate, after)
    stable, candidate, checked = scene.stable, seen.candidate, seen.supply
    if checked is not None and after.state is State.FAILED:
        checked = checked.at_rest()
    if candidate is None and stable is not None:
        checked = supply(scene.snapshot, stable)
        stable = learnt(stable, checked, scene.snapshot.defaults)
    past = before or lost
    announced = past if past and past.candidate == after.candidate else after
    # What was not announced does not move, not even back: a crash would forget that it had.
    told = announced if before or lost else _unannounced(after)
    route = seen.live if lost else route_of(scene, seen, told)
    return Rollout(
        progress=after,
        policy=scene.policy,
        desired=after.pinned or scene.spec_hash,
        stable=stable,
        candidate=candidate,
        supply=checked,
        others=others(scene.known, stable, candidate),
        sizes=Sizes(
            larger(stable_size(scene, seen, announced), stable_size(scene, seen, after)),
            larger(candidate_size(scene, seen, announced), candidate_size(scene, seen, after)),
        ),
        full=seen.full,
        route=route,
        live=seen.live,
        gate=scene.gate,
        split=split_of(scene, seen, told, route) if scene.gate else None,
        percent=seen.percent,
        listed=seen.listed,
        deployed_at=created_at(seen.workload),
        is_overdue=_is_awaited(checked) and is_overdue(after, scene.policy, scene.snapshot.now),
        standing=_standing(scene, seen, after),
        findings=() if after.state is State.IDLE else findings_of(scene, seen, after),
        observed=_observed(evidence_of(scene.snapshot, candidate, after)) if candidate else None,
    )


def _is_awaited(found: Supply | None) -> bool:
    """Whether a model is not there yet, and may come."""
    return found is None or not (found.result or found.is_terminal)


def _observed(known: Evidence) -> Interval | None:
    """What is compared with the weight of a gateway; else the last interval."""
    return known.share or known.last


def _unannounced(after: Progress) -> Progress:
    """Nothing was said before this pass: traffic stays with the stable revision."""
    return replace(after, state=State.PREPARING)


def _commit(scene: Scene, seen: Tracks, candidate: Revision, after: Progress) -> Rollout:
    """Make the candidate stable. A revision that comes back is promoted anew."""
    promoted = candidate.promoted(timestamp(scene.snapshot.now))
    # What it was prepared with it keeps; with the next pass the status tells that floor.
    full = Sizes(seen.full.candidate, seen.full.candidate)
    return Rollout(
        progress=after,
        policy=scene.policy,
        desired=after.pinned or scene.spec_hash,
        stable=promoted,
        candidate=None,
        supply=seen.supply,
        others=others(scene.known, promoted, None),
        sizes=full,
        full=full,
        gate=scene.gate,
        split=Split(promoted, None, 0),
        standing=_standing(scene, seen, replace(after, state=State.PROMOTING)),
    )


def drained_at(rollout: Rollout) -> datetime | None:
    """When the pods of earlier revisions may end; None when there is no stable revision."""
    since = parse(rollout.stable.promoted_at) if rollout.stable else None
    return later(since, rollout.policy.scale_down_delay_s) if since else None


def wakes_at(rollout: Rollout) -> list[datetime]:
    """When a stretch of time that the present state waits for is over."""
    progress, policy = rollout.progress, rollout.policy
    held = step_of(progress, policy).hold_s
    is_timed = _is_awaited(rollout.supply) or (rollout.stable and rollout.deployed_at)
    deployed = max(progress.since, rollout.deployed_at)
    waits = {
        State.PREPARING: [(deployed, policy.progress_deadline_s)] if is_timed else [],
        State.PREFLIGHT: [(progress.since, policy.progress_deadline_s)],
        State.SHIFTING: [
            (progress.since, policy.progress_deadline_s), *_moving(progress, policy),
        ],
        State.PAUSED: [(progress.since, CONTEST_S)] if rollout.gate else [],
        State.BAKING: [(progress.step_since, held), (progress.step_since, policy.max_step_s)],
        State.PROMOTING: [
            (progress.since, policy.progress_deadline_s), *_moving(progress, policy),
        ],
        State.WATCHING: [(progress.since, policy.watch_s)],
        State.FAILED: [(progress.since, policy.abort_keep_s)] if policy.abort_keep_s else [],
        State.ABORTING: [
            (progress.routed_at, policy.settle_s + policy.scale_down_delay_s),
            (progress.told_at, policy.verify_timeout_s),
        ],
    }  # fmt: skip
    found = (progress.until(*wait) for wait in waits.get(progress.state, ()))
    return [at for at in found if at is not None]


def _moving(progress: Progress, policy: Policy) -> list[tuple[str, float]]:
    """What is waited for while traffic is on its way."""
    return [
        (progress.routed_at, policy.settle_s),
        (progress.routed_at, 2 * policy.settle_s),
        (progress.told_at, policy.verify_timeout_s),
    ]
