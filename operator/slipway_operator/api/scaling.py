"""Autoscaling: the block `spec.autoscaling`. None of it belongs to the revision.

Lives here: its fields, bounds and rules.
Stays out: defaults. They are in `plan/sizing.py`, applied when the autoscaler is rendered.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from slipway_operator.api.fields import (
    Block,
    Duration,
    PassthroughItem,
    PassthroughObject,
    block_rules,
    rule,
    rules,
)

_ALONE = " && ".join(
    f"!has(self.{name})"
    for name in ("minReplicas", "maxReplicas", "metrics", "behavior", "keda", "latencyObjective")
)


class LatencyObjective(Block):
    """Scaling by what users notice."""

    percentile: int | None = Field(
        default=None,
        ge=50,
        le=99,
        description="percentile of the requests that must be answered within target. Default 99. "
        "Live.",
    )
    target: Duration = Field(
        description="target is the latency that the percentile is to stay under, in a pod, such "
        "as 50ms. Required. Live.",
        json_schema_extra=rules(
            rule(
                "duration(self) >= duration('1ms') && duration(self) <= duration('10m')",
                "autoscaling.latencyObjective.target: expected 1ms to 10m",
            )
        ),
    )


class Keda(Block):
    """Scaling by events, down to zero."""

    triggers: Annotated[list[PassthroughItem], Field(min_length=1, max_length=16)] = Field(
        description="triggers of the ScaledObject, as in KEDA. Required. Live.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    polling_interval: Duration | None = Field(
        default=None,
        description="pollingInterval is how often KEDA asks its triggers, in whole seconds. "
        "Default 30s. Live.",
        json_schema_extra=rules(
            rule(
                "duration(self) >= duration('1s') && duration(self) <= duration('1h')",
                "autoscaling.keda.pollingInterval: expected 1s to 1h",
            )
        ),
    )
    cooldown_period: Duration | None = Field(
        default=None,
        description="cooldownPeriod is how long no trigger must be active before the model is "
        "scaled to zero, in whole seconds. Default 300s. Live. It matters only with minReplicas 0.",
        json_schema_extra=rules(
            rule(
                "duration(self) <= duration('24h')",
                "autoscaling.keda.cooldownPeriod: expected at most 24h",
            )
        ),
    )


class Autoscaling(Block):
    """Who decides how many pods there are, and between which bounds."""

    model_config = block_rules(
        rule(
            "(has(self.minReplicas) ? self.minReplicas : 1)"
            " <= (has(self.maxReplicas) ? self.maxReplicas : 10)",
            "autoscaling.minReplicas: expected at most autoscaling.maxReplicas (default 10);"
            " raise maxReplicas or lower minReplicas",
        ),
        rule(
            "!has(self.minReplicas) || self.minReplicas > 0 || has(self.keda)",
            "autoscaling.minReplicas: 0 needs autoscaling.keda, because a"
            " HorizontalPodAutoscaler never wakes a model up; set at least 1, or add keda",
        ),
        rule(
            "!has(self.keda) || !has(self.metrics) || self.metrics.size() == 0",
            "autoscaling.metrics: KEDA scales by its triggers; write them as"
            " autoscaling.keda.triggers, or remove autoscaling.keda",
        ),
        rule(
            f"!has(self.external) || !self.external || ({_ALONE})",
            "autoscaling.external: somebody else decides, through the scale subresource; remove"
            " the other fields of autoscaling, or external",
        ),
    )

    min_replicas: int | None = Field(
        default=None,
        ge=0,
        le=1000,
        description="minReplicas is the fewest pods that a serving revision has. Default 1. Live. "
        "0 needs keda. While a new revision takes over, and for five minutes after, the fewest "
        "are as many as the revision before had.",
    )
    max_replicas: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="maxReplicas is the most pods that a serving revision has. Default 10. Live.",
    )
    metrics: Annotated[list[PassthroughItem], Field(max_length=16)] | None = Field(
        default=None,
        description="metrics of the HorizontalPodAutoscaler, as in autoscaling/v2. Default: CPU at "
        "70 % of what the pods request. Live.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    behavior: PassthroughObject | None = Field(
        default=None,
        description="behavior of the HorizontalPodAutoscaler, as in autoscaling/v2: how fast it "
        "may move. Default: Kubernetes' own. Live.",
    )
    latency_objective: LatencyObjective | None = Field(
        default=None,
        description="latencyObjective raises the fewest pods to what keeps a percentile of the "
        "latency under a target, from the measured rate of requests and the measured time of an "
        "execution; status.capacity tells them. Live. metrics or keda may add more pods.",
    )
    keda: Keda | None = Field(
        default=None,
        description="keda scales with KEDA instead, which must be installed: a ScaledObject takes "
        "the place of the HorizontalPodAutoscaler. Live.",
    )
    external: bool | None = Field(
        default=None,
        description="external set to true leaves the number of pods to somebody else, who writes "
        "spec.replicas through the scale subresource. Default false. Live.",
    )
