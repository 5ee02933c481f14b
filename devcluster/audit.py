"""What the API server was asked and by whom: its audit log, over the files that it rotates."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from os.path import samestat
from pathlib import Path
from typing import Any

Entry = dict[str, Any]
"""One `audit.k8s.io/v1` Event."""


class AuditLog:
    """The log of one cluster; it has each request before that is answered."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def mark(self) -> datetime:
        """Now, as the log has it: a place in the log that outlives its rotation."""
        return datetime.now(UTC)

    def entries(
        self, since: datetime, until: datetime | None = None, *, naming: tuple[str, ...] = ("",)
    ) -> Iterator[Entry]:
        """Read the requests received from one mark until another, in the order of their answers.

        `naming` holds texts of which a line must have one, as most is not worth its parsing.
        """
        wanted = tuple(text.encode() for text in naming)
        for line in self._lines(since):
            if any(text in line for text in wanted):
                entry: Entry = json.loads(line)
                if since <= received(entry) and (until is None or received(entry) < until):
                    yield entry

    def _lines(self, since: datetime) -> Iterator[bytes]:
        with ExitStack() as files:
            # Opened before the folder is listed: a rotation in between then loses no file.
            present = files.enter_context(self._path.open("rb"))
            now = os.fstat(present.fileno())
            for path in sorted(self._path.parent.glob(f"{self._path.stem}-*{self._path.suffix}")):
                found = path.stat()
                if found.st_mtime >= since.timestamp() and not samestat(found, now):
                    yield from files.enter_context(path.open("rb"))
            # What is being written now has no end yet.
            yield from (line for line in present if line.endswith(b"\n"))


def received(entry: Entry) -> datetime:
    """When the API server received the request."""
    return datetime.fromisoformat(entry["requestReceivedTimestamp"])
