"""A node that runs nothing: pods get the status that the test has written for them.

API server, scheduler, controllers and garbage collection are real; only the kubelet is played, so
that a pod can fail in every way, at once, without an image. A thread keeps the node's Lease fresh
and answers for every pod that is scheduled onto it.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from tests.kubeapi import Api, Manifest, Refused

NODE: Final = "played"
SELECTOR: Final = {"slipway.dev/test-node": NODE}
_LOOK_S: Final = 0.05
_HEARTBEAT_S: Final = 5.0
"""By time, not by looks: 40 s without one, and the pods of the node are taken for lost."""
DIGEST: Final = "sha256:" + "ab" * 32


@dataclass(frozen=True, slots=True)
class Supplied:
    """The supply step finds a good model."""

    digest: str = DIGEST

    def status(self) -> Manifest:
        """The pod's status."""
        signature = {
            "inputs": [{"name": "X", "datatype": "FP32", "shape": [-1, 64]}],
            "outputs": [{"name": "label", "datatype": "INT64", "shape": [-1]}],
        }
        result = {
            "digest": self.digest, "format": "ONNX", "sizeBytes": 4416, "signature": signature,
        }  # fmt: skip
        return _ended("fetch", 0, json.dumps({"result": result}))


@dataclass(frozen=True, slots=True)
class SupplyFails:
    """The supply step fails, for good or for now."""

    reason: str
    message: str = "played"
    is_terminal: bool = True

    def status(self) -> Manifest:
        """The pod's status."""
        failure = {"reason": self.reason, "terminal": self.is_terminal, "message": self.message}
        return _ended("fetch", 10 if self.is_terminal else 11, json.dumps({"failure": failure}))


@dataclass(frozen=True, slots=True)
class Looked:
    """A look finds these bytes at the source."""

    digest: str = DIGEST

    def status(self) -> Manifest:
        """The pod's status."""
        look = {"digest": self.digest, "mark": self.digest}
        return _ended("fetch", 0, json.dumps({"look": look}))


@dataclass(frozen=True, slots=True)
class Ready:
    """The pod serves."""

    restarts: int = 0
    address: str = ""
    """Where its counters can be read; empty: the node's, where nobody answers."""

    def status(self) -> Manifest:
        """The pod's status."""
        now = _now()
        running = {"running": {"startedAt": now}}
        return {
            "phase": "Running",
            "conditions": [
                {"type": t, "status": "True", "lastTransitionTime": now}
                for t in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
            ],
            "containerStatuses": [
                {**_container("serve", running, ready=True), "restartCount": self.restarts}
            ],
            **({"podIP": self.address, "podIPs": [{"ip": self.address}]} if self.address else {}),
        }


@dataclass(frozen=True, slots=True)
class Starting:
    """The pod never becomes ready."""

    def status(self) -> Manifest:
        """The pod's status."""
        running = {"running": {"startedAt": _now()}}
        return {"phase": "Running", "containerStatuses": [_container("serve", running)]}


@dataclass(frozen=True, slots=True)
class Waiting:
    """A container of the pod cannot start."""

    reason: str
    message: str = ""

    def status(self) -> Manifest:
        """The pod's status."""
        waiting = {"waiting": {"reason": self.reason, "message": self.message}}
        return {"phase": "Pending", "containerStatuses": [_container("serve", waiting)]}


@dataclass(frozen=True, slots=True)
class Crashing:
    """The serving container ends again and again."""

    exit_code: int = 1
    message: str = "played"
    reason: str = "Error"

    def status(self) -> Manifest:
        """The pod's status."""
        last = {"exitCode": self.exit_code, "reason": self.reason, "message": self.message}
        container = _container("serve", {"waiting": {"reason": "CrashLoopBackOff"}})
        return {
            "phase": "Running",
            "containerStatuses": [
                {**container, "restartCount": 3, "lastState": {"terminated": last}}
            ],
        }


@dataclass(frozen=True, slots=True)
class Ended:
    """The pod of a check ends with a status."""

    code: int

    def status(self) -> Manifest:
        """The pod's status."""
        return _ended("main", self.code, "")


Play = Supplied | SupplyFails | Looked | Ready | Starting | Waiting | Crashing | Ended | None
"""What becomes of a pod; None leaves it pending."""


@dataclass(slots=True)
class Script:
    """What becomes of the pods of one namespace; a test changes it as it goes."""

    supply: Play = field(default_factory=Supplied)
    serve: Play = field(default_factory=Ready)
    by_revision: dict[str, Play] = field(default_factory=dict)
    """What becomes of the serving pods of single revisions, by hash."""
    look: Play = field(default_factory=Looked)
    """What becomes of the pods that look at a source again."""
    check: Play = field(default_factory=Starting)
    """What becomes of the pods of checks."""

    def play(self, labels: Manifest) -> Play:
        """Say what becomes of a pod."""
        if "slipway.dev/poll-of" in labels:
            return self.look
        if "slipway.dev/supply-for" in labels:
            return self.supply
        if "slipway.dev/check-for" in labels:
            return self.check
        return self.by_revision.get(labels.get("slipway.dev/revision", ""), self.serve)


class Kubelet:
    """Plays the kubelet of the node."""

    def __init__(self, api: Api, address: str) -> None:
        self._api, self._address = api, address
        self._scripts: dict[str, Script] = {}
        self._played: dict[str, Play] = {}
        self._told_at = 0.0
        """When the node's status was last written."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.problem: BaseException | None = None

    def script(self, namespace: str) -> Script:
        """Begin to answer for a namespace."""
        return self._scripts.setdefault(namespace, Script())

    def __enter__(self) -> Kubelet:
        self._api.delete("Node", None, NODE)
        self._api.create(_node())
        self._ready()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._api.delete("Node", None, NODE)
        if self.problem:
            raise self.problem

    def _run(self) -> None:
        try:
            while not self._over.wait(_LOOK_S):
                self._turn()
        except BaseException as problem:  # noqa: BLE001 - told by __exit__, in the test's thread
            self.problem = problem

    def _turn(self) -> None:
        try:
            if time.monotonic() >= self._told_at + _HEARTBEAT_S:
                self._ready()
            self._look()
        except httpx.TransportError:
            return  # a kubelet outlives a restart of the API server
        except Refused as refused:
            if refused.status not in (401, 403) and refused.status < 500:
                raise  # these are what one says that has just begun

    def _ready(self) -> None:
        now = _now()
        status = {"type": "Ready", "status": "True", "reason": "Played", "lastHeartbeatTime": now}
        capacity = {"cpu": "6400", "memory": "256Ti", "pods": "10000"}
        node = {"conditions": [status], "capacity": capacity, "allocatable": capacity}
        self._api.merge("Node", None, NODE, {"status": node}, sub="status")
        self._told_at = time.monotonic()

    def _look(self) -> None:
        query = {"fieldSelector": f"spec.nodeName={NODE}"}
        answer = self._api.send("GET", "/api/v1/pods", params=query)
        for pod in answer["items"]:
            try:
                self._play(pod)
            except Refused as refused:
                if refused.status not in (404, 409):  # gone, or changed meanwhile
                    raise

    def _play(self, pod: Manifest) -> None:
        meta = pod["metadata"]
        if meta.get("deletionTimestamp"):
            self._api.delete("Pod", meta["namespace"], meta["name"], grace=0)
            return
        script = self._scripts.get(meta["namespace"])
        is_once = {"slipway.dev/supply-for", "slipway.dev/check-for"} & meta.get(
            "labels", {}
        ).keys()
        play = script.play(meta.get("labels", {})) if script else None
        if play is None or (self._played.get(meta["uid"]) == play and not _is_doubted(pod, play)):
            return
        if is_once and pod["status"].get("phase") in ("Succeeded", "Failed"):
            return
        status = play.status()
        if isinstance(play, Ready):  # a pod without an address is in no EndpointSlice
            status = {"podIP": self._address, "podIPs": [{"ip": self._address}], **status}
        self._api.merge("Pod", meta["namespace"], meta["name"], {"status": status}, "status")
        self._played[meta["uid"]] = play


def _is_doubted(pod: Manifest, play: Play) -> bool:
    """Whether a controller has taken a pod of ours for lost: its node was not heard of in time."""
    told = {c["type"]: c["status"] for c in pod["status"].get("conditions") or ()}
    return isinstance(play, Ready) and told.get("Ready") != "True"


def _node() -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": NODE, "labels": {"kubernetes.io/hostname": NODE, **SELECTOR}},
        # Only pods that ask for it come here; the real node's pods stay where they can run.
        "spec": {"taints": []},
    }


def _ended(name: str, code: int, message: str) -> Manifest:
    now = _now()
    ended: dict[str, Any] = {
        "exitCode": code, "message": message, "startedAt": now, "finishedAt": now,
        "reason": "Completed" if code == 0 else "Error",
    }  # fmt: skip
    phase = "Succeeded" if code == 0 else "Failed"
    return {"phase": phase, "containerStatuses": [_container(name, {"terminated": ended})]}


def _container(name: str, state: Manifest, *, ready: bool = False) -> Manifest:
    return {
        "name": name, "image": "played", "imageID": "", "ready": ready, "restartCount": 0,
        "state": state,
    }  # fmt: skip


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
