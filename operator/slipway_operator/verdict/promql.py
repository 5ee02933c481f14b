"""The check `PromQL`: is the one number that a query comes to larger than it may be?

Lives here: reading the answer of Prometheus' HTTP API, and judging it.
Stays out: asking (`engine/prometheus.py`), and what stands in a query (`plan/queries.py`).

Whatever is not exactly one finite number is no data: an empty answer is neither good nor bad, and
of several numbers nobody knows which one is meant. Examples with a maximum of 0.05: a vector of one
sample "0.01" passes, of one sample "0.06" fails, one of "NaN" and one of two samples say nothing.
Source: Prometheus, "HTTP API", instant queries.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Final

from slipway_operator.verdict.outcome import Finding, Verdict

_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class Reading:
    """What a query came to."""

    value: float | None
    reason: str = ""
    """Why there is no value."""


def reading(status: int, body: bytes) -> Reading:
    """Read an answer; whatever it is, it is a number or a reason why there is none."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return Reading(None, f"status {status}, and the answer is not JSON: {_start(body)}")
    if not isinstance(answer, dict):
        return Reading(None, f"status {status}, and the answer is not an object")
    if status != 200 or answer.get("status") != "success":
        told = str(answer.get("error") or "it does not say why")[:_SHOWN]
        return Reading(None, f"status {status}: {told!r}")
    return _number(answer.get("data"))


def _start(body: bytes) -> str:
    return repr(body[:40].decode(errors="replace"))


def _number(data: Any) -> Reading:
    match data:
        case {"resultType": "scalar", "result": [_, str(text)]}:
            return _finite(text)
        case {"resultType": "vector", "result": []}:
            return Reading(None, "no series has an answer to the query")
        case {"resultType": "vector", "result": [{"value": [_, str(text)]}]}:
            return _finite(text)
        case {"resultType": "vector", "result": [_, _, *_] as many}:
            text = (
                f"{len(many)} series answer the query; it has to come to one number, as sum() does"
            )
            return Reading(None, text)
        case {"resultType": "matrix" | "string" as kind}:
            return Reading(None, f"the query comes to a {kind}, expected one number")
    return Reading(None, "the answer is not one of Prometheus")


def _finite(text: str) -> Reading:
    try:
        value = float(text)
    except ValueError:
        return Reading(None, f"the answer is {text[:_SHOWN]!r}, expected a number")
    if not math.isfinite(value):
        return Reading(None, f"the answer is {text[:_SHOWN]}")
    return Reading(value)


def promql(found: Reading, limit: float, name: str) -> Finding:
    """Judge by one number."""
    if found.value is None:
        return Finding(name, Verdict.NO_DATA, found.reason)
    verdict = Verdict.FAIL if found.value > limit else Verdict.PASS
    return Finding(name, verdict, f"{found.value:.6g}, {limit:g} allowed")
