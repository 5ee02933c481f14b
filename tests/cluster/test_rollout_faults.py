"""Whatever dies in whatever state of a rollout: it ends promoted, or with stable at 100 %.

The leading operator is killed or frozen, the API server starts anew, or the candidate's pods die.
Nobody has to do more afterwards than to approve what waits for it. Run by `make test-faults`.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Final

import httpx
import pytest

from devcluster.cluster import Cluster
from tests.cluster.kubelet import Ready, Script, Supplied
from tests.cluster.models import Models
from tests.cluster.operators import Operator
from tests.kubeapi import Manifest, Refused, eventually

SECOND: Final = "https://models.example/2.onnx"
OTHER: Final = "sha256:" + "cd" * 32
REPLICAS: Final = 3
ROLLOUT: Final = {
    "steps": [{"weight": 25, "hold": "4s"}, {"weight": 50, "hold": "1s", "approval": "Manual"}],
    "watch": "4s",
    "scaleDownDelay": "3s",
    "traffic": {"settle": "3s"},
    "progressDeadline": "200s",
}
"""Each state lasts for a few seconds, so that what happens in it happens in it; Kubernetes' own
controllers take up to a minute to come back after the API server."""
STATES: Final = (
    "Preparing", "Shifting", "Baking", "Paused", "Promoting", "Watching", "Aborting",
)  # fmt: skip
_END_S: Final = 300.0

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


class Stage:
    """One rollout, two operators that look after it, and what may happen to them."""

    def __init__(
        self, models: Models, script: Script, cluster: Cluster, start: Callable[..., Operator]
    ) -> None:
        self.models, self.script, self.cluster = models, script, cluster
        self.leader = start().until_ready()
        eventually(lambda: self.leader.is_leading, "the first leads")
        self.standby = start().until_ready()
        self.first: Manifest = {}
        self.least = REPLICAS
        self._nonce = 0

    def begin(self) -> None:
        """Serve a first revision, and ask for a second one."""
        self.models.apply(replicas=REPLICAS, rollout=ROLLOUT)
        # The controllers may still be coming back from the test before.
        self.first = self.models.until("Ready", timeout_s=120)["status"]["stable"]
        self.script.supply = Supplied(OTHER)
        self.models.apply(replicas=REPLICAS, rollout=ROLLOUT, uri=SECOND)

    def reach(self, state: str) -> Manifest:
        """Wait for a state; whatever waits for approval before it gets it."""
        wanted = "Baking" if state == "Aborting" else state

        def reached() -> Manifest | None:
            status = self.status()
            now = status["rollout"]["state"]
            if now == "Paused" and wanted != "Paused":
                self.act("approve", status["candidate"])
            return status if now == wanted and status.get("candidate") else None

        status = eventually(reached, state, timeout_s=60, describe=self.status)
        if state == "Aborting":
            self.act("abort", status["candidate"])
            return eventually(
                lambda: s if (s := self.status())["rollout"]["state"] == state else None, state
            )
        return status

    def act(self, verb: str, track: Manifest) -> None:
        """Annotate."""
        self._nonce += 1
        text = f"{verb} @{track['hash']} #{self._nonce}"
        patch = {"metadata": {"annotations": {"slipway.dev/rollout-action": text}}}
        self.models.api.merge("ModelDeployment", self.models.namespace, "m", patch)

    def status(self) -> Manifest:
        """The status, for as long as there is none: nothing."""
        found: Manifest = self.models.get().get("status") or {}
        return {"rollout": {"state": ""}, **found}

    def end(self) -> Manifest:
        """Wait for the end; approve what waits for it, and watch stable's pods on the way."""

        def over() -> Manifest | None:
            try:
                return self._look()
            except (httpx.TransportError, Refused):
                return None  # the API server is on its way

        return eventually(over, "an end", timeout_s=_END_S, describe=self.status)

    def _look(self) -> Manifest | None:
        status = self.status()
        state = status["rollout"]["state"]
        if status["stable"]["hash"] == self.first["hash"] and status.get("candidate"):
            workload = self.models.child("Deployment", self.first["name"])
            assert workload is not None
            self.least = min(self.least, workload["spec"]["replicas"])
        if state == "Paused":
            self.act("approve", status["candidate"])
        is_promoted = state == "Idle" and status["stable"]["hash"] != self.first["hash"]
        return status if is_promoted or state == "Failed" else None


def _kill(stage: Stage, _: Manifest) -> None:
    stage.leader.kill()


def _freeze(stage: Stage, _: Manifest) -> None:
    """Stop the leader until the other one leads; then it wakes and believes that it leads."""
    stage.leader.process.send_signal(signal.SIGSTOP)
    eventually(lambda: stage.standby.is_leading, "the other one leads", timeout_s=20)
    stage.leader.process.send_signal(signal.SIGCONT)


def _restart_the_api_server(stage: Stage, _: Manifest) -> None:
    stage.cluster.restart("kube-apiserver")


def _kill_the_pods(stage: Stage, status: Manifest) -> None:
    """All of the candidate's pods end at once; those that follow become ready, later."""
    revision = status["candidate"]["hash"]
    stage.script.by_revision[revision] = None
    labels = f"slipway.dev/revision={revision}"
    for pod in stage.models.api.find("Pod", stage.models.namespace, labels):
        stage.models.api.delete("Pod", stage.models.namespace, pod["metadata"]["name"], grace=0)
    time.sleep(1)  # what happens is that there are none for a time
    stage.script.by_revision[revision] = Ready()


FAULTS: Final[dict[str, Callable[[Stage, Manifest], None]]] = {
    "SIGKILL": _kill,
    "SIGSTOP": _freeze,
    "API server": _restart_the_api_server,
    "pods": _kill_the_pods,
}
_SENT_BACK: Final = {("pods", "Baking"), ("pods", "Watching")}
"""Where a candidate without pods is given up."""


@pytest.fixture
def stage(
    models: Models, script: Script, cluster: Cluster, start: Callable[..., Operator]
) -> Stage:
    """A rollout of the test's own."""
    return Stage(models, script, cluster, start)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_rollout_ends_well(stage: Stage, fault: str, state: str) -> None:
    stage.begin()
    FAULTS[fault](stage, stage.reach(state))
    status = stage.end()
    promoted = status["stable"]["hash"] != stage.first["hash"]
    apex = stage.models.child("Service", "m")
    assert apex is not None
    selected = apex["spec"]["selector"].get("slipway.dev/revision")
    assert selected == status["stable"]["hash"], "all traffic goes to stable"
    assert stage.least == REPLICAS, "stable keeps its pods"
    if state == "Aborting" or (fault, state) in _SENT_BACK:
        assert not promoted
        assert status["rollout"]["state"] == "Failed"
    elif fault != "pods":
        assert promoted, status["rollout"]
    if status["rollout"]["state"] == "Failed":
        assert status["stable"]["available"] == REPLICAS
