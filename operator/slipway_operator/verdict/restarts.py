"""The check `restarts`: does the candidate crash? No statistics: one crash more than allowed is it.

Counters of a pod that died are lost with it, so errors alone would not tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from slipway_operator.verdict.outcome import Finding, Verdict

NAME: Final = "restarts"
MOST: Final = 1


def restarts(by_pod: Mapping[str, int], most: int = MOST, name: str = NAME) -> Finding:
    """Judge by restarts of containers.

    Args:
        by_pod: restarts of the candidate's pods since the rollout began, by pod name; without any
            pod there is nothing to judge.
        most: how many are put up with, all pods together.
        name: of the check.
    """
    if not by_pod:
        return Finding(name, Verdict.NO_DATA, "the candidate has no pods")
    total = sum(by_pod.values())
    verdict = Verdict.FAIL if total > most else Verdict.PASS
    text = f"{total} restarts, {most} allowed"
    if total:
        pod, number = max(by_pod.items(), key=lambda item: item[1])
        text += f"; pod {pod}: {number}"
    return Finding(name, verdict, text)
