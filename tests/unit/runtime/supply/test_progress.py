"""Progress is told, and not too often."""

import logging

import pytest

from slipway_runtime.supply.progress import Progress


def test_a_line_comes_at_most_every_five_seconds(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    progress = Progress(1000, clock=lambda: now[0])
    with caplog.at_level(logging.INFO):
        for second in range(1, 12):
            now[0] = float(second)
            progress.advance(10, second * 10)
    told = [vars(record) for record in caplog.records]
    assert [(line["bytes"], line["percent"], line["bytes_per_s"]) for line in told] == [
        (50, 5, 10),
        (100, 10, 10),
    ]
