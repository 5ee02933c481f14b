"""Checks of a candidate: the block `spec.rollout.analysis`. None of it belongs to the revision."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from slipway_operator.api.fields import Block, Duration, block_rules, list_by, rule, rules

_DECIMAL = r"^[0-9]{1,3}(\.[0-9]{1,4})?$"

Percent = Annotated[int, Field(ge=1, le=10_000)]
Decimal = Annotated[str, Field(pattern=_DECIMAL, max_length=8)]
"""A number as text: Kubernetes' types have no fractions."""
Limit = Annotated[
    int | str,
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "pattern": r"^-?[0-9]{1,15}(\.[0-9]{1,9})?$",
            "maxLength": 26,
        }
    ),
]
"""A whole number, or the text of any."""
QUERY_NAMES = ("stable", "candidate", "namespace", "name")
"""What a query may name in double braces; none of them can hold what PromQL would act on."""


def _known_names() -> str:
    """CEL: nothing else stands in double braces."""
    known = "".join(f".replace('{{{{{name}}}}}', '')" for name in QUERY_NAMES)
    return f"!has(self.query) || !self.query{known}.contains('{{{{')"


def _between(field: str, least: str, most: str) -> dict[str, Any]:
    expression = f"duration(self) >= duration('{least}') && duration(self) <= duration('{most}')"
    return rules(rule(expression, f"rollout.analysis.{field}: expected {least} to {most}"))


class TemplateKey(Block):
    """A key of a ConfigMap in the resource's namespace."""

    name: str = Field(
        min_length=1,
        max_length=253,
        pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        description="name of the ConfigMap. Required.",
    )
    key: str = Field(
        min_length=1,
        max_length=253,
        pattern=r"^[-._a-zA-Z0-9]+$",
        description="key in its data. Required.",
    )


class Check(Block):
    """One question about the candidate."""

    model_config = block_rules(
        rule(
            "(self.type in ['ErrorRate', 'Latency'] || !(has(self.marginPercent)"
            " || has(self.floorPercent) || has(self.detectPercent)))"
            " && (self.type == 'Latency' || !has(self.target))"
            " && (self.type in ['Restarts', 'PromQL'] || !has(self.max))"
            " && (self.type == 'PredictionDrift' || !has(self.threshold))"
            " && (self.type == 'PromQL' || !has(self.query))"
            " && (self.type == 'Job') == has(self.configMap)",
            "rollout.analysis.checks: marginPercent, floorPercent and detectPercent belong to"
            " ErrorRate and Latency, target to Latency, max to Restarts and PromQL, threshold to"
            " PredictionDrift, query to PromQL, configMap to Job, which needs it",
        ),
        rule(
            "self.type != 'PromQL' || (has(self.query) && has(self.max))",
            "rollout.analysis.checks: PromQL needs query and max",
        ),
        rule(
            "self.type != 'Restarts' || !has(self.max)"
            " || (type(self.max) == int && self.max >= 0 && self.max <= 1000)",
            "rollout.analysis.checks: expected a max of Restarts from 0 to 1000",
        ),
        rule(
            _known_names(),
            "rollout.analysis.checks.query: expected in double braces only "
            + ", ".join(QUERY_NAMES),
        ),
    )

    name: str = Field(
        min_length=1,
        max_length=40,
        pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$",
        description="name of the check. Required.",
    )
    type: Literal["ErrorRate", "Latency", "Restarts", "PredictionDrift", "PromQL", "Job"] = Field(
        description="type: ErrorRate, Latency, Restarts, PredictionDrift, PromQL or Job. Required."
    )
    action: Literal["Abort", "Pause", "Warn"] | None = Field(
        default=None,
        description="action of a failure: Abort, Pause or Warn. Default Abort; of PredictionDrift "
        "Warn.",
    )
    margin_percent: Annotated[int, Field(ge=0, le=1000)] | None = Field(
        default=None,
        description="marginPercent of more bad requests that is put up with. Default 25.",
    )
    floor_percent: Decimal | None = Field(
        default=None,
        description="floorPercent of bad requests, as text, up to which nothing fails. Default "
        '"0.5"; of Latency "5".',
    )
    detect_percent: Percent | None = Field(
        default=None,
        description="detectPercent of more bad requests that a Pass rules out. Default 100.",
    )
    target: Duration | None = Field(
        default=None,
        description="target beyond which an answer is slow. Default: what 5 % and 1 % of the "
        "stable's exceed.",
    )
    max: Limit | None = Field(
        default=None,
        description="max that is put up with: of Restarts their number, default 1; of PromQL the "
        "value of the query, a number or its text.",
    )
    query: str | None = Field(
        default=None,
        min_length=1,
        max_length=2048,
        description="query of PromQL, whose answer is one number. {{stable}} and {{candidate}} "
        "stand for the hashes of the revisions, {{namespace}} and {{name}} for the resource's.",
    )
    config_map: TemplateKey | None = Field(
        default=None,
        description="configMap with the Job, in YAML, that runs once in each step. Its containers "
        "get STABLE_URL and CANDIDATE_URL; exit status 0 is Pass, 1 Fail, 2 Inconclusive.",
    )
    threshold: Decimal | None = Field(
        default=None,
        description='threshold of the PSI, as text. Default "0.2".',
    )


class Prometheus(Block):
    """Who answers queries."""

    address: str = Field(
        max_length=256,
        pattern=r"^https?://[A-Za-z0-9.\-\[\]:]{1,200}(/[A-Za-z0-9._~/\-]*)?$",
        description="address of its HTTP API, without /api/v1. Required. Live.",
    )


class Analysis(Block):
    """How a candidate is judged."""

    interval: Duration | None = Field(
        default=None,
        description="interval between readings of the pods' counters. Default 15s. Live.",
        json_schema_extra=_between("interval", "5s", "5m"),
    )
    warmup: Duration | None = Field(
        default=None,
        description="warmup of a pod, whose answers do not count for Latency. Default 60s. Live.",
        json_schema_extra=_between("warmup", "0s", "1h"),
    )
    min_requests: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None,
        description="minRequests to the candidate without which no check passes. Default 100. "
        "Live.",
    )
    max_step_duration: Duration | None = Field(
        default=None,
        description="maxStepDuration is how long a step waits for minRequests. Default 1h. Live.",
        json_schema_extra=_between("maxStepDuration", "1m", "168h"),
    )
    false_alarm_percent: Annotated[int, Field(ge=1, le=20)] | None = Field(
        default=None,
        description="falseAlarmPercent is the chance to abort a candidate that is no worse. "
        "Default 1. Live.",
    )
    on_inconclusive: Literal["Advance", "Pause", "Abort"] | None = Field(
        default=None,
        description="onInconclusive is what follows when a check cannot tell after the hold. "
        "Default Advance. Live.",
    )
    on_no_data: Literal["Advance", "Pause", "Abort"] | None = Field(
        default=None,
        description="onNoData is what follows when there was too little traffic. Default Pause. "
        "Live.",
    )
    prometheus: Prometheus | None = Field(
        default=None,
        description="prometheus that checks of type PromQL ask. Default: the operator's, by the "
        "chart, which alone gets the operator's token. Live.",
    )
    checks: (
        Annotated[
            list[Check],
            Field(
                max_length=10,
                json_schema_extra=list_by("name"),
            ),
        ]
        | None
    ) = Field(
        default=None,
        description="checks of the candidate. Default: errors, latency and restarts. Live.",
    )
