"""Figures of a rollout follow from what clients and observer noted, and musts from the figures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.rollout.cases import CASES, Act, Bad, Case, Mode, rollout
from benchmarks.rollout.judging import Course, Look, Request, Share, faults, judged
from benchmarks.rollout.page import main, told
from benchmarks.rollout.table import markdown
from slipway_operator.api.v1alpha1 import Spec

OLD, NEW = "a" * 10, "b" * 10
FAILING = Case("fails", "x", "Failed", bad=Bad.FAILED, detected_s=60)


def ask(at_s: float, revision: str = OLD, outcome: str = "ok", wire: str = "rest-new") -> Request:
    return Request(at_s, 0.01, wire, revision, outcome)


def look(at_s: float, state: str = "Baking", **more: Any) -> Look:
    whole: dict[str, Any] = {
        "step": 1, "reason": "", "applied": 20, "stable": OLD, "candidate": NEW, "desired": NEW,
        "serving": 4, "pods": (("u1", 0),),
    }  # fmt: skip
    return Look(at_s, state, **{**whole, **more})


def course(requests: list[Request], *looks: Look) -> Course:
    end = look(100, "Failed", applied=None, reason="AnalysisFailed")
    return Course(OLD, NEW, 4, 0.0, requests, [*looks, end])


def test_what_a_bad_candidate_answers_is_harm_and_the_rest_is_the_machinery() -> None:
    requests = [ask(1), ask(2, NEW, "500"), ask(3, NEW), ask(4, OLD, "500"), ask(5, "", "Timeout")]
    found = judged(FAILING, Mode.SERVICE, course(requests))
    assert (found.requests, found.harmed, found.failed) == (5, 1, 2)


def test_pods_that_die_under_requests_are_the_candidates_fault() -> None:
    requests = [ask(1, NEW), ask(2, "", "ServerDisconnectedError"), ask(3, OLD, "500")]
    found = judged(replace(FAILING, crashes=True), Mode.SERVICE, course(requests))
    assert (found.harmed, found.failed) == (1, 1)


def test_detection_lasts_from_the_first_bad_answer_to_the_candidates_last() -> None:
    requests = [ask(1, NEW), ask(2, NEW, "500"), ask(9, NEW), ask(20, NEW, wire="rest-kept")]
    assert judged(FAILING, Mode.SERVICE, course(requests)).detected_s == 7
    assert judged(FAILING, Mode.GATEWAY, course(requests)).detected_s == 18


def test_capacity_is_the_least_that_was_seen_while_it_was_stable() -> None:
    looks = [look(1), look(2, serving=3), look(3, serving=0, stable=NEW)]
    assert judged(FAILING, Mode.SERVICE, course([], *looks)).capacity == 0.75


def test_pods_that_did_not_outlive_the_promotion_are_counted() -> None:
    same = [look(1, pods=(("u1", 0),)), look(2, "Promoting", pods=(("u1", 0), ("u2", 0)))]
    assert judged(FAILING, Mode.SERVICE, course([], *same)).reloaded == 0
    other = [look(1, pods=(("u1", 0),)), look(2, "Promoting", pods=(("u1", 1), ("u2", 0)))]
    assert judged(FAILING, Mode.SERVICE, course([], *other)).reloaded == 1


def test_shares_are_measured_while_a_weight_is_told() -> None:
    requests = [ask(t / 10, NEW if t % 5 == 0 else OLD) for t in range(400)]
    looks = [look(1), look(31, "Promoting", applied=None)]
    found = judged(FAILING, Mode.GATEWAY, course(requests, *looks))
    assert found.shares == ()  # a single look is no stretch
    looks = [look(1), look(30), look(31, "Promoting", applied=None)]
    assert judged(FAILING, Mode.GATEWAY, course(requests, *looks)).shares == (Share(20, 20.3, 281),)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param({}, [], id="nothing is missed"),
        pytest.param({"failed": 1}, ["1 requests failed by the machinery, expected 0"], id="lost"),
        pytest.param({"detected_s": 61.0}, ["detected after 61.0 s, expected below 60"], id="late"),
        pytest.param({"detected_s": None}, ["detected after None s, expected below 60"], id="not"),
        pytest.param({"capacity": 0.75}, ["stable had 75% of its pods, expected all"], id="less"),
        pytest.param(
            {"shares": (Share(10, 12.5, 400),)}, ["share 12.5 %, applied 10 %"], id="share"
        ),
        pytest.param(
            {"end": "Idle"}, [f"ended Idle with {OLD} stable, expected Failed with {OLD}"], id="end"
        ),
    ],
)
def test_each_must_can_be_missed(change: dict[str, Any], expected: list[str]) -> None:
    requests = [ask(1, NEW, "500"), ask(2, NEW)]
    seen = course(requests, look(1))
    found = replace(judged(FAILING, Mode.GATEWAY, seen), **change)
    assert faults(FAILING, Mode.GATEWAY, seen, found) == expected


def test_a_candidate_that_was_tried_may_harm_nobody() -> None:
    case = Case("tried", "x", "Failed", bad=Bad.ALL, is_tried=True)
    seen = course([ask(1, NEW)], look(1))
    found = judged(case, Mode.SERVICE, seen)
    assert faults(case, Mode.SERVICE, seen, found) == ["1 answers harmed clients, expected 0"]


def test_a_rollback_is_timed_from_its_acceptance_to_the_last_answer_of_what_is_left() -> None:
    case = Case("back", "v1", "Idle", act=Act.ROLL_BACK)
    requests = [ask(1), ask(11), ask(12, wire="grpc"), ask(13, NEW)]
    end = look(100, "Idle", stable=NEW, applied=None)
    seen = replace(course(requests), looks=[end])
    found = judged(case, Mode.SERVICE, seen)
    assert (found.left_s, found.left_kept_s) == (11.01, 12.01)
    assert faults(case, Mode.SERVICE, seen, found) == ["left after 11.01 s, expected at most 10"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("mode", Mode)
def test_each_case_asks_for_a_rollout_that_there_is(case: Case, mode: Mode) -> None:
    samples = {"configMap": {"name": "samples", "key": "samples.json"}}
    model = {"uri": "configmap://v1/model.onnx", "samples": samples}
    Spec.model_validate({"model": model, "rollout": rollout(case, mode)})


def test_the_page_is_in_step() -> None:
    assert main(["--check"]) == 0


def test_a_result_is_a_row() -> None:
    requests = [ask(1, NEW, "500"), ask(2, NEW)]
    figures = judged(FAILING, Mode.SERVICE, course(requests, look(1))).json()
    row = markdown([{"name": "fails", "figures": figures, "faults": []}]).splitlines()[-1]
    assert row == "| fails | Failed AnalysisFailed | 1.0 s | 1 | 0 | 2 | 100% |  | pass |"
    assert told(None) == "No run is committed yet."
