"""What a cluster has of a ModelDeployment, read with the rights of whoever asks. Reads only."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import Any

from slipway_operator.engine.cache import Cache, ObjectKey
from slipway_operator.engine.writer import NameTaken, is_foreign
from slipway_operator.kube.client import KubeClient, TokenBucket
from slipway_operator.kube.connection import connect
from slipway_operator.kube.errors import Denied, NotFound
from slipway_operator.kube.kinds import EVENT, KINDS, MODEL_DEPLOYMENT, OPTIONAL, by_name, pruned
from slipway_operator.plan.snapshot import ChildKey, Snapshot
from slipway_operator.plan.workload import RuntimeDefaults

Manifest = dict[str, Any]


async def live_snapshot(
    document: Manifest,
    now: datetime,
    defaults: RuntimeDefaults,
    unborn: Manifest,
    place: tuple[str | None, str | None] = (None, None),
) -> Snapshot:
    """Freeze what the cluster has, with the spec of `document` in place of the live one.

    The API server itself judges the document first, by a dry run: its rules are told in its words.
    `place` is a kubeconfig and a context in it.

    Raises:
        ApiError: the API server refuses the document, or cannot be asked.
        NotConnected: there is no cluster.
    """
    kube = KubeClient(await connect(*place), TokenBucket(50, 100))
    try:
        judged = await kube.judged(document)
        cache = await _filled(kube, document["metadata"]["namespace"])
        mdep = _wanted(cache, document, judged, unborn)
        cache.put(MODEL_DEPLOYMENT, mdep)
        key = ObjectKey(document["metadata"]["namespace"], document["metadata"]["name"])
        found = cache.snapshot(key, now, defaults)
        return found or Snapshot(mdep, now, defaults, missing_kinds=cache.missing_kinds)
    finally:
        await kube.close()


async def taken_names(snapshot: Snapshot, wanted: Iterable[ChildKey]) -> dict[ChildKey, str]:
    """Find the names that objects of others bear; tell for each what the operator would say.

    Raises:
        ApiError: the cluster does not let itself be asked.
    """
    kube, taken = KubeClient(await connect(), TokenBucket(50, 100)), dict[ChildKey, str]()
    try:
        for kind, name in wanted:
            with suppress(NotFound):
                found = await kube.get(by_name(kind), snapshot.owner.namespace, name)
                if is_foreign(found, snapshot):
                    taken[kind, name] = str(NameTaken(kind, name))
    finally:
        await kube.close()
    return taken


async def _filled(kube: KubeClient, namespace: str) -> Cache:
    cache = Cache()
    served = {kind: not kind.is_optional or await kube.serves(kind) for kind in KINDS}
    cache.missing_kinds = frozenset(k.kind for k in OPTIONAL if not served[k])
    for kind in KINDS:
        if served[kind] and kind.is_shared:
            with suppress(Denied):  # then nothing is known of them
                listing = await kube.list_all(kind)
                cache.gateways.replace(kind, [pruned(kind, m) for m in listing.items])
        elif served[kind] and kind is not EVENT:
            listing = await kube.list_all(kind, namespace)
            cache.replace(kind, listing.items, listing.resource_version, namespace)
    return cache


def _wanted(cache: Cache, document: Manifest, judged: Manifest, unborn: Manifest) -> Manifest:
    """The ModelDeployment as it would be stored: the API server's defaults are in its spec."""
    meta = judged["metadata"]
    key = ObjectKey(document["metadata"]["namespace"], document["metadata"]["name"])
    if key not in cache.model_deployments():
        return {**unborn, "spec": judged["spec"]}
    return {**judged, "metadata": {**meta, "resourceVersion": str(2**62)}}
