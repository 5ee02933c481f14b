"""Say what goes wrong, for which requests and how often; and what was seen.

Lives here: the values that cross the control port. Pure; both processes import it.
Stays out: matching (`rules`) and doing (`server`).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Set
from typing import Annotated, Final, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

EVERY: Final = sys.maxsize
"""A `count` that is never used up: until `clear()`."""

WRITES: Final = frozenset({"create", "update", "patch", "delete", "deletecollection"})
READS: Final = frozenset({"get", "list", "watch"})

_STRICT: Final = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, config=_STRICT)
class Delay:
    """Forward the request only after `seconds`."""

    seconds: float
    kind: Literal["delay"] = "delay"


@dataclass(frozen=True, slots=True, config=_STRICT)
class Hang:
    """Say nothing until the fault is over or cleared, then drop the connection; never forward."""

    kind: Literal["hang"] = "hang"


@dataclass(frozen=True, slots=True, config=_STRICT)
class Refuse:
    """Reset the connection at once; never forward."""

    kind: Literal["refuse"] = "refuse"


@dataclass(frozen=True, slots=True, config=_STRICT)
class Drop:
    """Reset the connection; with `forwarded`, only after the API server has done what was asked."""

    forwarded: bool
    kind: Literal["drop"] = "drop"


@dataclass(frozen=True, slots=True, config=_STRICT)
class Cause:
    """One entry of `details.causes`; its texts are templates like those of `Answer`."""

    message: str
    reason: str = ""
    field: str = ""


@dataclass(frozen=True, slots=True, config=_STRICT)
class Answer:
    """Answer in the API server's place; `answers` has those of a real one.

    `message` may hold `{verb}`, `{resource}`, `{group}`, `{qualified}` (`deployments.apps`),
    `{name}`, `{namespace}`, `{where}` and `{object}` (`deployments.apps "d1"`), which are taken
    from the request.
    Without a `reason` the message is the whole body, as plain text.
    """

    code: int
    reason: str = ""
    message: str = ""
    causes: tuple[Cause, ...] = ()
    retry_after_s: int | None = None
    names_object: bool = True
    """Whether `details` tells group, resource and name."""
    kind: Literal["answer"] = "answer"


@dataclass(frozen=True, slots=True, config=_STRICT)
class Cut:
    """End open watch streams, or the next one; `clean` as the server does at its timeout."""

    clean: bool = False
    kind: Literal["cut"] = "cut"


@dataclass(frozen=True, slots=True, config=_STRICT)
class Expire:
    """Put an `ERROR` event with code 410 into open watch streams, or the next one, and end them."""

    kind: Literal["expire"] = "expire"


@dataclass(frozen=True, slots=True, config=_STRICT)
class Swallow:
    """Keep watch events back; `count` and `skip` count events.

    Bookmarks pass unless `event_type` names them.
    """

    event_type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"] | None = None
    name: str | None = None
    """A regular expression for the object's name."""
    kind: Literal["swallow"] = "swallow"


RequestAction = Delay | Hang | Refuse | Drop | Answer
EndAction = Cut | Expire
Action = RequestAction | EndAction | Swallow


@dataclass(frozen=True, slots=True, config=_STRICT)
class Fault:
    """An action for the requests that match all of the given patterns.

    The first fault, in the order of injection, that matches and is not used up is played. Patterns
    are searched, not matched whole: anchor them where that matters. Without `count` and
    `duration_s` a fault is played once; with `duration_s` alone, for every match in that time after
    `inject()`.
    """

    action: Annotated[Action, Field(discriminator="kind")]
    verbs: Set[str] | None = None
    """Kubernetes verbs (`get`, `list`, `watch`, `create`, …), not HTTP's; None is all of them."""
    path: str = ""
    query: str = ""
    user_agent: str = ""
    skip: int = Field(default=0, ge=0)
    """How many matches pass unharmed first."""
    count: int | None = Field(default=None, ge=1)
    duration_s: float | None = Field(default=None, gt=0)

    def __post_init__(self) -> None:
        for pattern in (self.path, self.query, self.user_agent):
            re.compile(pattern)

    @property
    def limit(self) -> int:
        """How often the fault is played at most.

        >>> Fault(Refuse()).limit
        1
        >>> Fault(Refuse(), duration_s=5).limit == EVERY
        True
        """
        if self.count is not None:
            return self.count
        return 1 if self.duration_s is None else EVERY


@dataclass(frozen=True, slots=True, config=_STRICT)
class Seen:
    """One request that has reached the proxy."""

    number: int
    """Counts from 1, in the order of arrival."""
    at: float
    """Seconds since the epoch."""
    method: str
    verb: str
    path: str
    query: str
    user_agent: str
    forwarded: bool
    """Whether the request was sent to the API server."""
    status: int | None
    """What the client was answered; None while it waits, or where it got no answer."""
    fault: int | None
    """The number of the fault that was played, if any."""


@dataclass(frozen=True, slots=True, config=_STRICT)
class Tally:
    """How often a fault has matched, and how often it was played."""

    matched: int
    fired: int


def crash_at_write(
    number: int, *, forwarded: bool, path: str = "", user_agent: str = ""
) -> tuple[Fault, Fault]:
    """Return the faults after which the API server knows of `number` - 1 writes, or of `number`.

    The connection of that write is dropped before it is forwarded, or after it was done but before
    it is answered; every later write is dropped, as if the writer had died there. Inject both.

    Example: with `number` 3 and `forwarded`, writes 1 and 2 are answered, 3 is done but not
    answered, and 4 is neither.
    """
    last = Fault(
        Drop(forwarded), verbs=WRITES, path=path, user_agent=user_agent, skip=number - 1, count=1
    )
    later = Fault(
        Drop(False), verbs=WRITES, path=path, user_agent=user_agent, skip=number - 1, count=EVERY
    )
    return last, later
