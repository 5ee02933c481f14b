"""How far a converted model's answers are from the original's. Pure.

A number agrees where |got - want| <= tolerance * max(1, |want|): absolute for probabilities,
relative for large predictions.

    want 0.5,    got 0.50005, tolerance 1e-4: agrees, differs by 5e-5
    want 2000.0, got 2000.1,  tolerance 1e-4: agrees, differs by 0.1, relative 5e-5
    want 0.5,    got 0.501,   tolerance 1e-4: does not

A label agrees where it is the same, or where the original itself cannot tell: its two best scores
are nearer to each other than the numbers may differ. Such rows are counted as ties.

    want a (0.5000, 0.5000), got b (0.4999999, 0.5000001): a tie
    want a (0.6, 0.4),       got b (0.6, 0.4): does not agree
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slipway_runtime.convert.original import LABEL, Array


@dataclass(frozen=True, slots=True)
class Difference:
    """How two answers to the same rows differ."""

    rows: int = 0
    max_abs: float = 0.0
    max_rel: float = 0.0
    labels: int = 0
    """Rows that have a label, given or as the place of the largest score."""
    equal_labels: int = 0
    ties: int = 0
    """Those of `equal_labels` that are only as good as equal."""
    worst: float = 0.0
    """Largest |got - want| / max(1, |want|): what the tolerance is for."""

    def __add__(self, other: Difference) -> Difference:
        return Difference(
            self.rows + other.rows,
            max(self.max_abs, other.max_abs),
            max(self.max_rel, other.max_rel),
            self.labels + other.labels,
            self.equal_labels + other.equal_labels,
            self.ties + other.ties,
            max(self.worst, other.worst),
        )

    @property
    def label_agreement_percent(self) -> float | None:
        """None where nothing was a label."""
        return 100.0 * self.equal_labels / self.labels if self.labels else None


class Incomparable(ValueError):
    """Two answers of different shape, count or kind."""


def difference(
    names: Sequence[str], want: Sequence[Array], got: Sequence[Array], *, tie: float = 0.0
) -> Difference:
    """Compare the outputs of one question, in order.

    Args:
        names: of the outputs.
        want: the original's answers.
        got: the other's.
        tie: scores that are no farther apart are equally good.

    Raises:
        Incomparable: they are not answers of the same form.
    """
    if len(want) != len(got):
        raise Incomparable(f"{len(got)} outputs, expected {len(want)}")
    total = Difference(rows=len(want[0]) if want and want[0].ndim else 1)
    pairs = dict(zip(names, map(_same_shape, names, want, got), strict=True))
    labels = pairs.pop(LABEL, None)
    scores = next((one for one, _ in pairs.values() if len(pairs) == 1), None)
    for wanted, found in pairs.values():
        total += _labels(wanted, found) if wanted.dtype.kind in "OUSb" else _numbers(wanted, found)
    if labels is None and scores is not None and scores.ndim == 2 and scores.shape[1] > 1:
        ((one, other),) = pairs.values()
        labels = np.argmax(one, axis=1), np.argmax(other, axis=1)
    if labels is not None:
        total += _labels(*labels, undecided=_undecided(scores, labels[0].shape, tie))
    return total


def _numbers(want: Array, got: Array) -> Difference:
    wanted, found = want.astype(np.float64), got.astype(np.float64)
    same = (wanted == found) | (np.isnan(wanted) & np.isnan(found))
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.where(same, 0.0, np.abs(wanted - found))
    gap = np.where(np.isnan(gap), np.inf, gap)
    size = np.abs(np.where(np.isfinite(wanted), wanted, 1.0))
    return Difference(
        max_abs=float(gap.max(initial=0.0)),
        max_rel=float((gap / np.maximum(size, 1e-9)).max(initial=0.0)),
        worst=float((gap / np.maximum(size, 1.0)).max(initial=0.0)),
    )


def _same_shape(name: str, want: Array, got: Array) -> tuple[Array, Array]:
    if want.shape != got.shape and want.size == got.size and len(want) == len(got):
        got = got.reshape(want.shape)  # [n] and [n, 1] are the same answer
    if want.shape != got.shape:
        raise Incomparable(
            f"output {name!r} has shape {list(got.shape)}, expected {list(want.shape)}"
        )
    return want, got


def _undecided(scores: Array | None, shape: tuple[int, ...], tie: float) -> Array:
    """Rows whose two best scores are as good as equal; a lone score is divided by its sign."""
    if scores is None or scores.dtype.kind not in "fiu" or scores.shape[:1] != shape:
        return np.zeros(shape, bool)
    if scores.ndim == 1:
        return np.asarray(np.abs(scores) <= tie)
    if scores.ndim != 2 or scores.shape[1] < 2:
        return np.zeros(shape, bool)
    best = np.sort(scores, axis=1)[:, -2:]
    allowed = 2 * tie * np.maximum(1.0, np.abs(best[:, 1]))
    return np.asarray(best[:, 1] - best[:, 0] <= allowed)


def _labels(want: Array, got: Array, undecided: Array | None = None) -> Difference:
    equal = want.astype(str) == got.astype(str)
    ties = np.zeros_like(equal) if undecided is None else undecided & ~equal
    return Difference(
        labels=int(want.size), equal_labels=int(np.sum(equal | ties)), ties=int(np.sum(ties))
    )
