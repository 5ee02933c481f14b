"""Canaries under traffic: a good version is promoted, bad ones go back by themselves.

Lives here: what is applied, what is told while it runs, and the table at the end.
Stays out: the client in the cluster (`client.py`, started by the caller), and how versions are bad
(`flaws.py`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from demo.flaws import failing, slower
from demo.kubernetes import NAMESPACE, Kubernetes
from demo.model import Pixels, retrain
from demo.screen import command, say
from demo.target import DemoFailed

DOCUMENT: Final = Path("examples/digits-canary.yaml")
"""Shares by numbers of pods: it needs nothing that a cluster may lack."""
BY_GATEWAY: Final = Path("examples/digits-gateway.yaml")
HOST: Final = "digits.example.com"
_WRITTEN: Final = "v3"
"""The version that the documents name."""
_ENTRY_PORT: Final = 8000
_GATEWAY: Final = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "Gateway",
    "metadata": {"name": "public", "namespace": NAMESPACE},
    "spec": {
        "gatewayClassName": "traefik",
        "listeners": [{"name": "http", "protocol": "HTTP", "port": _ENTRY_PORT}],
    },
}
_ACCEPTED: Final = '{.status.parents[0].conditions[?(@.type=="Accepted")].status}'
_PIXEL: Final = 35
_TURNS: Final = 10_000
"""Of a loop of about 2 microseconds each."""
_PAUSE_S: Final = 0.5
_LONGEST_S: Final = 120.0
_TOLD_AT_LEAST_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Version:
    """One canary."""

    name: str
    about: str
    ends: str
    """The state of its rollout at the end: `Idle`, promoted, or `Failed`, sent back."""


CANARIES: Final = (
    Version("v3", "retrained", "Idle"),
    Version("v4", "fails half of the requests", "Failed"),
    Version("v5", "is five times slower", "Failed"),
)


@dataclass(frozen=True, slots=True)
class Course:
    """How a canary went."""

    version: Version
    end: str
    took_s: float
    check: str
    """What spoke against it."""


def models(second: bytes, pixels: Pixels) -> dict[str, bytes]:
    """The files of all canaries; the bad ones are the second version with a flaw in its graph."""
    half = float(np.median(pixels[:, _PIXEL]))
    return {
        "v3": retrain(),
        "v4": failing(second, column=_PIXEL, above=half),
        "v5": slower(second, turns=_TURNS),
    }


def open_gateway(kubernetes: Kubernetes) -> str:
    """Serve the second version through a Gateway as well; tell its address inside the cluster."""
    command(f"kubectl apply -n {NAMESPACE} -f -   # a Gateway `public` of the class traefik")
    kubernetes.run("apply", "-f", "-", text=json.dumps(_GATEWAY), show=False)
    command(f"kubectl apply -n {NAMESPACE} -f {BY_GATEWAY} with {_WRITTEN} replaced by v2")
    document = BY_GATEWAY.read_text().replace(_WRITTEN, "v2")
    kubernetes.run("apply", "-n", NAMESPACE, "-f", "-", text=document, show=False)
    accepted = f"--for=jsonpath={_ACCEPTED}=True"
    kubernetes.run("wait", "--for=create", "httproute/digits", "-n", NAMESPACE, "--timeout=60s",
                   show=False)  # fmt: skip
    kubernetes.run("wait", accepted, "httproute/digits", "-n", NAMESPACE, "--timeout=60s",
                   show=False)  # fmt: skip
    where = "jsonpath={.status.addresses[0].value}"
    address = kubernetes.run("get", "gateway", "public", "-n", NAMESPACE, "-o", where, show=False)
    return f"http://{address}:{_ENTRY_PORT}"


def roll_out(kubernetes: Kubernetes, version: Version, written: Path) -> Course:
    """Apply a version and tell what becomes of it, until it serves or has gone back.

    Raises:
        DemoFailed: it ended otherwise than it should.
    """
    say(f"\n   {version.name} {version.about}:")
    document = written.read_text().replace(_WRITTEN, version.name)
    begun = time.monotonic()
    change = "" if version.name == _WRITTEN else f" with {_WRITTEN} replaced by {version.name}"
    command(f"kubectl apply -n {NAMESPACE} -f {written}{change}")
    kubernetes.run("apply", "-n", NAMESPACE, "-f", "-", text=document, show=False)
    status: dict[str, Any] = {}
    for status in _statuses(kubernetes, version):
        told = _told(status)
        say(f"   {time.monotonic() - begun:5.1f} s  {told}")
    rollout = status["rollout"]
    if rollout["state"] != version.ends:
        raise DemoFailed(f"{version.name} ended {rollout['state']}, expected {version.ends}")
    return Course(version, rollout["state"], time.monotonic() - begun, _check(status))


def _statuses(kubernetes: Kubernetes, version: Version) -> Iterator[dict[str, Any]]:
    """Statuses that tell something new, the last of them the end."""
    last = ""
    until = time.monotonic() + _LONGEST_S
    is_begun = False
    while time.monotonic() < until:
        found = json.loads(
            kubernetes.run("get", "mdep", "digits", "-n", NAMESPACE, "-o", "json", show=False)
        )
        status = found.get("status") or {}
        state = (status.get("rollout") or {}).get("state", "")
        is_seen = status.get("observedGeneration") == found["metadata"]["generation"]
        is_begun = is_begun or (is_seen and state not in ("", "Idle", "Failed"))
        is_over = is_begun and state in ("Idle", "Failed")
        if is_begun and (_told(status) != last or is_over):
            last = _told(status)
            yield status
        if is_over:
            return
        time.sleep(_PAUSE_S)  # between two looks
    raise DemoFailed(f"{version.name}: neither promoted nor sent back in {_LONGEST_S:.0f} s")


def _told(status: Mapping[str, Any]) -> str:
    rollout = status["rollout"]
    weight = rollout.get("weight") or {}
    match rollout["state"]:
        case "Baking":
            return f"{weight.get('applied')} % of the requests go to it"
        case "Promoting":
            return "nothing speaks against it: its other pods start, and it gets all requests"
        case "Watching":
            return "all requests go to it; the version before keeps its pods"
        case "Aborting":
            return f"goes back: {rollout.get('message') or rollout.get('reason')}"
        case "Idle":
            return "serves"
        case "Failed":
            return "is gone; the version before serves, as it did all the time"
    return "is fetched and checked; a pod of it starts"


def _check(status: Mapping[str, Any]) -> str:
    failed = [c["name"] for c in status.get("analysis") or () if c["verdict"] == "Fail"]
    return ", ".join(failed)


def table(courses: Sequence[Course], counted: Mapping[str, int]) -> str:
    """What happened to each version, by what the client counted."""
    head = ("version", "", "end", "after", "requests", "failed by it", "mean")
    rows = [head, _row("v2", "serves when it begins", "", "", counted)]
    rows += [
        _row(c.version.name, c.version.about, _end(c), f"{c.took_s:.0f} s", counted)
        for c in courses
    ]
    widths = [max(len(row[place]) for row in rows) for place in range(len(head))]
    return "\n".join(
        "   " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )


def _end(course: Course) -> str:
    return "promoted" if course.end == "Idle" else f"sent back: {course.check}"


def _row(
    name: str, about: str, end: str, after: str, counted: Mapping[str, int]
) -> tuple[str, ...]:
    bad = counted.get(f"failed {name}", 0)
    asked = counted.get(f"version {name}", 0) + bad
    mean = f"{counted.get(f'ms {name}', 0) / asked:.0f} ms" if asked else ""
    return name, about, end, after, f"{asked:,}", str(bad), mean


def lost(counted: Mapping[str, int]) -> int:
    """Requests that failed, but not by what a bad version answered."""
    bad = sum(counted.get(f"failed {v.name}", 0) for v in CANARIES if v.ends == "Failed")
    return counted["failed"] - bad
