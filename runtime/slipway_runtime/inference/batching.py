"""Which of the waiting requests run together, and when: the policy of dynamic batching.

Pure: no clock, no queue, no thread; `batcher.py` gives it a life. A batch forms while the engine
is busy, so it costs nobody any time: who comes to an idle engine runs at once, alone, unless
`maxDelay` asks to wait for company.

The rules:

1. The request that has waited longest always goes, whatever its size: who is at place p runs in
   the p-th batch at the latest.
2. Company are requests with its key, in the order they came, while their rows fit `max_rows`. The
   first that does not fit ends the batch, so nobody is overtaken by a later request of its key.
3. A key is the wanted outputs and every input's shape without its first dimension. A request
   without rows, or whose inputs differ in rows, has no key and runs alone.

Rows 1 1 1 with max_rows 2 → [1 1] [1] · rows 3 1 with max_rows 2 → [3] [1] · keys a b a → [a a] [b]
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from slipway_runtime.inference.datatypes import Tensor
from slipway_runtime.inference.signature import Signature


class Waiting(Protocol):
    """What the policy has to know of a request."""

    @property
    def key(self) -> Hashable | None:
        """Equal keys may share a batch; None runs alone."""

    @property
    def rows(self) -> int:
        """Size of the batch dimension."""

    @property
    def enqueued_s(self) -> float:
        """When it came, on a monotonic clock."""


W = TypeVar("W", bound=Waiting)


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """How many rows one run may have, and how long the first of a batch waits for company."""

    max_rows: int = 1
    """1 switches batching off."""
    max_delay_s: float = 0.0

    def members(self, waiting: Iterable[W]) -> list[W]:
        """The next batch: some of `waiting`, which stand in the order they came."""
        chosen: list[W] = []
        rows = 0
        for request in waiting:
            if chosen and request.key != chosen[0].key:
                continue
            if chosen and rows + request.rows > self.max_rows:
                break
            chosen.append(request)
            rows += request.rows
            if request.key is None or rows >= self.max_rows:
                break
        return chosen

    def starts_s(self, batch: Sequence[Waiting]) -> float:
        """When a batch may start: at once if it can gain nothing by waiting."""
        first = batch[0]
        if first.key is None or sum(request.rows for request in batch) >= self.max_rows:
            return first.enqueued_s
        return first.enqueued_s + self.max_delay_s


OFF = BatchPolicy()


def batch_key(
    feeds: Mapping[str, Tensor], inputs: Sequence[str], outputs: Sequence[str]
) -> Hashable | None:
    """Tell what a request can share a batch with; `inputs` are the model's, in its order."""
    shapes = [feeds[name].shape for name in inputs if name in feeds]
    if len(shapes) < len(inputs) or not all(shapes):
        return None
    rows = shapes[0][0]
    if rows < 1 or any(shape[0] != rows for shape in shapes):
        return None
    return (tuple(outputs), tuple(shape[1:] for shape in shapes))


def has_batch_dimension(signature: Signature) -> bool:
    """Whether every input and output leaves its first dimension free, and calls it the same."""
    specs = (*signature.inputs, *signature.outputs)
    if not signature.inputs or not all(spec.shape and spec.shape[0] == -1 for spec in specs):
        return False
    names = {spec.symbols[0] for spec in specs if spec.symbols} - {None}
    return len(names) <= 1


def stacked(members: Sequence[Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
    """Join the inputs of a batch along the batch dimension."""
    if len(members) == 1:
        return members[0]
    return {name: np.concatenate([feeds[name] for feeds in members]) for name in members[0]}


def split(results: Sequence[Tensor], rows: Sequence[int]) -> list[list[Tensor]] | None:
    """Give each member its rows of every output; None when the model answered other rows."""
    total = sum(rows)
    if any(result.ndim == 0 or result.shape[0] != total for result in results):
        return None
    shares: list[list[Tensor]] = []
    start = 0
    for count in rows:
        shares.append([result[start : start + count] for result in results])
        start += count
    return shares
