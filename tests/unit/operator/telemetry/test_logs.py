"""A log line is one JSON object with the message's fields."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from slipway_operator.telemetry.logs import JsonFormatter


def _line(message: str, *arguments: Any, **extra: Any) -> dict[str, Any]:
    record = logging.getLogger("slipway").makeRecord(
        "slipway", logging.INFO, __file__, 1, message, arguments, None, extra=extra
    )
    record.created = 1795512600.0
    written = JsonFormatter().format(record)
    assert "\n" not in written
    read: dict[str, Any] = json.loads(written)
    return read


def test_a_line_has_its_fields() -> None:
    found = _line("reconcile failed", key="t1/digits", delay_s=0.5)
    assert found.pop("time").endswith("+00:00")
    assert found == {
        "level": "INFO", "logger": "slipway", "message": "reconcile failed",
        "key": "t1/digits", "delay_s": 0.5,
    }  # fmt: skip


def test_whole_objects_are_left_out() -> None:
    assert "k8s_ref" not in _line("event", k8s_ref={"uid": "x"})


def test_lines_and_quotes_in_a_message_do_not_break_out() -> None:
    text = 'a "b"\n{"level": "ERROR"}'
    assert _line("%s", text)["message"] == text


def test_an_exception_is_in_its_line() -> None:
    try:
        raise ValueError("boom")
    except ValueError:
        record = logging.makeLogRecord({"msg": "failed", "exc_info": sys.exc_info()})
    found = json.loads(JsonFormatter().format(record))
    assert found["exception"].endswith("ValueError: boom")
