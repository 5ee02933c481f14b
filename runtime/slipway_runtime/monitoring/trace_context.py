"""W3C Trace Context: the headers by which a request says which trace it belongs to.

Pure. What is not exactly in the format counts as absent: a new trace begins, nobody is refused.
Source: W3C Recommendation "Trace Context", level 1, sections 3.2 and 3.3.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

_TRACEPARENT: Final = re.compile(
    rb"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
    rb"(?P<more>-.*)?",
)
_MAX_STATE_BYTES: Final = 512
"""What the standard wants to be kept; spans wait in memory, so no more is."""
_SAMPLED: Final = 1


class SpanIds(NamedTuple):
    """Where a span is found."""

    trace_id: int
    span_id: int


@dataclass(frozen=True, slots=True)
class RemoteParent:
    """The caller's span."""

    trace_id: int
    span_id: int
    is_sampled: bool
    state: str = ""
    """`tracestate`, as it came."""


def remote_parent(parents: Sequence[bytes], states: Sequence[bytes] = ()) -> RemoteParent | None:
    """Read `traceparent` and `tracestate`; None where there is none that can be believed.

    >>> found = remote_parent([b"00-" + b"ab" * 16 + b"-" + b"cd" * 8 + b"-01"], [b"vendor=1"])
    >>> f"{found.trace_id:032x}"[-4:], f"{found.span_id:016x}"[-4:], found.is_sampled, found.state
    ('abab', 'cdcd', True, 'vendor=1')
    >>> remote_parent([b"00-" + b"0" * 32 + b"-" + b"cd" * 8 + b"-01"]) is None
    True
    """
    # Two of them are a mistake on the way here, and neither is better than the other.
    match = _TRACEPARENT.fullmatch(parents[0].strip(b" \t")) if len(parents) == 1 else None
    if match is None or match["version"] == b"ff":
        return None
    # Later versions may have more at the end; this one has not.
    if match["more"] is not None and match["version"] == b"00":
        return None
    trace_id, span_id = int(match["trace"], 16), int(match["span"], 16)
    if not trace_id or not span_id:
        return None
    return RemoteParent(trace_id, span_id, bool(int(match["flags"], 16) & _SAMPLED), _state(states))


def _state(states: Sequence[bytes]) -> str:
    state = b",".join(states)
    if len(state) > _MAX_STATE_BYTES or not state.isascii():
        return ""
    return state.decode("ascii")
