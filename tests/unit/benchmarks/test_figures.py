"""What the load tools print is read as it is, failed calls included."""

from __future__ import annotations

import math

import pytest

from benchmarks.runtime.figures import Load, percentile, read_h2load, read_wrk

WRK = """Running 2s test @ http://127.0.0.1:8080/v2/models/digits/infer
  1 threads and 8 connections
{"requests": 10000, "duration_us": 2000000, "p50_us": 700, "p99_us": 1500, "status": 0, \
"timeout": 0, "connect": 0, "read": 0, "write": 0}
"""

H2LOAD = """starting benchmark...
Main benchmark duration is over for thread #0. Stopping all clients.
Stopped all clients for thread #0

finished in 2.00s, 5.00 req/s, 1.20KB/s
requests: {done} total, 8 started, {done} done, {good} succeeded, {bad} failed, 0 errored, 0 timeout
status codes: {good} 2xx, 0 3xx, 0 4xx, {bad} 5xx
traffic: 9.8KB (10000) total, 1.1KB (1100) headers (space savings 95.05%), 1KB ({data}) data
                     min         max         mean         sd        +/- sd
time for request:      500us      2.00ms      1.00ms       100us    80.00%
"""
LOG = "".join(f"1700000000000000\t200\t{us}\n" for us in (500, 1000, 2000, 4000))


def h2load(*, done: int = 10, bad: int = 0, data: int = 1000) -> Load:
    output = H2LOAD.format(done=done, good=done - bad, bad=bad, data=data)
    return read_h2load(output, LOG, message_bytes=100, in_flight=2)


def test_a_clean_run_of_wrk() -> None:
    assert read_wrk(WRK) == Load(10000, 2.0, 0.7, 1.5, {})
    assert read_wrk(WRK).per_second == 5000


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        pytest.param("status", {"status": 3}, id="another status"),
        pytest.param("timeout", {"timeout": 3}, id="too late"),
        pytest.param("read", {"socket": 3}, id="cut while reading"),
        pytest.param("write", {"socket": 3}, id="cut while writing"),
        pytest.param("connect", {"socket": 3}, id="refused"),
    ],
)
def test_what_went_wrong_under_wrk_is_counted(kind: str, expected: dict[str, int]) -> None:
    assert read_wrk(WRK.replace(f'"{kind}": 0', f'"{kind}": 3')).errors == expected


def test_wrk_without_a_summary_is_refused() -> None:
    with pytest.raises(ValueError, match="got no summary"):
        read_wrk("unable to connect to 127.0.0.1:8080 Connection refused\n")


def test_a_clean_run_of_h2load() -> None:
    assert h2load() == Load(10, 2.0, 1.0, 4.0, {})


def test_other_statuses_than_2xx_are_no_answers() -> None:
    load = h2load(bad=4)
    assert (load.requests, load.errors) == (6, {"status": 4})


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(1000, {}, id="every answer has its message"),
        pytest.param(800, {}, id="two were cut off by the end"),
        pytest.param(700, {"grpc": 1}, id="one call failed, with HTTP 200"),
        pytest.param(0, {"grpc": 8}, id="all calls failed, with HTTP 200"),
    ],
)
def test_calls_without_a_message_are_failed_calls(data: int, expected: dict[str, int]) -> None:
    assert h2load(data=data).errors == expected


def test_h2load_without_a_summary_is_refused() -> None:
    with pytest.raises(ValueError, match="got no summary"):
        read_h2load("cannot connect", "", message_bytes=1, in_flight=1)


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1.0), (50, 2.0), (75, 3.0), (99, 4.0), (100, 4.0)]
)
def test_a_percentile_is_one_of_the_values(percent: float, expected: float) -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], percent) == expected


def test_nothing_has_no_percentile() -> None:
    assert math.isnan(percentile([], 50))
