"""Rollouts: the block `spec.rollout`. None of it belongs to the revision.

Lives here: its fields, bounds and rules.
Stays out: defaults, which are in `plan/policy.py`, and what the fields lead to (`plan/machine.py`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from slipway_operator.api.analysis import Analysis
from slipway_operator.api.fields import (
    Block,
    Duration,
    block_rules,
    list_by,
    rule,
    rules,
)
from slipway_operator.api.preflight import Preflight


class HeaderMatch(Block):
    """A header of a request."""

    name: str = Field(
        max_length=256,
        pattern=r"^[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+$",
        description="name of the header. Required. Live.",
    )
    value: str = Field(
        min_length=1,
        max_length=4096,
        description="value of the header, exactly. Required. Live.",
    )


class Step(Block):
    """One stretch of a rollout: at one weight, or beside it for some requests only."""

    model_config = block_rules(
        rule(
            "[has(self.weight), has(self.headers), has(self.mirrorPercent)].exists_one(x, x)",
            "rollout.steps: expected exactly one of weight, headers and mirrorPercent in a step",
        ),
    )

    name: str | None = Field(
        default=None,
        max_length=63,
        description="name of the step for people. Live.",
    )
    weight: int | None = Field(
        default=None,
        ge=1,
        le=99,
        description="weight is the percentage of requests, 1 to 99, that the candidate gets. "
        "Live. It rises from step to step; 100 is implied after the last. Without a gateway it is "
        "reached as nearly as numbers of pods allow; status.rollout.weight tells.",
    )
    headers: (
        Annotated[
            list[HeaderMatch],
            Field(min_length=1, max_length=16, json_schema_extra=list_by("name")),
        ]
        | None
    ) = Field(
        default=None,
        description="headers that a request has to have, all of them, for the candidate to get "
        "it. Live. Needs exposure.gateway.",
    )
    mirror_percent: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="mirrorPercent of the requests are sent to the candidate, too, whose answers "
        "nobody gets. Live. Needs exposure.gateway; skipped where the GatewayClass does not list "
        "the features.",
    )
    hold: Duration | None = Field(
        default=None,
        description="hold is how long the step lasts at least, 1s to 168h. Default 60s. Live.",
        json_schema_extra=rules(
            rule(
                "duration(self) >= duration('1s') && duration(self) <= duration('168h')",
                "rollout.steps.hold: expected 1s to 168h",
            )
        ),
    )
    approval: Literal["Auto", "Manual"] | None = Field(
        default=None,
        description="approval: Auto, or Manual, which waits for the action approve. Default Auto. "
        "Live.",
    )


class ReplicaRatio(Block):
    """Traffic without a gateway: shares by numbers of pods."""

    tolerance_percent: int | None = Field(
        default=None,
        ge=0,
        le=100,
        description="tolerancePercent, in points, that the share may be from the weight. Default "
        "15. Live.",
    )
    on_coarse: Literal["Proceed", "Skip", "Pause"] | None = Field(
        default=None,
        description="onCoarse is what happens to a step beyond it: Proceed, Skip or Pause. Default "
        "Proceed. Live.",
    )
    max_surge_percent: int | None = Field(
        default=None,
        ge=1,
        le=400,
        description="maxSurgePercent of the stable revision's pods is the most that the candidate "
        "gets during the steps. Default 100, which reaches a weight of 50. Live.",
    )


class Traffic(Block):
    """How traffic moves."""

    settle: Duration | None = Field(
        default=None,
        description="settle is how long every proxy has to learn of a change, up to 10m. Default "
        "5s. Live.",
        json_schema_extra=rules(
            rule(
                "duration(self) <= duration('10m')", "rollout.traffic.settle: expected at most 10m"
            )
        ),
    )
    verify_timeout: Duration | None = Field(
        default=None,
        description="verifyTimeout is how long a Gateway may take to confirm a weight, 1s to 1h. "
        "Default 120s. Live. Then the rollout pauses at the weight before.",
        json_schema_extra=rules(
            rule(
                "duration(self) >= duration('1s') && duration(self) <= duration('1h')",
                "rollout.traffic.verifyTimeout: expected 1s to 1h",
            )
        ),
    )
    trust_features: bool | None = Field(
        default=None,
        description="trustFeatures takes every feature for granted where the GatewayClass lists "
        "none, or may not be read. Default false. Live.",
    )
    replica_ratio: ReplicaRatio | None = Field(
        default=None,
        description="replicaRatio shapes shares by numbers of pods, where there is no gateway. "
        "Live.",
    )


class Rollout(Block):
    """How a new revision takes over."""

    model_config = block_rules(
        rule(
            "!has(self.steps) || !has(self.strategy) || self.strategy == 'Canary' ||"
            " self.steps.size() == 0 || (self.strategy == 'BlueGreen' && self.steps.size() == 1"
            " && !has(self.steps[0].weight))",
            "rollout.steps: only the strategy Canary has steps, and BlueGreen one without weight;"
            " remove them, or choose Canary",
        ),
        rule(
            "!has(self.historyLimit) || self.historyLimit > 0"
            " || (has(self.strategy) && self.strategy == 'Recreate')",
            "rollout.historyLimit: 0 needs the strategy Recreate, because the revision before is"
            " what an abort goes back to; set at least 1",
        ),
        rule(
            "!has(self.preflight) || !has(self.preflight.golden)"
            " || !has(self.preflight.golden.compareTo)"
            " || self.preflight.golden.compareTo != 'Stable'"
            " || !has(self.strategy) || self.strategy != 'Recreate'",
            "rollout.preflight.golden.compareTo: with the strategy Recreate the stable revision has"
            " no pod to compare with; choose Expected",
        ),
        rule(
            "!has(self.onAbort) || self.onAbort != 'Keep'"
            " || !has(self.strategy) || self.strategy != 'Recreate'",
            "rollout.onAbort: with the strategy Recreate the stable revision needs the room; choose"
            " ScaleDown",
        ),
        rule(
            "!has(self.abortKeep) || (has(self.onAbort) && self.onAbort == 'Keep')",
            "rollout.abortKeep: it needs onAbort Keep",
        ),
        rule(
            "!has(self.analysis) || !has(self.analysis.checks)"
            " || !self.analysis.checks.exists(c, c.type == 'Job')"
            " || (has(self.steps) ? self.steps.size() > 0"
            " : !has(self.strategy) || self.strategy == 'Canary')",
            "rollout.analysis.checks: Job runs in steps; use the strategy Canary, or a step",
        ),
    )

    strategy: Literal["Canary", "BlueGreen", "Recreate"] | None = Field(
        default=None,
        description="strategy is how a new revision takes over: Canary, step by step; BlueGreen, "
        "by one cut when all its pods are ready; Recreate, for a quota of one, which ends the "
        "pods of the stable revision first and has a downtime. Default Canary. Live.",
    )
    steps: (
        Annotated[
            list[Step],
            Field(
                max_length=20,
                json_schema_extra={
                    "x-kubernetes-list-type": "atomic",
                    **rules(
                        rule(
                            "self.filter(s, has(s.weight)).map(s, s.weight).isSorted()"
                            " && self.all(s, !has(s.weight) ||"
                            " self.exists_one(t, has(t.weight) && t.weight == s.weight))",
                            "rollout.steps: expected weights that rise from step to step",
                        )
                    ),
                },
            ),
        ]
        | None
    ) = Field(
        default=None,
        description="steps of a Canary. Default: weights 5, 25 and 50, 60s each. Live: edited "
        "ones apply to the rollout in progress, which goes on with the first step of a greater "
        "weight.",
    )
    paused: bool | None = Field(
        default=None,
        description="paused set to true keeps a rollout where it is; checks go on, and a failing "
        "one still ends it. Default false. Live.",
    )
    history_limit: int | None = Field(
        default=None,
        ge=0,
        le=20,
        description="historyLimit is the number of revisions besides the stable one that can come "
        "back at once. Default 5. Live. 0 needs the strategy Recreate.",
    )
    capacity: Literal["Full", "Conserve"] | None = Field(
        default=None,
        description="capacity is what the stable revision keeps during the steps: Full, all its "
        "pods until another revision is committed, or Conserve, which takes a pod from it for each "
        "that the candidate has ready. Default Full. Live. Under autoscaling it is Full.",
    )
    progress_deadline: Duration | None = Field(
        default=None,
        description="progressDeadline is how long a model may take to be fetched, and then its "
        "pods to become ready, before a rollout is aborted, 10s to 168h. Default 30m. Live. A "
        "first revision goes on trying.",
        json_schema_extra=rules(
            rule(
                "duration(self) >= duration('10s') && duration(self) <= duration('168h')",
                "rollout.progressDeadline: expected 10s to 168h",
            )
        ),
    )
    scale_down_delay: Duration | None = Field(
        default=None,
        description="scaleDownDelay is how long pods that have lost their traffic stay: open "
        "connections and slow proxies still use them. Default 60s, up to 24h. Live.",
        json_schema_extra=rules(
            rule(
                "duration(self) <= duration('24h')", "rollout.scaleDownDelay: expected at most 24h"
            )
        ),
    )
    watch: Duration | None = Field(
        default=None,
        description="watch is how long the stable revision keeps all its pods after all traffic "
        "has left it; checks that fail meanwhile take the traffic back. Default 5m, up to 24h. "
        "Live. 0s switches it off.",
        json_schema_extra=rules(
            rule("duration(self) <= duration('24h')", "rollout.watch: expected at most 24h")
        ),
    )
    rollback: Literal["Fast", "Canary"] | None = Field(
        default=None,
        description="rollback is how a revision that served before comes back: Fast, by one cut "
        "when all its pods are ready, or Canary, step by step. Default Fast. Live.",
    )
    when_stable_unavailable: Literal["FixForward", "Hold"] | None = Field(
        default=None,
        description="whenStableUnavailable says what happens when no pod of the stable revision "
        "is ready: FixForward, the candidate takes over with what it has, or Hold. Default "
        "FixForward. Live.",
    )
    on_abort: Literal["ScaleDown", "Keep"] | None = Field(
        default=None,
        description="onAbort is what happens to the pods of an aborted candidate, which have no "
        "traffic: ScaleDown, or Keep, for looking at. Default ScaleDown. Live.",
    )
    abort_keep: Duration | None = Field(
        default=None,
        description="abortKeep is how long onAbort Keep keeps them, 1m to 168h. Default 1h. Live.",
        json_schema_extra=rules(
            rule(
                "duration(self) >= duration('1m') && duration(self) <= duration('168h')",
                "rollout.abortKeep: expected 1m to 168h",
            )
        ),
    )
    preflight: Preflight | None = Field(
        default=None,
        description="preflight is what a candidate has to show before it gets traffic, over the "
        "admin port and not counted as requests. Needs model.samples. When absent, nothing. Live.",
    )
    analysis: Analysis | None = Field(
        default=None,
        description="analysis says how the candidate is judged. Live. When absent, errors, "
        "latency and restarts are checked as far as there is traffic, and a step without evidence "
        "advances.",
    )
    traffic: Traffic | None = Field(
        default=None, description="traffic says how traffic is moved. Live."
    )
