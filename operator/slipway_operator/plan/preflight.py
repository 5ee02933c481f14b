"""What a preflight came to, and for whom.

Lives here: the value that the engine tells, and whether it is about the candidate of now.
Stays out: sending requests (`engine/preflight.py`), comparing answers (`verdict/golden.py`), and
what follows (`machine.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from slipway_operator.plan.policy import Preflight
from slipway_operator.verdict.outcome import Finding


@dataclass(frozen=True, slots=True)
class Trial:
    """A preflight that has ended, or that cannot be made."""

    rollout: str
    """`evidence.identity` of it."""
    wish: Preflight
    """What was wished when it was made: another wish needs another one."""
    finding: Finding
    """Pass, Fail, or NoData: it could not be made."""

    def about(self, rollout: str, wish: Preflight | None) -> Finding | None:
        """What it says of a rollout; None when it is about another one."""
        return self.finding if (self.rollout, self.wish) == (rollout, wish) else None
