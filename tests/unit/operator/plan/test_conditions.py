"""Conditions keep their times, and every reason has its sentence."""

from __future__ import annotations

import re

import pytest

from slipway_operator.plan import conditions as c
from slipway_operator.plan import pods, supply
from slipway_operator.plan.conditions import Condition, find, merge

_TYPES = set(c.ORDER)


def _constants(module: object) -> set[str]:
    return {
        v for k, v in vars(module).items()
        if k.isupper() and isinstance(v, str) and re.fullmatch(r"([A-Z][a-z]*)+", v)
    }  # fmt: skip


@pytest.mark.parametrize("module", [c, pods, supply], ids=lambda m: m.__name__)
def test_every_reason_has_a_sentence(module: object) -> None:
    known = _TYPES | {"REVISION", "Opaque"}
    assert _constants(module) - known <= c.REASONS.keys()


@pytest.mark.parametrize("reason", c.REASONS)
def test_a_reason_is_camel_case_and_its_sentence_ends(reason: str) -> None:
    assert re.fullmatch(r"[A-Z][A-Za-z]+", reason)
    assert re.fullmatch(r"[A-Z`].*\.", c.REASONS[reason])


def test_the_time_moves_only_with_the_status() -> None:
    first = merge([], [Condition(c.READY, False, "A", "a")], 1, "t1")
    second = merge(first, [Condition(c.READY, False, "B", "b")], 2, "t2")
    third = merge(second, [Condition(c.READY, True, "C", "c")], 3, "t3")
    times = [x[0]["lastTransitionTime"] for x in (first, second, third)]
    assert times == ["t1", "t1", "t3"]
    assert third == [
        {
            "type": "Ready", "status": "True", "observedGeneration": 3,
            "lastTransitionTime": "t3", "reason": "C", "message": "c",
        }
    ]  # fmt: skip


def test_conditions_come_in_their_order() -> None:
    given = [Condition(kind, True, "A", "a") for kind in reversed(c.ORDER)]
    assert [x["type"] for x in merge([], given, 1, "t")] == list(c.ORDER)


def test_find_takes_the_type() -> None:
    written = merge([], [Condition(c.READY, True, "A", "a")], 1, "t")
    assert find(written, c.READY) == written[0]
    assert find(written, c.STALLED) is None
