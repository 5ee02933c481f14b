"""How many pods each track has in a state, and where traffic goes.

Stays out: which state it is (`machine.py`), the arithmetic of shares (`ratio.py`), and the rule by
which traffic moves (`traffic.py`).
"""

from __future__ import annotations

from typing import Final

from slipway_operator.plan import conditions as c
from slipway_operator.plan import machine
from slipway_operator.plan.names import revision_name
from slipway_operator.plan.policy import Policy
from slipway_operator.plan.progress import AT_REST, STEPPING, Progress, State
from slipway_operator.plan.ratio import weighted
from slipway_operator.plan.revision import Revision
from slipway_operator.plan.routes import Split
from slipway_operator.plan.scene import Scene, Tracks, is_complete, recreates
from slipway_operator.plan.sizing import Size, desired_replicas
from slipway_operator.plan.tracks import workload_of
from slipway_operator.plan.traffic import Route, Strength, wanted_percent, wanted_route
from slipway_operator.plan.transition import is_step, kept_until, step_of

_UNTOUCHED: Final = (State.PREPARING, State.PREFLIGHT)
"""States in which no request has come to the candidate."""


def candidate_size(scene: Scene, seen: Tracks, progress: Progress) -> Size:
    """Say how many pods the candidate has in a state."""
    full, live = seen.full.candidate, desired_replicas(seen.workload)
    if full.is_off:
        return full
    match progress.state:
        case State.FAILED:
            return Size(live if seen.live is not Route.STABLE or _is_kept(scene, progress) else 0)
        case State.ABORTING if not recreates(scene):
            return Size(live)  # it gets no new ones, and keeps its own while they are used
        case State.ABORTING:
            return Size(0)
    if recreates(scene) and not (seen.stable_is_gone or live):
        return Size(0)
    is_whole = progress.state in (State.PROMOTING, State.WATCHING)
    if is_whole or machine.cuts(progress, scene.policy, is_first=scene.stable is None):
        return full
    number = max(1, progress.step)
    share = seen.shares[number - 1] if number <= len(seen.shares) else max(1, live)
    # Of a lost status more may be left than the step gives: what has all traffic keeps its pods.
    is_kept = progress.state in _UNTOUCHED or seen.live is Route.CANDIDATE
    wanted = max(share, live) if is_kept else share
    if scene.gate is not None and full.is_floor:  # beside the stable revision's, not by its load
        return Size(min(wanted, full.replicas), True)
    return Size(wanted)


def _is_kept(scene: Scene, progress: Progress) -> bool:
    """Whether the pods of an aborted candidate may still be looked at."""
    until = kept_until(progress, scene.policy)
    return until is not None and scene.snapshot.now < until and not recreates(scene)


def stable_size(scene: Scene, seen: Tracks, progress: Progress) -> Size:
    """Say how many pods the stable revision has in a state."""
    full, state = seen.full.stable, progress.state
    if full.is_off or seen.candidate is None:
        return full
    if state in AT_REST:
        return _returning(scene, seen)
    if scene.gate is not None and full.is_floor and not recreates(scene):
        return Size(max(full.replicas, seen.full.candidate.replicas), True)
    if state is State.ABORTING:
        return _returning(scene, seen)
    if recreates(scene):
        is_leaving = state in (State.PROMOTING, State.WATCHING) or (
            state in _UNTOUCHED and _makes_room(scene, seen.candidate)
        )
        return Size(0) if is_leaving else full
    if scene.policy.conserves and not full.is_floor and progress.is_exposed:
        if scene.gate is not None:
            return Size(_left(seen, progress))
        share = seen.shares[progress.step - 1] if 0 < progress.step <= len(seen.shares) else 0
        return Size(max(1, full.replicas - min(share, seen.candidate_pods)))
    return full


def _left(seen: Tracks, progress: Progress) -> int:
    """Pods for what a gateway leaves the stable revision; none end before that is confirmed."""
    full = seen.full.stable.replicas
    needed = weighted(full, 100 - progress.verified)
    return needed if progress.state is State.BAKING else max(needed, min(full, seen.stable_wanted))


def _makes_room(scene: Scene, candidate: Revision) -> bool:
    """Pods go when their number stands in the status: with them goes what an autoscaler knew."""
    told = (scene.snapshot.status.get("candidate") or {}).get("hash")
    return bool(candidate.result and told == candidate.hash and not scene.policy.is_paused)


def _returning(scene: Scene, seen: Tracks) -> Size:
    """Pods that made room come back as many as they were: no autoscaler wakes them from zero."""
    full = seen.full.stable
    if scene.stable is None or not (full.is_floor and recreates(scene)):
        return full
    is_away = not desired_replicas(workload_of(scene.snapshot, scene.stable))
    return Size(max(full.replicas, seen.full.candidate.replicas), True) if is_away else full


def larger(announced: Size, following: Size) -> Size:
    """Pods go only when it was announced."""
    is_kept = announced.replicas > following.replicas or (announced.is_floor and following.is_off)
    return announced if is_kept else following


def route_of(scene: Scene, seen: Tracks, progress: Progress) -> Route:
    """Say where traffic goes in a state that was announced."""
    strength = _strength(scene, seen, progress)
    return wanted_route(progress, seen.live, strength, is_first=scene.stable is None)


def split_of(scene: Scene, seen: Tracks, progress: Progress, route: Route) -> Split:
    """Say who gets how much through a gateway in a state that was announced."""
    can_share = _strength(scene, seen, progress).can_share
    percent = wanted_percent(progress, route, seen.percent, can_share=can_share)
    aside = aside_of(progress, scene.policy) if route is Route.SHARED and can_share else ((), 0)
    return Split(scene.stable, seen.candidate, percent, *aside)


def aside_of(progress: Progress, policy: Policy) -> tuple[tuple[tuple[str, str], ...], int]:
    """Headers and mirrored percent of a step that leaves the weight as it is."""
    if progress.state not in STEPPING or progress.reason == c.TRAFFIC_UNVERIFIED:
        return (), 0
    step = step_of(progress, policy) if is_step(progress.step, policy) else None
    return (step.headers, step.mirror_percent) if step else ((), 0)


def _strength(scene: Scene, seen: Tracks, progress: Progress) -> Strength:
    needed = candidate_size(scene, seen, progress).replicas
    is_down = scene.stable is not None and not seen.stable_pods and not seen.full.candidate.is_off
    mends = is_down and seen.candidate_pods > 0 and _may_mend(scene)
    return Strength(
        stable=seen.stable_pods,
        candidate=seen.candidate_pods,
        can_share=seen.is_free
        and seen.candidate_pods >= max(1, needed)
        and _is_reachable(scene, seen),
        can_cut=mends
        or (
            seen.workload is not None
            and is_complete(seen.workload, seen.full.candidate)
            and (seen.full.candidate.is_off or _is_reachable(scene, seen))
        ),
        can_return=_can_return(scene, seen),
    )


def _is_reachable(scene: Scene, seen: Tracks) -> bool:
    """A gateway sends requests to endpoints: to a Service without any they fail."""
    if scene.gate is None or seen.candidate is None:
        return True
    name = revision_name(scene.snapshot.owner.name, seen.candidate.hash)
    return scene.snapshot.endpoints.get(name, 0) > 0


def _may_mend(scene: Scene) -> bool:
    return scene.policy.fixes_forward and not recreates(scene)


def _can_return(scene: Scene, seen: Tracks) -> bool:
    """The stable revision can take all traffic; if need be with fewer pods than it ought to have.

    Where its pods were taken away on purpose, they have to be back first.
    """
    if recreates(scene) or seen.full.candidate.is_off or not seen.candidate_pods:
        return True
    is_thin = scene.policy.conserves and not seen.full.stable.is_floor
    return seen.stable_pods >= (seen.full.stable.replicas if is_thin else 1)
