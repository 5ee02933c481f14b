"""Which servers a run starts, and what each is asked, so that every wanted row has its figures.

Lives here: from rows to starts and loads, their order in a round, and how long that takes. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

from benchmarks.runtime.rows import Metric, Row, Series, ours_for
from benchmarks.runtime.workloads import Wire, Workload

WARM_UP_S: Final = 1
_LOADED: Final[frozenset[Metric]] = frozenset({"per_second", "p50_ms", "p99_ms"})
_START_S: Final = 5.0
_AROUND_LOAD_S: Final = 0.8
_RAW_S: Final = 2.0
_NAME: Final = re.compile(r"(?P<model>\w+)-(?P<wire>json|binary|grpc|plain)-c(?P<c>\d+)")


@dataclass(frozen=True, slots=True)
class Plan:
    """What one round consists of: loads by server, in the order of the rows.

    A server without loads is started and weighed only.
    """

    loads: dict[str, list[str]] = field(default_factory=dict)
    sized: list[str] = field(default_factory=list)
    """Environments whose size is wanted."""
    raw: dict[str, list[str]] = field(default_factory=dict)
    """Cases of ONNX Runtime alone, by the server of ours that they are the limit of."""

    def seconds(self, seconds: int) -> float:
        """About how long a round takes, when each load is measured for so long."""
        count = sum(map(len, self.loads.values()))
        each = WARM_UP_S + seconds + _AROUND_LOAD_S
        raw = sum(map(len, self.raw.values())) * _RAW_S
        return count * each + len(self.loads) * _START_S + raw


def planned(rows: Sequence[Row], servers: Collection[str] = ()) -> Plan:
    """Gather what the rows need; with `servers`, only of those, and of ours."""
    plan = Plan()
    wanted = [series for row in rows for series in (row.ours, row.theirs) if series is not None]
    for series in wanted:
        if series.server == "raw":
            cases = plan.raw.setdefault(ours_for(series.of), [])
            cases += [series.of] if series.of not in cases else []
        elif _is_wanted(series, servers):
            _add(plan, series)
    return plan


def _is_wanted(series: Series, servers: Collection[str]) -> bool:
    return not servers or series.server in servers or series.server.startswith("slipway")


def _add(plan: Plan, series: Series) -> None:
    if series.metric == "size_mb":
        plan.sized.extend({series.server} - set(plan.sized))
        return
    loads = plan.loads.setdefault(series.server, [])
    if series.metric in _LOADED and series.of not in loads:
        loads.append(series.of)


def rotated(names: Sequence[str], number: int) -> list[str]:
    """The order of a round: each starts with another server, a third of the way on.

    >>> rotated(["a", "b", "c"], 1)
    ['b', 'c', 'a']
    """
    if not names:
        return []
    start = number * max(1, len(names) // 3) % len(names)
    return [*names[start:], *names[:start]]


def workload(name: str, *, is_plain: bool) -> Workload:
    """Read a workload's name; a server with its own protocol gets the same numbers in that.

    Raises:
        ValueError: no name of a workload.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise ValueError(f"workload: got {name!r}, expected MODEL-WIRE-cN as in digits-json-c8")
    wire = "plain" if is_plain else found["wire"]
    return Workload(found["model"], cast("Wire", wire), int(found["c"]))
