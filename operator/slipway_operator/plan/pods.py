"""What a pod's status says went wrong, in one vocabulary.

Lives here: reading pods. The kubelet's own texts change while it backs off ("back-off 20s",
"back-off 40s"); messages here do not, so that an unchanged situation writes no status.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from slipway_operator.plan.conditions import (
    CONTAINER_CONFIG,
    CRASH_LOOP,
    CREATE_CONTAINER,
    FAILED_CREATE,
    IMAGE_PULL_FAILED,
    INVALID_IMAGE_NAME,
    MOUNT_FAILED,
    OOM_KILLED,
    RUN_CONTAINER,
    UNSCHEDULABLE,
)
from slipway_operator.plan.names import REVISION, SUPPLY_REVISION, Manifest
from slipway_operator.plan.snapshot import Snapshot

_PULLING: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull"})
_REFUSED: Final = frozenset({CONTAINER_CONFIG, CREATE_CONTAINER, RUN_CONTAINER})
_STUCK_RESTARTS: Final = 2
_MESSAGE_LIMIT: Final = 600


@dataclass(frozen=True, slots=True)
class PodFailure:
    """One thing that went wrong in one pod."""

    reason: str
    message: str
    pod: str
    exit_code: int | None = None
    is_stuck: bool = False
    """Waiting alone will hardly help: somebody has to look."""


def serving_pods(snapshot: Snapshot, revision: str) -> list[Manifest]:
    """Pods that serve a revision; those that are over (evicted, say) lie about until collected."""
    return [
        p
        for p in snapshot.pods
        if _label(p, REVISION) == revision
        and (p.get("status") or {}).get("phase") not in ("Failed", "Succeeded")
    ]


def restarts_of(pod: Mapping[str, Any]) -> int:
    """How often the serving containers of a pod were started again."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return sum(int(s.get("restartCount", 0)) for s in statuses)


def refused_pods(workload: Manifest | None) -> PodFailure | None:
    """Read why a Deployment cannot make its pods: a quota, Pod Security, an admission policy."""
    for condition in ((workload or {}).get("status") or {}).get("conditions") or ():
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            message = _short(str(condition.get("message") or ""))
            return PodFailure(FAILED_CREATE, message, str((workload or {})["metadata"]["name"]))
    return None


def supply_pods(snapshot: Snapshot, revision: str) -> list[Manifest]:
    """Pods of a revision's supply step, newest last."""
    mine = [p for p in snapshot.pods if _label(p, SUPPLY_REVISION) == revision]
    return sorted(mine, key=lambda p: (p["metadata"].get("creationTimestamp", ""), _name(p)))


def first_failure(snapshot: Snapshot, pods: Iterable[Manifest]) -> PodFailure | None:
    """The gravest failure among pods: a stuck one before one that may pass; then by name."""
    found = [f for p in pods if (f := failure(p, snapshot.mount_failures)) is not None]
    return min(found, key=lambda f: (not f.is_stuck, f.pod), default=None)


def failure(pod: Mapping[str, Any], mount_failures: Mapping[str, str]) -> PodFailure | None:
    """Read what is wrong with a pod; None when nothing is, or it is on its way out."""
    if pod["metadata"].get("deletionTimestamp"):
        return None
    status = pod.get("status") or {}
    name = _name(pod)
    for container in _containers(status):
        if found := _container_failure(container, name):
            return found
    return _pending_failure(status, name, mount_failures)


def _containers(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _container_failure(container: Mapping[str, Any], pod: str) -> PodFailure | None:
    state = container.get("state") or {}
    waiting = state.get("waiting") or {}
    reason = waiting.get("reason", "")
    image = container.get("image", "")
    if reason in _PULLING:
        text = f"image {image!r} cannot be pulled; check runtime.image and runtime.imagePullSecrets"
        return PodFailure(IMAGE_PULL_FAILED, text, pod, is_stuck=True)
    if reason == INVALID_IMAGE_NAME:
        text = f"runtime.image: {image!r} is not the name of an image"
        return PodFailure(INVALID_IMAGE_NAME, text, pod, is_stuck=True)
    if reason in _REFUSED:
        return PodFailure(reason, _short(waiting.get("message", "")), pod, is_stuck=True)
    return _exit_failure(container, state, pod)


def _exit_failure(
    container: Mapping[str, Any], state: Mapping[str, Any], pod: str
) -> PodFailure | None:
    """A container that ended badly and is not serving again."""
    restarts = int(container.get("restartCount", 0))
    # Between two crashes it runs for a while: that alone is no recovery.
    if container.get("ready") or (state.get("running") and restarts < _STUCK_RESTARTS):
        return None
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated") or {}
    code = ended.get("exitCode", 0)
    if not code:
        return None
    stuck = restarts >= _STUCK_RESTARTS
    where = f"container {container.get('name', '')!r}"
    if ended.get("reason") == OOM_KILLED:
        text = f"{where} was killed for memory; raise its memory limit under spec.runtime"
        return PodFailure(OOM_KILLED, text, pod, code, stuck)
    cause = termination_message(ended)
    return PodFailure(CRASH_LOOP, f"{where} ended with status {code}: {cause}", pod, code, stuck)


def _pending_failure(
    status: Mapping[str, Any], pod: str, mount_failures: Mapping[str, str]
) -> PodFailure | None:
    if status.get("phase") not in (None, "Pending"):
        return None
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("reason") == UNSCHEDULABLE:
            return PodFailure(UNSCHEDULABLE, _short(condition.get("message", "")), pod)
    if pod in mount_failures:
        return PodFailure(MOUNT_FAILED, _short(mount_failures[pod]), pod)
    return None


def termination_message(ended: Mapping[str, Any]) -> str:
    """Read a container's last words: the runtime's JSON, or else the end of its log."""
    text = str(ended.get("message") or "").strip()
    parsed = parse_termination(text)
    cause = parsed.get("failure", {}).get("message") if parsed else None
    return _short(str(cause or text or ended.get("reason") or "it left no message"))


def parse_termination(text: str) -> dict[str, Any] | None:
    """Read the termination message of the supply step; None when it is something else."""
    try:
        read = json.loads(text)
    except ValueError:
        return None
    return read if isinstance(read, dict) else None


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MESSAGE_LIMIT else text[-_MESSAGE_LIMIT:]


def _label(pod: Mapping[str, Any], key: str) -> str | None:
    found = (pod["metadata"].get("labels") or {}).get(key)
    return found if isinstance(found, str) else None


def _name(pod: Mapping[str, Any]) -> str:
    return str(pod["metadata"]["name"])
