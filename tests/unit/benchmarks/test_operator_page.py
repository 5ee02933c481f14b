"""The page about the operator tells of the committed runs, and says so where there is none."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.markers import replaced
from benchmarks.operator.page import PARTS, main, told
from benchmarks.operator.table import Row

REPORT: dict[str, Any] = {
    "objects": 1000, "date": "2026-11-21", "cores": 2, "cpu": "A Processor", "system": "Linux 6",
    "noise": 0.04,
    "rows": [Row("edit: p99", 41.7, "ms", 100, 47).json(), Row("idle: CPU", 2.5, "%", 2).json()],
}  # fmt: skip


def test_the_page_is_in_step() -> None:
    assert main(["--check"]) == 0


def test_a_run_is_told_with_its_machine_and_its_verdicts() -> None:
    assert told(REPORT).splitlines() == [
        "1000 ModelDeployments, taken on 2026-11-21: 2 cores of A Processor, Linux 6.",
        "Before it began, other work used 0.04 cores.",
        "",
        "| What | Figure | Must, at most | Stretch | Verdict |",
        "| --- | --- | --- | --- | --- |",
        "| edit: p99 | 41.7 ms | 100 | 47 | pass |",
        "| idle: CPU | 2.5 % | 2 |  | fail |",
    ]


def test_a_run_beside_other_work_says_that_it_went_first() -> None:
    line = told({**REPORT, "ahead": True}).splitlines()[1]
    assert line.endswith("0.04 cores; what is measured went before it (`--ahead`).")


def test_no_run_is_told() -> None:
    assert told(None) == "No run is committed yet."


@pytest.mark.parametrize("part", PARTS)
def test_a_page_without_its_markers_is_refused(part: str) -> None:
    with pytest.raises(ValueError, match="got 0, expected 1"):
        replaced("# A page", part, "text", program="benchmarks.operator.page")
