"""Which revision serves, which one is being prepared, and what happens next.

Lives here: the decision about one ModelDeployment, from what is remembered and what is seen.
Stays out: the transitions (`machine.py`), what they remember (`progress.py`), rendering
(`children.py`) and reporting (`status.py`).

What moves traffic or takes pods away follows from what the status said before this pass; what only
adds may follow from what it will say after it. So nothing is taken that was not announced, and a
crash between any two writes repeats a step, never skips one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from slipway_operator.api.v1alpha1 import Spec
from slipway_operator.plan import conditions as c
from slipway_operator.plan import machine
from slipway_operator.plan.action import action_of
from slipway_operator.plan.clock import later, parse, timestamp
from slipway_operator.plan.machine import Facts, Trouble
from slipway_operator.plan.names import Manifest, revision_name
from slipway_operator.plan.pods import first_failure, restarts_of, serving_pods
from slipway_operator.plan.policy import Policy, Strategy, policy_of
from slipway_operator.plan.progress import AT_REST, BEFORE_CUT, Progress, State, read
from slipway_operator.plan.ratio import conserved, surged
from slipway_operator.plan.recovery import recovered
from slipway_operator.plan.revision import Revision, revision_hash
from slipway_operator.plan.sizing import Size, Sizes, desired_replicas, sizes
from slipway_operator.plan.snapshot import Snapshot
from slipway_operator.plan.supply import Supply, supply
from slipway_operator.plan.tracks import (
    Records,
    available,
    new_revision,
    others,
    records,
    stable_revision,
    workload_of,
)
from slipway_operator.plan.traffic import Route, Strength, live_route, wanted_route
from slipway_operator.verdict.outcome import Finding, Verdict
from slipway_operator.verdict.restarts import restarts

_MOST_TRANSITIONS: Final = 6
"""In one pass. Longer chains do not exist; a bug must not hang the worker."""


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
    findings: tuple[Finding, ...] = ()

    @property
    def state(self) -> State:
        """Where the rollout stands."""
        return self.progress.state

    @property
    def deadline_passed(self) -> bool:
        """Whether the candidate's pods did not become ready in time, and it was aborted."""
        return self.progress.reason == c.PROGRESS_DEADLINE

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


@dataclass(frozen=True, slots=True)
class _Scene:
    """What stays the same while transitions are made."""

    snapshot: Snapshot
    spec: Spec
    policy: Policy
    known: Records
    stable: Revision | None
    spec_hash: str


@dataclass(frozen=True, slots=True)
class _Tracks:
    """What is seen of both tracks, with one candidate."""

    candidate: Revision | None
    supply: Supply | None
    workload: Manifest | None
    """The candidate's Deployment."""
    full: Sizes
    live: Route
    stable_pods: int
    """Available ones."""
    candidate_pods: int
    is_free: bool
    """Nobody without a track has pods."""
    stable_is_gone: bool
    shares: tuple[int, ...]
    """Pods of the candidate at each step."""


def decide(snapshot: Snapshot, spec: Spec) -> Rollout:
    """Choose the tracks and the next step."""
    spec_hash = revision_hash(snapshot.mdep["spec"])
    known: Records = records(snapshot)
    stable = stable_revision(snapshot, known, spec_hash, spec)
    if stable is not None:  # recovered perhaps: it must outlive the commit of its successor
        known = {**known, stable.hash: stable}
    scene = _Scene(snapshot, spec, policy_of(spec), known, stable, spec_hash)
    before = _remembered(scene)
    return _decision(scene, before, _transitions(scene, before))


def _remembered(scene: _Scene) -> Progress | None:
    """What the status says; None when it cannot be true of what there is."""
    told = read(scene.snapshot.status)
    if told is None:
        return None
    if scene.stable is None and told.state not in (State.PREPARING, State.PROMOTING):
        return None
    return told if told.candidate or told.state is State.IDLE else None


def _transitions(scene: _Scene, before: Progress | None) -> Progress:
    """Make every transition that is due."""
    progress = _asked(scene, before) if before else None
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


def _asked(scene: _Scene, before: Progress) -> Progress:
    """Take what people ask for into account."""
    progress = before
    if progress.pinned and progress.pinned_from != scene.spec_hash:
        progress = replace(progress, pinned="", pinned_by="", pinned_from="")
    action = action_of(scene.snapshot.mdep)
    if action is None or action.text == progress.handled:
        return progress
    return machine.asked(progress, action, _facts(scene, progress), scene.policy)


def _facts(scene: _Scene, progress: Progress | None) -> Facts:
    desired = (progress.pinned if progress else "") or scene.spec_hash
    present = progress or Progress(State.IDLE)
    is_stable = scene.stable is not None and scene.stable.hash == desired
    seen = _tracks(scene, present.candidate or ("" if is_stable else desired))
    served = {r.hash for r in scene.known.values() if r.promoted_at and r.result is not None}
    workload, found = seen.workload, _findings(scene.snapshot, seen)
    return Facts(
        now=scene.snapshot.now,
        desired=desired,
        written=scene.spec_hash,
        stable=scene.stable.hash if scene.stable else "",
        stable_pods=seen.stable_pods,
        stable_size=_pods_of_stable(scene, seen.full),
        candidate_pods=seen.candidate_pods,
        needed=max(1, _candidate_size(scene, seen, present).replicas),
        is_complete=workload is not None and is_complete(workload, seen.full.candidate),
        is_off=seen.full.candidate.is_off,
        is_late=workload is not None and deadline_exceeded(workload),
        is_deployed=workload is not None,
        is_supplied=bool(seen.supply and seen.supply.result),
        trouble=_trouble(scene.snapshot, seen),
        returns=desired in served,
        route=seen.live,
        shares=seen.shares,
        finding=next((f for f in found if f.verdict is Verdict.FAIL), None),
        known=frozenset(served),
    )


def _tracks(scene: _Scene, candidate_hash: str) -> _Tracks:
    snapshot, stable = scene.snapshot, scene.stable
    candidate = _candidate(scene, candidate_hash)
    checked = supply(snapshot, candidate) if candidate else None
    if candidate and checked and checked.result is not None:
        candidate = candidate.resolved(checked.result)
    full = sizes(snapshot, scene.spec, stable, candidate)
    workload = workload_of(snapshot, candidate) if candidate else None
    return _Tracks(
        candidate=candidate,
        supply=checked,
        workload=workload,
        full=full,
        live=live_route(snapshot, stable, candidate),
        stable_pods=available(workload_of(snapshot, stable)) if stable else 0,
        candidate_pods=available(workload),
        is_free=_is_free(snapshot, stable, candidate),
        stable_is_gone=stable is None or _is_gone(snapshot, stable),
        shares=_shares(scene, full),
    )


def _candidate(scene: _Scene, wanted: str) -> Revision | None:
    """Find a revision, or make the one that the spec asks for."""
    if not wanted:
        return None
    snapshot = scene.snapshot
    found = scene.known.get(wanted) or recovered(snapshot, wanted, scene.spec_hash)
    if found is None and wanted == scene.spec_hash:
        return new_revision(snapshot, scene.spec, wanted, scene.known, scene.stable)
    return found


def _is_free(snapshot: Snapshot, *tracks: Revision | None) -> bool:
    names = {revision_name(snapshot.owner.name, r.hash) for r in tracks if r is not None}
    return not any(
        desired_replicas(d) or (d.get("status") or {}).get("replicas")
        for d in snapshot.of_kind("Deployment")
        if d["metadata"]["name"] not in names
    )


def _is_gone(snapshot: Snapshot, revision: Revision) -> bool:
    """No pod is left, not even one that is ending: it may hold what the next one needs."""
    workload = workload_of(snapshot, revision)
    has_pods = desired_replicas(workload) or ((workload or {}).get("status") or {}).get("replicas")
    return not has_pods and not serving_pods(snapshot, revision.hash)


def _pods_of_stable(scene: _Scene, full: Sizes) -> int:
    if not full.stable.is_floor or scene.stable is None:
        return full.stable.replicas
    return max(full.stable.replicas, desired_replicas(workload_of(scene.snapshot, scene.stable)))


def _shares(scene: _Scene, full: Sizes) -> tuple[int, ...]:
    policy, pods = scene.policy, _pods_of_stable(scene, full)
    if policy.conserves and not full.stable.is_floor:
        return tuple(conserved(pods, step.weight) for step in policy.steps)
    return tuple(surged(pods, step.weight, policy.max_surge_percent) for step in policy.steps)


def _trouble(snapshot: Snapshot, seen: _Tracks) -> Trouble | None:
    if seen.supply and seen.supply.result is None:
        is_final = seen.supply.is_terminal
        return Trouble(seen.supply.reason, seen.supply.message) if is_final else None
    if seen.candidate is None:
        return None
    found = first_failure(snapshot, serving_pods(snapshot, seen.candidate.hash))
    return Trouble(found.reason, found.message) if found and found.is_stuck else None


def _findings(snapshot: Snapshot, seen: _Tracks) -> tuple[Finding, ...]:
    if seen.candidate is None:
        return ()
    pods = serving_pods(snapshot, seen.candidate.hash)
    return (restarts({p["metadata"]["name"]: restarts_of(p) for p in pods}),)


# --- how many pods, and where traffic goes


def _candidate_size(scene: _Scene, seen: _Tracks, progress: Progress) -> Size:
    full, live = seen.full.candidate, desired_replicas(seen.workload)
    if full.is_off:
        return full
    match progress.state:
        case State.FAILED:
            return Size(0 if seen.live is Route.STABLE else live)
        case State.ABORTING if not _recreates(scene):
            return Size(live)  # it gets no new ones, and keeps its own while they are used
        case State.ABORTING:
            return Size(0)
    if _recreates(scene) and not (seen.stable_is_gone or live):
        return Size(0)
    is_whole = progress.state in (State.PROMOTING, State.WATCHING)
    if is_whole or machine.cuts(progress, scene.policy, is_first=scene.stable is None):
        return full
    number = max(1, progress.step)
    share = seen.shares[number - 1] if number <= len(seen.shares) else max(1, live)
    return Size(max(share, live) if progress.state is State.PREPARING else share)


def _stable_size(scene: _Scene, seen: _Tracks, progress: Progress) -> Size:
    full, state = seen.full.stable, progress.state
    if full.is_off or seen.candidate is None or state in (*AT_REST, State.ABORTING):
        return full
    if _recreates(scene):
        is_leaving = state in (State.PROMOTING, State.WATCHING) or (
            state is State.PREPARING and seen.candidate.result and not scene.policy.is_paused
        )
        return Size(0) if is_leaving else full
    if scene.policy.conserves and not full.is_floor and progress.is_exposed:
        share = seen.shares[progress.step - 1] if 0 < progress.step <= len(seen.shares) else 0
        return Size(max(1, full.replicas - min(share, seen.candidate_pods)))
    return full


def _recreates(scene: _Scene) -> bool:
    return scene.policy.strategy is Strategy.RECREATE and scene.stable is not None


def _larger(announced: Size, following: Size) -> Size:
    """Pods go only when it was announced."""
    is_kept = announced.replicas > following.replicas or (announced.is_floor and following.is_off)
    return announced if is_kept else following


def _route(scene: _Scene, seen: _Tracks, progress: Progress) -> Route:
    needed = _candidate_size(scene, seen, progress).replicas
    is_down = scene.stable is not None and not seen.stable_pods and not seen.full.candidate.is_off
    mends = is_down and seen.candidate_pods > 0 and _may_mend(scene)
    strength = Strength(
        stable=seen.stable_pods,
        candidate=seen.candidate_pods,
        can_share=seen.is_free and seen.candidate_pods >= max(1, needed),
        can_cut=mends
        or (seen.workload is not None and is_complete(seen.workload, seen.full.candidate)),
        can_return=_can_return(scene, seen),
    )
    return wanted_route(progress, seen.live, strength, is_first=scene.stable is None)


def _may_mend(scene: _Scene) -> bool:
    return scene.policy.fixes_forward and not _recreates(scene)


def _can_return(scene: _Scene, seen: _Tracks) -> bool:
    """The stable revision can take all traffic; if need be with fewer pods than it ought to have.

    Where its pods were taken away on purpose, they have to be back first.
    """
    if _recreates(scene) or seen.full.candidate.is_off or not seen.candidate_pods:
        return True
    is_thin = scene.policy.conserves and not seen.full.stable.is_floor
    return seen.stable_pods >= (seen.full.stable.replicas if is_thin else 1)


def _decision(scene: _Scene, before: Progress | None, after: Progress) -> Rollout:
    seen = _tracks(scene, after.committed or after.candidate)
    if after.committed and seen.candidate is not None:
        return _commit(scene, seen, seen.candidate, after)
    stable, candidate, checked = scene.stable, seen.candidate, seen.supply
    if candidate is None and stable is not None:
        checked = supply(scene.snapshot, stable)
        stable = stable.resolved(checked.result) if checked.result else stable
    announced = before if before and before.candidate == after.candidate else after
    return Rollout(
        progress=after,
        policy=scene.policy,
        desired=after.pinned or scene.spec_hash,
        stable=stable,
        candidate=candidate,
        supply=checked,
        others=others(scene.known, stable, candidate),
        sizes=Sizes(
            _larger(_stable_size(scene, seen, announced), _stable_size(scene, seen, after)),
            _larger(_candidate_size(scene, seen, announced), _candidate_size(scene, seen, after)),
        ),
        full=seen.full,
        route=_route(scene, seen, announced if before else _unannounced(after)),
        live=seen.live,
        findings=_findings(scene.snapshot, seen),
    )


def _unannounced(after: Progress) -> Progress:
    """Nothing was said before this pass: traffic stays with the stable revision."""
    return replace(after, state=State.PREPARING)


def _commit(scene: _Scene, seen: _Tracks, candidate: Revision, after: Progress) -> Rollout:
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
    )


def is_complete(workload: Manifest, size: Size) -> bool:
    """Tell whether a Deployment has the pods of a size, all of its template and available.

    Above a floor an autoscaler adds pods all the time: those that are starting are not missing.
    """
    status = workload.get("status") or {}
    if status.get("observedGeneration", 0) < workload["metadata"].get("generation", 0):
        return False
    wanted, ready = size.replicas, available(workload)
    if size.is_floor:
        return desired_replicas(workload) >= wanted and ready >= wanted
    return (
        workload["spec"].get("replicas") == wanted
        and status.get("replicas", 0) == wanted
        and status.get("updatedReplicas", 0) == wanted
        and ready == wanted
    )


def deadline_exceeded(workload: Manifest) -> bool:
    """Tell whether Kubernetes has given the Deployment up."""
    return any(
        c.get("type") == "Progressing" and c.get("reason") == "ProgressDeadlineExceeded"
        for c in (workload.get("status") or {}).get("conditions") or ()
    )


def drained_at(rollout: Rollout) -> datetime | None:
    """When the pods of earlier revisions may end; None when there is no stable revision."""
    since = parse(rollout.stable.promoted_at) if rollout.stable else None
    return later(since, rollout.policy.scale_down_delay_s) if since else None


def wakes_at(rollout: Rollout) -> list[datetime]:
    """When a stretch of time that the present state waits for is over."""
    progress, policy = rollout.progress, rollout.policy
    held = machine.step_of(progress, policy).hold_s
    is_timed = rollout.stable and rollout.candidate and rollout.candidate.result
    waits = {
        State.PREPARING: [(progress.since, policy.progress_deadline_s)] if is_timed else [],
        State.SHIFTING: [
            (progress.since, policy.progress_deadline_s), (progress.routed_at, policy.settle_s),
        ],
        State.BAKING: [(progress.step_since, held)],
        State.PROMOTING: [
            (progress.since, policy.progress_deadline_s), (progress.routed_at, policy.settle_s),
        ],
        State.WATCHING: [(progress.since, policy.watch_s)],
        State.ABORTING: [(progress.routed_at, policy.settle_s + policy.scale_down_delay_s)],
    }  # fmt: skip
    found = (progress.until(*wait) for wait in waits.get(progress.state, ()))
    return [at for at in found if at is not None]
