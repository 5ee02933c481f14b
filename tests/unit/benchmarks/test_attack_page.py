"""The page about attacks and long runs tells of the committed ones, which are whole runs."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.attack.__main__ import main as attack
from benchmarks.attack.__main__ import parsed
from benchmarks.attack.__main__ import records as attack_records
from benchmarks.attack.page import PARTS, ROOT, main, publish, read, told
from benchmarks.attack.verdict import Turns, cost
from benchmarks.soak.__main__ import Course
from benchmarks.soak.__main__ import main as soak
from benchmarks.soak.__main__ import records as soak_records
from benchmarks.soak.load import Tally
from benchmarks.soak.verdict import Sample

MACHINE = {"date": "2026-11-21", "cores": 2, "cpu": "A CPU", "system": "Linux 6", "noise": 0.04}
BEGAN = [
    "Taken on 2026-11-21: 2 cores of A CPU, Linux 6.",
    "Before it began, other work used 0.04 cores.",
]
MIB = 2**20
IDLE = Sample(at_s=0, rss_bytes=100 * MIB, own_bytes=60 * MIB, fds=20, threads=8, tasks=4)


def attack_report() -> dict[str, Any]:
    alone = Turns([0.001] * 1200)
    costs = [
        cost("pings", "REST", alone, Turns([0.0015] * 1200, cpu=0.5)),
        cost("pings", "gRPC", alone, Turns([0.003] * 1200, failures=2, cpu=0.5)),
    ]
    return {**MACHINE, **attack_records(costs, 4, 3), "nice": -15}


def soak_report() -> dict[str, Any]:
    sent = Counter({"predict": 8, "V1": 9})
    errors = Counter({"V1: Unexpected: 500 for /v1: expected 200": 2, "V1: ReadTimeout: ": 1})
    looks = [replace(IDLE, at_s=3.0 * n, rss_bytes=(100 + n // 10) * MIB) for n in range(200)]
    course = Course(Tally(sent, errors), IDLE, looks, IDLE)
    return {**MACHINE, **soak_records(course, course.rows(), 10, 200, 0)}


REPORTS: dict[str, Callable[[], dict[str, Any]]] = {"attack": attack_report, "soak": soak_report}


def test_the_page_is_in_step() -> None:
    assert main(["--check"]) == 0


def test_a_run_under_attack_is_told_with_its_settings_and_verdicts() -> None:
    assert told("attack", attack_report()).splitlines() == [
        *BEGAN,
        "4 turns of 3 s alone and as many beside each attack, 100 requests a second of each client;"
        " server and clients at nice -15.",
        "At most 2 times as late passes.",
        "",
        "| Attack | Client | p50 alone | p50 attacked | p99 alone | p99 attacked"
        " | p99, times as late | Server's CPU | Verdict |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        "| pings | REST | 1.00 ms | 1.50 ms | 1.00 ms | 1.50 ms | 1.50 | 50% | pass |",
        "| pings | gRPC | 1.00 ms | 3.00 ms | 1.00 ms | 3.00 ms | 3.00 | 50% | FAIL (2 failures) |",
    ]


def test_a_long_run_is_told_with_what_grew_and_what_was_asked() -> None:
    lines = told("soak", soak_report()).splitlines()
    assert lines[:3] == [
        *BEGAN,
        "17 requests in 10 minutes, 200 a second at most; the server then ended with status 0.",
    ]
    assert "| What | Begin | End | Growth | At most | Verdict |" in lines
    assert "| RSS | 104.0 MiB | 119.0 MiB | 15.0 MiB | 5.2 MiB | FAIL |" in lines
    assert "| file descriptors at rest | 20 | 20 | 0 | 2 | pass |" in lines
    assert "| unexpected answers | 0 | 3 | 3 | 0 | FAIL |" in lines
    assert lines[-2:] == ["| V1 | 9 | 3 |", "| predict | 8 | 0 |"]


@pytest.mark.parametrize("part", PARTS)
def test_no_run_is_told(part: str) -> None:
    assert told(part, None) == "No run is committed yet."


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """The page in a repository of its own, which has no runs."""
    (tmp_path / "docs").mkdir()
    copied = Path(shutil.copy(ROOT / "docs" / "benchmarks-attack.md", tmp_path / "docs"))
    assert main([], tmp_path) == 0
    return copied


def test_a_page_that_tells_of_another_run_is_found_and_left_as_it_is(
    page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = page.read_text().replace("No run is committed yet.", "All is well.")
    page.write_text(other)
    assert main(["--check"], tmp_path) == 1
    said = "docs/benchmarks-attack.md: out of step; run: python -m benchmarks.attack.page\n"
    assert (capsys.readouterr().err, page.read_text()) == (said, other)


@pytest.mark.parametrize("part", PARTS)
def test_a_published_run_is_what_the_page_tells(part: str, page: Path, tmp_path: Path) -> None:
    report = REPORTS[part]()
    publish(part, report, tmp_path)
    assert told(part, report) in page.read_text()
    assert read(part, tmp_path) == json.loads(json.dumps(report))
    assert main(["--check"], tmp_path) == 0


@pytest.mark.parametrize(
    ("program", "arguments", "expected"),
    [
        pytest.param(attack, ["--only", "gRPC"], "--only gRPC (a whole run: without it)", id="few"),
        pytest.param(attack, ["--turns", "1"], "--turns 1 (a whole run: 4 or more)", id="turns"),
        pytest.param(attack, ["--seconds", "0.3"], "--seconds 0.3 (a whole run: 3", id="seconds"),
        pytest.param(soak, ["--minutes", "0.1"], "--minutes 0.1 (a whole run: 10", id="minutes"),
        pytest.param(soak, ["--rate", "nan"], "--rate nan (a whole run: 200 or more)", id="rate"),
    ],
)
def test_a_narrowed_run_is_not_published_and_nothing_starts(
    program: Callable[[Sequence[str]], int],
    arguments: list[str],
    expected: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        program(["--publish", *arguments])
    said = capsys.readouterr().err
    assert f"--publish: got {expected}" in said
    assert "expected a whole run; leave out what narrows it, or --publish" in said


def test_a_run_in_which_server_and_clients_share_a_core_is_not_published(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        parsed(["--publish"], 1)
    assert "--publish: got 1 core, expected 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["--publish"], ["--publish", "--turns", "8", "--json", "run.json"], ["--only", "gRPC"]],
)
def test_whole_runs_are_published_and_narrowed_ones_only_run(arguments: list[str]) -> None:
    assert parsed(arguments, 2).publish is ("--publish" in arguments)
