"""Metrics of the ModelDeployments' rollouts, read from their statuses when scraped.

Lives here: which series there are, and their bounds. A label holds what the API server has checked
(names) or a word of a fixed set; messages never. Of more than `MOST` ModelDeployments the rest is
left out, and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

MOST: Final = 5000
"""ModelDeployments whose rollouts are told: at most 15 series each."""
STATES: Final = frozenset({
    "Idle", "Preparing", "Preflight", "Shifting", "Baking", "Paused", "Promoting", "Watching",
    "Aborting", "Failed",
})  # fmt: skip
VERDICTS: Final = frozenset({"Running", "Pass", "Fail", "Inconclusive", "NoData", "Warn"})
_MOST_CHECKS: Final = 10
_KINDS: Final = ("desired", "applied", "observed")

Source = Callable[[], Iterable[Mapping[str, Any]]]
"""Gives ModelDeployments; none on a process that does not lead, so that each is told once."""


class Rollouts(Collector):
    """Reads statuses when it is asked."""

    def __init__(self) -> None:
        self.source: Source = tuple

    def collect(self) -> Iterator[Metric]:
        """Tell every family, also those that have no series now."""
        ready = _family("slipway_modeldeployment_ready", "1 while Ready is True.")
        state = _family("slipway_rollout_state", "1 for the present state.", "state")
        weight = _family("slipway_rollout_weight_percent", "Share of the candidate.", "kind")
        verdict = _family("slipway_rollout_verdict", "1 for what a check says.", "check", "verdict")
        source = iter(self.source())
        for mdep in islice(source, MOST):
            place, status = _place(mdep), mdep.get("status") or {}
            ready.add_metric(place, _is_ready(status))
            rollout = status.get("rollout") or {}
            if rollout.get("state") in STATES:
                state.add_metric([*place, rollout["state"]], 1)
            for kind, percent in _weights(rollout.get("weight") or {}):
                weight.add_metric([*place, kind], percent)
            for check, word in _verdicts(status):
                verdict.add_metric([*place, check, word], 1)
        untold = GaugeMetricFamily("slipway_rollouts_untold", "ModelDeployments left out.")
        untold.add_metric([], sum(1 for _ in source))
        yield from (ready, state, weight, verdict, untold)


def _family(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=["namespace", "name", *labels])


def _place(mdep: Mapping[str, Any]) -> list[str]:
    meta = mdep["metadata"]
    return [meta["namespace"], meta["name"]]


def _is_ready(status: Mapping[str, Any]) -> int:
    found = status.get("conditions") or ()
    return int(any(c.get("type") == "Ready" and c.get("status") == "True" for c in found))


def _weights(weight: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for kind in _KINDS:
        if (percent := _percent(weight.get(kind))) is not None:
            yield kind, percent


def _percent(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, int | str) else None
    except ValueError:  # an empty text: nothing was observed yet
        return None


def _verdicts(status: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for report in (status.get("analysis") or ())[:_MOST_CHECKS]:
        if report.get("verdict") in VERDICTS:
            yield str(report.get("name")), report["verdict"]
