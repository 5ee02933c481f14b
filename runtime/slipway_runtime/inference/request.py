"""What every wire makes of a request, and what it gets back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from slipway_runtime.inference.datatypes import Tensor
from slipway_runtime.inference.signature import TensorSpec

LABEL: Final = "labels/"
"""Stands before a version that is a label and no number, as in V1's paths."""


class InferenceRequest(NamedTuple):
    """A decoded request; its tensors already fit the signature."""

    inputs: Mapping[str, Tensor]
    outputs: tuple[TensorSpec, ...]
    """The outputs that are wanted, in the order of the answer."""
    id: str | None = None


class InferenceResponse(NamedTuple):
    """The wanted outputs, in the order they were asked for."""

    outputs: tuple[tuple[TensorSpec, Tensor], ...]
    id: str | None = None
