"""The check `latency`: are more of the candidate's answers slow than of the stable's?

Quantiles between the edges of a histogram are guesses and are never compared. Instead limits are
chosen among the edges once, when the check begins, and an answer beyond a limit is a bad one: the
first edges that at most one in twenty and one in a hundred of the stable's answers exceed, or the
first edge at or beyond a target. Examples with the edges 0.05, 0.1, 0.25, +Inf and 90, 97, 100, 100
answers up to them: the limits are 0.1 and 0.25; with a target of 60 ms it is 0.1.
Source: `rollout.md` A7.3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from slipway_operator.verdict.counts import Interval, Tally
from slipway_operator.verdict.errors import share
from slipway_operator.verdict.outcome import Finding, Verdict
from slipway_operator.verdict.rates import SIZE, Criteria, Rates, judged
from slipway_operator.verdict.state import decoded, encoded

NAME: Final = "latency"
FLOOR: Final = 0.05
"""Share of slow answers up to which nothing fails, whatever the ratio."""
FEWEST: Final = 100
"""Answers of the stable revision without which no limit is chosen."""
_EXCEEDED: Final = (0.05, 0.01)

Buckets = Mapping[float, float]
"""Upper edge in seconds to answers up to it: cumulative, the last edge infinite."""


def limits(stable: Buckets, target_s: float | None = None) -> tuple[float, ...]:
    """Choose limits in seconds, rising; none as long as too few answers are known."""
    edges = sorted(e for e in stable if math.isfinite(e))
    if target_s is not None:
        return tuple(e for e in edges if e >= target_s)[:1]
    total = max(stable.values(), default=0.0)
    if total < FEWEST:
        return ()
    found = (_first(edges, stable, total * (1 - part)) for part in _EXCEEDED)
    return tuple(sorted({e for e in found if e is not None}))


def _first(edges: Sequence[float], counts: Buckets, enough: float) -> float | None:
    return next((e for e in edges if counts[e] >= enough), None)


def slow(answers: Buckets, limit: float) -> Tally:
    """Count answers, and those beyond a limit; a histogram without that edge tells nothing.

    >>> slow({0.1: 90.0, math.inf: 100.0}, 0.1)
    Tally(requests=100.0, bad=10.0)
    """
    if limit not in answers:
        return Tally()
    total = max(answers.values())
    return Tally(total, total - answers[limit])


@dataclass(frozen=True, slots=True)
class Latency:
    """What is known so far, by limit."""

    parts: tuple[tuple[float, Rates], ...] = ()
    """Limit in seconds, and what is known of answers beyond it."""

    @classmethod
    def of(cls, chosen: Sequence[float]) -> Latency:
        """Begin with limits."""
        return cls(tuple((limit, Rates()) for limit in chosen))

    def referenced(self, stable: Buckets) -> Latency:
        """Take what the stable revision did earlier, where it was never compared with."""
        parts = tuple((e, r.referenced(slow(stable, e))) for e, r in self.parts)
        return replace(self, parts=parts)

    def grown(self, candidate: Buckets, stable: Buckets, criteria: Criteria) -> Latency:
        """Take an interval in."""
        return replace(
            self,
            parts=tuple(
                (e, r.grown(Interval(slow(candidate, e), slow(stable, e)), criteria))
                for e, r in self.parts
            ),
        )

    def grown_alone(self, candidate: Buckets, criteria: Criteria) -> Latency:
        """Take an interval in, in which all requests were meant for the candidate."""
        return replace(
            self,
            parts=tuple((e, r.grown_alone(slow(candidate, e), criteria)) for e, r in self.parts),
        )

    def encoded(self) -> str:
        """Write it as text: one part after the other, the limit first."""
        return ".".join(f"{encoded((e,))}{r.encoded()}" for e, r in self.parts)

    @classmethod
    def decoded(cls, text: object) -> Latency:
        """Read it back; from anything else begin anew."""
        if not isinstance(text, str) or not text:
            return cls()
        first = len(encoded((0.0,)))
        read = []
        for part in text.split("."):
            limit = decoded(part[:first], 1)
            if limit is None or decoded(part[first:], SIZE) is None:
                return cls()
            read.append((limit[0], Rates.decoded(part[first:])))
        return cls(tuple(read))


def latency(known: Latency, criteria: Criteria, name: str = NAME) -> Finding:
    """Judge by slow answers."""
    if not known.parts:
        text = f"{FEWEST} answers of the stable revision are needed to say what is slow"
        return Finding(name, Verdict.NO_DATA, text)
    verdict, evidence = judged(tuple(r for _, r in known.parts), criteria)
    limit, rates = known.parts[0]
    text = (
        f"slower than {_ms(limit)}: candidate {share(rates.candidate)},"
        f" stable {share(rates.stable)}"
    )
    if verdict is Verdict.NO_DATA:
        text += f"; {criteria.min_requests} answers of the candidate are needed"
    return Finding(name, verdict, text, rates.counts, evidence, known.encoded())


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:g} ms"
