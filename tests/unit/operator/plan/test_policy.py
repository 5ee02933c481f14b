"""`spec.rollout` and its defaults."""

from __future__ import annotations

from typing import Any

import pytest

from slipway_operator.api.v1alpha1 import parse_spec
from slipway_operator.plan.policy import (
    CHECKS,
    Check,
    CheckType,
    Otherwise,
    Policy,
    Step,
    Strategy,
    policy_of,
)
from slipway_operator.verdict.outcome import Action as OnFailure
from tests.builders import spec_of


def of(**rollout: Any) -> Policy:
    return policy_of(parse_spec(spec_of(rollout=rollout)))


def test_without_the_block_a_revision_takes_over_by_one_cut() -> None:
    found = policy_of(parse_spec(spec_of()))
    assert found == Policy()
    assert (found.steps, found.watch_s, found.settle_s) == ((), 0.0, 0.0)


def test_the_empty_block_is_a_canary_with_the_documented_defaults() -> None:
    assert of() == Policy(
        strategy=Strategy.CANARY, steps=(Step(5), Step(25), Step(50)), watch_s=300.0, settle_s=5.0
    )


@pytest.mark.parametrize(
    ("rollout", "name", "expected"),
    [
        ({"strategy": "BlueGreen"}, "steps", ()),
        ({"steps": []}, "steps", ()),
        (
            {"steps": [{"weight": 10, "hold": "2m", "approval": "Manual"}]},
            "steps", (Step(10, 120.0, True),),
        ),
        ({"paused": True}, "is_paused", True),
        ({"historyLimit": 0}, "history_limit", 0),
        ({"capacity": "Conserve"}, "conserves", True),
        ({"progressDeadline": "10m"}, "progress_deadline_s", 600.0),
        ({"scaleDownDelay": "0s"}, "scale_down_delay_s", 0.0),
        ({"watch": "0s"}, "watch_s", 0.0),
        ({"rollback": "Canary"}, "rolls_back_fast", False),
        ({"onAbort": "Keep"}, "abort_keep_s", 3600.0),
        ({"onAbort": "Keep", "abortKeep": "5m"}, "abort_keep_s", 300.0),
        ({"onAbort": "ScaleDown"}, "abort_keep_s", 0.0),
        ({"whenStableUnavailable": "Hold"}, "fixes_forward", False),
        ({"analysis": {}}, "is_judged", True),
        ({"analysis": {}}, "on_no_data", Otherwise.PAUSE),
        ({"analysis": {}}, "checks", CHECKS),
        ({"analysis": {"interval": "5s"}}, "interval_s", 5.0),
        ({"analysis": {"warmup": "0s"}}, "warmup_s", 0.0),
        ({"analysis": {"minRequests": 7}}, "min_requests", 7),
        ({"analysis": {"maxStepDuration": "2h"}}, "max_step_s", 7200.0),
        ({"analysis": {"falseAlarmPercent": 5}}, "false_alarm", 0.05),
        ({"analysis": {"onInconclusive": "Abort"}}, "on_inconclusive", Otherwise.ABORT),
        ({"analysis": {"onNoData": "Advance"}}, "on_no_data", Otherwise.ADVANCE),
        (
            {"analysis": {"checks": [{"name": "slow", "type": "Latency", "target": "50ms"}]}},
            "checks", (Check("slow", CheckType.LATENCY, floor=0.05, target_s=0.05),),
        ),
        (
            {"analysis": {"checks": [{"name": "e", "type": "ErrorRate", "marginPercent": 50,
                                      "floorPercent": "2", "detectPercent": 50,
                                      "action": "Pause"}]}},
            "checks",
            (Check("e", CheckType.ERROR_RATE, OnFailure.PAUSE, 0.5, 0.02, 0.5),),
        ),
        (
            {"analysis": {"checks": [{"name": "r", "type": "Restarts", "max": 0}]}},
            "checks", (Check("r", CheckType.RESTARTS, most=0),),
        ),
        (
            {"analysis": {"checks": [{"name": "d", "type": "PredictionDrift",
                                      "threshold": "0.3"}]}},
            "checks", (Check("d", CheckType.PREDICTION_DRIFT, OnFailure.WARN, threshold=0.3),),
        ),
        (
            {"analysis": {"checks": [{"name": "q", "type": "PromQL", "query": "up",
                                      "max": "-0.5"}]}},
            "checks", (Check("q", CheckType.PROMQL, query="up", limit=-0.5),),
        ),
        ({"analysis": {"prometheus": {"address": "http://p:9090/"}}}, "prometheus",
         "http://p:9090"),
        ({"traffic": {"settle": "0s"}}, "settle_s", 0.0),
        ({"traffic": {"replicaRatio": {"tolerancePercent": 0}}}, "tolerance_percent", 0),
        ({"traffic": {"replicaRatio": {"onCoarse": "Skip"}}}, "on_coarse", Otherwise.SKIP),
        ({"traffic": {"replicaRatio": {"maxSurgePercent": 200}}}, "max_surge_percent", 200),
    ],
)  # fmt: skip
def test_every_field_counts(rollout: dict[str, Any], name: str, expected: object) -> None:
    assert getattr(of(**rollout), name) == expected
