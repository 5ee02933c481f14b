"""The operator's writes, as the API server has recorded them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from devcluster.audit import AuditLog

_AGENT: Final = "slipway-operator"
_WRITES: Final = frozenset({"create", "update", "patch", "delete"})


@dataclass(frozen=True, slots=True)
class Write:
    """One write of an operator."""

    verb: str
    namespace: str
    resource: str
    subresource: str
    status: int


def writes(log: AuditLog, since: datetime) -> list[Write]:
    """Read the writes of operators after a mark of the audit log."""
    return [
        Write(
            e["verb"],
            e["objectRef"].get("namespace", ""),
            e["objectRef"]["resource"],
            e["objectRef"].get("subresource", ""),
            (e.get("responseStatus") or {}).get("code", 0),
        )
        for e in log.entries(since, naming=(_AGENT,))
        if e.get("userAgent", "").startswith(_AGENT) and e["verb"] in _WRITES
    ]
