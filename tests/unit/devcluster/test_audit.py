"""The reader of the audit log: marks are times, so that a rotation takes nothing away."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from devcluster.audit import AuditLog

START = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


def _line(name: str, second: int) -> str:
    at = (START + timedelta(seconds=second)).isoformat().replace("+00:00", "Z")
    return json.dumps({"auditID": name, "requestReceivedTimestamp": at}) + "\n"


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    path = tmp_path / "audit.log"
    path.write_text(_line("a", 0) + _line("b", 10))
    return AuditLog(path)


def _names(log: AuditLog, since: int = 0, until: int | None = None, **more: tuple[str, ...]) -> str:
    end = None if until is None else START + timedelta(seconds=until)
    return "".join(e["auditID"] for e in log.entries(START + timedelta(seconds=since), end, **more))


def _rotate(folder: Path, second: int, name: str, text: str) -> None:
    """Rename the present file, as the API server does, and begin another."""
    old, at = folder / f"audit-2026-11-22T10-{name}.log", START + timedelta(seconds=second)
    (folder / "audit.log").rename(old)
    os.utime(old, (at.timestamp(), at.timestamp()))
    (folder / "audit.log").write_text(text)


def test_a_mark_outlives_rotations(log: AuditLog, tmp_path: Path) -> None:
    _rotate(tmp_path, 10, "00-10.000", _line("c", 20) + _line("d", 30))
    _rotate(tmp_path, 30, "00-30.000", _line("e", 40))
    assert _names(log) == "abcde"
    assert _names(log, since=10) == "bcde"
    assert _names(log, since=11, until=40) == "cd"
    assert _names(log, since=41) == ""


def test_only_lines_that_name_what_is_asked_for_are_read(log: AuditLog) -> None:
    assert _names(log, naming=('"b"', '"x"')) == "b"


def test_a_line_that_is_being_written_is_left_for_later(log: AuditLog, tmp_path: Path) -> None:
    with (tmp_path / "audit.log").open("a") as file:
        file.write(_line("c", 20)[:30])
    assert _names(log) == "ab"


def test_a_mark_is_now(log: AuditLog) -> None:
    assert abs(log.mark() - datetime.now(UTC)) < timedelta(seconds=5)
