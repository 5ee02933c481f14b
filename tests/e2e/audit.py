"""What the API server was asked by the operator, from its audit log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from devcluster.audit import AuditLog, Entry
from tests.e2e.installation import SYSTEM

OPERATOR: Final = f"system:serviceaccount:{SYSTEM}:slipway-operator"
WRITES: Final = frozenset({"create", "update", "patch", "delete", "deletecollection"})


class Audit:
    """The log of one cluster, since the session began."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log
        self._begin = log.mark()
        self._gaps: list[tuple[datetime, datetime]] = []

    def mark(self) -> datetime:
        """The present end of the log."""
        return self._log.mark()

    def of_operator(self, since: datetime, until: datetime | None = None) -> list[Entry]:
        """Requests of the operator's service account between two marks."""
        found = self._log.entries(since, until, naming=(OPERATOR,))
        return [e for e in found if e["user"]["username"] == OPERATOR]

    @contextmanager
    def without_rights(self) -> Iterator[None]:
        """Know that the operator's rights are taken away inside the block."""
        begin = self.mark()
        try:
            yield
        finally:
            self._gaps.append((begin, self.mark()))

    def of_session(self) -> list[Entry]:
        """Requests of the operator's service account while it had its rights."""
        begins = [self._begin, *(end for _, end in self._gaps)]
        ends = [*(begin for begin, _ in self._gaps), None]
        return [e for span in zip(begins, ends, strict=True) for e in self.of_operator(*span)]

    def writes(self, since: datetime, *namespaces: str) -> list[str]:
        """What the operator has written in some namespaces after a mark: `VERB RESOURCE/NAME`."""
        return [
            f"{e['verb']} {e['objectRef']['resource']}/{e['objectRef'].get('name', '')}"
            for e in self.of_operator(since)
            if e["verb"] in WRITES and e["objectRef"].get("namespace") in namespaces
        ]
