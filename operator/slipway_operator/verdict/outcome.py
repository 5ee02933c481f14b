"""What checks come to, one by one and together.

Unknown is neither good nor bad: a check without data says `NoData`, one that cannot tell when its
time is over says `Inconclusive`, and what follows from either is the spec's decision.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from slipway_operator.verdict.counts import Interval


class Verdict(StrEnum):
    """What a check says."""

    RUNNING = "Running"
    PASS = "Pass"  # noqa: S105 - a verdict, not a password
    FAIL = "Fail"
    INCONCLUSIVE = "Inconclusive"
    NO_DATA = "NoData"
    WARN = "Warn"


class Action(StrEnum):
    """What a failed check leads to."""

    ABORT = "Abort"
    PAUSE = "Pause"
    WARN = "Warn"


@dataclass(frozen=True, slots=True)
class Evidence:
    """E-values of a check on rates."""

    fail: float
    """Logarithm of the evidence that the candidate is worse."""
    passed: float
    """Logarithm of the evidence that it is not."""
    phi: float


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says, and why."""

    name: str
    verdict: Verdict
    message: str
    counts: Interval | None = None
    """Of the whole rollout so far."""
    evidence: Evidence | None = None
    state: str = ""
    action: Action = Action.ABORT
    is_awaited: bool = False
    """It will come to something: a step does not end before."""

    def acted(self, action: Action) -> Finding:
        """Say what a failure leads to; one that only warns does not fail."""
        warns = action is Action.WARN and self.verdict is Verdict.FAIL
        return replace(self, action=action, verdict=Verdict.WARN if warns else self.verdict)

    def closed(self) -> Finding:
        """End the check's time: what still runs cannot tell."""
        if self.verdict is not Verdict.RUNNING:
            return self
        return replace(self, verdict=Verdict.INCONCLUSIVE)


_ORDER = (Verdict.FAIL, Verdict.NO_DATA, Verdict.INCONCLUSIVE, Verdict.RUNNING)
"""Worst first; a check that passes or only warns stands in nobody's way."""


def worst(findings: Iterable[Finding]) -> Finding | None:
    """Find the check that decides; None when nothing stands in the way.

    Of failed checks those that abort come before those that pause.
    """
    ranked = [f for f in findings if f.verdict in _ORDER]
    return min(ranked, key=_rank, default=None)


def _rank(finding: Finding) -> tuple[int, bool]:
    return _ORDER.index(finding.verdict), finding.action is not Action.ABORT


def together(findings: Iterable[Finding]) -> Verdict:
    """Combine checks: any Fail fails, and all have to pass; without checks there is no data.

    >>> together([])
    <Verdict.NO_DATA: 'NoData'>
    """
    known = list(findings)
    if not known:
        return Verdict.NO_DATA
    found = worst(known)
    return Verdict.PASS if found is None else found.verdict
