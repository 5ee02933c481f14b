"""How a rollout in progress is told: its step, its traffic and what the checks say.

Numbers that move with every measurement are in `status.analysis`; sentences move only when the
situation does.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from slipway_operator.plan import conditions as c
from slipway_operator.plan.clock import timestamp
from slipway_operator.plan.conditions import Condition
from slipway_operator.plan.progress import STEPPING, State
from slipway_operator.plan.ratio import percent
from slipway_operator.plan.scene import is_complete
from slipway_operator.plan.tracks import available
from slipway_operator.plan.traffic import Route
from slipway_operator.plan.transition import step_of
from slipway_operator.plan.verification import Standing
from slipway_operator.plan.view import View, label
from slipway_operator.verdict.outcome import Verdict, together, worst


def rollout_ready(seen: View) -> Condition | None:
    """Ready while something special is going on; None when nothing is."""
    rollout = seen.rollout
    match rollout.state:
        case State.IDLE if rollout.progress.pinned:
            text = (
                f"revision {label(rollout.current)} serves because of the action"
                f" {rollout.progress.pinned_by!r}; the next change of spec ends that"
            )
            return Condition(c.READY, False, c.PINNED, text)
        case State.PAUSED:
            return Condition(c.READY, False, c.PAUSED, _paused_text(seen))
        case State.WATCHING if seen.candidate and is_complete(seen.candidate, rollout.size):
            until = rollout.progress.until(rollout.progress.since, rollout.policy.watch_s)
            text = (
                f"revision {label(rollout.current)} serves with {available(seen.candidate)} of"
                f" {seen.wanted} replicas; watching until {_time(until)}, while"
                f" {_stable_label(seen)} keeps its pods"
            )
            return Condition(c.READY, True, c.SERVING, text)
        case State.PREFLIGHT:
            text = (
                f"revision {label(rollout.current)}: {available(seen.candidate)} of {seen.wanted}"
                " pods are ready; it answers the requests of its preflight, and gets no others yet"
            )
            return Condition(c.READY, False, c.ROLLING_OUT, text)
        case State.SHIFTING | State.BAKING:
            return Condition(c.READY, False, c.ROLLING_OUT, _step_text(seen))
        case State.ABORTING:
            text = f"{rollout.progress.reason}: {rollout.progress.message}; traffic goes back"
            return Condition(c.READY, False, c.ROLLING_OUT, text)
    return None


def _paused_text(seen: View) -> str:
    progress = seen.rollout.progress
    where = _step_text(seen) if progress.step else f"revision {label(seen.rollout.current)}"
    return f"{where}; paused: {progress.reason}: {progress.message}"


def _step_text(seen: View) -> str:
    """Where a step stands; the numbers in it move only when the situation does."""
    rollout, progress = seen.rollout, seen.rollout.progress
    text = (
        f"revision {label(rollout.current)} at {applied(seen)} % (step {progress.step} of"
        f" {len(rollout.policy.steps)}, weight {progress.weight}):"
        f" {available(seen.candidate)} of {seen.wanted} pods are ready"
    )
    if progress.state is State.BAKING:
        until = progress.until(progress.step_since, step_of(progress, rollout.policy).hold_s)
        text += f"; holds until {_time(until)}"
    return text


def _time(at: datetime | None) -> str:
    return timestamp(at) if at else "further notice"


def _stable_label(seen: View) -> str:
    return f"revision {label(seen.rollout.stable)}" if seen.rollout.stable else "nothing"


def gate_ready(seen: View) -> Condition | None:
    """Why clients do not come through a gateway as the spec asks for; None when they do."""
    found = seen.rollout.standing
    if found is None or found.is_verified:
        return None
    return Condition(c.READY, False, found.reason, found.message)


def traffic(seen: View) -> Condition | None:
    """Tell whether traffic goes where it is to go; None when there is nothing to tell."""
    weight, found = weight_of(seen), seen.rollout.standing
    if found is not None and not found.is_verified:
        return Condition(c.TRAFFIC_VERIFIED, False, found.reason, found.message)
    if not weight:
        return _gated(found) if found is not None else None
    return _shared(weight, seen)


def _gated(found: Standing) -> Condition:
    return Condition(c.TRAFFIC_VERIFIED, True, found.reason, found.message)


def _shared(weight: dict[str, Any], seen: View) -> Condition:
    """Tell whether the candidate has the share that it is to have."""
    whose = "the requests through the gateway" if seen.rollout.gate else "the ready pods' traffic"
    text = f"the candidate has {weight['applied']} % of {whose}"
    if weight["verified"]:
        return Condition(c.TRAFFIC_VERIFIED, True, c.TRAFFIC_SETTLED, text)
    text += f", {weight['desired']} % are wanted"
    return Condition(c.TRAFFIC_VERIFIED, False, c.TRAFFIC_MOVING, text)


def analysis(seen: View) -> Condition:
    """What the checks come to; the numbers are in `status.analysis`, which moves more often."""
    found = together(seen.rollout.findings)
    deciding = worst(seen.rollout.findings)
    text = f"check {deciding.name}: {found}" if deciding else "all checks pass"
    return Condition(c.ANALYSIS_HEALTHY, found is not Verdict.FAIL, _CHECKED[found], text)


_CHECKED: Final = {
    Verdict.PASS: c.CHECKS_MET,
    Verdict.RUNNING: c.CHECKS_RUN,
    Verdict.INCONCLUSIVE: c.CHECKS_RUN,
    Verdict.NO_DATA: c.NO_EVIDENCE,
    Verdict.FAIL: c.ANALYSIS_FAILED,
}


def applied(seen: View) -> int:
    """Percent of the requests that the candidate gets now, as endpoints or routes have it."""
    match seen.rollout.live:
        case Route.SHARED if seen.rollout.gate:
            return seen.rollout.percent
        case Route.SHARED:
            return percent(seen.rollout.listed.candidate, seen.rollout.listed.total)
        case Route.CANDIDATE if seen.rollout.candidate and seen.rollout.stable:
            return 100
    return 0


def candidate_text(seen: View) -> str:
    """Name the candidate in its column, with its share."""
    rollout = seen.rollout
    if rollout.candidate is None:
        return ""
    weight = f" {applied(seen)}%" if rollout.progress.weight and rollout.stable else ""
    return f"{label(rollout.candidate)}{weight}"


def weight_of(seen: View) -> dict[str, Any]:
    """What is wished, what is so, and whether it was left the time to come about."""
    progress = seen.rollout.progress
    is_aside = seen.rollout.gate and progress.state in STEPPING and progress.step
    if not (progress.weight or is_aside) or seen.rollout.stable is None:
        return {}
    is_settled = progress.state in (State.BAKING, State.WATCHING) or bool(
        progress.state is State.PAUSED and progress.step_since
    )
    found = seen.rollout.standing
    is_settled = is_settled and (found is None or found.is_verified)
    report: dict[str, Any] = {
        "desired": progress.weight,
        "applied": applied(seen),
        "verified": is_settled,
    }
    if progress.state in STEPPING:
        report["mode"] = "Gateway" if seen.rollout.gate else "ReplicaRatio"
        report |= _observed(seen)
    return report | ({"note": progress.note} if progress.note else {})


def _observed(seen: View) -> dict[str, Any]:
    """What clients have really asked: connections that stay open keep their pods."""
    found, old = seen.rollout.observed, seen.snapshot.status.get("rollout") or {}
    if found is None:
        known = old.get("weight") or {}
        return {k: known[k] for k in ("observed", "observedRequests") if k in known}
    return {
        "observed": f"{100 * found.exposure:.1f}",
        "observedRequests": round(found.candidate.requests + found.stable.requests),
    }
