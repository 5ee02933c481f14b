"""One ModelDeployment under load: clients that ask all the time, and an observer."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from benchmarks.rollout.cases import RATES, REPLICAS, SENT_BACK, Act, Case, Mode, rollout
from benchmarks.rollout.client import Plan
from benchmarks.rollout.judging import Course, Look, Request
from benchmarks.rollout.observing import Observer
from benchmarks.rollout.versions import VERSIONS, samples
from devcluster.cluster import Cluster
from tests.e2e.models import Models
from tests.kubeapi import Manifest, eventually

NAME: Final = "m"
ROOT: Final = Path(__file__).resolve().parents[2]
_SAMPLES: Final = "samples"
_TRIED: Final = {"samples": {"configMap": {"name": _SAMPLES, "key": "samples.json"}}}
_ACTION: Final = "slipway.dev/rollout-action"
_FIRST: Final = "v1"
_BEFORE_S: Final = 2.0
_AFTER_S: Final = 3.0
"""Traffic before what is done and after its end, which belong to the case."""
_LATER_S: Final = 3.0
"""How long a candidate has its weight before somebody aborts it."""
_ENDS: Final = ("Idle", "Failed")


class Stage:
    """A ModelDeployment that serves `v1`, and its clients."""

    def __init__(self, models: Models, mode: Mode, raw: Path, observer: Observer) -> None:
        self._models, self._mode, self._raw, self._observer = models, mode, raw, observer
        self._nonce = 0

    def run(self, case: Case) -> Course:
        """Play a case to its end.

        Raises:
            TimeoutError: it does not end.
        """
        before = self._observer.until("it rests", lambda k: k.state in _ENDS and not _busy(k))
        self._observer.before = before.stable
        time.sleep(_BEFORE_S)  # what is measured is a time
        began_s = time.time() - _BEFORE_S
        accepted_s, candidate = self._ask(case, before)
        if case.act is Act.ABORT:
            self._abort()
        self._observer.until(f"{case.name}: its end", lambda k: _is_over(k, candidate))
        time.sleep(_AFTER_S)  # what is measured is a time
        over_s = time.time()
        looks = self._observer.since(began_s)
        if case.ends == SENT_BACK:
            self._restore(before.stable)
        return Course(
            before=before.stable,
            candidate=candidate,
            replicas=REPLICAS[self._mode],
            accepted_s=accepted_s,
            requests=[r for r in read(self._raw) if began_s <= r.sent_s <= over_s],
            looks=looks,
        )

    def _restore(self, revision: str) -> None:
        """Take a bad version that was promoted away, for the sake of the cases that follow."""
        look = self._observer.until("a look", lambda _: True)
        if look.stable != revision:
            self.act(f"rollback:{revision}", look.stable)
            self._observer.until("it is back", lambda k: k.stable == revision)

    def _ask(self, case: Case, before: Look) -> tuple[float, str]:
        """Ask for a revision; tell when that was taken, and its hash."""
        if case.act is Act.ROLL_BACK:
            wanted = self._hash_of(case.version)
            accepted_s = self.act(f"rollback:{wanted}", before.stable)
        else:
            apply(self._models, self._mode, case.version, rollout(case, self._mode),
                  runtime=case.runtime, model=_TRIED if case.is_tried else {})  # fmt: skip
            accepted_s = time.time()
        look = self._observer.until(
            f"{case.name}: a candidate", lambda k: k.desired not in ("", before.desired)
        )
        return accepted_s, look.desired

    def _hash_of(self, version: str) -> str:
        history = self._models.get(NAME)["status"]["history"]
        return str(next(h["hash"] for h in history if h.get("version") == version))

    def _abort(self) -> None:
        look = self._observer.until("a first step", lambda k: k.state == "Baking")
        time.sleep(_LATER_S)  # what is measured is a time
        self.act("abort", look.candidate)

    def act(self, verb: str, revision: str) -> float:
        """Annotate; tell when the API server had taken it."""
        self._nonce += 1
        patch = {"metadata": {"annotations": {_ACTION: f"{verb} @{revision} #{self._nonce}"}}}
        self._models.api.merge("ModelDeployment", self._models.namespace, NAME, patch)
        return time.time()


def _busy(look: Look) -> bool:
    return look.state == "Idle" and look.desired != look.stable


def _is_over(look: Look, candidate: str) -> bool:
    if look.state == "Idle":
        return look.stable == candidate == look.desired
    return look.state == "Failed" and look.candidate == candidate


def apply(
    models: Models,
    mode: Mode,
    version: str,
    block: Manifest,
    runtime: Manifest | None = None,
    model: Manifest | None = None,
) -> None:
    """Apply a version under a mode."""
    exposure = {"gateway": GATEWAY} if mode is Mode.GATEWAY else None
    models.apply(
        NAME,
        uri=f"configmap://{version}/model.onnx",
        model={"version": version, **(model or {})},
        replicas=REPLICAS[mode],
        rollout=block,
        runtime=runtime or {},
        **({"exposure": exposure} if exposure else {}),
    )


GATEWAY: Final[dict[str, Any]] = {
    "parentRefs": [{"name": "public"}],
    "hostnames": ["m.example.com"],
}
_ENTRY_PORT: Final = 8000


@contextmanager
def staged(cluster: Cluster, models: Models, mode: Mode, folder: Path) -> Iterator[Stage]:
    """Serve the first version, and let clients ask until the block ends."""
    for version, build in VERSIONS.items():
        models.publish(version, build())
    models.api.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": _SAMPLES, "namespace": models.namespace},
            "data": {"samples.json": json.dumps(samples())},
        }
    )
    if mode is Mode.GATEWAY:
        _open_gateway(models)
    apply(models, mode, _FIRST, {"watch": "0s"})
    models.until("Ready", NAME, timeout_s=120)
    raw = folder / f"{mode}.jsonl"
    observer = Observer(models, NAME)
    try:
        with loaded(cluster, plan(cluster, models, mode), raw):
            eventually(lambda: len(read(raw)) > 100, "the clients ask", timeout_s=30)
            yield Stage(models, mode, raw, observer)
    finally:
        observer.end()


def _open_gateway(models: Models) -> None:
    """Make the Gateway that routes attach to, on the port of Traefik's entry point."""
    listener = {"name": "http", "protocol": "HTTP", "port": _ENTRY_PORT}
    gateway = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": GATEWAY["parentRefs"][0]["name"]},
        "spec": {"gatewayClassName": "traefik", "listeners": [listener]},
    }
    path = f"/apis/gateway.networking.k8s.io/v1/namespaces/{models.namespace}/gateways"
    models.api.send("POST", path, json=gateway)


def plan(cluster: Cluster, models: Models, mode: Mode) -> Plan:
    """Where the clients of a mode ask."""
    if mode is Mode.GATEWAY:
        entry = f"{cluster.node_ip}:{_ENTRY_PORT}"
        return Plan(NAME, f"http://{entry}", entry, GATEWAY["hostnames"][0], RATES)
    service = models.api.get("Service", models.namespace, NAME)
    assert service is not None  # noqa: S101 - it is Ready
    address = service["spec"]["clusterIP"]
    return Plan(NAME, f"http://{address}:80", f"{address}:9000", "", RATES)


@contextmanager
def loaded(cluster: Cluster, asked: Plan, raw: Path) -> Iterator[None]:
    """Run the clients in the node's network, where addresses of Services mean something."""
    network = f"/run/netns/{cluster.node}"
    program = [sys.executable, "-u", "-m", "benchmarks.rollout.client", asked.json()]
    with raw.open("wb") as out, raw.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(
            ["nsenter", f"--net={network}", *program], stdout=out, stderr=log, cwd=ROOT
        )
        try:
            yield
            if process.poll() is not None:
                raise RuntimeError(f"the clients ended: {raw.with_suffix('.log').read_text()}")
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):  # nobody hears of the answers that are due
                process.wait(timeout=15)
            process.kill()


def read(raw: Path) -> list[Request]:
    """What the clients have noted so far."""
    lines = raw.read_text().splitlines(keepends=True)
    return [Request(*json.loads(line)) for line in lines if line.endswith("\n")]
