"""Thousands of settled ModelDeployments without as many lives: copies of one that had a real life.

Operator, controllers and KWOK make one. Its copies, with all that belongs to them, are written
straight into the database: controllers and API server would take an hour over ten thousand.
The controller manager has to stand still meanwhile and afterwards, since it would begin to make
what the copies lack (ReplicaSets, EndpointSlices). An operator cannot tell the difference: that it
then writes nothing is measured.

As a program (`python -m benchmarks.operator.copies URL`), in the network namespace of the
database: send each line of standard input to it.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Final
from uuid import uuid4

import httpx

from devcluster.cluster import Cluster
from devcluster.network import netns_path
from slipway_operator.engine.cache import Cache, ObjectKey
from slipway_operator.kube.apply import APPLIED, fingerprint
from slipway_operator.kube.kinds import SERVICE, by_name
from slipway_operator.plan.children import key as child_key
from slipway_operator.plan.plan import plan
from slipway_operator.plan.workload import RuntimeDefaults
from tests.cluster.operators import RUNTIME_IMAGE
from tests.kubeapi import Api, Manifest

_DATABASE: Final = "http://127.0.0.1:2379/v3/kv/txn"
_AT_ONCE: Final = 40
"""Objects of one transaction: it may have 128 and 1.5 MB."""
_OF_A_SENDER: Final = 100
"""Transactions of one sending process, which holds them all."""
_FOLDERS: Final = {
    "ModelDeployment": "slipway.dev/modeldeployments",
    "Service": "services/specs",
}


def whole(api: Api, key: ObjectKey) -> list[Manifest]:
    """Read a ModelDeployment and all that belongs to it."""
    found = [api.get("ModelDeployment", *key), *api.children(key.namespace)]
    found += api.find("Pod", key.namespace, "app.kubernetes.io/managed-by=slipway")
    return [{**m, "apiVersion": by_name(m["kind"]).api_version} for m in found if m is not None]


def copied(objects: Sequence[Manifest], old: ObjectKey, new: ObjectKey) -> list[Manifest]:
    """Copy a ModelDeployment with all that belongs to it, under another name."""
    text = json.dumps(objects).replace(old.name, new.name)
    text = text.replace(old.namespace, new.namespace)
    for uid in {m["metadata"]["uid"] for m in objects}:
        text = text.replace(uid, str(uuid4()))
    copies: list[Manifest] = json.loads(text)
    _mark(copies, new)
    for copy in copies:
        del copy["metadata"]["resourceVersion"]
        if copy["kind"] == SERVICE.kind:  # two of them would have one address
            copy["spec"] |= {"clusterIP": "None", "clusterIPs": ["None"]}
    return copies


def _mark(copies: Iterable[Manifest], key: ObjectKey) -> None:
    """Write the fingerprints that the operator will look for: names and uids are other ones."""
    cache = Cache()
    for copy in copies:
        cache.put(by_name(copy["kind"]), copy)
    snapshot = cache.snapshot(key, datetime.now(UTC), RuntimeDefaults(RUNTIME_IMAGE))
    wanted = plan(snapshot).apply if snapshot else ()
    marks = {child_key(want): fingerprint(want) for want in wanted}
    for copy in copies:
        if mark := marks.get(child_key(copy)):
            copy["metadata"]["annotations"][APPLIED] = mark


def write(cluster: Cluster, objects: Iterable[Manifest]) -> None:
    """Write objects into the database of a cluster.

    Raises:
        CalledProcessError: it did not take them.
    """
    command = [
        "nsenter", f"--net={netns_path(cluster.name)}",
        sys.executable, "-m", "benchmarks.operator.copies", _DATABASE,
    ]  # fmt: skip
    bodies = _transactions(objects)
    while batch := list(islice(bodies, _OF_A_SENDER)):
        subprocess.run(command, input="\n".join(batch), text=True, check=True)


def _transactions(objects: Iterable[Manifest]) -> Iterator[str]:
    rest = iter(objects)
    while batch := list(islice(rest, _AT_ONCE)):
        yield json.dumps({"success": [{"requestPut": _put(m)} for m in batch]})


def _put(manifest: Manifest) -> dict[str, str]:
    kind, meta = by_name(manifest["kind"]), manifest["metadata"]
    folder = _FOLDERS.get(kind.kind, kind.plural)
    key = f"/registry/{folder}/{meta['namespace']}/{meta['name']}"
    value = json.dumps(manifest)
    return {k: base64.b64encode(v.encode()).decode() for k, v in (("key", key), ("value", value))}


def _send(url: str, bodies: Iterable[str]) -> None:
    with httpx.Client(timeout=30) as http:
        for body in bodies:
            http.post(url, content=body).raise_for_status()


if __name__ == "__main__":
    _send(sys.argv[1], sys.stdin)
