"""How a new revision is to take over: `spec.rollout` with its defaults.

Lives here: the defaults. Without the block a revision takes over by one cut, at once when all its
pods are ready; with it, as the block's fields and their own defaults say.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from slipway_operator.api.analysis import Analysis
from slipway_operator.api.analysis import Check as CheckSpec
from slipway_operator.api.fields import seconds
from slipway_operator.api.preflight import Preflight as PreflightSpec
from slipway_operator.api.rollout import ReplicaRatio, Rollout, Traffic
from slipway_operator.api.rollout import Step as StepSpec
from slipway_operator.api.v1alpha1 import Spec
from slipway_operator.verdict.golden import Tolerance
from slipway_operator.verdict.outcome import Action as OnFailure


class Strategy(StrEnum):
    """How traffic comes to a new revision."""

    CANARY = "Canary"
    BLUE_GREEN = "BlueGreen"
    RECREATE = "Recreate"


class Otherwise(StrEnum):
    """What happens when something is not as wished."""

    ADVANCE = "Advance"
    PAUSE = "Pause"
    ABORT = "Abort"
    SKIP = "Skip"


SCALE_DOWN_DELAY_S: Final = 60.0
"""How long pods that have lost their traffic stay, unless the spec says otherwise."""


@dataclass(frozen=True, slots=True)
class Step:
    """One stretch of a rollout."""

    weight: int
    """Percent, 1 to 99; 0: what it was before."""
    hold_s: float = 60.0
    is_manual: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    """Requests that have all of these go to the candidate."""
    mirror_percent: int = 0
    """Of the requests, that are sent to the candidate, too."""

    @property
    def is_aside(self) -> bool:
        """Whether it leaves the weight as it was."""
        return bool(self.headers or self.mirror_percent)


class CheckType(StrEnum):
    """What a check asks."""

    ERROR_RATE = "ErrorRate"
    LATENCY = "Latency"
    RESTARTS = "Restarts"
    PREDICTION_DRIFT = "PredictionDrift"
    PROMQL = "PromQL"
    JOB = "Job"


@dataclass(frozen=True, slots=True)
class TemplateKey:
    """Where the Job of a check is written."""

    name: str
    """Of a ConfigMap."""
    key: str


@dataclass(frozen=True, slots=True)
class Check:
    """One question about the candidate."""

    name: str
    type: CheckType
    action: OnFailure = OnFailure.ABORT
    margin: float = 0.25
    floor: float = 0.005
    """Rate of bad requests, 0 to 1."""
    detect: float = 1.0
    target_s: float | None = None
    most: int = 1
    threshold: float = 0.2
    query: str = ""
    limit: float = 0.0
    """Largest answer to the query that is put up with."""
    template: TemplateKey | None = None


_LATENCY_FLOOR: Final = 0.05
CHECKS: Final = (
    Check("errors", CheckType.ERROR_RATE),
    Check("latency", CheckType.LATENCY, floor=_LATENCY_FLOOR),
    Check("restarts", CheckType.RESTARTS),
)
"""What is checked unless the spec says otherwise."""
_STEPS: Final = (Step(5), Step(25), Step(50))


@dataclass(frozen=True, slots=True)
class Preflight:
    """What a candidate has to show before it gets traffic."""

    golden: Tolerance | None = None
    """Of its answers to the samples; None: they are not looked at."""
    is_beside_stable: bool = False
    """They are compared with the stable revision's answers, not with expected ones."""
    warmup_requests: int = 50


@dataclass(frozen=True, slots=True)
class Policy:
    """What is wished; without anything said, one cut."""

    strategy: Strategy = Strategy.BLUE_GREEN
    steps: tuple[Step, ...] = ()
    is_paused: bool = False
    history_limit: int = 5
    conserves: bool = False
    progress_deadline_s: float = 1800.0
    scale_down_delay_s: float = SCALE_DOWN_DELAY_S
    watch_s: float = 0.0
    rolls_back_fast: bool = True
    fixes_forward: bool = True
    abort_keep_s: float = 0.0
    """How long the pods of an aborted candidate stay."""
    settle_s: float = 0.0
    verify_timeout_s: float = 120.0
    """How long a Gateway may take to confirm a weight."""
    tolerance_percent: int = 15
    on_coarse: Otherwise = Otherwise.ADVANCE
    max_surge_percent: int = 100
    preflight: Preflight | None = None
    is_judged: bool = False
    """The spec has a block `analysis`: a step does not pass without evidence."""
    interval_s: float = 15.0
    warmup_s: float = 60.0
    min_requests: int = 100
    max_step_s: float = 3600.0
    false_alarm: float = 0.01
    on_inconclusive: Otherwise = Otherwise.ADVANCE
    on_no_data: Otherwise = Otherwise.ADVANCE
    checks: tuple[Check, ...] = CHECKS
    prometheus: str = ""
    """Address of who answers queries; empty: the operator's own."""

    def of_type(self, kind: CheckType) -> list[Check]:
        """All checks that ask this."""
        return [check for check in self.checks if check.type is kind]


def policy_of(spec: Spec) -> Policy:
    """Read the block, the defaults applied."""
    wanted = spec.rollout
    if wanted is None:
        return Policy()
    strategy = Strategy(wanted.strategy or Strategy.CANARY)
    traffic = wanted.traffic or Traffic()
    ratio = traffic.replica_ratio or ReplicaRatio()
    policy = Policy(
        strategy=strategy,
        steps=_steps(wanted, strategy),
        is_paused=bool(wanted.paused),
        history_limit=_or(wanted.history_limit, 5),
        conserves=wanted.capacity == "Conserve",
        progress_deadline_s=seconds(wanted.progress_deadline or "30m"),
        scale_down_delay_s=seconds(wanted.scale_down_delay or "60s"),
        watch_s=seconds(wanted.watch or "5m"),
        rolls_back_fast=wanted.rollback != "Canary",
        fixes_forward=wanted.when_stable_unavailable != "Hold",
        abort_keep_s=seconds(wanted.abort_keep or "1h") if wanted.on_abort == "Keep" else 0.0,
        settle_s=seconds(traffic.settle or "5s"),
        verify_timeout_s=seconds(traffic.verify_timeout or "120s"),
        tolerance_percent=_or(ratio.tolerance_percent, 15),
        on_coarse=_ON_COARSE[ratio.on_coarse or "Proceed"],
        max_surge_percent=_or(ratio.max_surge_percent, 100),
        preflight=_preflight(wanted.preflight) if wanted.preflight else None,
    )
    return policy if wanted.analysis is None else _judged(policy, wanted.analysis)


def _preflight(wanted: PreflightSpec) -> Preflight:
    warmup, golden = _or(wanted.warmup_requests, 50), wanted.golden
    if golden is None:
        return Preflight(warmup_requests=warmup)
    is_beside = golden.compare_to == "Stable"
    atol = golden.atol or (None if is_beside else "1e-3")
    tolerance = Tolerance(
        atol=float(atol) if atol else None,
        agreement=_or(golden.top1_agreement_percent, 98) / 100,
    )
    return Preflight(tolerance, is_beside, warmup)


def _judged(policy: Policy, wanted: Analysis) -> Policy:
    return replace(
        policy,
        is_judged=True,
        interval_s=seconds(wanted.interval or "15s"),
        warmup_s=seconds(wanted.warmup or "60s"),
        min_requests=_or(wanted.min_requests, 100),
        max_step_s=seconds(wanted.max_step_duration or "1h"),
        false_alarm=_or(wanted.false_alarm_percent, 1) / 100,
        on_inconclusive=Otherwise(wanted.on_inconclusive or "Advance"),
        on_no_data=Otherwise(wanted.on_no_data or "Pause"),
        checks=tuple(map(_check, wanted.checks)) if wanted.checks else CHECKS,
        prometheus=wanted.prometheus.address.rstrip("/") if wanted.prometheus else "",
    )


def _check(wanted: CheckSpec) -> Check:
    kind = CheckType(wanted.type)
    floor = "5" if kind is CheckType.LATENCY else "0.5"
    action = "Warn" if kind is CheckType.PREDICTION_DRIFT else "Abort"
    return Check(
        wanted.name,
        kind,
        action=OnFailure(wanted.action or action),
        margin=_or(wanted.margin_percent, 25) / 100,
        floor=float(wanted.floor_percent or floor) / 100,
        detect=_or(wanted.detect_percent, 100) / 100,
        target_s=seconds(wanted.target) if wanted.target else None,
        most=_most(wanted.max) if kind is CheckType.RESTARTS else 1,
        threshold=float(wanted.threshold or "0.2"),
        query=wanted.query or "",
        limit=float(wanted.max or 0) if kind is CheckType.PROMQL else 0.0,
        template=TemplateKey(wanted.config_map.name, wanted.config_map.key)
        if wanted.config_map
        else None,
    )


def _most(wanted: int | str | None) -> int:
    return 1 if wanted is None else int(wanted)


_ON_COARSE: Final = {
    "Proceed": Otherwise.ADVANCE, "Skip": Otherwise.SKIP, "Pause": Otherwise.PAUSE,
}  # fmt: skip


def _steps(wanted: Rollout, strategy: Strategy) -> tuple[Step, ...]:
    if wanted.steps is None or strategy is Strategy.RECREATE:
        return _STEPS if strategy is Strategy.CANARY else ()
    return tuple(map(_step, wanted.steps))


def _step(wanted: StepSpec) -> Step:
    return Step(
        wanted.weight or 0,
        seconds(wanted.hold or "60s"),
        wanted.approval == "Manual",
        tuple((h.name, h.value) for h in wanted.headers or ()),
        wanted.mirror_percent or 0,
    )


def _or(value: int | None, default: int) -> int:
    return default if value is None else value
