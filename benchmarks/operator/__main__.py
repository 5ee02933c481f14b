"""`python -m benchmarks.operator [--objects 1000]`: make, restart, leave alone, edit; then a table.

The exit status is 1 when a row fails.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import chain
from pathlib import Path
from typing import Final

from benchmarks.machine import machine
from benchmarks.operator.copies import copied, whole, write
from benchmarks.operator.measures import (
    Audit,
    cpu_s,
    edit_times,
    logged_at,
    memory_mb,
    passes,
    percentile,
    wait,
    wait_until_quiet,
)
from benchmarks.operator.page import publish
from benchmarks.operator.priority import ahead
from benchmarks.operator.simulation import Fleet, kwok, pause, prepare
from benchmarks.operator.table import Row, rendered
from devcluster.cluster import Cluster
from slipway_operator.engine.cache import ObjectKey
from tests.cluster.operators import Operator
from tests.kubeapi import Api

_IDLE_S: Final = 60
_EDITS: Final = 150
"""Of a hundred, the second worst would be p99: one stutter of the machine would decide."""
_PACE_S: Final = 1.0
"""As people do it: the controllers have done with one edit before the next one comes."""
_PRESSED_S: Final = 0.2
"""As nobody does it for long: on two cores the controllers are still at work on the last one."""
_OPEN: Final = {"api_qps": "2000", "api_burst": "2000"}
"""The token bucket while all are created: its default would be what is measured."""


class Bench:
    """One run: an operator after the other over the same fleet."""

    def __init__(self, cluster: Cluster, api: Api, fleet: Fleet, folder: Path) -> None:
        self.cluster, self.api, self.fleet, self.folder = cluster, api, fleet, folder
        self.audit = Audit(cluster.audit)
        self.rows: list[Row] = []
        self.samples: list[float] = []
        self.pressed: list[float] = []
        self._operators: list[Operator] = []

    def operator(self, **settings: str) -> Operator:
        """Start an operator for the whole cluster, with the Lease times of the chart."""
        log = self.folder / f"operator-{len(self._operators) + 1}.log"
        times = {"lease_duration_s": "15", "lease_renew_deadline_s": "10", "lease_retry_s": "2"}
        every = {"lease_namespace": "default", **times, **settings}
        self._operators.append(Operator(self.cluster.kubeconfig, "", log, {}, **every))
        return self._operators[-1]

    def abandon(self) -> None:
        """Leave no operator running when a measurement failed."""
        for operator in self._operators:
            operator.kill()

    def tell(
        self,
        name: str,
        value: float,
        unit: str = "",
        must: float | None = None,
        stretch: float | None = None,
    ) -> None:
        """Add a row, and show it."""
        self.rows.append(Row(name, value, unit, must, stretch))
        print(rendered(self.rows[-1:]), flush=True)

    def create(self) -> None:
        """From nothing to Ready."""
        operator = self.operator(**_OPEN).until_ready()
        start, cpu, at = self.audit.mark(), cpu_s(operator), time.monotonic()
        self.fleet.create()
        self.tell("create: all are asked for after", time.monotonic() - at, "s")
        wait("all are Ready", lambda: self.fleet.ready() == self.fleet.size,
             timeout_s=self.fleet.size * 0.6 + 60, every_s=1)  # fmt: skip
        took = time.monotonic() - at
        asked = self.audit.since(start)
        self.tell("create: all are Ready after", took, "s")
        self.tell("create: CPU of the operator", cpu_s(operator) - cpu, "s")
        self.tell("create: writes per object", asked.writes / self.fleet.size)
        self.tell("create: of these, statuses", asked.statuses / self.fleet.size)
        self.tell("create: of these, Events", asked.events / self.fleet.size)
        self.tell("create: reads per object", asked.reads / self.fleet.size)
        self.tell("create: requests", (asked.writes + asked.reads) / took, "/s")
        self.tell("create: memory, peak", memory_mb(operator, "VmHWM"), "MB")
        self.tell("create: children per object", self.fleet.children() / self.fleet.size)
        wait_until_quiet(operator)
        self.end(operator)

    def copy(self) -> None:
        """From one that is Ready to all of them; see `copies.py`."""
        self.fleet.create(1)
        operator = self.operator().until_ready()
        wait("it is Ready", lambda: self.fleet.ready() == 1, timeout_s=60, every_s=1)
        wait_until_quiet(operator)
        self.end(operator)
        pause(self.cluster, "kube-controller-manager")
        first = ObjectKey(*self.fleet.names[0])
        objects = whole(self.api, first)
        self.tell("copy: objects of each", len(objects))
        at = time.monotonic()
        rest = (copied(objects, first, ObjectKey(*name)) for name in self.fleet.names[1:])
        write(self.cluster, chain.from_iterable(rest))
        wait("all are there", lambda: self.fleet.ready() == self.fleet.size, timeout_s=60)
        self.tell("copy: all are there after", time.monotonic() - at, "s")

    def end(self, operator: Operator) -> None:
        """End an operator that has nothing left to do."""
        if status := operator.end():
            raise RuntimeError(f"the operator ended with {status}\n{operator.tail()}")

    def restart(self) -> Operator:
        """A new process finds everything as it ought to be."""
        start, size = self.audit.mark(), self.fleet.size
        operator = self.operator()
        wait("a first full pass", lambda: passes(operator) >= size, timeout_s=60 + size * 0.02)
        passed, filled = self.audit.mark(), logged_at(operator, "caches filled")
        self.tell("restart: caches are filled after", (filled - start).total_seconds(), "s")
        took = (passed - filled).total_seconds()
        self.tell(
            "restart: first full pass, after that", took, "s", _scaled(5, size), _scaled(1.2, size)
        )
        wait_until_quiet(operator)
        self.tell("restart: CPU until quiet", cpu_s(operator), "s")
        self.tell("restart: writes but the Lease", self.audit.since(start).writes, "", 0)
        most, wish = (250, 193) if size <= 1000 else (1000, 508)
        self.tell("restart: memory, peak", memory_mb(operator, "VmHWM"), "MB", most, wish)
        self.tell("restart: memory, then", memory_mb(operator, "VmRSS"), "MB")
        return operator

    def idle(self, operator: Operator) -> None:
        """A minute in which nothing happens."""
        start, cpu = self.audit.mark(), cpu_s(operator)
        time.sleep(_IDLE_S)  # what is measured is the time itself
        self.tell("idle: CPU", (cpu_s(operator) - cpu) / _IDLE_S * 100, "%", 2)
        asked = self.audit.since(start)
        self.tell("idle: writes but the Lease in 60 s", asked.writes, "", 0)
        self.tell("idle: writes of the Lease in 60 s", asked.leases)

    def edit(self, samples: int) -> None:
        """`spec.replicas` until the Deployment is changed, one edit a second."""
        start = self.audit.mark()
        self.samples = edit_times(self.fleet, samples, replicas=2, pace_s=_PACE_S)
        ms = [t * 1000 for t in self.samples]
        self.tell("edit: Deployment changed, p50", percentile(ms, 50), "ms", None, 24.4)
        self.tell("edit: Deployment changed, p99", percentile(ms, 99), "ms", 100, 46.8)
        shares = self.audit.shares(start)
        self._split("the API server writes the edit", [s.edit_s for s in shares])
        self._split("the operator", [s.operator_s for s in shares])
        self._split("the API server writes the Deployment", [s.child_s for s in shares])

    def _split(self, what: str, seconds: Sequence[float]) -> None:
        ms = [s * 1000 for s in seconds]
        self.tell(f"edit: of it, {what}, p50", percentile(ms, 50), "ms")
        self.tell(f"edit: of it, {what}, p99", percentile(ms, 99), "ms")

    def press(self, samples: int) -> None:
        """The same with the next edit on the heels of the one before."""
        self.pressed = edit_times(self.fleet, samples, replicas=3, pace_s=_PRESSED_S)
        ms = [t * 1000 for t in self.pressed]
        self.tell("edits without a rest: Deployment changed, p50", percentile(ms, 50), "ms")
        self.tell("edits without a rest: Deployment changed, p99", percentile(ms, 99), "ms")


def _scaled(seconds: float, size: int) -> float:
    """The bound is for a thousand objects; more of them may take as much longer."""
    return seconds * max(1.0, size / 1000)


@contextmanager
def _cluster(name: str, *, keep: bool) -> Iterator[Cluster]:
    cluster = Cluster(name)
    cluster.up(metrics_server=False)
    try:
        yield cluster
    finally:
        if not keep:
            cluster.down()


def main() -> int:
    """Measure and judge."""
    options = parser().parse_args()
    about = machine()
    with (
        _cluster(options.cluster, keep=options.keep) as cluster,
        tempfile.TemporaryDirectory() as folder,
    ):
        api = Api(cluster.kubeconfig)
        prepare(api)
        pause(cluster, "kube-proxy")  # nobody calls the pods that are played
        pids = [p.pid for p in cluster.processes().values()] if options.ahead else []
        with (
            ahead(pids) if options.ahead else nullcontext(),
            kwok(cluster.kubeconfig, Path(folder) / "kwok.log"),
        ):
            bench = Bench(cluster, api, Fleet(api, options.objects), Path(folder))
            try:
                _measure(bench, min(_EDITS, options.objects), are_copies=options.copied)
            finally:
                bench.abandon()
    report = {**about, "ahead": options.ahead, **_report(bench, are_copies=options.copied)}
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    if options.publish:
        publish(report)
    print(f"\n{options.objects} ModelDeployments\n{rendered(bench.rows)}")
    failed = [row.name for row in bench.rows if row.verdict == "fail"]
    print(f"\n{'fail: ' + '; '.join(failed) if failed else 'pass'}")
    return int(bool(failed))


def _measure(bench: Bench, edits: int, *, are_copies: bool) -> None:
    if are_copies:
        bench.copy()
    else:
        bench.create()
    operator = bench.restart()
    bench.idle(operator)
    bench.edit(edits)
    bench.press(edits)
    bench.end(operator)


def _report(bench: Bench, *, are_copies: bool) -> dict[str, object]:
    return {
        "objects": bench.fleet.size,
        "copied": are_copies,
        "rows": [row.json() for row in bench.rows],
        "edit_s": bench.samples,
        "pressed_s": bench.pressed,
    }


def parser() -> argparse.ArgumentParser:
    """The options."""
    found = argparse.ArgumentParser(prog="python -m benchmarks.operator", description=__doc__)
    found.add_argument("--objects", type=int, default=1000, help="how many (default: 1000)")
    found.add_argument("--copied", action="store_true", help="let only one live, copy the others")
    found.add_argument(
        "--ahead", action="store_true", help="go before other work of the machine (root, Linux)"
    )
    found.add_argument("--cluster", default="bench", help="its name (default: bench)")
    found.add_argument("--json", type=Path, help="write all figures to this file, too")
    found.add_argument("--publish", action="store_true", help="let docs/ tell of this run")
    found.add_argument("--keep", action="store_true", help="leave the cluster up")
    return found


if __name__ == "__main__":
    sys.exit(main())
