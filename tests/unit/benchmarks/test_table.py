"""The table says what was measured, and why something was not."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.markers import replaced
from benchmarks.runtime.page import parts
from benchmarks.runtime.rows import ROWS, Row, Series, rows_for
from benchmarks.runtime.table import Record, details, markdown, measured, noise, results, rounded
from benchmarks.runtime.verdicts import Gate, Verdict

OURS = Series("slipway-digits", "per_second", "digits-json-c8")
THEIRS = Series("rival", "per_second", "digits-json-c8")
ROW = Row("1", "small | model", OURS, THEIRS, Gate(5, 7))


def load(series: Series, number: int, per_second: float, **more: Any) -> Record:
    figures = {"per_second": per_second, "per_cpu_second": per_second * 2, "p50_ms": 1.0}
    rest = {"p99_ms": 2.0, "errors": {}, "noise_cores": 0.1, **more}
    where = {"kind": "load", "round": number, "server": series.server, "of": series.of}
    return {**where, **figures, **rest}


def rounds(ours: list[float], theirs: list[float]) -> list[Record]:
    return [load(OURS, n, value) for n, value in enumerate(ours)] + [
        load(THEIRS, n, value) for n, value in enumerate(theirs)
    ]


def test_a_row_has_figures_ratio_gate_and_verdict() -> None:
    records = rounds([600.0, 700.0, 800.0], [100.0, 100.0, 100.0])
    line = markdown(results(records, [ROW]), {"rival": "Rival 1.0"}).splitlines()[2]
    assert line == (
        "| 1 | small \\| model | Rival 1.0 | 700 req/s | 100 req/s | 7.00 (6.00 to 8.00) "
        "| 7.00 (6.00 to 8.00) | ≥ 5 | 7 | met |"
    )


def test_a_rival_that_is_missing_is_named_with_its_reason() -> None:
    gone = {"kind": "absent", "round": 0, "server": "rival", "reason": "ended with 1"}
    (found,) = results([*rounds([600.0], []), gone], [ROW])
    assert (found.verdict, found.problem) == (None, "not available: ended with 1 (round 1)")


def test_a_workload_that_a_rival_cannot_do_leaves_its_others() -> None:
    gone = {"kind": "absent", "round": 0, "server": "rival", "of": "x", "reason": "HTTP 500"}
    (found,) = results([*rounds([600.0], [100.0]), gone], [ROW])
    assert (found.verdict, found.problem) == (Verdict.MET, None)


def test_our_own_absence_is_a_missed_must() -> None:
    gone = {"kind": "absent", "round": 0, "server": OURS.server, "reason": "ended with 2"}
    (found,) = results([*rounds([], [100.0]), gone], [ROW])
    assert (found.verdict, found.problem) == (Verdict.MISSED, "ours: ended with 2 (round 1)")


def test_our_errors_miss_the_row_though_other_rounds_are_fine() -> None:
    records = [*rounds([600.0], [100.0, 100.0]), load(OURS, 1, 600.0, errors={"grpc": 2})]
    (found,) = results(records, [ROW])
    assert found.verdict is Verdict.MISSED
    assert found.problem == "ours: errors under load: 2 grpc (round 2)"


def test_errors_of_a_rival_are_no_figure_to_be_compared_with() -> None:
    records = [*rounds([600.0], []), load(THEIRS, 0, 10.0, errors={"status": 5})]
    (found,) = results(records, [ROW])
    assert (found.values, found.verdict) == ([], None)


def test_what_was_not_asked_for_is_left_out() -> None:
    assert measured(results([], ROWS)) == []


def test_a_row_without_a_gate_is_not_judged() -> None:
    row = Row("1", "x", OURS, THEIRS, None)
    found = results(rounds([600.0], [100.0]), [row])
    assert found[0].verdict is None
    assert markdown(found, {}).splitlines()[2].endswith("| - | - | not gated |")


def test_a_row_without_a_rival_judges_our_figure() -> None:
    row = Row("18b", "PSS", Series("slipway-digits", "pss_mb"), None, Gate(110, 85, at_most=True))
    start = {"kind": "start", "round": 0, "server": "slipway-digits", "pss_mb": 80.4}
    (found,) = results([start], [row])
    assert (found.values, found.verdict) == ([80.4], Verdict.MET)


def test_details_tell_every_load_and_every_start() -> None:
    start = {"kind": "start", "round": 0, "server": "rival", "start_s": 1.5, "pss_mb": 200.0}
    records = [*rounds([600.0], [100.0]), {**start, "processes": 1}]
    text = details(records, {"rival": "Rival"})
    assert "| digits-json-c8 | Rival | 100 | 200 | 1 | 2 | 0 | 0.1 |" in text
    assert "| Rival (`rival`) | 1.5 | 200 | 1 |" in text
    assert noise(records) == (0.1, 0.1)
    assert noise([start]) is None


@pytest.mark.parametrize(
    ("value", "expected"), [(14241.4, "14241"), (99.94, "99.9"), (1.0, "1"), (0.0314, "0.0314")]
)
def test_figures_have_three_digits(value: float, expected: str) -> None:
    assert rounded(value) == expected


def test_every_target_has_a_row() -> None:
    numbers = {int(row.number.rstrip("abcd")) for row in ROWS}
    assert numbers == set(range(1, 20))
    assert len({row.number for row in ROWS}) == len(ROWS)


def test_a_stretch_is_harder_than_its_must() -> None:
    gates = [row.gate for row in ROWS if row.gate and row.gate.stretch is not None]
    assert gates
    assert all(gate.is_met(gate.stretch) for gate in gates if gate.stretch is not None)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [({"5a"}, ["5a"]), ({"4"}, ["4a", "4b"]), ({"1", "19"}, ["1", "19", "19b"])],
    ids=["a part", "a number", "several"],
)
def test_rows_are_asked_for_by_number(asked: set[str], expected: list[str]) -> None:
    assert [row.number for row in rows_for(frozenset(asked))] == expected


def test_a_page_without_a_run_says_so() -> None:
    assert set(parts([]).values()) == {"No run is committed yet."}


def test_a_page_tells_of_the_run() -> None:
    server = {"title": "Rival 1.0", "setting": "one worker", "environment": "rival"}
    machine = {
        "kind": "machine", "date": "2026-01-02", "cores": 2, "cpu": "a CPU", "system": "Linux",
        "seconds": 2, "versions": {"rival": {"numpy": "2.0"}}, "servers": {"rival": server},
    }  # fmt: skip
    records = [
        machine, load(Series("slipway-digits", "per_second", "digits-json-c8"), 1, 600.0),
        load(Series("mlserver", "per_second", "digits-json-c8"), 1, 100.0),
    ]  # fmt: skip
    found = parts(records)
    assert "2 cores of a CPU, Linux; 2 rounds of 2 s a load" in found["machine"]
    assert "| 6.00 (6.00 to 6.00) |" in found["ratios"]
    assert "| Rival 1.0 (`rival`) | one worker | numpy 2.0 |" in found["settings"]
    assert "| digits-json-c8 | slipway-digits | 600 |" in found["figures"]


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="got 0, expected 1"):
        replaced("# A page", "ratios", "x", program="benchmarks.runtime.page")
