"""What every `from_*` module gives: a model as its own library runs it, and its ONNX twin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from slipway_runtime.vocabulary import Format

Array = npt.NDArray[Any]
Feeds = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Column:
    """One input of the converted model."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    """-1 where the size is free; the first is the batch."""
    choices: tuple[str, ...] = ()
    """Values that a column of text knows; generated rows are drawn from them."""


@dataclass(frozen=True, slots=True)
class Original:
    """A loaded model.

    `predict` answers as the model's own library does, in the order of `outputs`.
    """

    framework: str
    """Name and version of the library that read it."""
    inputs: tuple[Column, ...]
    outputs: tuple[str, ...]
    """Names that the converted model's outputs get; `label` is compared for equality."""
    predict: Callable[[Feeds], list[Array]]
    export: Callable[[], Any]
    """Makes the onnx.ModelProto."""
    columns: tuple[str, ...] = ()
    """Names of the columns of a single table, where the file knows them."""
    landmarks: Mapping[int, Array] = field(default_factory=dict)
    """By column of a single table: values that the model compares with, or was scaled by."""
    takes_missing: bool = False
    """Whether NaN in an input is an answerable question."""
    also: tuple[Format, ...] = ()
    """Formats of other frameworks whose estimators are inside, and whose exporters take part."""
    warnings: tuple[str, ...] = ()


LABEL: Final = "label"
SCORES: Final = "probabilities"
VALUE: Final = "prediction"
