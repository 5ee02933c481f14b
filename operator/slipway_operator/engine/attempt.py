"""An attempt of a rollout in which a candidate is judged beside a stable revision.

Lives here: reading a ModelDeployment for those who look at rollouts.
Stays out: what they look at (`analysing.py`, `querying.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from slipway_operator.api import v1alpha1
from slipway_operator.plan.evidence import identity
from slipway_operator.plan.policy import Policy, policy_of
from slipway_operator.plan.progress import BEFORE_CUT, Progress, State, read

_JUDGED: Final = frozenset({*BEFORE_CUT, State.PROMOTING, State.WATCHING})


@dataclass(frozen=True, slots=True)
class Attempt:
    """What there is to judge, and by what."""

    policy: Policy
    progress: Progress
    stable: str
    """Hash."""

    @property
    def candidate(self) -> str:
        """Hash."""
        return self.progress.candidate

    @property
    def rollout(self) -> str:
        """What tells it from every other one."""
        return identity(self.candidate, self.progress.attempt)


def attempt_of(mdep: Mapping[str, Any]) -> Attempt | None:
    """Find the attempt that is going on; None when nothing is to be judged."""
    status = mdep.get("status") or {}
    stable = str((status.get("stable") or {}).get("hash") or "")
    if not stable or not mdep["spec"].get("rollout"):
        return None
    progress = read(status)
    if progress is None or progress.state not in _JUDGED or not progress.candidate:
        return None
    try:
        policy = policy_of(v1alpha1.parse_spec(mdep["spec"]))
    except ValidationError:  # told by the status already
        return None
    if not policy.steps and not policy.watch_s:
        return None
    return Attempt(policy, progress, stable)
