"""What the converting process is asked, and what it tells: the types that cross the boundary."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from slipway_runtime.vocabulary import Format, Pruning, Quantization


class _Message(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True
    )


class InputSpec(_Message):
    """One input of a model whose file does not say it."""

    name: str = Field(min_length=1)
    datatype: Literal["FP16", "FP32", "FP64", "INT8", "UINT8", "INT32", "INT64", "BOOL", "BYTES"]
    shape: tuple[int, ...]


class Optimization(_Message):
    """How the weights of the result are stored, and what that may cost."""

    quantization: Quantization = "None"
    pruning: Pruning = "None"
    sparsity_percent: int = 0
    min_agreement_percent: int = 99


class Task(_Message):
    """One conversion; paths are absolute."""

    source: str
    target: str
    format: Format
    allow_pickle: bool = False
    inputs: tuple[InputSpec, ...] = ()
    samples: str | None = None
    tolerance: float = Field(default=1e-4, gt=0)
    rows: int = Field(default=256, ge=1, le=100_000)
    """Generated rows of each kind that the two models are compared on."""
    optimization: Optimization | None = None
    """What is done to the ONNX model afterwards; an ONNX model needs it, or nothing is to do."""
    is_pinned: bool = False
    """Whether the digest of the result is known: what it answers was compared then."""
    torch_python: str = "/usr/bin/python3"
    """The interpreter that has PyTorch, where this one has not."""


class Parity(_Message):
    """How far the converted model is from the original."""

    rows: int
    given_rows: int
    """Those of `rows` that are the user's own samples."""
    max_abs_diff: float
    max_rel_diff: float
    label_agreement_percent: float | None = None
    """None where the model gives no labels."""
    ties: int = 0
    """Rows whose label differs only because the original's best two scores are equal."""


class Optimized(_Message):
    """Before and after."""

    size_bytes_before: int
    latency_us_before: float
    latency_us_after: float


class Report(_Message):
    """What a conversion has found out."""

    format: Format
    framework: str
    """Name and version of the library that read the original."""
    source_digest: str
    source_bytes: int
    digest: str
    size_bytes: int
    parity: Parity | None
    """None where nothing was compared: the digest of the result is known."""
    optimized: Optimized | None = None
    load_s: float
    convert_s: float
    compare_s: float
    warnings: tuple[str, ...] = ()
