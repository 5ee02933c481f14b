"""The state that a scenario ends in, without what differs between two runs of it."""

from __future__ import annotations

import re
from typing import Any, Final

from tests.kubeapi import Api, Manifest

_FLEETING: Final = frozenset(
    {
        "uid", "resourceVersion", "creationTimestamp", "managedFields", "generation", "clusterIP",
        "clusterIPs", "nodePort", "lastTransitionTime", "controller-uid",
        "batch.kubernetes.io/controller-uid", "deployment.kubernetes.io/revision",
        "observedGeneration", "since", "slipway.dev/applied",
    }
)  # fmt: skip
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def state(api: Api, namespace: str) -> dict[str, Any]:
    """Children and statuses of a namespace, comparable between runs."""
    models = api.find("ModelDeployment", namespace)
    serving = {(m.get("status") or {}).get("stable", {}).get("name") for m in models}
    found = {
        f"{c['kind']}/{c['metadata']['name']}": _without_status(c, serving)
        for c in api.children(namespace)
    }
    statuses = {f"status/{m['metadata']['name']}": m.get("status") for m in models}
    return {k: _steady(v, namespace) for k, v in sorted({**found, **statuses}.items())}


def _without_status(child: Manifest, serving: set[str | None]) -> Manifest:
    kept = {k: v for k, v in child.items() if k != "status"}
    if child["kind"] == "Deployment" and child["metadata"]["name"] not in serving:
        # Its pods end a while after the promotion: whether they have is a matter of seconds.
        kept["spec"] = {k: v for k, v in child["spec"].items() if k != "replicas"}
    return kept


def _steady(value: Any, namespace: str) -> Any:
    if isinstance(value, dict):
        return {k: _steady(v, namespace) for k, v in value.items() if k not in _FLEETING}
    if isinstance(value, list):
        return [_steady(v, namespace) for v in value]
    if isinstance(value, str):
        return _TIME.sub("TIME", value).replace(namespace, "NAMESPACE")
    return value


def differences(found: Any, expected: Any, path: str = "") -> list[str]:
    """Name what differs between two states, one line per field.

    >>> differences({"a": 1, "b": [1]}, {"a": 2, "b": [1]})
    ['/a: got 1, expected 2']
    """
    if isinstance(found, dict) and isinstance(expected, dict):
        names = sorted(found.keys() | expected.keys())
        return [
            line
            for name in names
            for line in differences(found.get(name), expected.get(name), f"{path}/{name}")
        ]
    return [] if found == expected else [f"{path}: got {found!r}, expected {expected!r}"]
