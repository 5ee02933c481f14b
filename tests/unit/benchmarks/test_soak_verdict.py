"""The verdict on a soak run: what may grow, and what is told."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.soak.verdict import Row, Sample, judge, slope, table

MIB = 2**20
IDLE = Sample(at_s=0, rss_bytes=100 * MIB, own_bytes=60 * MIB, fds=20, threads=8, tasks=4)


def run(change: Callable[[Sample], Sample] = lambda sample: sample) -> list[Sample]:
    """Ten minutes of one sample every three seconds."""
    return [change(replace(IDLE, at_s=3.0 * number)) for number in range(200)]


def failed(rows: list[Row]) -> set[str]:
    return {row.name for row in rows if not row.is_passed}


def test_a_run_that_holds_what_it_held_passes() -> None:
    assert failed(judge(run(), IDLE, IDLE, 0)) == set()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(
            lambda s: replace(s, rss_bytes=s.rss_bytes + int(s.at_s) * MIB // 60),
            {"RSS", "RSS, trend"},
            id="a MiB a minute is a leak",
        ),
        pytest.param(
            lambda s: replace(s, rss_bytes=s.rss_bytes + (30 * MIB if s.at_s < 100 else 0)),
            set(),
            id="what the warm-up holds does not count",
        ),
        pytest.param(
            lambda s: replace(s, own_bytes=s.own_bytes + (50 * MIB if s.at_s % 60 == 0 else 0)),
            set(),
            id="peaks that pass are no leak",
        ),
        pytest.param(
            lambda s: replace(s, rss_bytes=400 * MIB + (12 * MIB if s.at_s > 300 else 0)),
            {"RSS"},
            id="3 % are too much where they are 12 MiB",
        ),
        pytest.param(
            lambda s: replace(s, fds=20 + int(s.at_s) // 60),
            {"file descriptors under load"},
            id="a file a minute",
        ),
        pytest.param(
            lambda s: replace(s, tasks=4 + int(s.at_s) % 7),
            set(),
            id="tasks come and go",
        ),
        pytest.param(
            lambda s: replace(s, tasks=4 + int(s.at_s) % 7 + int(s.at_s) // 100),
            {"tasks under load"},
            id="tasks that stay behind",
        ),
        pytest.param(
            lambda s: replace(s, threads=8 + int(s.at_s) // 60),
            {"threads under load"},
            id="threads",
        ),
    ],
)
def test_what_grows_is_told(change: Callable[[Sample], Sample], expected: set[str]) -> None:
    assert failed(judge(run(change), IDLE, IDLE, 0)) == expected


def test_what_is_left_behind_at_rest_is_told() -> None:
    after = replace(IDLE, fds=30, tasks=10, threads=30)
    assert failed(judge(run(), IDLE, after, 0)) == {"file descriptors at rest", "tasks at rest"}


def test_one_unexpected_answer_is_too_many() -> None:
    assert failed(judge(run(), IDLE, IDLE, 1)) == {"unexpected answers"}


def test_few_samples_give_no_verdict() -> None:
    with pytest.raises(ValueError, match="4 samples after the warm-up"):
        judge(run()[:5], IDLE, IDLE, 0)


@given(st.integers(-100, 100), st.integers(0, 10**9))
def test_the_slope_of_a_line_is_found_beside_an_outlier(rise: int, outlier: int) -> None:
    values = [rise * at for at in range(40)]
    values[20] = outlier
    assert slope(range(40), values) == rise


def test_the_table_says_which_row_failed() -> None:
    rows = judge(run(lambda s: replace(s, fds=20 + int(s.at_s) // 60)), IDLE, IDLE, 0)
    lines = table(rows).splitlines()
    assert len(lines) == len(rows) + 1
    assert [line.split()[:2] for line in lines if line.endswith("FAIL")] == [
        ["file", "descriptors"]
    ]
