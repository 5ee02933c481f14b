"""Take the figures: times from outside, writes from the audit log, CPU and memory from /proc."""

from __future__ import annotations

import json
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from queue import Empty, Queue
from typing import Final

import httpx

from benchmarks.operator.simulation import Fleet
from devcluster.audit import AuditLog, received
from tests.cluster.operators import Operator
from tests.kubeapi import Api, Manifest

_WRITES: Final = frozenset({"create", "update", "patch", "delete"})
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_OPERATOR: Final = '"userAgent":"slipway-operator'
_QUIET_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Requests:
    """What the operator asked of the API server in a time."""

    writes: int
    """Of children, statuses and Events; the Lease is apart."""
    events: int
    statuses: int
    reads: int
    leases: int


@dataclass(frozen=True, slots=True)
class Share:
    """Where the time of one edit went, by the API server's clock, in seconds."""

    edit_s: float
    """The API server writes the edit."""
    operator_s: float
    """From there until the operator's write arrives: watch, pass and request."""
    child_s: float
    """The API server writes the Deployment."""


class Audit:
    """The API server's own record of the operator and of edits."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    def mark(self) -> datetime:
        """The present end of the log."""
        return self._log.mark()

    def since(self, start: datetime) -> Requests:
        """Count the operator's requests since a time."""
        found = [e for e in self._log.entries(start, naming=(_OPERATOR,)) if _is_operators(e)]
        resource = [(e["verb"], *_resource(e)) for e in found]
        writes = [r for r in resource if r[0] in _WRITES]
        return Requests(
            writes=sum(r[1] != "leases" for r in writes),
            events=sum(r[1] == "events" for r in writes),
            statuses=sum(r[2] == "status" for r in writes),
            reads=len(resource) - len(writes),
            leases=sum(r[1] == "leases" for r in writes),
        )

    def shares(self, start: datetime) -> list[Share]:
        """Split the time of every edit since a time, whose Deployment the operator has written."""
        found = self._log.entries(start, naming=(_OPERATOR, '"modeldeployments"'))
        written = [e for e in found if e["verb"] == "patch"]
        edits = {
            e["objectRef"]["name"]: e
            for e in written
            if _resource(e) == ("modeldeployments", "") and not _is_operators(e)
        }
        # A Deployment's name is the ModelDeployment's and the revision's.
        children = {
            e["objectRef"]["name"].rpartition("-")[0]: e
            for e in written
            if _resource(e) == ("deployments", "") and _is_operators(e)
        }
        return [_share(edits[name], children[name]) for name in edits if name in children]


def _is_operators(entry: Manifest) -> bool:
    return bool(entry["userAgent"].startswith("slipway-operator"))


def _share(edit: Manifest, child: Manifest) -> Share:
    accepted, asked = _until(edit), received(child)
    return Share(
        (accepted - received(edit)).total_seconds(),
        (asked - accepted).total_seconds(),
        (_until(child) - asked).total_seconds(),
    )


def _resource(entry: Manifest) -> tuple[str, str]:
    """Resource and subresource; empty for what is not about objects, such as a discovery."""
    about = entry.get("objectRef") or {}
    return about.get("resource", ""), about.get("subresource", "")


def _until(entry: Manifest) -> datetime:
    return datetime.fromisoformat(entry["stageTimestamp"])


def cpu_s(operator: Operator) -> float:
    """CPU time of the operator's process so far, in seconds."""
    fields = Path(f"/proc/{operator.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_mb(operator: Operator, kind: str) -> float:
    """Resident memory of the operator's process in MB: `VmRSS` now, `VmHWM` at its peak."""
    for line in Path(f"/proc/{operator.process.pid}/status").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise KeyError(kind)


def passes(operator: Operator) -> float:
    """How many reconciles there have been; 0 before the operator answers."""
    return operator.metric("slipway_reconcile_total") if operator.answer("/livez") else 0.0


def logged_at(operator: Operator, message: str) -> datetime:
    """When the operator has logged a message, by its own clock.

    Raises:
        KeyError: it has not.
    """
    for line in operator.log.read_text().splitlines():
        if f'"message": "{message}"' in line:
            return datetime.fromisoformat(json.loads(line)["time"])
    raise KeyError(message)


def wait(what: str, done: Callable[[], bool], *, timeout_s: float, every_s: float = 0.05) -> float:
    """Wait for a condition; tell how long it took, in seconds.

    Raises:
        TimeoutError: it did not come.
    """
    start = time.monotonic()
    while not done():
        if time.monotonic() - start > timeout_s:
            raise TimeoutError(f"not within {timeout_s:.0f} s: {what}")
        time.sleep(every_s)  # between two looks at a condition
    return time.monotonic() - start


def wait_until_quiet(operator: Operator, timeout_s: float = 300) -> None:
    """Wait until nothing has been reconciled, and no watch has brought anything, for a while."""
    last, since = -1.0, time.monotonic()

    def quiet() -> bool:
        nonlocal last, since
        count = passes(operator) + operator.metric("slipway_watch_events_total")
        if count != last:
            last, since = count, time.monotonic()
        return time.monotonic() - since > _QUIET_S

    wait("the operator is quiet", quiet, timeout_s=timeout_s, every_s=0.5)


@contextmanager
def deployments(api: Api) -> Iterator[Queue[tuple[str, int, float]]]:
    """Watch Deployments: name, replicas wanted, and when the event came."""
    seen: Queue[tuple[str, int, float]] = Queue()
    over = threading.Event()
    started = threading.Event()
    version = api.send("GET", "/apis/apps/v1/deployments", params={"limit": "1"})["metadata"]
    query = {"watch": "1", "resourceVersion": version["resourceVersion"],
             "allowWatchBookmarks": "false", "timeoutSeconds": "600"}  # fmt: skip

    def follow() -> None:
        try:
            listen()
        except httpx.TransportError:
            if not over.is_set():  # the cluster may go while the last event is waited for
                raise

    def listen() -> None:
        with api.http.stream(
            "GET", "/apis/apps/v1/deployments", params=query, timeout=600
        ) as lines:
            started.set()
            for line in lines.iter_lines():
                at = time.monotonic()
                event = json.loads(line)["object"]
                seen.put((event["metadata"]["name"], event["spec"]["replicas"], at))
                if over.is_set():
                    return

    threading.Thread(target=follow, daemon=True).start()
    started.wait(timeout=10)
    yield seen
    over.set()


def edit_times(fleet: Fleet, samples: int, *, replicas: int, pace_s: float) -> list[float]:
    """Seconds from sending `spec.replicas` to the event of the changed Deployment, per sample.

    Args:
        fleet: of which one after the other is edited.
        samples: how many of them.
        replicas: another number than they have.
        pace_s: pause between the event and the next edit.
    """
    times = []
    step = max(1, fleet.size // samples)
    with deployments(fleet.api) as seen:
        for namespace, name in fleet.names[::step][:samples]:
            while not seen.empty():
                seen.get()
            start = time.monotonic()
            fleet.scale(namespace, name, replicas)
            times.append(_arrival(seen, name, replicas) - start)
            time.sleep(pace_s)  # what the figure is about: how fast edits come
    return times


def _arrival(seen: Queue[tuple[str, int, float]], name: str, wanted: int) -> float:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            found, replicas, at = seen.get(timeout=1)
        except Empty:
            continue
        if found.startswith(f"{name}-") and replicas == wanted:
            return at
    raise TimeoutError(f"{name}: its Deployment was not changed within 30 s")


def percentile(values: list[float], percent: int) -> float:
    """A percentile, by the nearest of a hundred cuts."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
