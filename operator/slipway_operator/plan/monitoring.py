"""The PodMonitor: how the Prometheus Operator finds the pods of a model.

The metrics are those of `docs/metrics.md`; their labels name model, version and revision already.
"""

from __future__ import annotations

from typing import Final

from slipway_operator.plan.names import MODEL, REVISION, Manifest, Owner, child

POD_MONITOR: Final = "PodMonitor"


def pod_monitor(owner: Owner) -> Manifest:
    """Render the PodMonitor of all serving pods; the supply step's have no metrics."""
    manifest = child("monitoring.coreos.com/v1", POD_MONITOR, owner, owner.name)
    manifest["spec"] = {
        "selector": {
            "matchLabels": {MODEL: owner.name},
            "matchExpressions": [{"key": REVISION, "operator": "Exists"}],
        },
        "podMetricsEndpoints": [{"port": "admin", "path": "/metrics"}],
    }
    return manifest
