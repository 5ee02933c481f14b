"""Series of rollouts: what is told of each situation, and how many there can be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from slipway_operator.plan.progress import State
from slipway_operator.telemetry import rollouts
from slipway_operator.telemetry.rollouts import STATES, VERDICTS, Rollouts
from slipway_operator.verdict.outcome import Verdict
from tests.statuses import SITUATIONS, recorded


def _told(*mdeps: dict[str, Any]) -> set[str]:
    return set(_lines(mdeps))


def _lines(mdeps: Iterable[dict[str, Any]]) -> list[str]:
    registry, told = CollectorRegistry(), Rollouts()
    told.source = lambda: mdeps
    registry.register(told)
    text = generate_latest(registry).decode()
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_a_rollout_tells_state_weights_and_verdicts() -> None:
    place = 'name="digits",namespace="t1"'
    assert _told(recorded("baking-counted")) == {
        f"slipway_modeldeployment_ready{{{place}}} 0.0",
        f'slipway_rollout_state{{{place},state="Baking"}} 1.0',
        f'slipway_rollout_weight_percent{{kind="desired",{place}}} 20.0',
        f'slipway_rollout_weight_percent{{kind="applied",{place}}} 20.0',
        f'slipway_rollout_weight_percent{{kind="observed",{place}}} 20.0',
        f'slipway_rollout_verdict{{check="errors",{place},verdict="Running"}} 1.0',
        "slipway_rollouts_untold 0.0",
    }


def test_at_rest_there_are_two_series() -> None:
    assert len(_lines([recorded("healthy")])) == 3


@pytest.mark.parametrize("situation", SITUATIONS)
def test_every_situation_can_be_told(situation: str) -> None:
    assert len(_lines([recorded(situation)])) <= 16


def test_all_states_and_verdicts_are_known() -> None:
    assert {str(s) for s in State} <= STATES
    assert {str(v) for v in Verdict} <= VERDICTS


def test_words_of_no_fixed_set_make_no_series() -> None:
    mdep = recorded("baking-counted")
    mdep["status"]["rollout"]["state"] = "x" * 99
    mdep["status"]["analysis"] = [{"name": f"c{i}", "verdict": f"v{i}"} for i in range(99)]
    assert not [line for line in _lines([mdep]) if "verdict=" in line or "state=" in line]


def test_what_is_too_much_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollouts, "MOST", 2)
    lines = _lines([recorded("healthy")] * 5)
    assert "slipway_rollouts_untold 3.0" in lines
