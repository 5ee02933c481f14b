"""Decide which fault a request, a stream or an event meets, and count.

Lives here: matching, skipping, using up. The clock is an argument.
Stays out: sockets.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field

from tests.cluster.faultproxy.faults import (
    Answer,
    Cut,
    Delay,
    Drop,
    EndAction,
    Expire,
    Fault,
    Hang,
    Refuse,
    RequestAction,
    Swallow,
    Tally,
)
from tests.cluster.faultproxy.target import Target


@dataclass(frozen=True, slots=True)
class Asked:
    """What the patterns of a fault are compared with."""

    target: Target
    path: str
    query: str
    user_agent: str


@dataclass(slots=True)
class Rule:
    """An injected fault and what has become of it."""

    number: int
    fault: Fault
    ends_at: float | None
    matched: int = 0
    fired: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the fault is cleared."""

    @property
    def tally(self) -> Tally:
        """The counts, for the test."""
        return Tally(self.matched, self.fired)

    def claims(self, asked: Asked, now: float) -> bool:
        """Tell whether the fault is played on this match, and count both."""
        if not self._matches(asked) or (self.ends_at is not None and now >= self.ends_at):
            return False
        self.matched += 1
        if self.matched <= self.fault.skip or self.fired >= self.fault.limit:
            return False
        self.fired += 1
        return True

    def _matches(self, asked: Asked) -> bool:
        fault = self.fault
        return (
            (fault.verbs is None or asked.target.verb in fault.verbs)
            and re.search(fault.path, asked.path) is not None
            and re.search(fault.query, asked.query) is not None
            and re.search(fault.user_agent, asked.user_agent) is not None
        )


class Rules:
    """The injected faults, in order."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._numbers = 0

    def add(self, fault: Fault, now: float) -> Rule:
        """Take up a fault; its duration begins now."""
        self._numbers += 1
        ends_at = None if fault.duration_s is None else now + fault.duration_s
        rule = Rule(self._numbers, fault, ends_at)
        self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Forget all faults and let go of what hangs."""
        for rule in self._rules:
            rule.over.set()
        self._rules.clear()

    def of_request(self, asked: Asked, now: float) -> tuple[Rule, RequestAction] | None:
        """Return the fault that a request meets."""
        for rule in self._rules:
            action = rule.fault.action
            if isinstance(action, Delay | Hang | Refuse | Drop | Answer) and rule.claims(
                asked, now
            ):
                return rule, action
        return None

    def of_stream(self, asked: Asked, now: float) -> tuple[Rule, EndAction] | None:
        """Return the fault that ends a watch stream which has just been opened."""
        for rule in self._rules:
            if (action := ends_streams(rule)) is not None and rule.claims(asked, now):
                return rule, action
        return None

    def swallows(self, asked: Asked, line: bytes, now: float) -> bool:
        """Tell whether a line of a watch stream is to be kept back."""
        kept = [rule for rule in self._rules if isinstance(rule.fault.action, Swallow)]
        if not kept:
            return False
        event = json.loads(line)
        return any(_concerns(rule, event) and rule.claims(asked, now) for rule in kept)


def ends_streams(rule: Rule) -> EndAction | None:
    """Return the action of a rule that is about whole streams."""
    action = rule.fault.action
    return action if isinstance(action, Cut | Expire) else None


def _concerns(rule: Rule, event: dict[str, dict[str, dict[str, str]]]) -> bool:
    action = rule.fault.action
    assert isinstance(action, Swallow)
    kind = str(event.get("type"))
    if kind != (action.event_type or kind) or (kind == "BOOKMARK" and action.event_type is None):
        return False
    name = event.get("object", {}).get("metadata", {}).get("name", "")
    return re.search(action.name or "", name) is not None
