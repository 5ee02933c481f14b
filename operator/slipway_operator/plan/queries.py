"""What is asked of a Prometheus about a rollout, and what the answers come to. Pure.

Lives here: filling names into queries, and finding the answer that belongs to a check.
Stays out: asking (`engine/querying.py`), judging a number (`verdict/promql.py`).

Only names that Kubernetes has bounded are filled in (hashes, and labels of DNS): none of them can
end a string of PromQL or change a pattern, so no query becomes another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from slipway_operator.plan.policy import Check, CheckType, Policy
from slipway_operator.verdict.outcome import Finding, Verdict
from slipway_operator.verdict.promql import Reading, promql

_UNASKED: Final = Reading(None, "the query was not asked yet")


@dataclass(frozen=True, slots=True)
class Question:
    """A query, and whom to ask."""

    address: str
    """Empty: the Prometheus that the operator knows."""
    query: str


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom queries are about."""

    namespace: str
    name: str
    stable: str
    """Hashes of the revisions."""
    candidate: str

    def question(self, check: Check, policy: Policy) -> Question:
        """Fill the names in.

        >>> about = Subject("t1", "digits", "aa", "bb")
        >>> about.question(Check("q", CheckType.PROMQL, query='up{rev="{{candidate}}"}'), Policy())
        Question(address='', query='up{rev="bb"}')
        """
        text = check.query
        for name in ("namespace", "name", "stable", "candidate"):
            text = text.replace("{{" + name + "}}", getattr(self, name))
        return Question(policy.prometheus, text)

    def questions(self, policy: Policy) -> list[Question]:
        """Everything that is to be asked, once."""
        asked = (self.question(check, policy) for check in policy.of_type(CheckType.PROMQL))
        return list(dict.fromkeys(asked))


@dataclass(frozen=True, slots=True)
class Answers:
    """What was answered about one attempt of one rollout, lately."""

    rollout: str
    """`evidence.identity` of it."""
    readings: Mapping[Question, Reading] = field(default_factory=dict)

    def findings(self, subject: Subject, policy: Policy) -> list[Finding]:
        """Say what each check comes to; one that was edited has no answer yet."""
        found = []
        for check in policy.of_type(CheckType.PROMQL):
            known = self.readings.get(subject.question(check, policy), _UNASKED)
            found.append(promql(known, check.limit, check.name).acted(check.action))
        return found

    def verdicts(self, subject: Subject, policy: Policy) -> list[tuple[str, Verdict]]:
        """What is news when it changes."""
        return [(f.name, f.verdict) for f in self.findings(subject, policy)]
