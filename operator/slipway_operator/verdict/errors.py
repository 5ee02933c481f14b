"""The check `errors`: is the candidate's share of failed requests higher than the stable's?"""

from __future__ import annotations

from typing import Final

from slipway_operator.verdict.counts import Tally
from slipway_operator.verdict.outcome import Finding, Verdict
from slipway_operator.verdict.rates import Criteria, Rates, judged

NAME: Final = "errors"


def errors(known: Rates, criteria: Criteria, name: str = NAME) -> Finding:
    """Judge by failed requests."""
    verdict, evidence = judged((known,), criteria)
    text = f"candidate {share(known.candidate)}, stable {share(known.stable)}"
    if verdict is Verdict.NO_DATA:
        text += f"; {criteria.min_requests} requests to the candidate are needed"
    return Finding(name, verdict, text, known.counts, evidence, known.encoded())


def share(seen: Tally) -> str:
    """Write a share with its counts.

    >>> share(Tally(5120, 9))
    '9 of 5120 (0.18 %)'
    """
    return f"{seen.bad:.0f} of {seen.requests:.0f} ({100 * seen.rate:.2f} %)"
