"""What the operator knows of the cluster: objects by key, and who owns them.

A plain data structure without I/O. Watches, resyncs and the answers to our own writes all put into
it; the newest version wins. A ModelDeployment and its children live in one namespace.

Objects are kept as bytes and read again for each look (8 us each): as dicts they take five times
the memory, and every full garbage collection would stop all else to walk through them.
"""

from __future__ import annotations

import marshal
import sys
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from slipway_operator.api import v1alpha1
from slipway_operator.engine.gateways import Gateways
from slipway_operator.engine.gateways import ObjectKey as ObjectKey  # whom objects belong to
from slipway_operator.kube.kinds import (
    ENDPOINT_SLICE,
    MODEL_DEPLOYMENT,
    OPTIONAL,
    Kind,
    by_name,
    pruned,
)
from slipway_operator.kube.versions import UNKNOWN, is_newer, number, version_of
from slipway_operator.plan.capacity import Capacity
from slipway_operator.plan.names import MODEL
from slipway_operator.plan.snapshot import Snapshot
from slipway_operator.plan.workload import RuntimeDefaults, check_owner, serving_owner, supply_owner

Manifest = dict[str, Any]

_TOMBSTONES: Final = 20_000
_RESTING: Final = ("", "Idle", "Failed")
"""States of a rollout in which nothing is going on."""


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


@dataclass(frozen=True, slots=True)
class _Kept:
    """A version of an object."""

    owner: ObjectKey
    version: int
    uid: str
    packed: bytes

    def manifest(self) -> Manifest:
        """Read it again: a copy of its own for whoever asks."""
        read: Manifest = marshal.loads(self.packed)  # noqa: S302 - written by this very process
        return read


def key_of(kind: Kind, manifest: Manifest) -> CacheKey:
    """Key of an object."""
    meta = manifest["metadata"]
    return CacheKey(kind.kind, sys.intern(meta["namespace"]), meta["name"])


class Cache:
    """Objects by key, with an index from each ModelDeployment to what belongs to it."""

    def __init__(self) -> None:
        self._objects: dict[CacheKey, _Kept] = {}
        self._owned: defaultdict[ObjectKey, set[CacheKey]] = defaultdict(set)
        # Dicts for their order, which is that of their coming.
        self._models: dict[ObjectKey, None] = {}
        self._metered: dict[ObjectKey, None] = {}
        self._rolling: dict[ObjectKey, None] = {}
        # The version at which an object left our sight, by uid: what is older came late. It may be
        # seen again: to a watch with a selector, losing the label looks like a deletion.
        self._gone: OrderedDict[str, int] = OrderedDict()
        self.missing_kinds = frozenset(kind.kind for kind in OPTIONAL)
        """Kinds of other projects that the API server is not known to have."""
        self.capacities: dict[ObjectKey, Capacity] = {}
        """What latency objectives need, as it was last told."""
        self.gateways = Gateways()
        """What several ModelDeployments have in common."""

    def __len__(self) -> int:
        return len(self._objects)

    def model_deployments(self) -> list[ObjectKey]:
        """All ModelDeployments."""
        return list(self._models)

    def model_deployment(self, key: ObjectKey) -> Manifest | None:
        """Read a ModelDeployment."""
        return self.get(CacheKey(MODEL_DEPLOYMENT.kind, *key))

    def with_objective(self) -> list[ObjectKey]:
        """The ModelDeployments that have a latency objective."""
        return list(self._metered)

    def rolling(self) -> list[ObjectKey]:
        """The ModelDeployments in which a new revision is taking over."""
        return list(self._rolling)

    def pods(self, key: ObjectKey) -> list[Manifest]:
        """All pods of a ModelDeployment."""
        return [m for m in self._belongings(key) if m["kind"] == "Pod"]

    def _belongings(self, key: ObjectKey) -> list[Manifest]:
        return [self._objects[k].manifest() for k in sorted(self._owned.get(key, ()))]

    def get(self, key: CacheKey) -> Manifest | None:
        """Find an object."""
        known = self._objects.get(key)
        return known.manifest() if known else None

    def put(self, kind: Kind, manifest: Manifest) -> ObjectKey | None:
        """Store a version of an object, unless it is known or older; tell whom it concerns.

        What belongs to no ModelDeployment (any more) is not kept.
        """
        key, version = key_of(kind, manifest), version_of(manifest)
        uid = str(manifest["metadata"].get("uid", ""))
        if version < self._gone.get(uid, UNKNOWN):
            return None
        known = self._objects.get(key)
        # Also between two lives of one name: an event of the one before may come late.
        if known is not None and not is_newer(version, known.version):
            return None
        owner = self._find_owner(kind, manifest)
        if owner is None:
            return self._forget(key) if known is not None else None
        kept = pruned(kind, manifest)
        self._keep(key, _Kept(owner, version, uid, marshal.dumps(kept)))
        if kind is MODEL_DEPLOYMENT:
            self._enlist(owner, kept)
        if (
            (kind.health or kind.is_digested)
            and known is not None
            and _says_the_same(kept, known.manifest())
        ):
            return None
        return owner if known is None or known.owner == owner else known.owner

    def _keep(self, key: CacheKey, kept: _Kept) -> None:
        known = self._objects.get(key)
        if known is not None and known.owner != kept.owner:
            self._forget(key)
        self._objects[key] = kept
        if key.kind != v1alpha1.KIND:
            self._owned[kept.owner].add(key)

    def _enlist(self, key: ObjectKey, mdep: Manifest) -> None:
        self._models[key] = None
        self.gateways.claim(key, mdep)
        self._metered.pop(key, None)
        if (mdep["spec"].get("autoscaling") or {}).get("latencyObjective"):
            self._metered[key] = None
        self._rolling.pop(key, None)
        state = ((mdep.get("status") or {}).get("rollout") or {}).get("state", "")
        if mdep["spec"].get("rollout") and state not in _RESTING:
            self._rolling[key] = None

    def drop(self, kind: Kind, manifest: Manifest) -> ObjectKey | None:
        """Forget an object; a deletion of an earlier object of the same name is ignored."""
        key, uid = key_of(kind, manifest), str(manifest["metadata"].get("uid", ""))
        self._bury(uid, version_of(manifest))
        known = self._objects.get(key)
        if known is None or known.uid != uid:
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
        census = Census(self, kind, namespace)
        census.put(manifests)
        return census.end(version)

    def retain(
        self, kind: Kind, listed: set[CacheKey], version: str, namespace: str | None
    ) -> list[ObjectKey]:
        """Forget the objects of a kind that are not in a list; tell whom each of them concerned."""
        vanished = self._of_kind(kind, namespace) - listed
        missing = [k for k in vanished if not self._is_newer_than(k, version)]
        for key in missing:
            self._bury(self._objects[key].uid, number(version))
        return [self._forget(key) for key in missing]

    def _of_kind(self, kind: Kind, namespace: str | None) -> set[CacheKey]:
        return {
            k for k in self._objects if k.kind == kind.kind and namespace in (None, k.namespace)
        }

    def _is_newer_than(self, key: CacheKey, version: str) -> bool:
        return UNKNOWN < number(version) < self._objects[key].version

    def _bury(self, uid: str, version: int) -> None:
        self._gone[uid] = version
        if len(self._gone) > _TOMBSTONES:
            self._gone.popitem(last=False)

    def snapshot(self, key: ObjectKey, now: datetime, defaults: RuntimeDefaults) -> Snapshot | None:
        """Freeze everything known of a ModelDeployment; None when it is gone or going."""
        mdep = self.model_deployment(key)
        if mdep is None or mdep["metadata"].get("deletionTimestamp"):
            return None
        belongings = self._belongings(key)
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
        slices = (m for m in belongings if m["kind"] == ENDPOINT_SLICE.kind)
        return Snapshot(
            mdep, now, defaults, children, pods, failures, capacity, self.missing_kinds,
            endpoints=_ready(slices), gateways=self.gateways.named_by(key),
            rival=self.gateways.rival(key),
        )  # fmt: skip

    def _find_owner(self, kind: Kind, manifest: Manifest) -> ObjectKey | None:
        namespace = manifest["metadata"]["namespace"]
        match kind.kind:
            case v1alpha1.KIND:
                return ObjectKey(namespace, manifest["metadata"]["name"])
            case "Pod":
                name = serving_owner(manifest) or supply_owner(manifest) or check_owner(manifest)
                return ObjectKey(namespace, name) if name else None
            case "EndpointSlice":
                name = (manifest["metadata"].get("labels") or {}).get(MODEL)
                return ObjectKey(namespace, name) if name else None
            case "Event":
                about = manifest["involvedObject"].get("name", "")
                pod = self._objects.get(CacheKey("Pod", namespace, about))
                return pod.owner if pod else None
        controller = _controller(manifest)
        if controller.get("kind") != v1alpha1.KIND:
            return None
        return ObjectKey(namespace, str(controller["name"]))

    def _forget(self, key: CacheKey) -> ObjectKey:
        owner = self._objects.pop(key).owner
        if key.kind == v1alpha1.KIND:
            self._models.pop(owner, None)
            self.gateways.release(owner)
            self._metered.pop(owner, None)
            self._rolling.pop(owner, None)
            return owner
        belongings = self._owned[owner]
        belongings.discard(key)
        if not belongings:
            del self._owned[owner]
        return owner


@dataclass(slots=True)
class Census:
    """A full list on its way into the cache, page by page: the whole would fill the memory."""

    cache: Cache
    kind: Kind
    namespace: str | None
    _listed: set[CacheKey] = field(default_factory=set)
    _concerned: list[ObjectKey] = field(default_factory=list)

    def put(self, manifests: Iterable[Manifest]) -> None:
        """Store a page."""
        for manifest in manifests:
            self._listed.add(key_of(self.kind, manifest))
            concerned = self.cache.put(self.kind, manifest)
            if concerned is not None:
                self._concerned.append(concerned)

    def end(self, version: str) -> Difference:
        """Let what was on no page be gone, but for what is newer than the list."""
        gone = self.cache.retain(self.kind, self._listed, version, self.namespace)
        concerned = [*self._concerned, *gone]
        return Difference(frozenset(concerned), len(concerned))


def _says_the_same(one: Manifest, other: Manifest) -> bool:
    def rest(manifest: Manifest) -> Manifest:
        metadata = {k: v for k, v in manifest["metadata"].items() if k != "resourceVersion"}
        return {**manifest, "metadata": metadata}

    return rest(one) == rest(other)


def _controller(manifest: Manifest) -> Manifest:
    references: list[Manifest] = manifest["metadata"].get("ownerReferences") or []
    return next((r for r in references if r.get("controller")), {})


def _ready(slices: Iterable[Manifest]) -> dict[str, int]:
    """Ready endpoints by Service; one of two families of addresses has all of them."""
    found: dict[tuple[str, str], int] = {}
    for piece in slices:
        service = piece["metadata"]["labels"].get("kubernetes.io/service-name", "")
        which = service, str(piece.get("addressType"))
        found[which] = found.get(which, 0) + int(piece["ready"])
    return {service: max(n for (s, _), n in found.items() if s == service) for service, _ in found}


def _messages(events: Iterable[Manifest], pods: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Newest message per pod that still is the pod the event was about."""
    for event in sorted(events, key=lambda e: str(e.get("lastTimestamp") or "")):
        about = event["involvedObject"]
        if pods.get(about.get("name", "")) == about.get("uid"):
            yield about["name"], str(event.get("message") or "")
