"""Which requests get a line, and what is on it."""

import json
import logging
import re
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway_runtime.inference.timing import Timing
from slipway_runtime.logs import JSONFormatter, LineQueue
from slipway_runtime.monitoring.access_log import AccessLog, Share, line
from slipway_runtime.monitoring.exchange import Exchange, Headers
from slipway_runtime.monitoring.trace_context import SpanIds
from tests.unit.repository.files import REPOSITORY

NASTY = "a\nb\r\x1b[31m\x9b1m%s%n{0}\u2028\u202e\x00\\\"'\ud800" + "x" * 1_000_000


def exchange(
    status: int = 200, *, headers: Headers = (), timing: Timing | None = None, **ended: Any
) -> Exchange:
    made = Exchange("rest", "/v2/models/{model}/infer", headers, "POST", timing)
    made.status, made.duration_s, made.error, made.grpc_status = status, 0.0012345, "", ""
    made.bytes_in = made.bytes_out = 0
    for name, value in ended.items():
        setattr(made, name, value)
    return made


def access_log(*, sample: float = 0, errors_per_s: float = 2, now: Any = lambda: 0.0) -> AccessLog:
    return AccessLog(
        sample=sample, errors_per_s=errors_per_s, identity={"model": "digits"}, clock=now
    )


@given(st.floats(0, 1), st.integers(0, 5_000))
def test_a_share_is_a_share_at_every_moment(fraction: float, requests: int) -> None:
    share = Share(fraction)
    taken = sum(share.takes() for _ in range(requests))
    assert abs(taken - fraction * requests) < 5


@pytest.mark.parametrize("period", [2, 3, 5, 8, 10, 64])
def test_clients_who_take_turns_are_all_seen(period: int) -> None:
    share = Share(0.1)
    seen = [number % period for number in range(period * 400) if share.takes()]
    assert set(seen) == set(range(period))


def test_all_and_none_are_exact() -> None:
    every, none = Share(1.0), Share(0.0)
    assert [every.takes() and not none.takes() for _ in range(1_000)] == [True] * 1_000


def test_failures_are_told_where_successes_are_not() -> None:
    log = access_log()
    assert [log.wants(exchange(status)) for status in (200, 400, 503)] == [False, True, True]


def test_a_flood_of_one_kind_is_bounded_and_does_not_hide_the_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [0.0]
    log = access_log(now=lambda: now[0])
    assert sum(log.wants(exchange(400)) for _ in range(1_000)) == 2
    assert log.wants(exchange(500))
    now[0] = 1.0
    late = exchange(404)
    assert log.wants(late)
    with caplog.at_level(logging.INFO):
        log.write(late, None)
        log.write(late, None)
    told = [getattr(record, "suppressed", None) for record in caplog.records]
    assert told == [998, None]


def test_who_asks_for_all_gets_the_failures_too() -> None:
    log = access_log(sample=1, errors_per_s=0)
    assert all(log.wants(exchange(status)) for status in (200, 400, 500) * 100)


def test_a_line_says_all_that_is_known() -> None:
    told = exchange(
        headers=[(b"x-request-id", b"r-1"), (b"authorization", b"secret")],
        timing=Timing(enqueued_s=1.0, started_s=1.0005, execution_s=0.0002, rows=8),
        id="i-1",
        bytes_in=10,
        bytes_out=20,
    )
    assert line(told, SpanIds(0xAB, 0xCD)) == {
        "protocol": "rest",
        "method": "POST",
        "route": "/v2/models/{model}/infer",
        "status": 200,
        "duration_ms": 1.234,
        "queue_ms": 0.5,
        "execution_ms": 0.2,
        "batch_rows": 8,
        "bytes_in": 10,
        "bytes_out": 20,
        "id": "i-1",
        "request_id": "r-1",
        "trace_id": f"{0xAB:032x}",
        "span_id": f"{0xCD:016x}",
    }


def test_the_guide_names_every_field() -> None:
    guide = (REPOSITORY / "docs/guides/logs-and-traces.md").read_text()
    table = guide.split("| Field | What it says |")[1].split("\n\n")[0]
    named = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row[:40])}
    told = exchange(
        400,
        grpc_status="OK",
        error="QueueFull",
        headers=[(b"x-request-id", b"r-1")],
        timing=Timing(enqueued_s=1.0, started_s=1.5, execution_s=0.5, rows=8),
        id="i-1",
    )
    whole = {*line(told, SpanIds(1, 2)), "time", "model", "version", "revision", "suppressed"}
    assert named == whole


def test_without_a_span_the_callers_trace_is_named() -> None:
    parent = b"00-" + b"ab" * 16 + b"-" + b"cd" * 8 + b"-00"
    assert line(exchange(headers=[(b"traceparent", parent)]), None)["trace_id"] == "ab" * 16
    assert "trace_id" not in line(exchange(headers=[(b"traceparent", b"zz")]), None)


def test_b66_whatever_a_client_sends_is_one_bounded_line_of_json(
    caplog: pytest.LogCaptureFixture,
) -> None:
    raw = NASTY.encode("utf-8", "surrogatepass")
    nasty = exchange(
        400, id=NASTY, headers=[(b"x-request-id", raw), (b"traceparent", raw), (b"user-agent", raw)]
    )
    with caplog.at_level(logging.INFO):
        access_log().write(nasty, None)
    text = JSONFormatter().format(caplog.records[0])
    assert text.splitlines() == [text]
    assert text.isprintable()
    assert len(text) < 2_000
    found = json.loads(text)
    assert found["id"].startswith("a\nb\r\x1b[31m\x9b1m%s%n{0}")
    assert (found["message"], "trace_id" in found) == ("request", False)


class Stuck(logging.Handler):
    """A reader who is away until he is called."""

    def __init__(self) -> None:
        super().__init__()
        self.back = threading.Event()
        self.taken = threading.Event()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.taken.set()
        self.back.wait(20)
        self.lines.append(record.getMessage())


@pytest.fixture
def stuck() -> Any:
    root, handler = logging.getLogger(), Stuck()
    before = root.handlers[:]
    root.handlers[:] = [handler]
    yield handler
    root.handlers[:] = before


def test_a_reader_who_is_away_holds_nobody_up(stuck: Stuck) -> None:
    lines = LineQueue("tests.access", 3)
    lines.start()
    log = logging.getLogger("tests.access")
    log.info("first")
    assert stuck.taken.wait(10)
    for number in range(10):
        log.info("%d", number)
    assert lines.dropped == 7
    stuck.back.set()
    lines.finish()
    assert stuck.lines == ["first", "0", "1", "2"]
