"""Watching one ModelDeployment from outside, several times a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from benchmarks.rollout.judging import Look
from tests.e2e.models import Models
from tests.kubeapi import Manifest

_PAUSE_S: Final = 0.2


class Observer:
    """Looks from a thread of its own, until it is told to end."""

    def __init__(self, models: Models, name: str) -> None:
        self._models, self._name = models, name
        self._over = threading.Event()
        self._looks: list[Look] = []
        self._problem: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.before = ""
        """The revision whose ready pods are counted."""
        self._thread.start()

    def end(self) -> None:
        """Stop looking."""
        self._over.set()
        self._thread.join(timeout=10)

    def since(self, at_s: float) -> list[Look]:
        """All looks since a time.

        Raises:
            RuntimeError: looking has failed.
        """
        if self._problem:
            raise RuntimeError("looking at the cluster failed") from self._problem
        return [look for look in self._looks if look.at_s >= at_s]

    def until(self, what: str, done: Callable[[Look], bool], *, timeout_s: float = 240) -> Look:
        """Wait for a look that comes from now on.

        Raises:
            TimeoutError: there was none.
        """
        began_s = time.time()
        while time.time() < began_s + timeout_s:
            for look in self.since(began_s):
                if done(look):
                    return look
            time.sleep(_PAUSE_S)  # between two looks
        raise TimeoutError(f"not within {timeout_s:.0f} s: {what}; last: {self._looks[-1]}")

    def _run(self) -> None:
        try:
            while not self._over.wait(_PAUSE_S):
                self._looks.append(self._look())
        except BaseException as problem:  # noqa: BLE001 - told by `since`, in the caller's thread
            self._problem = problem

    def _look(self) -> Look:
        found = self._models.get(self._name)
        status = found.get("status") or {}
        rollout, weight = status.get("rollout") or {}, (status.get("rollout") or {}).get("weight")
        candidate = (status.get("candidate") or {}).get("hash", "")
        is_verified = bool(weight and weight.get("verified"))
        pods = self._models.pods(self._name)
        return Look(
            at_s=time.time(),
            state=rollout.get("state", ""),
            step=rollout.get("step") or 0,
            reason=rollout.get("reason", ""),
            applied=weight["applied"] if weight and is_verified else None,
            stable=(status.get("stable") or {}).get("hash", ""),
            candidate=candidate,
            desired=(status.get("desired") or {}).get("hash", ""),
            serving=sum(_is_ready(pod) for pod in pods if _revision(pod) == self.before),
            pods=tuple(sorted(_identity(pod) for pod in pods if _revision(pod) == candidate)),
        )


def _revision(pod: Manifest) -> str:
    return str(pod["metadata"]["labels"].get("slipway.dev/revision", ""))


def _is_ready(pod: Manifest) -> bool:
    if pod["metadata"].get("deletionTimestamp"):
        return False
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _identity(pod: Manifest) -> tuple[str, int]:
    containers = pod.get("status", {}).get("containerStatuses") or ()
    return pod["metadata"]["uid"], sum(c.get("restartCount", 0) for c in containers)
