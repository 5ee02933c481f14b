"""What can be asked where a rollout stands, and what is refused before it is written."""

from __future__ import annotations

from typing import Any

import pytest

from slipway_operator.picture.verbs import Refused, hints, outcome, request
from slipway_operator.plan.action import ACTION, NONE, Verb, action_of
from slipway_operator.plan.conditions import ENDED_BY_CAUSE
from tests.statuses import SITUATIONS, recorded

LABEL = "abcd1234"


def _hash(name: str, track: str) -> str:
    return str(recorded(name)["status"][track]["hash"])


@pytest.mark.parametrize(
    ("situation", "verb", "track"),
    [
        pytest.param("baking", Verb.PROMOTE, "candidate", id="the candidate is promoted"),
        pytest.param("paused-for-approval", Verb.APPROVE, "candidate", id="and approved"),
        pytest.param("watching", Verb.ABORT, "candidate", id="aborted after the cut"),
        pytest.param("aborted-by-user", Verb.RETRY, "candidate", id="the failed one is retried"),
    ],
)
def test_an_action_names_what_it_is_about(situation: str, verb: Verb, track: str) -> None:
    wanted = request(verb, "", recorded(situation), LABEL)
    assert wanted.text == f"{verb} @{_hash(situation, track)} #{LABEL}"
    read = action_of({"metadata": {"annotations": {ACTION: wanted.text}}})
    assert read is not None
    assert read.verb is verb, "the operator reads what is written here"


@pytest.mark.parametrize(
    ("situation", "verb", "argument", "expected"),
    [
        pytest.param("healthy", Verb.PROMOTE, "", "promote has no meaning in state Idle: revision"
                     " r1", id="nothing to promote"),
        pytest.param("baking", Verb.RETRY, "", "retry has no meaning in state Baking",
                     id="nothing failed"),
        pytest.param("aborted-by-user", Verb.ABORT, "", "slipway retry digits", id="what helps"),
        pytest.param("fresh", Verb.ABORT, "", "has not told of any revision", id="no status"),
        pytest.param("healthy", Verb.ROLLBACK, "", "no earlier revision", id="no history"),
        pytest.param("healthy", Verb.ROLLBACK, NONE, "no rollback is in force", id="no pin"),
        pytest.param("healthy-with-history", Verb.ROLLBACK, "r9", "no revision 'r9' has served;"
                     " these have: r1 ", id="an unknown revision"),
        pytest.param("healthy-with-history", Verb.ROLLBACK, "r2", "serves already",
                     id="the stable revision"),
    ],
)  # fmt: skip
def test_what_can_have_no_meaning_is_refused(
    situation: str, verb: Verb, argument: str, expected: str
) -> None:
    with pytest.raises(Refused) as refused:
        request(verb, argument, recorded(situation), LABEL)
    assert expected in str(refused.value)


@pytest.mark.parametrize("argument", ["", "1", "r1", "HASH", "HASH[:4]"])
def test_a_rollback_finds_the_revision(argument: str) -> None:
    mdep = recorded("healthy-with-history")
    (first,) = (e["hash"] for e in mdep["status"]["history"])
    given = {"HASH": first, "HASH[:4]": first[:4]}.get(argument, argument)
    stable = mdep["status"]["stable"]["hash"]
    assert request(Verb.ROLLBACK, given, mdep, LABEL).text == f"rollback:{first} @{stable} #{LABEL}"


def test_a_rollback_is_taken_back() -> None:
    wanted = request(Verb.ROLLBACK, NONE, recorded("pinned"), LABEL)
    assert wanted.text.startswith("rollback:none @")


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        pytest.param("healthy", [], id="nothing to do"),
        pytest.param("healthy-with-history", ["rollback"], id="there is a way back"),
        pytest.param("baking", ["promote", "skip-step", "abort"], id="a step"),
        pytest.param("paused-for-approval", ["approve", "promote", "abort"], id="approval"),
        pytest.param("paused-without-data", ["approve", "promote", "abort"], id="no data"),
        pytest.param("paused-by-spec", ["", "abort"], id="the spec has to change"),
        pytest.param("aborting", [], id="on its way back"),
        pytest.param("aborted-by-analysis", ["retry", ""], id="failed"),
        pytest.param("pinned", ["rollback --undo"], id="pinned"),
        pytest.param("pending", [], id="nothing to go back to"),
        pytest.param("fresh", [], id="nothing is known"),
    ],
)
def test_hints(situation: str, expected: list[str]) -> None:
    assert [h.verb for h in hints(recorded(situation).get("status") or {})] == expected


def _paused_for(reason: str) -> dict[str, Any]:
    mdep = recorded("paused-for-approval")
    mdep["status"]["rollout"]["reason"] = reason
    return mdep


@pytest.mark.parametrize("reason", ENDED_BY_CAUSE)
def test_a_pause_that_no_approval_ends_is_told_with_what_ends_it(reason: str) -> None:
    mdep = _paused_for(reason)
    first, *others = hints(mdep["status"])
    assert (first.verb, first.text) == ("", f"{ENDED_BY_CAUSE[reason]} to go on")
    assert [h.verb for h in others] == ["abort"]
    with pytest.raises(Refused) as refused:
        request(Verb.APPROVE, "", mdep, LABEL)
    assert ENDED_BY_CAUSE[reason] in str(refused.value)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_what_is_hinted_is_not_refused(situation: str) -> None:
    mdep = recorded(situation)
    for hint in hints(mdep.get("status") or {}):
        verb, _, undo = hint.verb.partition(" ")
        if verb:
            request(Verb(verb), NONE if undo else "", mdep, LABEL)


def _answered(**rollout: Any) -> dict[str, Any]:
    mdep = recorded("baking")
    mdep["metadata"]["annotations"] = {ACTION: "abort @x #1"}
    mdep["status"]["rollout"] |= rollout
    return mdep


def test_the_outcome_is_unknown_until_somebody_has_taken_note() -> None:
    assert outcome("abort @x #1", _answered()) is None


def test_an_action_that_was_taken_tells_what_is_going_on() -> None:
    told = outcome("abort @x #1", _answered(handledAction="abort @x #1", state="Aborting"))
    assert told is not None
    assert (told.is_done, told.text[:17]) == (True, "digits: Aborting:")


def test_an_action_that_was_ignored_tells_why_and_what_helps() -> None:
    ignored = _answered(handledAction="abort @x #1", actionAnswer="it is about x")
    told = outcome("abort @x #1", ignored)
    assert told is not None
    assert not told.is_done
    assert "it is about x" in told.text
    assert "slipway promote digits" in told.text


def test_an_action_that_somebody_else_has_replaced_is_told() -> None:
    told = outcome("promote @x #2", _answered())
    assert told is not None
    assert not told.is_done
    assert "abort @x #1" in told.text
