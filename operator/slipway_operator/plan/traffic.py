"""Where traffic goes, without a gateway: what the apex Service selects.

Pinned to one revision it is a cut, instant and whole; shared by both tracks, each gets the share
that its number of pods has. The selector is a single field: there is no half state.
Source: `rollout.md` B6.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from slipway_operator.plan.names import REVISION
from slipway_operator.plan.progress import STEPPING, Progress, State
from slipway_operator.plan.revision import Revision
from slipway_operator.plan.service import selected_revision
from slipway_operator.plan.snapshot import Snapshot


class Route(StrEnum):
    """Who gets the requests."""

    STABLE = "Stable"
    SHARED = "Shared"
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
    """The candidate has the pods of its step, and nobody without a track has any."""
    can_cut: bool
    """The candidate can serve alone."""
    can_return: bool
    """The stable revision can."""


def live_route(snapshot: Snapshot, stable: Revision | None, candidate: Revision | None) -> Route:
    """Read the live apex Service."""
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
