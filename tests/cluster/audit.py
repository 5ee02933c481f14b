"""The operator's writes, as the API server has recorded them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_WRITES: Final = frozenset({"create", "update", "patch", "delete"})


@dataclass(frozen=True, slots=True)
class Write:
    """One write of an operator."""

    verb: str
    namespace: str
    resource: str
    subresource: str
    status: int


def writes(log: Path, since: int) -> list[Write]:
    """Read the writes of operators after an offset of the audit log."""
    with log.open() as lines:
        lines.seek(since)
        events = [json.loads(line) for line in lines]
    return [
        Write(
            e["verb"],
            e["objectRef"].get("namespace", ""),
            e["objectRef"]["resource"],
            e["objectRef"].get("subresource", ""),
            (e.get("responseStatus") or {}).get("code", 0),
        )
        for e in events
        if e.get("userAgent", "").startswith("slipway-operator") and e["verb"] in _WRITES
    ]
