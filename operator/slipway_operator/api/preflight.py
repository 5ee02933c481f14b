"""What a candidate has to show before it gets traffic: the block `spec.rollout.preflight`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from slipway_operator.api.fields import Block


class Golden(Block):
    """Fixed requests, and what their answers are compared with."""

    samples: Literal["Model"] | None = Field(
        default=None, description="samples: Model, those of model.samples. Default Model. Live."
    )
    compare_to: Literal["Expected", "Stable"] | None = Field(
        default=None,
        description="compareTo: Expected, the outputs in the samples, or Stable, the answers of "
        "the stable revision. Default Expected. Live.",
    )
    atol: (
        Annotated[str, Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?(e-?[0-9]{1,2})?$", max_length=16)]
        | None
    ) = Field(
        default=None,
        description="atol is the largest difference of floating numbers that is put up with, as "
        'text. Default "1e-3"; with compareTo Stable any. Live.',
    )
    top1_agreement_percent: int | None = Field(
        default=None,
        alias="top1AgreementPercent",
        ge=0,
        le=100,
        description="top1AgreementPercent of the labels that have to be the same: of integers and "
        "text each element, of rows of floating numbers the place of the largest. Default 98. "
        "Live.",
    )


class Preflight(Block):
    """What happens between the candidate's first pods and its first traffic."""

    golden: Golden | None = Field(
        default=None,
        description="golden sends model.samples to a pod of the candidate and compares the "
        "answers. When absent, nothing is compared. Live.",
    )
    warmup_requests: int | None = Field(
        default=None,
        ge=0,
        le=10_000,
        description="warmupRequests that each ready pod of the candidate is sent, out of "
        "model.samples. Default 50. Live.",
    )
