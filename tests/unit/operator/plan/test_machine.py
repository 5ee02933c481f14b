"""Every row of the state machine: a state and what is seen in, the next state out."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from slipway_operator.plan import conditions as c
from slipway_operator.plan.action import Action, Verb, action_of
from slipway_operator.plan.clock import timestamp
from slipway_operator.plan.machine import advance
from slipway_operator.plan.policy import Otherwise, Policy, Preflight, Step, Strategy
from slipway_operator.plan.progress import Progress, State, read, written
from slipway_operator.plan.request import asked
from slipway_operator.plan.traffic import Route
from slipway_operator.plan.transition import Facts, Trouble
from slipway_operator.verdict.outcome import Action as OnFailure
from slipway_operator.verdict.outcome import Finding, Verdict
from tests.builders import NOW

OLD, NEW, NEXT = "aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc"
POLICY = Policy(
    strategy=Strategy.CANARY, steps=(Step(20), Step(50)), watch_s=300.0, settle_s=5.0,
)  # fmt: skip
CUT = Policy()
TRIED = replace(POLICY, preflight=Preflight())
MANUAL = replace(POLICY, steps=(Step(20, is_manual=True), Step(50)))
JUDGED = replace(POLICY, is_judged=True, on_no_data=Otherwise.PAUSE)


def ago(seconds: float) -> str:
    return timestamp(NOW - timedelta(seconds=seconds))


def facts(**more: Any) -> Facts:
    """Four pods serve, and another revision is asked for."""
    seen = Facts(
        now=NOW, desired=NEW, written=NEW, stable=OLD, stable_pods=4, stable_size=4,
        candidate_pods=1, shares=(1, 4), is_supplied=True,
        deployed_at=ago(9999),
    )  # fmt: skip
    return replace(seen, **more)


def at(state: State, **more: Any) -> Progress:
    """A rollout of the desired revision that has just come into a state."""
    known = Progress(state, candidate=NEW, since=ago(0))
    return replace(known, **more)


def shifting(**more: Any) -> Progress:
    return at(State.SHIFTING, **{"step": 1, "weight": 20, "is_exposed": True, **more})


def baking(held_s: float = 60, **more: Any) -> Progress:
    held = shifting(step_since=ago(held_s), **{"verified": more.get("weight", 20), **more})
    return replace(held, state=State.BAKING)


def paused(reason: str, **more: Any) -> Progress:
    begun = baking(**{"paused_in": "Baking", "reason": reason, **more})
    return replace(begun, state=State.PAUSED)


def unmade() -> Progress:
    """No preflight could be made."""
    return paused("PreflightUnavailable", paused_in="Preflight", step=0, weight=0, is_exposed=False)


def promoting(**more: Any) -> Progress:
    return at(State.PROMOTING, **{"step": 2, "weight": 100, "is_exposed": True, **more})


def watching(since_s: float = 0, **more: Any) -> Progress:
    return replace(promoting(since=ago(since_s), **more), state=State.WATCHING)


def aborting(**more: Any) -> Progress:
    return at(State.ABORTING, **{"reason": "AbortedByUser", "is_exposed": True, **more})


def finding(verdict: Verdict, action: OnFailure = OnFailure.ABORT) -> Finding:
    return Finding("restarts", verdict, "2 restarts", action=action)


FAIL = finding(Verdict.FAIL)
UNMADE = Finding("golden", Verdict.NO_DATA, "no samples")
SHARED = {"route": Route.SHARED}
WHOLE = {"candidate_pods": 4, "is_complete": True}
UNSUPPLIED: dict[str, Any] = {"candidate_pods": 0, "is_supplied": False, "deployed_at": ""}


GATED: dict[str, Any] = {"is_weighted": True, **SHARED}
UNVERIFIED = {**GATED, "is_verified": False, "verification": "nobody answers"}


@pytest.mark.parametrize(
    ("progress", "seen", "expected"),
    [
        pytest.param(
            shifting(), facts(route=Route.SHARED, is_listed=False), None,
            id="Shifting: no endpoints yet",
        ),
        pytest.param(
            shifting(), facts(**GATED), {"told_at": ago(0)}, id="Shifting: the routes say it"
        ),
        pytest.param(
            shifting(), facts(**GATED, is_placed=False), None, id="Shifting: they do not yet"
        ),
        pytest.param(
            shifting(told_at=ago(1)), facts(**UNVERIFIED), None, id="Shifting: not confirmed yet"
        ),
        pytest.param(
            shifting(told_at=ago(1)), facts(**GATED), {"routed_at": ago(0)},
            id="Shifting: confirmed, and settling",
        ),
        pytest.param(
            shifting(told_at=ago(4), routed_at=ago(3)), facts(**UNVERIFIED), {"routed_at": ""},
            id="Shifting: no longer confirmed",
        ),
        pytest.param(
            shifting(told_at=ago(9), routed_at=ago(5)), facts(**GATED),
            {"state": State.BAKING, "verified": 20}, id="Shifting: settled",
        ),
        pytest.param(
            shifting(told_at=ago(9), routed_at=ago(5)), facts(**GATED, is_blind=True), None,
            id="Shifting: twice the time for a blind Gateway",
        ),
        pytest.param(
            shifting(told_at=ago(120), verified=10, step=2, weight=50), facts(**UNVERIFIED),
            {"state": State.PAUSED, "reason": "TrafficUnverified", "weight": 10, "step": 2},
            id="Shifting: never confirmed, the weight before is back",
        ),
        pytest.param(
            shifting(), facts(**GATED, gate_obstacle="it is gone"),
            {"state": State.PAUSED, "reason": "GatewayNotReady", "weight": 20},
            id="Shifting: the Gateway is gone",
        ),
        pytest.param(
            shifting(), facts(**GATED, is_contested=True),
            {"state": State.PAUSED, "reason": "RouteContested"}, id="Shifting: a fight",
        ),
        pytest.param(
            shifting(), facts(**GATED, is_limited=True),
            {"state": State.PAUSED, "reason": "CapacityLimited"}, id="Shifting: too many pods",
        ),
        pytest.param(
            baking(10), facts(**UNVERIFIED), {"state": State.SHIFTING, "step_since": ago(10)},
            id="Baking: no longer confirmed, the hold goes on",
        ),
        pytest.param(
            baking(10), facts(**GATED, mismatch="20 % got none"),
            {"state": State.PAUSED, "reason": "TrafficMismatch", "weight": 20},
            id="Baking: the requests say something else",
        ),
        pytest.param(
            baking(10, approved=1), facts(**GATED, mismatch="20 % got none"), None,
            id="Baking: somebody knows why",
        ),
        pytest.param(
            paused("TrafficUnverified", step=2, weight=10, verified=10), facts(**GATED), None,
            id="Paused: waits for somebody",
        ),
        pytest.param(
            paused("TrafficUnverified", step=2, weight=20, verified=20, approved=2),
            facts(**GATED), {"state": State.SHIFTING, "step": 2, "weight": 50, "approved": 1},
            id="Paused: tries the weight again",
        ),
        pytest.param(
            paused("GatewayNotReady", approved=1), facts(**GATED, gate_obstacle="it is gone"),
            None, id="Paused: no approval brings a Gateway back",
        ),
        pytest.param(
            paused("GatewayNotReady"), facts(**GATED), {"state": State.BAKING},
            id="Paused: the Gateway is back",
        ),
        pytest.param(
            paused("RouteContested"), facts(**GATED), {"state": State.BAKING},
            id="Paused: the fight is over",
        ),
        pytest.param(
            at(State.PREPARING), facts(is_weighted=True, gate_obstacle="it is gone"),
            {"state": State.PAUSED, "reason": "GatewayNotReady"},
            id="Preparing: nothing to move traffic by",
        ),
        pytest.param(
            promoting(routed_at=ago(5), told_at=ago(9)),
            facts(**WHOLE, is_weighted=True, route=Route.CANDIDATE, is_placed=False), None,
            id="Promoting: the routes lag behind the Service",
        ),
        pytest.param(
            promoting(routed_at=ago(5), told_at=ago(9)),
            facts(**WHOLE, is_weighted=True, route=Route.CANDIDATE), {"state": State.WATCHING},
            id="Promoting: confirmed",
        ),
        pytest.param(
            promoting(told_at=ago(9)),
            facts(**WHOLE, is_weighted=True, route=Route.CANDIDATE, is_verified=False,
                  desired=OLD),
            {"state": State.ABORTING, "reason": "Reverted"},
            id="Promoting: reverted before it was confirmed",
        ),
        pytest.param(
            aborting(), facts(is_weighted=True), {"told_at": ago(0)}, id="Aborting: told"
        ),
        pytest.param(
            aborting(told_at=ago(5)), facts(is_weighted=True, is_verified=False), None,
            id="Aborting: not confirmed",
        ),
        pytest.param(
            aborting(told_at=ago(5)), facts(is_weighted=True), {"routed_at": ago(0)},
            id="Aborting: confirmed",
        ),
        pytest.param(
            aborting(told_at=ago(120)), facts(is_weighted=True, is_verified=False),
            {"routed_at": ago(0)}, id="Aborting: nobody is waited for for ever",
        ),
        pytest.param(
            aborting(told_at=ago(5)),
            facts(is_weighted=True, is_verified=False, gate_obstacle="it is gone"),
            {"routed_at": ago(0)}, id="Aborting: what is gone sends nothing",
        ),
        pytest.param(
            aborting(), facts(**GATED, desired=NEXT, stable_pods=0),
            {"state": State.PROMOTING, "weight": 100},
            id="Aborting: what alone answers makes way for a third",
        ),
        pytest.param(
            aborting(), facts(**GATED, stable_pods=0), None,
            id="Aborting: it is kept until there is something better",
        ),
        pytest.param(
            shifting(), facts(**GATED, desired=NEXT, stable_pods=0),
            {"state": State.PROMOTING}, id="Shifting: superseded while it alone answers",
        ),
    ],
)  # fmt: skip
def test_rows_of_a_gateway(
    progress: Progress, seen: Facts, expected: dict[str, Any] | None
) -> None:
    found = advance(progress, seen, POLICY)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert {k: getattr(found, k) for k in expected} == expected


ASIDE = replace(
    POLICY, steps=(Step(0, headers=(("x-canary", "1"),)), Step(20), Step(0, mirror_percent=30)),
)  # fmt: skip


@pytest.mark.parametrize(
    ("progress", "seen", "expected"),
    [
        pytest.param(
            at(State.PREPARING), facts(is_weighted=True), (State.SHIFTING, 1, 0, ""),
            id="headers come first",
        ),
        pytest.param(
            baking(step=1, weight=0), facts(**GATED), (State.SHIFTING, 2, 20, ""),
            id="then a weight",
        ),
        pytest.param(
            baking(step=2), facts(**GATED), (State.SHIFTING, 3, 20, ""),
            id="mirroring leaves it as it is",
        ),
        pytest.param(
            baking(step=2), facts(**GATED, skips=("", "", "no mirror")),
            (State.PROMOTING, 2, 100, "step 3 is skipped: no mirror"),
            id="what cannot be done is skipped, and told",
        ),
        pytest.param(
            at(State.PREPARING), facts(skips=("no gateway", "", "no gateway")),
            (State.SHIFTING, 2, 20, "step 1 is skipped: no gateway"), id="no gateway at all",
        ),
    ],
)  # fmt: skip
def test_steps_beside_the_weight(
    progress: Progress, seen: Facts, expected: tuple[Any, ...]
) -> None:
    found = advance(progress, replace(seen, shares=(1, 1, 2)), ASIDE)
    assert found is not None
    assert (found.state, found.step, found.weight, found.note) == expected


@pytest.mark.parametrize(
    ("progress", "seen", "policy", "expected"),
    [
        pytest.param(None, facts(), POLICY, ("Idle", ""), id="nothing remembered, a record"),
        pytest.param(
            None, facts(stable=""), POLICY, ("Preparing", ""), id="nothing remembered, no record"
        ),
        pytest.param(Progress(State.IDLE), facts(), POLICY, ("Preparing", ""), id="Idle: begins"),
        pytest.param(
            Progress(State.IDLE), facts(desired=OLD), POLICY, None, id="Idle: nothing to do"
        ),
        pytest.param(
            at(State.FAILED, reason="AnalysisFailed"), facts(), POLICY, None,
            id="Failed: not again by itself",
        ),
        pytest.param(
            at(State.FAILED, reason="AnalysisFailed"), facts(desired=NEXT), POLICY,
            ("Preparing", ""), id="Failed: another revision",
        ),
        pytest.param(
            at(State.FAILED, reason="AnalysisFailed"), facts(desired=OLD), POLICY, ("Idle", ""),
            id="Failed: the stable one is asked for",
        ),
        pytest.param(
            at(State.FAILED, reason="NotFound"), facts(deployed_at=""), POLICY,
            ("Preparing", ""), id="Failed: the model can be had now",
        ),
        pytest.param(
            at(State.FAILED, reason="NotFound"),
            facts(deployed_at="", trouble=Trouble("NotFound", "404")), POLICY, None,
            id="Failed: it still cannot",
        ),
        pytest.param(
            at(State.PREPARING), facts(stable="", desired=NEXT), POLICY, ("Preparing", ""),
            id="Preparing: a first revision is retargeted",
        ),
        pytest.param(
            at(State.PREPARING), facts(desired=OLD), POLICY, ("Aborting", "Reverted"),
            id="Preparing: reverted",
        ),
        pytest.param(
            at(State.PREPARING), facts(desired=NEXT), POLICY, ("Aborting", "Superseded"),
            id="Preparing: superseded",
        ),
        pytest.param(
            at(State.PREPARING), facts(candidate_pods=0, trouble=Trouble("NotFound", "404")),
            POLICY, ("Aborting", "NotFound"), id="Preparing: the model cannot be had",
        ),
        pytest.param(
            at(State.PREPARING),
            facts(candidate_pods=0, is_off=True, is_supplied=False,
                  trouble=Trouble("NotFound", "404")),
            CUT, ("Aborting", "NotFound"), id="Preparing: nor when there are to be no pods",
        ),
        pytest.param(
            at(State.PREPARING, since=ago(1800)), facts(candidate_pods=0), POLICY,
            ("Aborting", "ProgressDeadline"), id="Preparing: too late by our clock",
        ),
        pytest.param(
            at(State.PREPARING), facts(candidate_pods=0, is_late=True), POLICY,
            ("Aborting", "ProgressDeadline"), id="Preparing: too late by Kubernetes'",
        ),
        pytest.param(
            at(State.PREPARING, since=ago(9999)), facts(candidate_pods=0, stable=""), POLICY, None,
            id="Preparing: a first revision goes on trying",
        ),
        pytest.param(
            at(State.PREPARING, since=ago(9999)), facts(candidate_pods=0, deployed_at=""),
            POLICY, None, id="Preparing: the deadline does not run before there are pods",
        ),
        pytest.param(
            at(State.PREPARING, since=ago(1799)), facts(**UNSUPPLIED), POLICY, None,
            id="Preparing: a model is waited for",
        ),
        pytest.param(
            at(State.PREPARING, since=ago(1800)), facts(**UNSUPPLIED), POLICY,
            ("Aborting", "ProgressDeadline"), id="Preparing: but not for ever",
        ),
        pytest.param(
            at(State.PREPARING, since=ago(1800)), facts(**UNSUPPLIED, is_off=True), CUT,
            ("Aborting", "ProgressDeadline"), id="Preparing: nor when no pods are wanted",
        ),
        pytest.param(
            at(State.PREPARING, since=ago(1800)), facts(**UNSUPPLIED),
            replace(CUT, strategy=Strategy.RECREATE),
            ("Aborting", "ProgressDeadline"), id="Preparing: nor when pods are to make room",
        ),
        pytest.param(
            at(State.PREPARING, since=ago(9999)), facts(**UNSUPPLIED, stable=""), POLICY, None,
            id="Preparing: a first revision goes on trying to fetch",
        ),
        pytest.param(
            shifting(since=ago(9999)), facts(**{**UNSUPPLIED, "candidate_pods": 1}), POLICY, None,
            id="Shifting: what has pods has a model, whatever became of its record",
        ),
        pytest.param(
            at(State.FAILED, reason="ProgressDeadline"), facts(**UNSUPPLIED), POLICY, None,
            id="Failed: what was not there in time is not waited for again",
        ),
        pytest.param(
            at(State.PREPARING, since=ago(9999)), facts(candidate_pods=0, deployed_at=ago(1799)),
            POLICY, None, id="Preparing: the deadline begins with the pods",
        ),
        pytest.param(
            at(State.PREPARING, since=ago(9999)), facts(candidate_pods=0, deployed_at=ago(1800)),
            POLICY, ("Aborting", "ProgressDeadline"), id="Preparing: and then it runs",
        ),
        pytest.param(
            at(State.PREPARING), facts(stable_pods=0), POLICY, ("Promoting", ""),
            id="Preparing: fix forward",
        ),
        pytest.param(
            at(State.PREPARING), facts(stable_pods=0), replace(POLICY, fixes_forward=False),
            ("Shifting", ""), id="Preparing: hold",
        ),
        pytest.param(
            at(State.PREPARING), facts(candidate_pods=0), POLICY, None, id="Preparing: waits"
        ),
        pytest.param(
            at(State.PREPARING), facts(), POLICY, ("Shifting", ""), id="Preparing: a pod is ready"
        ),
        pytest.param(
            at(State.PREPARING), facts(), CUT, None, id="Preparing: a cut needs all of them"
        ),
        pytest.param(
            at(State.PREPARING), facts(**WHOLE), CUT, ("Promoting", ""), id="Preparing: a cut"
        ),
        pytest.param(
            at(State.PREPARING, is_fast=True), facts(**WHOLE), POLICY, ("Promoting", ""),
            id="Preparing: what served before comes back by a cut",
        ),
        pytest.param(
            at(State.PREPARING), facts(stable="", **WHOLE), POLICY, ("Promoting", ""),
            id="Preparing: so does a first revision",
        ),
        pytest.param(
            at(State.PREPARING), facts(), replace(POLICY, is_paused=True), ("Paused", "Paused"),
            id="Preparing: paused before the first step",
        ),
        pytest.param(
            at(State.PREPARING), facts(candidate_pods=0),
            replace(CUT, strategy=Strategy.RECREATE, is_paused=True), ("Paused", "Paused"),
            id="Preparing: paused before the stable revision's pods end",
        ),
        pytest.param(
            at(State.PREPARING), facts(), TRIED, ("Preflight", ""), id="Preparing: to be tried"
        ),
        pytest.param(
            at(State.PREPARING), facts(stable_pods=0), TRIED, ("Preflight", ""),
            id="Preparing: no fix forward of what may answer wrongly",
        ),
        pytest.param(
            at(State.PREPARING, is_fast=True), facts(**WHOLE), TRIED, ("Promoting", ""),
            id="Preparing: what served before is not tried",
        ),
        pytest.param(
            at(State.PREPARING), facts(stable="", **WHOLE), TRIED, ("Promoting", ""),
            id="Preparing: nor is a first revision",
        ),
        pytest.param(at(State.PREFLIGHT), facts(), TRIED, None, id="Preflight: not known yet"),
        pytest.param(
            at(State.PREFLIGHT), facts(preflight=finding(Verdict.PASS)), TRIED, ("Preflight", ""),
            id="Preflight: passed, which is remembered",
        ),
        pytest.param(
            at(State.PREFLIGHT, preflight="passed"), facts(), TRIED, ("Shifting", ""),
            id="Preflight: goes on",
        ),
        pytest.param(
            at(State.PREFLIGHT, preflight="passed"), facts(**WHOLE), replace(TRIED, steps=()),
            ("Promoting", ""), id="Preflight: goes on with a cut",
        ),
        pytest.param(
            at(State.PREFLIGHT, preflight="passed"), facts(), replace(TRIED, is_paused=True),
            ("Paused", "Paused"), id="Preflight: paused before the first step",
        ),
        pytest.param(
            at(State.PREFLIGHT), facts(preflight=FAIL), TRIED, ("Aborting", "PreflightFailed"),
            id="Preflight: answers wrongly",
        ),
        pytest.param(
            at(State.PREFLIGHT), facts(preflight=FAIL, stable_pods=0), TRIED,
            ("Aborting", "PreflightFailed"), id="Preflight: wrongly, and nobody else answers",
        ),
        pytest.param(
            at(State.PREFLIGHT), facts(preflight=UNMADE), TRIED,
            ("Paused", "PreflightUnavailable"), id="Preflight: cannot be made",
        ),
        pytest.param(
            at(State.PREFLIGHT), facts(preflight=UNMADE),
            replace(TRIED, strategy=Strategy.RECREATE), ("Aborting", "PreflightUnavailable"),
            id="Preflight: cannot be made, and nobody serves meanwhile",
        ),
        pytest.param(
            at(State.PREFLIGHT), facts(stable_pods=0), TRIED, None,
            id="Preflight: no fix forward before it is known",
        ),
        pytest.param(
            at(State.PREFLIGHT), facts(), POLICY, ("Shifting", ""), id="Preflight: not wished now"
        ),
        pytest.param(
            at(State.PREFLIGHT), facts(desired=OLD), TRIED, ("Aborting", "Reverted"),
            id="Preflight: reverted",
        ),
        pytest.param(
            at(State.PREFLIGHT), facts(desired=NEXT), TRIED, ("Aborting", "Superseded"),
            id="Preflight: superseded",
        ),
        pytest.param(
            at(State.PREFLIGHT), facts(candidate_pods=0, trouble=Trouble("OOMKilled", "137")),
            TRIED, ("Aborting", "OOMKilled"), id="Preflight: its pods die",
        ),
        pytest.param(
            at(State.PREFLIGHT, since=ago(9999)), facts(candidate_pods=0), TRIED,
            ("Aborting", "ProgressDeadline"), id="Preflight: its pods do not come back",
        ),
        pytest.param(
            at(State.PREFLIGHT, since=ago(9999)), facts(candidate_pods=0, is_off=True), TRIED,
            ("Preflight", ""), id="Preflight: no pods are wanted",
        ),
        pytest.param(
            unmade(),
            facts(preflight=UNMADE), TRIED, None, id="Paused: the preflight still cannot be made",
        ),
        pytest.param(
            unmade(),
            facts(preflight=finding(Verdict.PASS)), TRIED, ("Preflight", ""),
            id="Paused: the preflight was made",
        ),
        pytest.param(
            shifting(), facts(candidate_pods=0), POLICY, None, id="Shifting: pods are missing"
        ),
        pytest.param(shifting(), facts(), POLICY, None, id="Shifting: traffic has not moved"),
        pytest.param(
            shifting(), facts(**SHARED), POLICY, ("Shifting", ""), id="Shifting: it settles"
        ),
        pytest.param(
            shifting(routed_at=ago(4)), facts(**SHARED), POLICY, None, id="Shifting: not yet"
        ),
        pytest.param(
            shifting(routed_at=ago(5)), facts(**SHARED), POLICY, ("Baking", ""),
            id="Shifting: settled",
        ),
        pytest.param(
            shifting(since=ago(1800)), facts(candidate_pods=0), POLICY,
            ("Aborting", "ProgressDeadline"), id="Shifting: too late",
        ),
        pytest.param(
            shifting(), facts(finding=FAIL, **SHARED), POLICY, ("Aborting", "AnalysisFailed"),
            id="Shifting: a check fails",
        ),
        pytest.param(
            shifting(), facts(desired=OLD), POLICY, ("Aborting", "Reverted"),
            id="Shifting: reverted",
        ),
        pytest.param(baking(59), facts(**SHARED), POLICY, None, id="Baking: holds"),
        pytest.param(baking(), facts(**SHARED), POLICY, ("Shifting", ""), id="Baking: next step"),
        pytest.param(
            baking(step=2, weight=50), facts(**SHARED), POLICY, ("Promoting", ""),
            id="Baking: after the last step",
        ),
        pytest.param(
            baking(), facts(**SHARED, finding=FAIL), POLICY, ("Aborting", "AnalysisFailed"),
            id="Baking: a check fails",
        ),
        pytest.param(
            baking(), facts(**SHARED, finding=finding(Verdict.FAIL, OnFailure.PAUSE)), POLICY,
            ("Paused", "AnalysisFailed"), id="Baking: one that only pauses",
        ),
        pytest.param(
            baking(), facts(**SHARED, candidate_pods=0), POLICY, ("Aborting", "CandidateDown"),
            id="Baking: no pod is left",
        ),
        pytest.param(
            baking(), facts(**SHARED, candidate_pods=0, is_off=True), POLICY, ("Shifting", ""),
            id="Baking: suspended, the step is to be reached anew",
        ),
        pytest.param(
            shifting(since=""), facts(candidate_pods=0), POLICY, ("Shifting", ""),
            id="Shifting: its time begins when there are pods again",
        ),
        pytest.param(
            watching(), facts(route=Route.CANDIDATE, candidate_pods=0, is_off=True), POLICY,
            ("Idle", ""), id="Watching: suspended, it is committed",
        ),
        pytest.param(
            baking(), facts(**SHARED), replace(POLICY, is_paused=True), ("Paused", "Paused"),
            id="Baking: paused",
        ),
        pytest.param(
            baking(), facts(**SHARED), replace(POLICY, steps=(Step(20, is_manual=True),)),
            ("Paused", "AwaitingApproval"), id="Baking: approval is missing",
        ),
        pytest.param(
            baking(approved=1), facts(**SHARED, shares=(1,)),
            replace(POLICY, steps=(Step(20, is_manual=True),)), ("Promoting", ""),
            id="Baking: approved in advance",
        ),
        pytest.param(
            baking(), facts(**SHARED), JUDGED, None, id="Baking: too little traffic, it waits"
        ),
        pytest.param(
            baking(3600), facts(**SHARED), JUDGED, ("Paused", "InsufficientTraffic"),
            id="Baking: too little traffic for too long",
        ),
        pytest.param(
            baking(3600), facts(**SHARED), replace(JUDGED, on_no_data=Otherwise.ABORT),
            ("Aborting", "InsufficientTraffic"), id="Baking: too little traffic may abort",
        ),
        pytest.param(
            baking(3600), facts(**SHARED), replace(JUDGED, on_no_data=Otherwise.ADVANCE),
            ("Shifting", ""), id="Baking: or advance",
        ),
        pytest.param(
            baking(), facts(**SHARED, verdict=Verdict.RUNNING), JUDGED, ("Shifting", ""),
            id="Baking: what cannot be told stands in nobody's way",
        ),
        pytest.param(
            baking(), facts(**SHARED, verdict=Verdict.RUNNING),
            replace(JUDGED, on_inconclusive=Otherwise.PAUSE), ("Paused", "Inconclusive"),
            id="Baking: unless it is to",
        ),
        pytest.param(
            baking(), facts(**SHARED, verdict=Verdict.PASS), JUDGED, ("Shifting", ""),
            id="Baking: all checks pass",
        ),
        pytest.param(
            paused("InsufficientTraffic"), facts(**SHARED), JUDGED, None,
            id="Paused: traffic is still missing",
        ),
        pytest.param(
            paused("InsufficientTraffic"), facts(**SHARED, verdict=Verdict.PASS), JUDGED,
            ("Baking", ""), id="Paused: it has come",
        ),
        pytest.param(
            baking(0, note="ReplicaGranularity: 1 of 2"), facts(**SHARED),
            replace(POLICY, on_coarse=Otherwise.PAUSE), ("Paused", "ReplicaGranularity"),
            id="Baking: pods are too coarse",
        ),
        pytest.param(
            baking(0), facts(**SHARED, shares=(1, 2)),
            replace(POLICY, steps=(Step(10), Step(30))), None,
            id="Baking: edited steps leave the weight",
        ),
        pytest.param(
            paused("Paused"), facts(**SHARED), replace(POLICY, is_paused=True), None,
            id="Paused: it stays so",
        ),
        pytest.param(
            paused("Paused"), facts(**SHARED), POLICY, ("Baking", ""), id="Paused: resumed"
        ),
        pytest.param(
            paused("Paused", paused_in="Preparing"), facts(), POLICY, ("Preparing", ""),
            id="Paused: resumed where it was",
        ),
        pytest.param(
            paused("AwaitingApproval", approved=1), facts(**SHARED),
            replace(POLICY, steps=(Step(20, is_manual=True),)), ("Baking", ""),
            id="Paused: approved",
        ),
        pytest.param(
            paused("AwaitingApproval"), facts(**SHARED),
            replace(POLICY, steps=(Step(20, is_manual=True),)), None, id="Paused: not approved",
        ),
        pytest.param(
            paused("AwaitingApproval"), facts(**SHARED, candidate_pods=0), MANUAL,
            ("Aborting", "CandidateDown"), id="Paused: no pod is left",
        ),
        pytest.param(
            paused("AwaitingApproval"), facts(**SHARED, candidate_pods=0, stable_pods=0), MANUAL,
            None, id="Paused: nobody else has one either",
        ),
        pytest.param(
            paused("AwaitingApproval", verified=0), facts(**SHARED, candidate_pods=0), MANUAL,
            None, id="Paused: pods are awaited",
        ),
        pytest.param(
            paused("Paused", paused_in="Preparing", step=0, weight=0, verified=0),
            facts(candidate_pods=0), replace(POLICY, is_paused=True), None,
            id="Paused: before the first step nobody is sent there",
        ),
        pytest.param(
            shifting(step=2, weight=50, verified=20), facts(**SHARED, candidate_pods=0), POLICY,
            ("Aborting", "CandidateDown"), id="Shifting: no pod is left of the step before",
        ),
        pytest.param(
            shifting(told_at=ago(1)), facts(**GATED, candidate_pods=0), POLICY,
            ("Aborting", "CandidateDown"), id="Shifting: no pod is left when the routes say it",
        ),
        pytest.param(
            shifting(step=2, weight=50, verified=20),
            facts(**SHARED, candidate_pods=0, stable_pods=0), POLICY, None,
            id="Shifting: nobody else has a pod either",
        ),
        pytest.param(
            shifting(step=2, weight=50, verified=20),
            facts(**SHARED, candidate_pods=0, is_off=True), POLICY, ("Shifting", ""),
            id="Shifting: suspended, the step is to be reached anew, too",
        ),
        pytest.param(
            paused("AwaitingApproval"), facts(**SHARED, finding=FAIL), POLICY,
            ("Aborting", "AnalysisFailed"), id="Paused: checks go on",
        ),
        pytest.param(
            promoting(), facts(**SHARED), POLICY, None, id="Promoting: pods are missing"
        ),
        pytest.param(
            promoting(), facts(route=Route.CANDIDATE, **WHOLE), POLICY, ("Promoting", ""),
            id="Promoting: it settles",
        ),
        pytest.param(
            promoting(routed_at=ago(5)), facts(route=Route.CANDIDATE, **WHOLE), POLICY,
            ("Watching", ""), id="Promoting: watched",
        ),
        pytest.param(
            promoting(routed_at=ago(5), is_fast=True), facts(route=Route.CANDIDATE, **WHOLE),
            POLICY, ("Idle", ""), id="Promoting: what came back is not watched",
        ),
        pytest.param(
            promoting(), facts(route=Route.CANDIDATE, **WHOLE), CUT, ("Idle", ""),
            id="Promoting: committed",
        ),
        pytest.param(
            promoting(), facts(route=Route.CANDIDATE, desired=NEXT, **WHOLE), CUT, ("Idle", ""),
            id="Promoting: superseded, it is finished first",
        ),
        pytest.param(
            promoting(), facts(desired=OLD, **SHARED), POLICY, ("Aborting", "Reverted"),
            id="Promoting: reverted before the cut",
        ),
        pytest.param(
            promoting(since=ago(1800)), facts(**SHARED), POLICY, ("Aborting", "ProgressDeadline"),
            id="Promoting: too late",
        ),
        pytest.param(
            promoting(is_fast=True), facts(finding=FAIL), POLICY, None,
            id="Promoting: nothing speaks against what is wanted back",
        ),
        pytest.param(
            promoting(), facts(finding=FAIL, stable_pods=0), POLICY, None,
            id="Promoting: there is nothing to go back to",
        ),
        pytest.param(
            watching(299), facts(route=Route.CANDIDATE), POLICY, None, id="Watching: goes on"
        ),
        pytest.param(
            watching(300), facts(route=Route.CANDIDATE), POLICY, ("Idle", ""),
            id="Watching: its time is over",
        ),
        pytest.param(
            watching(), facts(route=Route.CANDIDATE, finding=FAIL), POLICY,
            ("Aborting", "PostPromotion"), id="Watching: a check fails",
        ),
        pytest.param(
            watching(), facts(route=Route.CANDIDATE, candidate_pods=0), POLICY,
            ("Aborting", "PostPromotion"), id="Watching: no pod is left",
        ),
        pytest.param(
            watching(), facts(route=Route.CANDIDATE, desired=OLD), POLICY,
            ("Aborting", "Reverted"), id="Watching: reverted",
        ),
        pytest.param(
            watching(), facts(route=Route.CANDIDATE, desired=NEXT), POLICY, ("Idle", ""),
            id="Watching: superseded, it is committed at once",
        ),
        pytest.param(aborting(), facts(**SHARED), POLICY, None, id="Aborting: traffic is there"),
        pytest.param(aborting(), facts(), POLICY, ("Aborting", "AbortedByUser"), id="Aborting: it"
                     " has left"),
        pytest.param(
            aborting(routed_at=ago(64)), facts(), POLICY, None, id="Aborting: connections remain"
        ),
        pytest.param(
            aborting(routed_at=ago(65)), facts(), POLICY, ("Failed", "AbortedByUser"),
            id="Aborting: drained",
        ),
        pytest.param(
            aborting(is_exposed=False), facts(), POLICY, ("Failed", "AbortedByUser"),
            id="Aborting: there were none",
        ),
        pytest.param(
            aborting(routed_at=ago(65)), facts(desired=OLD), POLICY, ("Idle", ""),
            id="Aborting: the stable one is asked for",
        ),
        pytest.param(
            aborting(routed_at=ago(65)), facts(desired=NEXT), POLICY, ("Preparing", ""),
            id="Aborting: the next one is asked for",
        ),
        pytest.param(
            aborting(routed_at=ago(65), reason="Superseded"), facts(), POLICY, ("Preparing", ""),
            id="Aborting: superseded, and asked for again",
        ),
    ],
)  # fmt: skip
def test_a_row(
    progress: Progress | None, seen: Facts, policy: Policy, expected: tuple[str, str] | None
) -> None:
    found = advance(progress, seen, policy)
    if found == progress:
        found = None
    assert (found and (str(found.state), found.reason)) == expected


def test_what_hindered_the_model_is_remembered_until_it_is_there() -> None:
    waiting = at(State.PREPARING)
    hindered = advance(waiting, facts(**UNSUPPLIED, hindrance="Unavailable: 503"), POLICY)
    assert hindered == replace(waiting, message="Unavailable: 503")
    # A new Job has begun: it knows nothing yet.
    assert advance(hindered, facts(**UNSUPPLIED), POLICY) is None
    late = advance(replace(hindered, since=ago(1800)), facts(**UNSUPPLIED), POLICY)
    assert late is not None
    assert late.message == "the model was not there in time: Unavailable: 503"
    assert advance(hindered, facts(candidate_pods=0), POLICY) == waiting


def test_pods_that_went_on_purpose_are_waited_for_during_a_pause() -> None:
    waiting = paused("AwaitingApproval")
    off = facts(**SHARED, candidate_pods=0, stable_pods=0, is_off=True)
    asleep = advance(waiting, off, MANUAL)
    assert asleep == replace(waiting, verified=0)
    assert advance(asleep, off, MANUAL) is None
    assert advance(asleep, facts(**SHARED, candidate_pods=0), MANUAL) is None
    awake = advance(asleep, facts(**SHARED), MANUAL)
    assert awake == waiting
    assert advance(awake, facts(**SHARED), MANUAL) is None
    dead = advance(awake, facts(**SHARED, candidate_pods=0), MANUAL)
    assert dead is not None
    assert dead.reason == "CandidateDown"


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param({}, id="nobody is sent there"),
        pytest.param({**SHARED, "is_verified": False}, id="no Gateway has taken it"),
        pytest.param({**SHARED, "is_placed": False}, id="the routes do not say it"),
        pytest.param({**SHARED, "is_listed": False}, id="no endpoints"),
        pytest.param({**SHARED, "needed": 2}, id="pods are missing"),
    ],
)
def test_a_weight_counts_again_when_it_is_reached_again(seen: dict[str, Any]) -> None:
    assert advance(paused("AwaitingApproval", verified=0), facts(**seen), MANUAL) is None


def test_a_suspended_step_has_reached_nothing() -> None:
    off = facts(**SHARED, candidate_pods=0, is_off=True)
    found = advance(shifting(step=2, weight=50, verified=20), off, POLICY)
    assert found is not None
    assert found.verified == 0


def test_a_commit_names_the_candidate_and_nothing_else() -> None:
    seen = facts(route=Route.CANDIDATE, desired=NEXT, **WHOLE)
    found = advance(promoting(routed_at=ago(5), handled="x", is_fast=True), seen, POLICY)
    assert found == Progress(State.IDLE, since=ago(0), committed=NEW, handled="x")


@pytest.mark.parametrize(
    ("progress", "policy", "shares", "expected"),
    [
        pytest.param(baking(), POLICY, (1, 4), ("Shifting", 2, 50), id="the next"),
        pytest.param(baking(), POLICY, (1, 1), ("Promoting", 1, 100), id="one of the same share"),
        pytest.param(
            baking(), replace(POLICY, steps=(Step(20), Step(50, is_manual=True))), (1, 1),
            ("Shifting", 2, 50), id="but not past one that is to be approved",
        ),
        pytest.param(
            baking(), replace(POLICY, on_coarse=Otherwise.SKIP, steps=(Step(20), Step(40))), (1, 9),
            ("Promoting", 1, 100), id="a coarse one is skipped",
        ),
    ],
)  # fmt: skip
def test_the_next_step(
    progress: Progress, policy: Policy, shares: tuple[int, ...], expected: tuple[str, int, int]
) -> None:
    found = advance(progress, facts(shares=shares, **SHARED), policy)
    assert found is not None
    assert (str(found.state), found.step, found.weight) == expected


@pytest.mark.parametrize(("verdict", "expected"), [(Verdict.NO_DATA, True), (Verdict.PASS, False)])
def test_a_step_that_nothing_was_known_of_is_remembered(verdict: Verdict, expected: bool) -> None:
    found = advance(baking(), facts(**SHARED, verdict=verdict), POLICY)
    assert found is not None
    assert found.without_evidence is expected


def test_edited_steps_go_on_with_the_first_of_a_greater_weight() -> None:
    policy = replace(POLICY, steps=(Step(10), Step(15), Step(30)))
    seen = facts(shares=(1, 1, 2), **SHARED)
    followed = advance(baking(), seen, policy)
    assert followed is not None
    assert (followed.state, followed.step, followed.weight) == (State.BAKING, 2, 20)
    shifted = advance(followed, seen, policy)
    assert shifted is not None
    assert (shifted.step, shifted.weight) == (3, 30)


def act(verb: str, target: str = NEW) -> Action | None:
    return action_of(
        {"metadata": {"annotations": {"slipway.dev/rollout-action": f"{verb} @{target} #1"}}}
    )


@pytest.mark.parametrize(
    ("progress", "action", "expected"),
    [
        pytest.param(at(State.PREPARING), act("abort"), ("Aborting", "AbortedByUser"), id="abort"),
        pytest.param(promoting(), act("abort"), ("Aborting", "AbortedByUser"), id="in Promoting"),
        pytest.param(watching(), act("abort"), ("Aborting", "AbortedByUser"), id="in Watching"),
        pytest.param(baking(0), act("promote"), ("Promoting", ""), id="promote"),
        pytest.param(baking(0), act("skip-step"), ("Shifting", ""), id="skip-step"),
        pytest.param(
            paused("AwaitingApproval"), act("approve"), ("Paused", "AwaitingApproval"),
            id="approve is seen by the next row",
        ),
        pytest.param(at(State.FAILED), act("retry"), ("Preparing", ""), id="retry"),
        pytest.param(
            paused("PreflightUnavailable", step=0, weight=0), act("approve"), ("Shifting", ""),
            id="approve without a preflight",
        ),
    ],
)  # fmt: skip
def test_an_action_is_followed(
    progress: Progress, action: Action, expected: tuple[str, str]
) -> None:
    found = asked(progress, action, facts(), POLICY)
    assert (str(found.state), found.reason, found.answer) == (*expected, "")
    assert found.handled == action.text
    assert asked(found, action, facts(), POLICY) == found


@pytest.mark.parametrize(
    ("progress", "action", "answer"),
    [
        pytest.param(
            baking(0), act("abort", NEXT), f"it is about {NEXT}, and now {NEW} is concerned",
            id="about another revision",
        ),
        pytest.param(
            Progress(State.IDLE), act("promote", OLD), "promote has no meaning in state Idle",
            id="nothing to promote",
        ),
        pytest.param(
            baking(0), act("retry"), "retry has no meaning in state Baking", id="nothing failed"
        ),
        pytest.param(
            baking(0), act("rollback:dddddddddd"),
            "revision dddddddddd is none that has served here", id="an unknown revision",
        ),
        pytest.param(
            baking(0), Action("stop!", Verb.UNKNOWN),
            "it is not of the form VERB[:ARGUMENT] @HASH #NONCE", id="gibberish",
        ),
    ],
)  # fmt: skip
def test_an_action_without_meaning_is_answered_and_changes_nothing(
    progress: Progress, action: Action, answer: str
) -> None:
    found = asked(progress, action, facts(), POLICY)
    assert found == replace(progress, handled=action.text, answer=answer)


@pytest.mark.parametrize("reason", c.ENDED_BY_CAUSE)
def test_an_approval_that_ends_no_pause_is_answered_and_opens_no_later_gate(reason: str) -> None:
    progress, action = paused(reason), act("approve")
    found = asked(progress, action, facts(**SHARED), POLICY)
    answer = f"no approval ends the pause {reason}: {c.ENDED_BY_CAUSE[reason]}"
    assert action is not None
    assert found == replace(progress, handled=action.text, answer=answer)
    manual = replace(POLICY, steps=(Step(20, is_manual=True), Step(50)))
    resumed = advance(found, facts(**SHARED), manual)
    assert resumed is not None
    gate = advance(resumed, facts(**SHARED), manual)
    assert gate is not None
    assert (gate.state, gate.reason) == (State.PAUSED, "AwaitingApproval")


def test_a_rollback_pins_a_revision_until_it_is_taken_back() -> None:
    seen = facts(stable=NEW, known=frozenset({OLD}))
    found = asked(Progress(State.IDLE), act(f"rollback:{OLD}"), seen, POLICY)
    assert (found.pinned, found.pinned_from) == (OLD, NEW)
    assert asked(found, act("rollback:none"), seen, POLICY).pinned == ""


def test_a_retry_counts_attempts() -> None:
    failed = at(State.FAILED, attempt=2)
    assert asked(failed, act("retry"), facts(), POLICY).attempt == 3


@pytest.mark.parametrize(
    "progress",
    [baking(), promoting(), watching(), aborting(), paused("Paused"), at(State.FAILED),
     at(State.PREFLIGHT, preflight="passed"),
     shifting(note="coarse", approved=1, without_evidence=True, handled="x", answer="no")],
    ids=lambda p: str(p.state),
)  # fmt: skip
def test_what_is_remembered_is_read_back(progress: Progress) -> None:
    weight = {"desired": progress.weight, "note": progress.note}
    status = {
        "candidate": {"hash": progress.candidate},
        "rollout": {"id": "2-1", **written(progress), "weight": weight},
    }
    assert read(status) == progress
