"""From counters of pods to what the checks say, over time. Pure: what was read is an argument.

Lives here: the difference of two readings of both tracks, and what is remembered between them.
Stays out: reading (`engine/scrape.py`), when it is read (`engine/analysing.py`), the statistics
(`verdict/`), and what follows from a verdict (`machine.py`).

A pod whose counters fell has started anew and is left out; so is an interval that one of the tracks
was not read in: nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from slipway_operator.plan.policy import Check, CheckType, Policy
from slipway_operator.verdict.counts import Interval, Tally
from slipway_operator.verdict.drift import drift
from slipway_operator.verdict.errors import errors
from slipway_operator.verdict.latency import Buckets, Latency, latency, limits
from slipway_operator.verdict.outcome import Finding, Verdict
from slipway_operator.verdict.rates import Criteria, Rates, evidence_text


@dataclass(frozen=True, slots=True)
class Sample:
    """The counters of one pod at one moment; all of them only rise while its process lives."""

    good: float
    """Requests that were answered well, the client's own mistakes apart."""
    bad: float
    """Requests that failed because of the server."""
    answers: Mapping[float, float] = field(default_factory=dict)
    """Upper edge in seconds to answers up to it."""
    outputs: Mapping[str, float] = field(default_factory=dict)
    """Predictions by bucket."""
    is_warm: bool = True
    """Its answers count for the latency."""


Samples = Mapping[str, Sample]
"""By pod uid."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What the pods of a track did between two readings."""

    requests: Tally
    answers: Buckets


def growth(before: Samples, after: Samples) -> Growth | None:
    """Compare two readings of a track; None when no pod is in both."""
    pairs = [(before[uid], now) for uid, now in after.items() if uid in before]
    grown = [(old, new) for old, new in pairs if _has_grown(old, new)]
    if not grown:
        return None
    good = sum(new.good - old.good for old, new in grown)
    bad = sum(new.bad - old.bad for old, new in grown)
    warm = [(old, new) for old, new in grown if old.is_warm]
    return Growth(Tally(good + bad, bad), _answers(warm))


def _has_grown(old: Sample, new: Sample) -> bool:
    has = all(new.answers.get(edge, 0.0) >= count for edge, count in old.answers.items())
    return has and new.good >= old.good and new.bad >= old.bad


def _answers(pairs: list[tuple[Sample, Sample]]) -> dict[float, float]:
    total: dict[float, float] = {}
    for old, new in pairs:
        for edge, count in new.answers.items():
            total[edge] = total.get(edge, 0.0) + count - old.answers.get(edge, 0.0)
    return total


def _summed(samples: Samples, name: str) -> dict[Any, float]:
    total: dict[Any, float] = {}
    for sample in samples.values():
        for key, count in getattr(sample, name).items():
            total[key] = total.get(key, 0.0) + count
    return total


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one attempt of one rollout."""

    rollout: str
    """`identity` of it: evidence is never carried over to another."""
    rates: Mapping[str, Rates] = field(default_factory=dict)
    """By name of the check."""
    latencies: Mapping[str, Latency] = field(default_factory=dict)
    drifts: Mapping[str, Finding] = field(default_factory=dict)
    stable: Samples = field(default_factory=dict)
    candidate: Samples = field(default_factory=dict)
    was_cut: bool = False
    """All traffic went to the candidate at the last reading."""
    last: Interval | None = None
    """What both tracks did in the last interval in which both were read."""
    weight: int = 0
    """Percent that a gateway was confirmed to send to the candidate at the last reading."""
    share: Interval | None = None
    """What both tracks did since then."""

    def read(
        self,
        stable: Samples,
        candidate: Samples,
        policy: Policy,
        *,
        is_cut: bool,
        weight: int = 0,
    ) -> Evidence:
        """Take the next readings in."""
        seen = replace(self, stable=stable, candidate=candidate, was_cut=is_cut, weight=weight)
        old, new = growth(self.stable, stable), growth(self.candidate, candidate)
        seen = seen._shared(self.weight, new, old)
        seen = seen._drifted(policy)
        if is_cut and self.was_cut:
            return seen._alone(new, policy) if new else seen
        if old is None:
            return seen
        return seen._both(new, old, policy) if new else seen._warmed(old, policy)

    def _shared(self, before: int, candidate: Growth | None, stable: Growth | None) -> Evidence:
        """Count who was asked while the weight was the same, from one reading to the next."""
        if not self.weight or self.weight != before:
            return replace(self, share=None)
        if candidate is None or stable is None:
            return self
        grown = Interval(candidate.requests, stable.requests)
        return replace(self, share=self.share + grown if self.share else grown)

    def _warmed(self, stable: Growth, policy: Policy) -> Evidence:
        """The candidate has no pods yet."""
        if self.candidate:  # or none of them could be compared: the interval is dropped
            return self
        rates = {
            check.name: self._rates(check).warmed(stable.requests)
            for check in policy.of_type(CheckType.ERROR_RATE)
        }
        return replace(self, rates=rates)

    def _both(self, candidate: Growth, stable: Growth, policy: Policy) -> Evidence:
        seen = Interval(candidate.requests, stable.requests)
        rates = {
            check.name: self._rates(check).grown(seen, criteria_of(check, policy))
            for check in policy.of_type(CheckType.ERROR_RATE)
        }
        latencies = {
            check.name: self._latency(check).grown(
                candidate.answers, stable.answers, criteria_of(check, policy)
            )
            for check in policy.of_type(CheckType.LATENCY)
        }
        return replace(self, rates=rates, latencies=latencies, last=seen)

    def _alone(self, candidate: Growth, policy: Policy) -> Evidence:
        """After the cut: against what the stable revision did before it.

        Where it was never compared with, after one cut, that is all that its pods have ever done.
        """
        done = Tally(
            sum(p.good + p.bad for p in self.stable.values()),
            sum(p.bad for p in self.stable.values()),
        )
        rates = {
            check.name: self._rates(check)
            .referenced(done)
            .grown_alone(candidate.requests, criteria_of(check, policy))
            for check in policy.of_type(CheckType.ERROR_RATE)
        }
        latencies = {
            check.name: self._latency(check)
            .referenced(_summed(self.stable, "answers"))
            .grown_alone(candidate.answers, criteria_of(check, policy))
            for check in policy.of_type(CheckType.LATENCY)
        }
        return replace(self, rates=rates, latencies=latencies)

    def _drifted(self, policy: Policy) -> Evidence:
        """Compare all that the pods of now have ever predicted: nothing need be remembered."""
        one, other = _summed(self.candidate, "outputs"), _summed(self.stable, "outputs")
        found = {
            check.name: drift(one, other, check.threshold, check.name)
            for check in policy.of_type(CheckType.PREDICTION_DRIFT)
        }
        return replace(self, drifts=found)

    def _rates(self, check: Check) -> Rates:
        return self.rates.get(check.name) or Rates()

    def _latency(self, check: Check) -> Latency:
        """What is known by limits, which are chosen once, when the stable revision is known."""
        known = self.latencies.get(check.name)
        if known is not None and known.parts:
            return known
        return Latency.of(limits(_summed(self.stable, "answers"), check.target_s))

    def findings(self, policy: Policy) -> tuple[Finding, ...]:
        """Say what each check of counters comes to; those of pods are told elsewhere."""
        return tuple(self._findings(policy))

    def _findings(self, policy: Policy) -> Iterator[Finding]:
        for check in policy.checks:
            match check.type:
                case CheckType.ERROR_RATE:
                    known = self._rates(check)
                    found = errors(known, criteria_of(check, policy), check.name)
                case CheckType.LATENCY:
                    slow = self.latencies.get(check.name) or Latency()
                    found = latency(slow, criteria_of(check, policy), check.name)
                case CheckType.PREDICTION_DRIFT:
                    text = "no predictions were read yet"
                    unknown = Finding(check.name, Verdict.NO_DATA, text)
                    found = self.drifts.get(check.name, unknown)
                case _:
                    continue
            yield found.acted(check.action)


def criteria_of(check: Check, policy: Policy) -> Criteria:
    """Split the chance of a false alarm among the checks that can raise one by chance."""
    sharing = [c for c in policy.checks if c.type in (CheckType.ERROR_RATE, CheckType.LATENCY)]
    return Criteria(
        margin=check.margin,
        floor=check.floor,
        detect=check.detect,
        alpha=policy.false_alarm / max(1, len(sharing)),
        min_requests=policy.min_requests,
    )


def identity(candidate: str, attempt: int) -> str:
    """Name an attempt of a rollout."""
    return f"{candidate}-{attempt}"


def restored(rollout: str, status: Mapping[str, Any]) -> Evidence:
    """Read what a status remembers of this very rollout; of another one it tells nothing."""
    if (status.get("rollout") or {}).get("analysisOf") != rollout:
        return Evidence(rollout)
    told = {str(entry.get("name")): entry.get("state") for entry in status.get("analysis") or ()}
    return Evidence(
        rollout,
        rates={name: Rates.decoded(state) for name, state in told.items() if state},
        latencies={name: Latency.decoded(state) for name, state in told.items() if state},
    )


def reported(finding: Finding) -> dict[str, Any]:
    """Write a finding for the status."""
    report: dict[str, Any] = {
        "name": finding.name,
        "verdict": str(finding.verdict),
        "message": finding.message,
    }
    if finding.counts is not None:
        report["candidate"] = _counted(finding.counts.candidate)
        report["stable"] = _counted(finding.counts.stable)
    if finding.evidence is not None:
        report["eFail"] = evidence_text(finding.evidence.fail)
        report["ePass"] = evidence_text(finding.evidence.passed)
        report["phi"] = f"{finding.evidence.phi:.1f}"
    return report | ({"state": finding.state} if finding.state else {})


def _counted(seen: Tally) -> dict[str, int]:
    return {"n": round(seen.requests), "x": round(seen.bad)}
