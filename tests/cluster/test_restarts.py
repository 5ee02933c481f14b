"""The operator ends and comes back: nothing is lost, nothing is written twice."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from devcluster.cluster import Cluster
from tests.cluster.models import Models
from tests.cluster.operators import Operator
from tests.kubeapi import Api, eventually


def test_a_restart_writes_nothing_but_the_lease(
    models: Models, start: Callable[..., Operator], cluster: Cluster
) -> None:
    operator = start().until_ready()
    for name in ("a", "b", "c"):
        models.apply(name, replicas=2)
    for name in ("a", "b", "c"):
        models.until("Ready", name)
    _until_quiet(operator)
    versions = _versions(models.api, models.namespace)
    operator.end()
    mark = cluster.audit_log.stat().st_size
    again = start().until_ready()
    eventually(lambda: again.is_leading, "it leads")
    eventually(lambda: again.metric("slipway_reconcile_total") >= 3, "it has looked at all")
    _until_quiet(again)
    writes = [w for w in _writes(cluster.audit_log, mark) if w[1] == models.namespace]
    assert {w[2] for w in writes} == {"leases"}
    assert _versions(models.api, models.namespace) == versions


def _until_quiet(operator: Operator) -> None:
    """Wait until the queue is empty and stays so over two looks."""
    seen = [-1.0]

    def quiet() -> bool:
        now = operator.metric("slipway_reconcile_total")
        same = now == seen[0] and operator.metric("slipway_queue_depth") == 0
        seen[0] = now
        time.sleep(0.5)  # two looks are half a second apart
        return same

    eventually(quiet, "the operator is quiet", timeout_s=30)


def _versions(api: Api, namespace: str) -> dict[str, str]:
    objects = [*api.children(namespace), *api.find("ModelDeployment", namespace)]
    return {
        f"{o['kind']}/{o['metadata']['name']}": o["metadata"]["resourceVersion"] for o in objects
    }


def _writes(log: Path, since: int) -> list[tuple[str, str, str]]:
    """Verb, namespace and resource of every write of the operator after an offset of the log."""
    with log.open() as lines:
        lines.seek(since)
        events = [json.loads(line) for line in lines]
    return [
        (e["verb"], e["objectRef"].get("namespace", ""), e["objectRef"]["resource"])
        for e in events
        if e.get("userAgent", "").startswith("slipway-operator")
        and e["verb"] in ("create", "update", "patch", "delete")
    ]
