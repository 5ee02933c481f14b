"""What is rolled out, what is done to it, and how it has to end. Pure.

A case is a row. The stable revision of the first is `v1`; each of the others finds what the one
before has left.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final


class Mode(StrEnum):
    """How traffic comes to the pods."""

    SERVICE = "service"
    """The apex Service: shares by numbers of pods, for each new connection."""
    GATEWAY = "gateway"
    """A gateway: shares by weights, for each request."""


class Bad(StrEnum):
    """Which answers of the candidate harm a client."""

    NONE = "none"
    FAILED = "those that failed"
    ALL = "all of them"


class Act(StrEnum):
    """What somebody does."""

    APPLY = "apply"
    ABORT = "apply, then abort"
    ROLL_BACK = "roll back"


PROMOTED: Final = "Idle"
SENT_BACK: Final = "Failed"


@dataclass(frozen=True, slots=True)
class Case:
    """One rollout."""

    name: str
    version: str
    ends: str
    """The state at the end; `Idle` with the version serving, or `Failed` without."""
    act: Act = Act.APPLY
    bad: Bad = Bad.NONE
    detected_s: float | None = None
    """From the first bad answer to the candidate's last one, at most."""
    crashes: bool = False
    """Its pods die under requests: what then has no answer is the candidate's, too."""
    rollout: dict[str, Any] = field(default_factory=dict)
    runtime: dict[str, Any] = field(default_factory=dict)
    checks: tuple[dict[str, Any], ...] = ()
    is_tried: bool = False
    """Golden requests go to it before it gets traffic: no client may hear of it."""
    reason: str = ""
    """Of the end, where it has to be a certain one."""


REPLICAS: Final = {Mode.SERVICE: 4, Mode.GATEWAY: 2}
"""Without a gateway a fifth is the least that one pod beside four can have."""
_WEIGHTS: Final = {Mode.SERVICE: (20, 50), Mode.GATEWAY: (10, 50)}
ROLLED_BACK_S: Final = 10.0
POINTS: Final = 2.0
"""How far a share may be from what the status says is applied."""
RATES: Final = {"rest-new": 20.0, "rest-kept": 20.0, "grpc": 10.0}

_ERRORS: Final = {"name": "errors", "type": "ErrorRate"}
_LATENCY: Final = {"name": "latency", "type": "Latency"}
_RESTARTS: Final = {"name": "restarts", "type": "Restarts", "max": 0}
_DRIFT: Final = {"name": "predictions", "type": "PredictionDrift", "action": "Abort"}

CASES: Final = (
    # Promoted and rolled back first: its pods are kept for as long as the rollback needs.
    Case("a good version", "v2", PROMOTED, rollout={"scaleDownDelay": "25s"}),
    Case("its rollback", "v1", PROMOTED, act=Act.ROLL_BACK),
    Case("a healthy one is aborted", "v3", SENT_BACK, act=Act.ABORT, reason="AbortedByUser"),
    Case("20 % errors", "fails-20", SENT_BACK, bad=Bad.FAILED, detected_s=60,
         reason="AnalysisFailed"),
    Case("50 % errors", "fails-50", SENT_BACK, bad=Bad.FAILED, detected_s=60,
         reason="AnalysisFailed"),
    Case("five times slower", "slow", SENT_BACK, bad=Bad.ALL, reason="AnalysisFailed"),
    Case("crashes", "crashes", SENT_BACK, bad=Bad.FAILED, crashes=True),
    Case("wrong predictions", "wrong", SENT_BACK, bad=Bad.ALL, checks=(_DRIFT,),
         reason="AnalysisFailed"),
    Case("wrong answers, tried before", "wrong", SENT_BACK, bad=Bad.ALL, is_tried=True,
         rollout={"preflight": {"golden": {"compareTo": "Stable"}, "warmupRequests": 20}},
         reason="PreflightFailed"),
    Case("never ready", "v3", SENT_BACK, rollout={"progressDeadline": "15s"},
         runtime={"resources": {"requests": {"cpu": "500"}}},
         reason="ProgressDeadline"),
)  # fmt: skip


def rollout(case: Case, mode: Mode) -> dict[str, Any]:
    """The block `spec.rollout` of a case: as in production, with shorter times."""
    steps = [{"weight": weight, "hold": "15s"} for weight in _WEIGHTS[mode]]
    analysis = {
        "interval": "5s",
        "warmup": "5s",
        "minRequests": 50,
        "checks": [_ERRORS, _LATENCY, _RESTARTS, *case.checks],
    }
    return {
        "steps": steps,
        "watch": "5s",
        "scaleDownDelay": "10s",
        "traffic": {"settle": "2s"},
        "analysis": analysis,
        **case.rollout,
    }
