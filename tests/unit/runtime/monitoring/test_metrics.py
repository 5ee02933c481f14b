"""What is counted, beside what /metrics tells."""

from __future__ import annotations

from slipway_runtime.monitoring.metrics import Metrics


def test_batch_sizes_that_clients_choose_do_not_pile_up() -> None:
    metrics = Metrics(model="m", version="1", revision="r")
    for rows in (*range(1, 1001), 1, 1):
        metrics.executed(execution_s=0.5, rows=rows)
    assert len(metrics.runs) == 256
    assert metrics.runs[1] == [3, 1.5]

    metrics.serves(digest="", format_name="ONNX", revision="other")
    assert metrics.runs == {}
