"""Names are filled into queries, and an answer belongs to the very question."""

from __future__ import annotations

import pytest

from slipway_operator.api.analysis import QUERY_NAMES
from slipway_operator.plan.policy import Check, CheckType, Policy
from slipway_operator.plan.queries import Answers, Question, Subject
from slipway_operator.verdict.outcome import Action, Verdict
from slipway_operator.verdict.promql import Reading

ABOUT = Subject("team-a", "digits", "aaaaaaaaaa", "bbbbbbbbbb")


def check(query: str, **more: object) -> Check:
    return Check("q", CheckType.PROMQL, query=query, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ('a{rev="{{candidate}}"} / a{rev="{{stable}}"}',
         'a{rev="bbbbbbbbbb"} / a{rev="aaaaaaaaaa"}'),
        ('b{ns="{{namespace}}",m=~"{{name}}-.*"}', 'b{ns="team-a",m=~"digits-.*"}'),
        ("up", "up"),
    ],
)  # fmt: skip
def test_names_are_filled_in(query: str, expected: str) -> None:
    assert ABOUT.question(check(query), Policy(prometheus="http://p")) == Question(
        "http://p", expected
    )


@pytest.mark.parametrize("name", QUERY_NAMES)
def test_every_name_that_the_crd_allows_is_known(name: str) -> None:
    assert "{{" not in ABOUT.question(check("{{" + name + "}}"), Policy()).query


@pytest.mark.parametrize(
    ("asked", "verdict"),
    [
        pytest.param("up", Verdict.PASS, id="the question that was asked"),
        pytest.param("down", Verdict.NO_DATA, id="it was edited meanwhile"),
    ],
)
def test_an_answer_is_about_its_question(asked: str, verdict: Verdict) -> None:
    known = Answers("b-1", {Question("", "up"): Reading(0.5)})
    (found,) = known.findings(ABOUT, Policy(checks=(check(asked, limit=1.0),)))
    assert (found.name, found.verdict) == ("q", verdict)


def test_the_limit_of_now_judges_the_answer_of_before() -> None:
    known = Answers("b-1", {Question("", "up"): Reading(0.5)})
    strict = Policy(checks=(check("up", limit=0.1, action=Action.PAUSE),))
    (found,) = known.findings(ABOUT, strict)
    assert (found.verdict, found.action) == (Verdict.FAIL, Action.PAUSE)


def test_two_checks_of_one_query_are_one_question() -> None:
    two = Policy(checks=(check("up", limit=1.0), check("up", limit=2.0)))
    assert ABOUT.questions(two) == [Question("", "up")]
