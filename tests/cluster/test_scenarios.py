"""Create, edit, roll out, scale, delete: whatever happens, the end is that of a fault-free run.

The operator is killed at every write of each, and the API server misbehaves in every way
(cases A44, A48, A52). Run by `make test-faults`.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cluster.faultproxy import (
    EVERY,
    READS,
    WRITES,
    Cut,
    Delay,
    Expire,
    Fault,
    FaultProxy,
    Hang,
    Refuse,
    Swallow,
    answers,
    crash_at_write,
)
from tests.cluster.kubelet import Kubelet
from tests.cluster.models import Models
from tests.cluster.operators import Operator
from tests.cluster.states import differences, state
from tests.kubeapi import Api, Manifest, eventually

SECOND: Final = "https://models.example/2.onnx"
NO_LEASE: Final = "^(?!.*/leases)"
_MOST_WRITES: Final = 40
_numbers = itertools.count(1)

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


class Stage:
    """Fresh namespaces, and operators for the whole cluster that look through the proxy."""

    def __init__(self, api: Api, kubelet: Kubelet, proxy: FaultProxy, folder: Path) -> None:
        self._api, self._kubelet, self.proxy, self._folder = api, kubelet, proxy, folder
        self._namespaces: list[str] = []
        self.operator = self._start()

    def _start(self) -> Operator:
        log = self._folder / f"operator-{next(_numbers)}.log"
        return Operator(
            self.proxy.kubeconfig, "", log, lease_namespace="default", resync_s="5"
        ).until_ready()

    def models(self) -> Models:
        """ModelDeployments in a namespace of their own."""
        name = f"s{os.getpid()}-{next(_numbers)}"
        self._api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        self._kubelet.script(name)
        self._namespaces.append(name)
        return Models(self._api, name)

    def crash(self) -> None:
        """Kill the operator; another one follows, and the API server is well again."""
        self.operator.kill()
        self.proxy.clear()
        self.operator = self._start()

    def close(self) -> None:
        """End everything."""
        self.proxy.clear()
        assert self.operator.end() == 0, self.operator.tail()
        for log in self._folder.glob("*.log"):
            assert "reconcile crashed" not in log.read_text(), log
        for name in self._namespaces:
            self._api.delete("Namespace", None, name)


@pytest.fixture(scope="module")
def stage(
    api: Api, kubelet: Kubelet, shared_proxy: FaultProxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """One for all scenarios."""
    found = Stage(api, kubelet, shared_proxy, tmp_path_factory.mktemp("operators"))
    yield found
    found.close()


Step = Callable[[Models], object]


def _nothing(models: Models) -> None:
    """There is nothing yet."""


def _created(models: Models) -> None:
    models.apply(replicas=2)
    models.until("Ready", timeout_s=90)


def _settled(models: Models) -> None:
    """Wait for the end of whatever was asked for."""
    models.until("Ready", timeout_s=90)


def _deleted(models: Models) -> None:
    eventually(
        lambda: not models.api.children(models.namespace), "all children are gone", timeout_s=90
    )


CANARY: Final = {
    "steps": [{"weight": 50, "hold": "1s"}],
    "watch": "1s",
    "scaleDownDelay": "1s",
    "traffic": {"settle": "1s"},
}
"""All states of a rollout, each as short as it can be."""


def _created_with_rollouts(models: Models) -> None:
    models.apply(replicas=2, rollout=CANARY)
    models.until("Ready", timeout_s=90)


def _rolled_out(models: Models) -> None:
    """Wait for the commit, and for the end of the pods before it.

    Ready is True while the candidate is still watched, and while nobody leads, nothing changes.
    """

    def over() -> bool:
        status = models.get().get("status") or {}
        is_idle = (status.get("rollout") or {}).get("state") == "Idle"
        return bool(is_idle and status["stable"]["revision"] == 2 and _serves_alone(models, status))

    eventually(over, "the second revision is stable", timeout_s=90,
               describe=lambda: models.get().get("status"))  # fmt: skip
    models.until("Ready", timeout_s=90)


def _serves_alone(models: Models, status: Manifest) -> bool:
    """Whether no other revision has pods, or a disruption budget."""
    workloads = models.api.find("Deployment", models.namespace)
    budgets = models.api.find("PodDisruptionBudget", models.namespace)
    left = [w for w in workloads if w["spec"]["replicas"]] + budgets
    return {each["metadata"]["name"] for each in left} == {status["stable"]["name"]}


SCENARIOS: Final[dict[str, tuple[Step, Step, Step]]] = {
    "create": (_nothing, lambda m: m.apply(replicas=2), _settled),
    "edit": (_created, lambda m: m.apply(replicas=2, uri=SECOND), _settled),
    "canary": (
        _created_with_rollouts,
        lambda m: m.apply(replicas=2, uri=SECOND, rollout=CANARY),
        _rolled_out,
    ),
    "scale": (_created, lambda m: m.apply(replicas=1), _settled),
    "delete": (
        _created,
        lambda m: m.api.delete("ModelDeployment", m.namespace, "m"),
        _deleted,
    ),
}
"""What is there before, what is asked for, and when it is done."""


def _fault_free(stage: Stage, scenario: str) -> tuple[dict[str, Any], int]:
    """The end of a run without faults, and how many writes it took."""
    before, ask, done = SCENARIOS[scenario]
    models = stage.models()
    before(models)
    mark = stage.proxy.mark()
    ask(models)
    done(models)
    path = f"{NO_LEASE}.*/namespaces/{models.namespace}/"
    count = len(stage.proxy.requests(verbs=WRITES, path=path, after=mark))
    return _end(models), count


def _end(models: Models) -> dict[str, Any]:
    """The state, once it no longer changes."""
    last: list[dict[str, Any]] = []

    def still() -> bool:
        last.append(state(models.api, models.namespace))
        return len(last) > 10 and all(s == last[-1] for s in last[-10:])

    eventually(still, "the state is still", timeout_s=30)
    return last[-1]


@pytest.mark.parametrize(
    "forwarded", [pytest.param(False, id="lost"), pytest.param(True, id="done")]
)
@pytest.mark.parametrize("scenario", [pytest.param(s, id=f"A48 {s}") for s in SCENARIOS])
def test_a_crash_at_any_write_ends_the_same(stage: Stage, scenario: str, forwarded: bool) -> None:
    expected, count = _fault_free(stage, scenario)
    before, ask, done = SCENARIOS[scenario]
    assert (count == 0) == (scenario == "delete"), "a deletion needs no write of ours"
    assert count < _MOST_WRITES
    for write in range(1, count + 1):
        models = stage.models()
        before(models)
        mark = stage.proxy.mark()
        path = f"{NO_LEASE}.*/namespaces/{models.namespace}/"
        for fault in crash_at_write(write, forwarded=forwarded, path=path):
            stage.proxy.inject(fault)
        ask(models)
        _until_written(stage, path, mark, write, models)
        stage.crash()
        done(models)
        assert differences(_end(models), expected) == [], write
    if not count:
        models = stage.models()
        before(models)
        stage.operator.kill()
        ask(models)
        stage.crash()
        done(models)
        assert differences(_end(models), expected) == []


def _until_written(stage: Stage, path: str, mark: int, write: int, models: Models) -> None:
    """Wait for the write, or for an end that needed fewer (two writes can become one)."""

    def reached() -> bool:
        seen = stage.proxy.requests(verbs=WRITES, path=path, after=mark)
        return len(seen) >= write or _is_ready(models)

    eventually(reached, f"write {write}", timeout_s=40)


def _is_ready(models: Models) -> bool:
    found = models.api.get("ModelDeployment", models.namespace, "m") or {}
    status = found.get("status") or {}
    ready = [c for c in status.get("conditions") or () if c["type"] == "Ready"]
    generation = found.get("metadata", {}).get("generation")
    is_watched = (status.get("rollout") or {}).get("state", "Idle") != "Idle"
    return not is_watched and any(
        c["status"] == "True" and c["observedGeneration"] == generation for c in ready
    )


def _often(action: Any, **more: Any) -> list[Fault]:
    """Play an action at every third match, twenty times."""
    return [Fault(action, skip=2 * k, count=1, **more) for k in range(20)]


FAULTS: Final[dict[str, list[Fault]]] = {
    "delay": [Fault(Delay(0.2), path=NO_LEASE, count=EVERY)],
    "401": _often(answers.unauthorized(), path=NO_LEASE),
    "403": _often(answers.forbidden("operator"), verbs=WRITES, path=f"{NO_LEASE}.*/services/"),
    "409": _often(answers.conflict(), verbs=WRITES, path=NO_LEASE),
    "429": _often(answers.too_many_requests(1), verbs=WRITES, path=NO_LEASE),
    "500": _often(answers.internal_error(), verbs=WRITES, path=NO_LEASE),
    "503": _often(answers.unavailable(), path=NO_LEASE),
    "hang": [Fault(Hang(), verbs=WRITES, path=NO_LEASE, skip=5 * k, count=1) for k in range(4)],
    "refused": _often(Refuse(), path=NO_LEASE),
    "cut": _often(Cut()),
    "410": _often(Expire()),
    "410 list": _often(answers.expired(), verbs={"list"}),
    "lost DELETED": [Fault(Swallow("DELETED"), count=EVERY)],
    "lost MODIFIED": [Fault(Swallow("MODIFIED"), verbs=READS, skip=3 * k) for k in range(20)],
}


@pytest.fixture(scope="module")
def expected(stage: Stage) -> dict[str, Any]:
    """The end of a life without faults, just before its deletion."""
    return _live(stage)


def _live(stage: Stage) -> dict[str, Any]:
    """Create, edit, scale; tell the end; delete."""
    models = stage.models()
    for scenario in ("create", "edit", "scale"):
        _, ask, done = SCENARIOS[scenario]
        if scenario == "scale":
            models.apply(replicas=1, uri=SECOND)
        else:
            ask(models)
        done(models)
    found = _end(models)
    _, ask, done = SCENARIOS["delete"]
    ask(models)
    done(models)
    return found


@pytest.mark.parametrize("fault", FAULTS)
def test_a_life_through_faults_ends_the_same(
    stage: Stage, expected: dict[str, Any], fault: str
) -> None:
    for one in FAULTS[fault]:
        stage.proxy.inject(one)
    try:
        assert differences(_live(stage), expected) == []
    finally:
        stage.proxy.clear()
    assert stage.operator.process.poll() is None, stage.operator.tail()


def test_a44_an_api_server_that_is_away_for_long_is_waited_for(stage: Stage) -> None:
    models = stage.models()
    models.apply()
    models.until("Ready")
    fault = stage.proxy.inject(Fault(Refuse(), duration_s=75))
    pods = {p["metadata"]["uid"] for p in models.api.find("Pod", models.namespace)}
    models.apply(replicas=2)
    assert models.until("Ready", timeout_s=120)["status"]["stable"]["available"] == 2
    assert stage.proxy.tally(fault).fired > 5
    assert pods <= {p["metadata"]["uid"] for p in models.api.find("Pod", models.namespace)}
    assert stage.operator.process.poll() is None, stage.operator.tail()


def test_a52_five_hundred_at_once(stage: Stage) -> None:
    models = stage.models()
    mark = stage.proxy.mark()
    for number in range(500):
        models.apply(f"m-{number}", suspend=True, runtime={"nodeSelector": {"nowhere": "x"}})

    def told() -> bool:
        found = models.api.find("ModelDeployment", models.namespace)
        return all("conditions" in (m.get("status") or {}) for m in found)

    eventually(told, "all have a status", timeout_s=120)
    path = f"{NO_LEASE}.*/namespaces/{models.namespace}/"
    written = stage.proxy.requests(verbs=WRITES, path=path, after=mark)
    took = written[-1].at - written[0].at
    assert len(written) <= 50 * took + 100, "the bucket's rate and burst"
    assert stage.operator.metric("process_resident_memory_bytes") < 250e6
    eventually(lambda: _are_refused_by_the_scheduler(models, 500), "nobody runs", timeout_s=120)
    _until_quiet(stage, path)
    mark = stage.proxy.mark()
    stage.crash()
    eventually(lambda: stage.operator.metric("slipway_reconcile_total") >= 500, "it has looked",
               timeout_s=60)  # fmt: skip
    asked = stage.proxy.requests(verbs=WRITES, path=path, after=mark)
    # Whether what will be deployed is good, a new process asks anew: that stores nothing.
    assert [r for r in asked if "dryRun=All" not in r.query] == []


def _are_refused_by_the_scheduler(models: Models, number: int) -> bool:
    """What the scheduler says comes after the first status, and is news that is told."""
    pods = models.api.find("Pod", models.namespace)
    conditions = [c for p in pods for c in p.get("status", {}).get("conditions", ())]
    refused = [c for c in conditions if (c["type"], c["status"]) == ("PodScheduled", "False")]
    return len(refused) == number


def _until_quiet(stage: Stage, path: str) -> None:
    """Wait until nothing is left to be written, not even an Event: five seconds of silence."""
    seen: list[int] = []

    def quiet() -> bool:
        seen.append(len(stage.proxy.requests(verbs=WRITES, path=path)))
        return seen[-100:] == [seen[-1]] * 100

    eventually(quiet, "nothing is written", timeout_s=120)
