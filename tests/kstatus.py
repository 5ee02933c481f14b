"""What Flux, Helm and `kubectl` plugins make of an object: the rules of kstatus, in Python.

Source: cli-utils, pkg/kstatus/status, generic.go and status.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Object = Mapping[str, Any]


def kstatus(found: Object) -> str:
    """Tell Terminating, InProgress, Failed or Current.

    Raises:
        TypeError: `status.observedGeneration` is no integer, which kstatus refuses, too.
    """
    metadata, status = found["metadata"], found.get("status") or {}
    if metadata.get("deletionTimestamp"):
        return "Terminating"
    if "observedGeneration" in status:
        observed = status["observedGeneration"]
        if not isinstance(observed, int) or isinstance(observed, bool):
            raise TypeError(f"status.observedGeneration: got {observed!r}, expected an integer")
        if observed != metadata.get("generation", 0):
            return "InProgress"
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or ()}
    if conditions.get("Reconciling") == "True":
        return "InProgress"
    if conditions.get("Stalled") == "True":
        return "Failed"
    if "Ready" in conditions:
        return "Current" if conditions["Ready"] == "True" else "InProgress"
    return "Current"
