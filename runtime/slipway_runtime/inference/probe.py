"""Ask a loaded model whether batches are safe and worth it, before anybody else asks it anything.

Safe: two different rows must give in one run what each gives alone. A first dimension that is free
need not be a batch (a sequence, a set), and some models answer differently in company (quantized
at run time, their scale is that of the whole batch). Worth it: eight rows in one run must be
faster than eight runs, which holds for small models and wide layers, and hardly for convolutions.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf, prod
from time import perf_counter, thread_time
from typing import Final, NamedTuple

import numpy as np

from slipway_runtime.config import BatchingBlock
from slipway_runtime.errors import InferenceFailed, InvalidTensor
from slipway_runtime.inference.batching import OFF, BatchPolicy, has_batch_dimension, split
from slipway_runtime.inference.datatypes import DTYPES, Tensor, kind_of
from slipway_runtime.inference.session import Cancellation, Session
from slipway_runtime.inference.signature import TensorSpec

log: Final = logging.getLogger(__name__)

_ROWS: Final = 8
_WORTH_IT: Final = 1.3
"""Eight rows in one run against eight runs; below it is noise, and batches cost latency."""
_WORTH_IT_SLOW: Final = 1.1
"""The same of a slow model, whose requests wait for each other anyway."""
_BUDGET_S: Final = 2.0
"""After so long the probe is stopped, and there is no batching."""
_TIMED_RUNS: Final = 7
_ENOUGH_S: Final = 0.05
_QUICK_S: Final = 0.0002
"""What handing a run to a thread and back costs."""
_SLOW_ROW_S: Final = 0.004
"""A row that takes longer is looked at in less company: eight would take long, and some often."""
_SLOW_ROWS: Final = 3
_OFTEN_S: Final = 0.1
"""What is faster may be run twice, before it is judged to be slow."""
_MOST_QUICK_ROWS: Final = 1024
_FREE_DIMENSIONS: Final = (8, 1)
"""Sizes tried for free dimensions that are not the batch; some models cannot take a 1."""
_DEPENDENT: Final = "rows are not independent"
_SPREAD: Final = 3.46
"""Gives them the variance of 1 that models are trained for."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the probe found; `gain` is None where nothing was timed."""

    policy: BatchPolicy
    reason: str
    gain: float | None = None


class _Timed(NamedTuple):
    """An answer, and how long it took."""

    answer: list[Tensor]
    seconds: float


def quick_rows(session: Session, zeros_s: float | None = None) -> int:
    """How many rows take so little time that handing them to a thread would cost more; 0 for none.

    `zeros_s` is the time of a run that was seen, if there was one. Asked only where rows alone
    tell the work: sizes of text and of other free dimensions differ from request to request.
    """
    if zeros_s is not None and zeros_s > _SLOW_ROW_S:
        return 0
    specs = session.signature.inputs
    is_batch = has_batch_dimension(session.signature)
    known = [spec.shape[1:] if is_batch else spec.shape for spec in specs]
    if not specs or any(-1 in shape for shape in known):
        return 0
    if any(spec.datatype == "BYTES" for spec in specs):
        return 0
    shapes = [(_ROWS, *shape) if is_batch else shape for shape in known]
    feeds = {spec.name: _filled(spec, shape) for spec, shape in zip(specs, shapes, strict=True)}
    with _bounded() as cancellation:
        one_s = _fastest(session, _row(feeds, 0) if is_batch else feeds, cancellation)
        if one_s > _QUICK_S:
            return 0
        eight_s = _fastest(session, feeds, cancellation) if is_batch else inf
    row_s = max((eight_s - one_s) / (_ROWS - 1), one_s / _MOST_QUICK_ROWS)
    return max(1, min(_MOST_QUICK_ROWS, int((_QUICK_S - one_s) / row_s)))


@contextmanager
def _bounded() -> Iterator[Cancellation]:
    """Stop what runs inside of the block when the budget is spent."""
    cancellation = Cancellation()
    timer = threading.Timer(_BUDGET_S, cancellation.stop)
    timer.daemon = True
    timer.start()
    try:
        yield cancellation
    finally:
        timer.cancel()


def decide(session: Session, block: BatchingBlock) -> Verdict:
    """Tell how the model is batched: what the spec says, where the model allows it."""
    if block.mode == "Off" or block.max_batch_size == 1:
        return Verdict(OFF, "asked for")
    if not has_batch_dimension(session.signature):
        return Verdict(OFF, "the model has no batch dimension")
    wanted = BatchPolicy(block.max_batch_size, block.max_delay_s)
    with _bounded() as cancellation:
        return _judged(session, block, wanted, cancellation)


def _judged(
    session: Session, block: BatchingBlock, wanted: BatchPolicy, cancellation: Cancellation
) -> Verdict:
    if block.mode == "Auto" and (found := _of_slow(session, wanted, cancellation)):
        return found
    unproven = wanted if block.mode == "On" else OFF
    late = Verdict(unproven, f"not decided within {_BUDGET_S:g}s")
    accepted = _accepted(session, cancellation)
    if accepted is None:
        refused = Verdict(unproven, "the model refuses a made-up batch")
        return late if cancellation.options.terminate else refused
    feeds, together = accepted
    is_rowwise = _is_rowwise(session, feeds, together, cancellation)
    if cancellation.options.terminate:
        return late
    if not is_rowwise:
        if block.mode == "On":
            log.warning("batching changes answers", extra={"cause": "rows are not independent"})
        return Verdict(unproven, _DEPENDENT)
    if block.mode == "On":
        return Verdict(wanted, "asked for")
    gain = _gain(session, feeds, cancellation)
    if gain is None:
        return late
    return Verdict(wanted if gain >= _WORTH_IT else OFF, "measured", round(gain, 2))


def _of_slow(session: Session, wanted: BatchPolicy, cancellation: Cancellation) -> Verdict | None:
    """Judge a slow model by few runs, as each delays its start; None of every other model.

    A run takes some time, and some more for each row; of a slow model that can be told apart.
    Either verdict asks for a second look at what it rests on: a run may be slow by chance.
    """
    size, last = _FREE_DIMENSIONS[0], _SLOW_ROWS - 1
    feeds = {s.name: _made_up(s, size)[:_SLOW_ROWS] for s in session.signature.inputs}
    alone = _timed(session, _row(feeds, 0), cancellation)
    if alone is None or alone.seconds < _SLOW_ROW_S:
        return None
    together = _timed(session, feeds, cancellation)
    if together is None:
        return None
    one_s, few_s = alone.seconds, together.seconds
    if few_s < _OFTEN_S and _foretold(one_s, few_s) < _WORTH_IT_SLOW:
        few_s = min(few_s, _seconds(session, feeds, cancellation) or inf)
    if _foretold(one_s, few_s) >= _WORTH_IT_SLOW:
        again = _timed(session, _row(feeds, last), cancellation)
        if again is None:
            return None
        one_s = min(one_s, again.seconds)
        if not _is_equal(together.answer, {0: alone.answer, last: again.answer}, _SLOW_ROWS):
            return Verdict(OFF, _DEPENDENT)
    gain = _foretold(one_s, few_s)
    return Verdict(wanted if gain >= _WORTH_IT_SLOW else OFF, "measured", round(gain, 2))


def _foretold(one_s: float, few_s: float) -> float:
    """The gain of eight rows, by the times of one and of few."""
    row_s = max(0.0, few_s - one_s) / (_SLOW_ROWS - 1)
    return _ROWS * one_s / (one_s + (_ROWS - 1) * row_s)


def _accepted(
    session: Session, cancellation: Cancellation
) -> tuple[dict[str, Tensor], list[Tensor]] | None:
    """A batch of different rows and the model's answer; None when it refuses all we try."""
    for size in _FREE_DIMENSIONS:
        feeds = {spec.name: _made_up(spec, size) for spec in session.signature.inputs}
        together = _run(session, feeds, cancellation)
        if together is not None:
            return feeds, together
    return None


def _made_up(spec: TensorSpec, free: int) -> Tensor:
    shape = (_ROWS, *(free if size == -1 else size for size in spec.shape[1:]))
    return _filled(spec, shape)


def _filled(spec: TensorSpec, shape: tuple[int, ...]) -> Tensor:
    """Numbers that most models accept: zeros and ones are tokens of every vocabulary."""
    dtype, kind = DTYPES[spec.datatype], kind_of(spec.datatype)
    noise = _noise(prod(shape)).reshape(shape)
    if kind == "f":
        return ((noise - 0.5) * _SPREAD).astype(dtype)
    bits = (noise < 0.5).astype(np.int64)
    return bits.astype(str).astype(np.object_) if kind == "O" else bits.astype(dtype)


def _noise(count: int) -> Tensor:
    """Numbers from 0 to 1 without a pattern, by SplitMix64; numpy's own take 10 ms to import."""
    mixed = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (mixed >> np.uint64(40)) / 2.0**24


def _is_rowwise(
    session: Session,
    feeds: Mapping[str, Tensor],
    together: list[Tensor],
    cancellation: Cancellation,
) -> bool:
    alone = {}
    for row in (0, _ROWS // 2, _ROWS - 1):
        answer = _run(session, _row(feeds, row), cancellation)
        if answer is None:
            return False
        alone[row] = answer
    return _is_equal(together, alone, _ROWS)


def _is_equal(together: list[Tensor], alone: Mapping[int, list[Tensor]], rows: int) -> bool:
    """Whether rows have in company the answers that they have alone."""
    shares = split(together, [1] * rows)
    return shares is not None and all(
        all(map(_equal, answer, shares[row])) for row, answer in alone.items()
    )


def _equal(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    if one.dtype.kind in "biuO":
        return bool(np.array_equal(one, other))
    tolerance = 1e-3 if one.dtype.itemsize > 2 else 2e-2
    left, right = one.astype(np.float64), other.astype(np.float64)  # allclose takes no bfloat16
    return bool(np.allclose(left, right, rtol=tolerance, atol=tolerance, equal_nan=True))


def _gain(
    session: Session, feeds: Mapping[str, Tensor], cancellation: Cancellation
) -> float | None:
    """Rows a second in runs of eight, against those of single runs; None when time ran out."""
    single = _row(feeds, 0)
    one_s = eight_s = float("inf")
    begun_s = perf_counter()
    for _ in range(_TIMED_RUNS):
        took_s = perf_counter() - begun_s
        if took_s > _ENOUGH_S and _ROWS * one_s < _WORTH_IT * eight_s:
            break  # nothing to gain; where there seems to be, chance must not have decided
        # In turn, and the fastest of each: load on the machine then hits both alike.
        timed = [_seconds(session, each, cancellation) for each in (single, feeds)]
        if timed[0] is None or timed[1] is None:
            return None
        one_s, eight_s = min(one_s, timed[0]), min(eight_s, timed[1])
    return _ROWS * one_s / eight_s


def _fastest(session: Session, feeds: Mapping[str, Tensor], cancellation: Cancellation) -> float:
    """Seconds of the fastest of a few runs, of one where it is slow; infinite where it refuses."""
    fastest_s, spent_s = inf, 0.0
    for _ in range(_TIMED_RUNS):
        took_s = _seconds(session, feeds, cancellation)
        if took_s is None:
            return inf
        fastest_s, spent_s = min(fastest_s, took_s), spent_s + took_s
        if spent_s > _ENOUGH_S / 10:
            break
    return fastest_s


def _seconds(
    session: Session, feeds: Mapping[str, Tensor], cancellation: Cancellation
) -> float | None:
    timed = _timed(session, feeds, cancellation)
    return None if timed is None else timed.seconds


def _timed(
    session: Session, feeds: Mapping[str, Tensor], cancellation: Cancellation
) -> _Timed | None:
    # Where it computes in this thread, the thread's own time: others may take the core away.
    clock = thread_time if session.is_alone else perf_counter
    begun_s = clock()
    result = _run(session, feeds, cancellation)
    return None if result is None else _Timed(result, clock() - begun_s)


def _run(
    session: Session, feeds: Mapping[str, Tensor], cancellation: Cancellation
) -> list[Tensor] | None:
    try:
        return session.run(feeds, [spec.name for spec in session.signature.outputs], cancellation)
    except (InferenceFailed, InvalidTensor):
        return None


def _row(feeds: Mapping[str, Tensor], index: int) -> dict[str, Tensor]:
    return {name: tensor[index : index + 1] for name, tensor in feeds.items()}
