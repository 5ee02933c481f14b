"""The check `drift`: does the candidate predict other classes than the stable revision does?

PSI = sum((c_i - s_i) ln(c_i / s_i)) over the shares of the buckets. Without any difference it is
not 0 but about chi^2 (1/n + 1/m) with B - 1 degrees of freedom, n and m predictions: with n = 100
and m = 900 two in five of identical models exceed the customary 0.1. So what chance explains is
taken off, and nothing is said before it is small against the threshold:
1/n + 1/m <= threshold / chi^2_{B-1, 0.99}. Examples with 10 buckets, m = 9 n and the threshold 0.2:
125 predictions of the candidate are enough, 110 are not.
Source: Yurdakul & Naranjo, J. Risk Model Validation 2020; `rollout.md` A7.3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Final

from slipway_operator.verdict.outcome import Finding, Verdict

NAME: Final = "drift"
THRESHOLD: Final = 0.2
_CONFIDENCE: Final = 0.99
_SMOOTHING: Final = 0.5
"""Added to every bucket: one without predictions would count without bound."""

Outputs = Mapping[str, float]
"""Bucket to predictions."""


def drift(
    candidate: Outputs, stable: Outputs, threshold: float = THRESHOLD, name: str = NAME
) -> Finding:
    """Judge by what is predicted."""
    buckets = [b for b in candidate.keys() | stable.keys() if _count(candidate, stable, b)]
    n, m = sum(candidate.values()), sum(stable.values())
    if len(buckets) < 2 or not n or not m:
        return Finding(name, Verdict.NO_DATA, "no predictions of both revisions to compare")
    chance = chi_square(len(buckets) - 1, _CONFIDENCE) * (1 / n + 1 / m)
    if chance > threshold:
        text = f"{n:.0f} predictions of the candidate and {m:.0f} of the stable are too few"
        return Finding(name, Verdict.NO_DATA, text)
    found = psi(candidate, stable)
    adjusted = max(0.0, found - chance)
    verdict = Verdict.FAIL if adjusted > threshold else Verdict.PASS
    text = f"PSI {adjusted:.3f} beyond chance, {threshold:g} allowed, of {n:.0f} predictions"
    return Finding(name, verdict, text)


def _count(candidate: Outputs, stable: Outputs, bucket: str) -> float:
    return candidate.get(bucket, 0.0) + stable.get(bucket, 0.0)


def psi(candidate: Outputs, stable: Outputs) -> float:
    """Population stability index of two counts over the buckets that either has."""
    buckets = sorted(b for b in candidate.keys() | stable.keys() if _count(candidate, stable, b))
    one, other = _shares(candidate, buckets), _shares(stable, buckets)
    return sum((c - s) * math.log(c / s) for c, s in zip(one, other, strict=True))


def _shares(outputs: Outputs, buckets: list[str]) -> list[float]:
    counts = [outputs.get(b, 0.0) + _SMOOTHING for b in buckets]
    total = sum(counts)
    return [c / total for c in counts]


def chi_square(degrees: int, probability: float) -> float:
    """Quantile of the chi-square distribution, right to 1 % from one degree of freedom up.

    >>> round(chi_square(9, 0.99), 1)
    21.7

    Source: Wilson & Hilferty, PNAS 1931.
    """
    part = 2 / (9 * degrees)
    return degrees * (1 - part + NormalDist().inv_cdf(probability) * math.sqrt(part)) ** 3
