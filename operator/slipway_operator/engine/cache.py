"""What the operator knows of the cluster: objects by key, and who owns them.

A plain data structure without I/O. Watches, resyncs and the answers to our own writes all put into
it; the newest version wins. A ModelDeployment and its children live in one namespace.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from slipway_operator.api import v1alpha1
from slipway_operator.kube.kinds import OPTIONAL, Kind, by_name, pruned
from slipway_operator.kube.versions import UNKNOWN, is_newer, number, version_of
from slipway_operator.plan.capacity import Capacity
from slipway_operator.plan.snapshot import Snapshot
from slipway_operator.plan.workload import RuntimeDefaults, serving_owner, supply_owner

Manifest = dict[str, Any]

_TOMBSTONES: Final = 20_000


class ObjectKey(NamedTuple):
    """A ModelDeployment."""

    namespace: str
    name: str


class CacheKey(NamedTuple):
    """Any object."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Difference:
    """What a full list changed: the ModelDeployments to look at, and how many objects differed."""

    keys: frozenset[ObjectKey]
    objects: int


def key_of(kind: Kind, manifest: Manifest) -> CacheKey:
    """Key of an object."""
    meta = manifest["metadata"]
    return CacheKey(kind.kind, meta["namespace"], meta["name"])


class Cache:
    """Objects by key, with an index from each ModelDeployment to what belongs to it."""

    def __init__(self) -> None:
        self._objects: dict[CacheKey, Manifest] = {}
        self._owner: dict[CacheKey, ObjectKey] = {}
        self._owned: defaultdict[ObjectKey, set[CacheKey]] = defaultdict(set)
        # The version at which an object left our sight, by uid: what is older came late. It may be
        # seen again: to a watch with a selector, losing the label looks like a deletion.
        self._gone: OrderedDict[str, int] = OrderedDict()
        self.missing_kinds = frozenset(kind.kind for kind in OPTIONAL)
        """Kinds of other projects that the API server is not known to have."""
        self.capacities: dict[ObjectKey, Capacity] = {}
        """What latency objectives need, as it was last told."""

    def __len__(self) -> int:
        return len(self._objects)

    def model_deployments(self) -> list[ObjectKey]:
        """All ModelDeployments."""
        return [ObjectKey(k.namespace, k.name) for k in self._objects if k.kind == v1alpha1.KIND]

    def pods(self, key: ObjectKey) -> list[Manifest]:
        """All pods of a ModelDeployment."""
        return [self._objects[k] for k in sorted(self._owned.get(key, ())) if k.kind == "Pod"]

    def get(self, key: CacheKey) -> Manifest | None:
        """Find an object."""
        return self._objects.get(key)

    def put(self, kind: Kind, manifest: Manifest) -> ObjectKey | None:
        """Store a version of an object, unless it is known or older; tell whom it concerns.

        What belongs to no ModelDeployment (any more) is not kept.
        """
        key = key_of(kind, manifest)
        meta = manifest["metadata"]
        if version_of(manifest) < self._gone.get(meta.get("uid", ""), UNKNOWN):
            return None
        known = self._objects.get(key)
        # Also between two lives of one name: an event of the one before may come late.
        if known is not None and not is_newer(manifest, known):
            return None
        owner = self._find_owner(kind, manifest)
        if owner is None:
            return self._forget(key) if known is not None else None
        before = self._unlink(key) if known is not None else None
        self._objects[key] = kept = pruned(kind, manifest)
        self._link(key, owner)
        if kind.health and known is not None and _says_the_same(kept, known):
            return None
        return owner if before in (None, owner) else before

    def drop(self, kind: Kind, manifest: Manifest) -> ObjectKey | None:
        """Forget an object; a deletion of an earlier object of the same name is ignored."""
        key = key_of(kind, manifest)
        self._bury(manifest, version_of(manifest))
        known = self._objects.get(key)
        if known is None or not _same_life(known, manifest):
            return None
        return self._forget(key)

    def replace(
        self,
        kind: Kind,
        manifests: Iterable[Manifest],
        version: str,
        namespace: str | None = None,
    ) -> Difference:
        """Make a full list of resource version `version` the truth: what it does not have is gone.

        Objects newer than the list stay: a watch has brought them meanwhile.
        """
        listed = {key_of(kind, m): m for m in manifests}
        concerned: set[ObjectKey | None] = set()
        vanished = self._of_kind(kind, namespace) - listed.keys()
        missing = [k for k in vanished if not self._is_newer_than(k, version)]
        for key in missing:
            self._bury(self._objects[key], number(version))
            concerned.add(self._forget(key))
        changed = [self.put(kind, manifest) for manifest in listed.values()]
        concerned.update(changed)
        keys = frozenset(k for k in concerned if k is not None)
        return Difference(keys, len(missing) + sum(c is not None for c in changed))

    def _of_kind(self, kind: Kind, namespace: str | None) -> set[CacheKey]:
        return {
            k for k in self._objects if k.kind == kind.kind and namespace in (None, k.namespace)
        }

    def _is_newer_than(self, key: CacheKey, version: str) -> bool:
        return UNKNOWN < number(version) < version_of(self._objects[key])

    def _bury(self, manifest: Manifest, version: int) -> None:
        self._gone[str(manifest["metadata"].get("uid"))] = version
        if len(self._gone) > _TOMBSTONES:
            self._gone.popitem(last=False)

    def snapshot(self, key: ObjectKey, now: datetime, defaults: RuntimeDefaults) -> Snapshot | None:
        """Freeze everything known of a ModelDeployment; None when it is gone or going."""
        mdep = self._objects.get(CacheKey(v1alpha1.KIND, *key))
        if mdep is None or mdep["metadata"].get("deletionTimestamp"):
            return None
        belongings = [self._objects[k] for k in sorted(self._owned.get(key, ()))]
        uid = mdep["metadata"]["uid"]
        children = {
            (m["kind"], m["metadata"]["name"]): m
            for m in belongings
            if by_name(m["kind"]).is_child and _controller(m).get("uid") == uid
        }
        pods = tuple(m for m in belongings if m["kind"] == "Pod")
        names = {p["metadata"]["name"]: p["metadata"]["uid"] for p in pods}
        events = (m for m in belongings if m["kind"] == "Event")
        capacity = self.capacities.get(key)
        failures = dict(_messages(events, names))
        return Snapshot(mdep, now, defaults, children, pods, failures, capacity, self.missing_kinds)

    def _find_owner(self, kind: Kind, manifest: Manifest) -> ObjectKey | None:
        namespace = manifest["metadata"]["namespace"]
        match kind.kind:
            case v1alpha1.KIND:
                return ObjectKey(namespace, manifest["metadata"]["name"])
            case "Pod":
                name = serving_owner(manifest) or supply_owner(manifest)
                return ObjectKey(namespace, name) if name else None
            case "Event":
                pod = CacheKey("Pod", namespace, manifest["involvedObject"].get("name", ""))
                return self._owner.get(pod)
        controller = _controller(manifest)
        if controller.get("kind") != v1alpha1.KIND:
            return None
        return ObjectKey(namespace, str(controller["name"]))

    def _link(self, key: CacheKey, owner: ObjectKey) -> None:
        self._owner[key] = owner
        if key.kind != v1alpha1.KIND:
            self._owned[owner].add(key)

    def _unlink(self, key: CacheKey) -> ObjectKey | None:
        owner = self._owner.pop(key, None)
        if owner is not None and key.kind != v1alpha1.KIND:
            belongings = self._owned[owner]
            belongings.discard(key)
            if not belongings:
                del self._owned[owner]
        return owner

    def _forget(self, key: CacheKey) -> ObjectKey | None:
        del self._objects[key]
        return self._unlink(key)


def _says_the_same(one: Manifest, other: Manifest) -> bool:
    def rest(manifest: Manifest) -> Manifest:
        metadata = {k: v for k, v in manifest["metadata"].items() if k != "resourceVersion"}
        return {**manifest, "metadata": metadata}

    return rest(one) == rest(other)


def _same_life(one: Manifest, other: Manifest) -> bool:
    return bool(one["metadata"].get("uid") == other["metadata"].get("uid"))


def _controller(manifest: Manifest) -> Manifest:
    references: list[Manifest] = manifest["metadata"].get("ownerReferences") or []
    return next((r for r in references if r.get("controller")), {})


def _messages(events: Iterable[Manifest], pods: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Newest message per pod that still is the pod the event was about."""
    for event in sorted(events, key=lambda e: str(e.get("lastTimestamp") or "")):
        about = event["involvedObject"]
        if pods.get(about.get("name", "")) == about.get("uid"):
            yield about["name"], str(event.get("message") or "")
