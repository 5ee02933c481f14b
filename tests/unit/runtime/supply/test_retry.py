"""How long the supply step waits."""

from datetime import UTC, datetime

import pytest

from slipway_runtime.supply.retry import Patience, retry_after_s

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        pytest.param("7", 7.0, id="seconds"),
        pytest.param("Sat, 21 Nov 2026 12:00:30 GMT", 30.0, id="a date"),
        pytest.param("Sat, 21 Nov 2026 11:00:00 GMT", 0.0, id="a date that has passed"),
        pytest.param("soon", None, id="a word"),
        pytest.param("Sat, 21 Nov 2026 12:00:30", None, id="a date without its zone"),
        pytest.param(None, None, id="nothing"),
    ],
)
def test_retry_after_is_read(header: str | None, expected: float | None) -> None:
    assert retry_after_s(header, now=lambda: NOW) == expected


def test_pauses_grow_up_to_a_limit() -> None:
    patience = Patience(backoff_s=1, max_backoff_s=8)
    for failures, most in ((1, 1), (2, 2), (3, 4), (4, 8), (50, 8)):
        assert 0 <= patience.pause_s(failures, None) <= most


@pytest.mark.parametrize(
    ("asked_s", "least_s", "most_s"),
    [
        pytest.param(0.0, 0.0, 0.5, id="at once"),
        pytest.param(4.0, 4.0, 6.0, id="seconds"),
        pytest.param(1e9, 60.0, 90.0, id="no more than a minute, and a half"),
    ],
)
def test_what_the_store_asks_is_done_within_reason_and_not_by_all_at_once(
    asked_s: float, least_s: float, most_s: float
) -> None:
    pauses = [Patience().pause_s(1, asked_s) for _ in range(200)]
    assert all(least_s <= pause_s <= most_s for pause_s in pauses)
    # A crowd comes back over the whole span: the chance of less is below 1e-9.
    assert max(pauses) - min(pauses) > (most_s - least_s) * 0.8
