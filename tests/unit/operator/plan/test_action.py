"""What people ask for is read exactly, or not at all."""

from __future__ import annotations

import pytest

from slipway_operator.plan.action import ACTION, Action, Verb, action_of

HASH = "3f9c1d20ab"


def of(text: str) -> Action | None:
    return action_of({"metadata": {"annotations": {ACTION: text}}})


@pytest.mark.parametrize(
    ("text", "verb", "argument"),
    [
        (f"abort @{HASH} #1", Verb.ABORT, ""),
        (f"skip-step @{HASH} #a-b", Verb.SKIP_STEP, ""),
        (f"rollback:8a1c00ffee @{HASH} #1", Verb.ROLLBACK, "8a1c00ffee"),
        (f"rollback:none @{HASH} #1", Verb.ROLLBACK, "none"),
    ],
)
def test_an_action(text: str, verb: Verb, argument: str) -> None:
    assert of(text) == Action(text, verb, argument, HASH)


@pytest.mark.parametrize(
    "text",
    [
        f"abort @{HASH}", f"abort {HASH} #1", "abort @3f9c #1", f"Abort @{HASH} #1",
        f"rollback @{HASH} #1", f"abort:now @{HASH} #1", f"abort @{HASH} #1 #2", "x" * 999,
    ],
)  # fmt: skip
def test_anything_else_is_told_from_silence(text: str) -> None:
    found = of(text)
    assert found is not None
    assert (found.verb, len(found.text) <= 256) == (Verb.UNKNOWN, True)


@pytest.mark.parametrize("notes", [None, {}, {ACTION: ""}, {"other": "abort"}])
def test_silence(notes: dict[str, str] | None) -> None:
    assert action_of({"metadata": {"annotations": notes}}) is None
