"""Count a classifier's answers by class, so that drift between revisions can be seen.

One output is counted, and at most 20 series come of it: the position of the largest of 2 to 20
scores per row where the model has such scores, else an integer label per row (0 to 18, the rest is
`other`).
Which one follows from the signature alone, so that all pods of a revision agree; string labels
and regressions are not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Self

import numpy as np

from slipway_runtime.inference.datatypes import Tensor
from slipway_runtime.inference.signature import Signature, TensorSpec
from slipway_runtime.monitoring.metrics import Metrics

_MAX_SERIES: Final = 20
_OTHER: Final = _MAX_SERIES - 1
_INTEGERS: Final = frozenset({"INT64", "INT32", "UINT8", "BOOL"})
_SCORES: Final = frozenset({"FP32", "FP64", "FP16"})


class OutputCounter:
    """Counters of one output, bound once."""

    def __init__(self, spec: TensorSpec, metrics: Metrics) -> None:
        buckets = (
            [*map(str, range(_OTHER)), "other"]
            if _is_label(spec)
            else [*map(str, range(spec.shape[-1]))]
        )
        self._name: Final = spec.name
        self._is_label: Final = _is_label(spec)
        self._counters: Final = [metrics.output_bucket(spec.name, bucket) for bucket in buckets]

    @classmethod
    def for_signature(cls, signature: Signature, metrics: Metrics) -> Self | None:
        """Choose what to count; None where nothing is worth it."""
        labels = [spec for spec in signature.outputs if _is_label(spec)]
        scores = [spec for spec in signature.outputs if _is_score(spec)]
        chosen = [*scores, *labels][:1]
        return cls(chosen[0], metrics) if chosen else None

    def observe(self, outputs: Sequence[tuple[TensorSpec, Tensor]]) -> None:
        """Count the rows of an answer, when the output was asked for."""
        for spec, tensor in outputs:
            # A model may answer another shape than it declares; that is no reason to fail.
            if spec.name == self._name and tensor.size and self._is_countable(tensor):
                self._count(tensor)

    def _is_countable(self, tensor: Tensor) -> bool:
        return self._is_label or tensor.shape[1:] == (len(self._counters),)

    def _count(self, tensor: Tensor) -> None:
        rows = tensor.size if self._is_label else len(tensor)
        if rows == 1:  # as in most answers; numpy pays off with many
            value = int(tensor.item() if self._is_label else tensor.argmax())
            self._counters[value if 0 <= value < len(self._counters) else _OTHER].inc()
            return
        for index, count in enumerate(self._counts(tensor)):
            if count:
                self._counters[index].inc(count)

    def _counts(self, tensor: Tensor) -> list[int]:
        if self._is_label:
            values = tensor.reshape(-1).astype(np.int64)
            classes = np.where((values >= 0) & (values < _OTHER), values, _OTHER)
        else:
            classes = tensor.reshape(-1, len(self._counters)).argmax(axis=1)
        counts: list[int] = np.bincount(classes).tolist()
        return counts


def _is_label(spec: TensorSpec) -> bool:
    return spec.datatype in _INTEGERS and spec.shape in {(-1,), (-1, 1), (1,), (1, 1)}


def _is_score(spec: TensorSpec) -> bool:
    return spec.datatype in _SCORES and len(spec.shape) == 2 and 2 <= spec.shape[1] <= _MAX_SERIES
