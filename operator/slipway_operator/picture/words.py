"""Words that other people and programs wrote, made fit for a terminal or a page; ages and times."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from slipway_operator.plan.clock import parse

LONGEST: Final = 400
"""Characters of one text. A message of a container may hold kilobytes."""
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode's categories of what is not drawn, or turns what is drawn around."""


def clean(text: object, longest: int = LONGEST) -> str:
    r"""Make one line of what anybody may have written: nothing in it steers a terminal.

    >>> clean("a\x1b[31mb\nc")
    'a�[31mb c'
    """
    whole = " ".join(str("" if text is None else text)[: 4 * longest].split())
    shown = "".join("�" if unicodedata.category(c) in _HIDDEN else c for c in whole)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def inside(value: object, *path: str) -> Any:
    """Look into nested objects; None where the way ends, whatever stands there instead.

    >>> inside({"rollout": {"state": "Idle"}}, "rollout", "state")
    'Idle'
    """
    found: Any = value
    for name in path:
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found


def word(value: object, *path: str) -> str:
    """Read a text in nested objects; empty where there is none."""
    found = inside(value, *path)
    return "" if found is None or isinstance(found, Mapping | list) else clean(found)


def number(value: object, *path: str) -> int:
    """Read a number in nested objects; 0 where there is none."""
    found = inside(value, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else 0


def entries(value: object, *path: str) -> list[Mapping[str, Any]]:
    """Read a list of objects; empty where there is none."""
    found = inside(value, *path)
    return [e for e in found if isinstance(e, Mapping)] if isinstance(found, list | tuple) else []


def span(seconds: float) -> str:
    """Tell a stretch of time by its largest unit, and a second one while it is small.

    >>> span(47), span(130), span(7200), span(200_000)
    ('47s', '2m10s', '2h', '2d')
    """
    left = max(0, int(seconds))
    if left < 60:
        return f"{left}s"
    if left < 600:
        return f"{left // 60}m{left % 60}s" if left % 60 else f"{left // 60}m"
    if left < 3 * 3600:
        return f"{left // 60}m" if left % 3600 else f"{left // 3600}h"
    return f"{left // 3600}h" if left < 48 * 3600 else f"{left // 86400}d"


def age(since: object, now: datetime) -> str:
    """Tell how long ago a time was; empty when it is none."""
    at = parse(since)
    return span((now - at).total_seconds()) if at else ""
