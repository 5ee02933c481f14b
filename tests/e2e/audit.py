"""What the API server was asked and by whom, from its audit log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.e2e.installation import SYSTEM
from tests.kubeapi import Manifest

OPERATOR: Final = f"system:serviceaccount:{SYSTEM}:slipway-operator"
WRITES: Final = frozenset({"create", "update", "patch", "delete", "deletecollection"})


class Audit:
    """The log of one cluster; it has each request before that is answered."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._begin = self.mark()
        self._gaps: list[tuple[int, int]] = []

    def mark(self) -> int:
        """The present end of the log."""
        return self._log.stat().st_size

    def of_operator(self, since: int, until: int | None = None) -> list[Manifest]:
        """Requests of the operator's service account between two marks."""
        with self._log.open("rb") as log:
            log.seek(since)
            lines = log.read(-1 if until is None else until - since).splitlines()
        events = [json.loads(line) for line in lines if OPERATOR.encode() in line]
        return [e for e in events if e["user"]["username"] == OPERATOR]

    @contextmanager
    def without_rights(self) -> Iterator[None]:
        """Know that the operator's rights are taken away inside the block."""
        begin = self.mark()
        try:
            yield
        finally:
            self._gaps.append((begin, self.mark()))

    def of_session(self) -> list[Manifest]:
        """Requests of the operator's service account while it had its rights."""
        begins = [self._begin, *(end for _, end in self._gaps)]
        ends = [*(begin for begin, _ in self._gaps), None]
        return [e for span in zip(begins, ends, strict=True) for e in self.of_operator(*span)]

    def writes(self, since: int, *namespaces: str) -> list[str]:
        """What the operator has written in some namespaces after a mark: `VERB RESOURCE/NAME`."""
        return [
            f"{e['verb']} {e['objectRef']['resource']}/{e['objectRef'].get('name', '')}"
            for e in self.of_operator(since)
            if e["verb"] in WRITES and e["objectRef"].get("namespace") in namespaces
        ]
