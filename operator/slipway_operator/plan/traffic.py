"""Where traffic goes: to whom, and by what.

Two things move it. The apex Service, which clients in the cluster use, selects one revision, a cut,
instant and whole; or, where there is no gateway, both tracks, and each gets the share that its
number of pods has. The routes of a gateway (`routes.py`) name the Services of both tracks with
weights; then the apex selects one of them at all times, and clients in the cluster follow by the
cut.
Source: `rollout.md` B6, B7.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from slipway_operator.plan.names import REVISION, revision_name
from slipway_operator.plan.progress import STEPPING, Progress, State
from slipway_operator.plan.revision import Revision
from slipway_operator.plan.routes import routed
from slipway_operator.plan.service import selected_revision
from slipway_operator.plan.snapshot import Snapshot


class Route(StrEnum):
    """Who gets the requests."""

    STABLE = "Stable"
    SHARED = "Shared"
    """Both tracks; how much each gets, numbers of pods say, or weights of a gateway."""
    CANDIDATE = "Candidate"
    ELSEWHERE = "Elsewhere"
    """Nobody yet, or a revision without a track."""


@dataclass(frozen=True, slots=True)
class Strength:
    """Who could take requests now."""

    stable: int
    """Available pods."""
    candidate: int
    can_share: bool
    """The candidate has the pods of its step, and nobody without a track would get requests."""
    can_cut: bool
    """The candidate can serve alone."""
    can_return: bool
    """The stable revision can."""


def live_route(
    snapshot: Snapshot,
    stable: Revision | None,
    candidate: Revision | None,
    *,
    is_gated: bool = False,
) -> Route:
    """Read the live apex Service, and where there is a gateway its routes."""
    apex = _apex_route(snapshot, stable, candidate)
    used = routed(snapshot) if is_gated else ()
    if not used or apex in (Route.SHARED, Route.ELSEWHERE):
        return apex
    names = {
        revision_name(snapshot.owner.name, r.hash): route
        for r, route in ((stable, Route.STABLE), (candidate, Route.CANDIDATE))
        if r is not None
    }
    found = {names.get(name, Route.ELSEWHERE) for name in used} | {apex}
    if Route.ELSEWHERE in found:
        return Route.ELSEWHERE
    return found.pop() if len(found) == 1 else Route.SHARED


def _apex_route(snapshot: Snapshot, stable: Revision | None, candidate: Revision | None) -> Route:
    apex = snapshot.child("Service", snapshot.owner.name)
    if apex is None:
        return Route.ELSEWHERE
    if REVISION not in ((apex.get("spec") or {}).get("selector") or {}):
        return Route.SHARED
    found = selected_revision(apex)
    if stable is not None and found == stable.hash:
        return Route.STABLE
    is_candidate = candidate is not None and found == candidate.hash
    return Route.CANDIDATE if is_candidate else Route.ELSEWHERE


@dataclass(frozen=True, slots=True)
class Listed:
    """Ready endpoints behind the apex Service: what proxies in the cluster go by."""

    candidate: int = 0
    total: int = 0


def listed(snapshot: Snapshot, stable: Revision, candidate: Revision) -> Listed:
    """Count the endpoints of an apex Service that both tracks share.

    Its own slices follow its selector some time after it is written; what they list beyond the
    stable revision's endpoints is the candidate's, because nobody else is selected.
    """
    name = snapshot.owner.name
    total, of_stable, of_candidate = (
        snapshot.endpoints.get(service, 0)
        for service in (name, *(revision_name(name, r.hash) for r in (stable, candidate)))
    )
    return Listed(max(0, min(of_candidate, total - of_stable)), total)


def is_used(snapshot: Snapshot, revision: Revision) -> bool:
    """Tell whether anything that moves traffic may send some to a revision."""
    if revision_name(snapshot.owner.name, revision.hash) in routed(snapshot):
        return True
    apex = snapshot.child("Service", snapshot.owner.name)
    if apex is None:
        return False
    return selected_revision(apex) in (None, revision.hash)


def wanted_route(progress: Progress, live: Route, strength: Strength, *, is_first: bool) -> Route:
    """Say where traffic belongs in a state; it moves only to who can take it.

    Args:
        progress: as it was remembered before this pass: nothing moves that was not announced.
        live: where it goes.
        strength: who could take it.
        is_first: there is no stable revision.
    """
    if is_first:
        return Route.CANDIDATE
    match progress.state:
        case State.PROMOTING:
            return _cut(progress, live, strength)
        case State.WATCHING:
            return Route.CANDIDATE
        case State.ABORTING:
            return Route.STABLE if strength.can_return else _tracks_only(live)
    if progress.state in STEPPING and progress.is_exposed:
        return Route.SHARED if live is Route.SHARED or strength.can_share else Route.STABLE
    return Route.STABLE


def _cut(progress: Progress, live: Route, strength: Strength) -> Route:
    if strength.can_cut or (live is Route.CANDIDATE and strength.candidate):
        return Route.CANDIDATE
    if live is Route.CANDIDATE and not strength.stable:
        return live  # nobody could do better
    return Route.SHARED if live is Route.SHARED and progress.step else Route.STABLE


def _tracks_only(live: Route) -> Route:
    return Route.STABLE if live is Route.ELSEWHERE else live


def wanted_percent(progress: Progress, route: Route, live: int, *, can_share: bool) -> int:
    """Say how much of the requests through a gateway the candidate is to have.

    A weight is gone up to only with the pods for it; until then it stays what it is.

    Args:
        progress: as it was remembered before this pass.
        route: where traffic belongs.
        live: percent that the routes send there now.
        can_share: the candidate has the pods of its step.
    """
    match route:
        case Route.SHARED if progress.state in STEPPING and can_share:
            return progress.weight
        case Route.SHARED if progress.state in STEPPING:
            return min(live, progress.weight)
        case Route.SHARED:
            return live
        case Route.CANDIDATE:
            return 100
    return 0


def announced_percent(progress: Progress, *, is_first: bool) -> int:
    """Say how much the candidate has in the end of what a state is about."""
    if is_first or progress.state in (State.PROMOTING, State.WATCHING):
        return 100
    return progress.weight if progress.state in STEPPING else 0
