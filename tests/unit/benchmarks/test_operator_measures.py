"""What the audit log says about edits, and whose requests are counted."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from benchmarks.operator.measures import Audit, Share
from devcluster.audit import AuditLog

START = datetime.fromisoformat("2026-11-21T10:00:00Z")


def _line(agent: str, resource: str, name: str, begin_ms: int, end_ms: int, **more: Any) -> str:
    times = [f"2026-11-21T10:00:00.{ms:03}000Z" for ms in (begin_ms, end_ms)]
    entry = {
        "verb": "patch", "userAgent": agent,
        "objectRef": {"resource": resource, "name": name, **more},
        "requestReceivedTimestamp": times[0], "stageTimestamp": times[1],
    }  # fmt: skip
    return json.dumps(entry, separators=(",", ":"))


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    user, ours = "python-httpx/0.28", "slipway-operator/0.1.0"
    lines = [
        _line(user, "modeldeployments", "a", 0, 8),
        _line(ours, "deployments", "a-0011223344", 14, 26),
        _line(ours, "modeldeployments", "a", 30, 36, subresource="status"),
        _line("kube-controller-manager/v1", "deployments", "a-0011223344", 40, 50),
        _line(user, "modeldeployments", "b", 60, 70),  # nobody has answered
    ]
    path = tmp_path / "audit.log"
    path.write_text("".join(f"{line}\n" for line in lines))
    return Audit(AuditLog(path))


def test_an_edit_is_split_where_the_operator_takes_it_up_and_lets_it_go(audit: Audit) -> None:
    assert audit.shares(START) == [Share(edit_s=0.008, operator_s=0.006, child_s=0.012)]


def test_only_the_operators_requests_are_counted(audit: Audit) -> None:
    asked = audit.since(START)
    assert (asked.writes, asked.statuses, asked.reads) == (2, 1, 0)
