"""Reading and judging h2spec's reports."""

import pytest

from tests.h2spec.__main__ import TOLERATED
from tests.h2spec.report import Case, cases, tolerated, verdict

REPORT = """<?xml version="1.0" encoding="UTF-8"?>
<testsuites>
  <testsuite name="6.5. SETTINGS" package="http2/6.5" id="6.5">
    <testcase package="http2/6.5" classname="Sends A" time="0.1"></testcase>
    <testcase package="http2/6.5" classname="Sends B" time="0.1">
      <failure>GOAWAY Frame
Timeout</failure>
    </testcase>
  </testsuite>
  <testsuite name="2. Streams" package="generic/2" id="2">
    <testcase package="generic/2" classname="Sends C"><error>Timeout</error></testcase>
    <testcase package="generic/2" classname="Sends D"><skipped></skipped></testcase>
  </testsuite>
</testsuites>"""

A = Case("http2/6.5/1", "Sends A")
B = Case("http2/6.5/2", "Sends B", "GOAWAY Frame Timeout")
C = Case("generic/2/1", "Sends C", "Timeout")
D = Case("generic/2/2", "Sends D")


def test_cases_are_numbered_in_their_package() -> None:
    assert cases(REPORT) == [A, B, C, D]


def test_what_fails_is_tolerated_or_broken() -> None:
    found = verdict([A, B, C, D], {B.name: "because"})
    assert (found.passed, found.tolerated, found.broken, found.stale) == (2, [B], [C], [])
    assert not found.is_good


def test_a_run_is_good_where_only_tolerated_cases_fail() -> None:
    assert verdict([A, B], {B.name: "because"}).is_good


@pytest.mark.parametrize("name", [A.name, "http2/9/9"])
def test_a_tolerated_case_that_passes_is_stale(name: str) -> None:
    found = verdict([A], {name: "because"})
    assert (found.stale, found.is_good) == ([name], False)


def test_no_case_at_all_is_not_good() -> None:
    assert not verdict([], {}).is_good


def test_a_tolerated_case_needs_a_reason() -> None:
    entry = '[[tolerated]]\ncase = "http2/6.5/2"\n'
    assert tolerated(entry + 'reason = "because"') == {B.name: "because"}
    with pytest.raises(ValueError, match=r"http2/6\.5/2"):
        tolerated(entry)


def test_the_committed_list_can_be_read() -> None:
    tolerated(TOLERATED.read_text())
