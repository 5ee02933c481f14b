"""What several ModelDeployments have in common: the Gateways that they name, and ask things of.

A plain data structure without I/O; the cache keeps it beside what belongs to one alone.

Of two that ask for the same hostname and path of the same Gateway the older one has it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from slipway_operator.kube.kinds import GATEWAY, GATEWAY_CLASS, Kind
from slipway_operator.kube.versions import UNKNOWN, is_newer, number, version_of
from slipway_operator.plan.gateways import GatewayKey, KnownGateway

Manifest = dict[str, Any]

_EVERYTHING: Final = "*"
_GRPC: Final = "gRPC"


class ObjectKey(NamedTuple):
    """A ModelDeployment."""

    namespace: str
    name: str


class Claim(NamedTuple):
    """What one ModelDeployment asks of a Gateway, and no other can have as well."""

    gateway: GatewayKey
    section: str
    hostname: str
    path: str


class _Claimant(NamedTuple):
    """Sorted by age."""

    created_at: str
    uid: str
    key: ObjectKey


class Gateways:
    """Gateways and their classes, and who names them."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str], Manifest] = {}
        self._read: set[tuple[str, str | None]] = set()
        """Kinds and namespaces that were listed: what is not known there does not exist."""
        # Of each ModelDeployment that names Gateways.
        self._named: dict[ObjectKey, tuple[GatewayKey, ...]] = {}
        self._claims: dict[ObjectKey, tuple[Claim, ...]] = {}
        self._claimants: defaultdict[Claim, set[_Claimant]] = defaultdict(set)
        self._stirred: set[ObjectKey] = set()

    # --- what there is

    def put(self, kind: Kind, manifest: Manifest) -> list[ObjectKey]:
        """Store a version, unless it is known or older; tell whom it concerns."""
        key = _key(kind, manifest)
        known = self._known.get(key)
        if known is not None and not is_newer(version_of(manifest), version_of(known)):
            return []
        self._known[key] = manifest
        is_news = known is None or _without_version(known) != _without_version(manifest)
        return self._concerned(key) if is_news else []

    def drop(self, kind: Kind, manifest: Manifest) -> list[ObjectKey]:
        """Forget one that is gone; tell whom it concerns."""
        key = _key(kind, manifest)
        known = self._known.get(key)
        if known is None or known["metadata"].get("uid") != manifest["metadata"].get("uid"):
            return []
        del self._known[key]
        return self._concerned(key)

    def replace(
        self,
        kind: Kind,
        manifests: Iterable[Manifest],
        version: str = "",
        namespace: str | None = None,
    ) -> list[ObjectKey]:
        """Make a full list of resource version `version` the truth: what it lacks is not there."""
        listed = {_key(kind, m): m for m in manifests}
        concerned = [k for m in listed.values() for k in self.put(kind, m)]
        scope = [k for k in self._known if k[0] == kind.kind and namespace in (None, k[1])]
        for gone in set(scope) - listed.keys():
            if UNKNOWN < number(version) < version_of(self._known[gone]):
                continue  # a watch has brought it meanwhile
            del self._known[gone]
            concerned += self._concerned(gone)
        self._read.add((kind.kind, namespace))
        return concerned

    def _concerned(self, key: tuple[str, str, str]) -> list[ObjectKey]:
        kind, namespace, name = key
        if kind == GATEWAY_CLASS.kind:
            return [k for k, named in self._named.items() if any(map(self._is_of(name), named))]
        found = GatewayKey(namespace, name)
        return [k for k, named in self._named.items() if found in named]

    def _is_of(self, name: str) -> Any:
        def check(which: GatewayKey) -> bool:
            gateway = self._known.get((GATEWAY.kind, *which))
            return gateway is not None and gateway["spec"].get("gatewayClassName") == name

        return check

    # --- who names them

    def claim(self, key: ObjectKey, mdep: Manifest) -> None:
        """Note what a ModelDeployment asks for."""
        wanted = (mdep["spec"].get("exposure") or {}).get("gateway") or {}
        claims = tuple(_claims(key.namespace, wanted))
        if claims == self._claims.get(key, ()):
            self._name(key, wanted)
            return
        self.release(key)
        self._name(key, wanted)
        meta = mdep["metadata"]
        who = _Claimant(str(meta.get("creationTimestamp", "")), str(meta.get("uid", "")), key)
        for claim in claims:
            self._stirred |= {other.key for other in self._claimants[claim]}
            self._claimants[claim].add(who)
        if claims:
            self._claims[key] = claims

    def _name(self, key: ObjectKey, wanted: Mapping[str, Any]) -> None:
        named = tuple(dict.fromkeys(which for which, _ in _parents(key.namespace, wanted)))
        if named:
            self._named[key] = named
        else:
            self._named.pop(key, None)

    def release(self, key: ObjectKey) -> None:
        """Forget what a ModelDeployment has asked for; whoever asked for the same is stirred."""
        self._named.pop(key, None)
        for claim in self._claims.pop(key, ()):
            left = {c for c in self._claimants[claim] if c.key != key}
            self._stirred |= {c.key for c in left}
            self._claimants[claim] = left
            if not left:
                del self._claimants[claim]

    def stirred(self) -> list[ObjectKey]:
        """Tell, once, whom changes of others concern."""
        found, self._stirred = sorted(self._stirred), set()
        return found

    def rival(self, key: ObjectKey) -> str:
        """Name an older ModelDeployment that has asked for the same; empty when there is none."""
        for claim in self._claims.get(key, ()):
            first = min(self._claimants[claim])
            if first.key != key:
                what = f"hostname {claim.hostname!r} and path {claim.path!r}"
                where = f"Gateway {'/'.join(claim.gateway)}"
                return f"{what} of {where} belong to ModelDeployment {'/'.join(first.key)}"
        return ""

    def named_by(self, key: ObjectKey) -> dict[GatewayKey, KnownGateway]:
        """What is known of the Gateways that a ModelDeployment names; unreadable ones left out."""
        return {
            which: self._look(which)
            for which in self._named.get(key, ())
            if self._may_read(GATEWAY.kind, which.namespace)
        }

    def _may_read(self, kind: str, namespace: str) -> bool:
        return not self._read.isdisjoint({(kind, None), (kind, namespace)})

    def _look(self, which: GatewayKey) -> KnownGateway:
        found = self._known.get((GATEWAY.kind, *which))
        name = f"Gateway {'/'.join(which)}"
        if found is None:
            return KnownGateway(f"{name} does not exist")
        class_name = str(found["spec"].get("gatewayClassName"))
        return KnownGateway(_obstacle(name, found), self._features(class_name))

    def _features(self, class_name: str) -> frozenset[str] | None:
        found = self._known.get((GATEWAY_CLASS.kind, "", class_name))
        listed = (found or {}).get("status", {}).get("supportedFeatures")
        if not listed:
            return None
        # Early versions listed plain names.
        return frozenset(f if isinstance(f, str) else str(f.get("name")) for f in listed)


def _key(kind: Kind, manifest: Manifest) -> tuple[str, str, str]:
    meta = manifest["metadata"]
    return kind.kind, str(meta.get("namespace", "")), meta["name"]


def _without_version(manifest: Manifest) -> Manifest:
    metadata = {k: v for k, v in manifest["metadata"].items() if k != "resourceVersion"}
    return {**manifest, "metadata": metadata}


def _obstacle(name: str, gateway: Manifest) -> str:
    told = {c["type"]: c for c in gateway["status"]["conditions"]}
    found = told.get("Programmed")
    if found is None:
        return f"{name} is programmed by nobody yet"
    if found["status"] == "True":
        return ""
    return f"{name} is not programmed: {found['reason']}: {found['message']}"


def _parents(namespace: str, wanted: Mapping[str, Any]) -> Iterator[tuple[GatewayKey, str]]:
    for parent in wanted.get("parentRefs") or ():
        which = GatewayKey(str(parent.get("namespace") or namespace), str(parent.get("name")))
        yield which, str(parent.get("sectionName") or "")


def _claims(namespace: str, wanted: Mapping[str, Any]) -> Iterator[Claim]:
    path = str(wanted.get("pathPrefix") or "/")
    own = (wanted.get("grpc") or {}).get("hostnames") or ()
    for which, section in _parents(namespace, wanted):
        for hostname in wanted.get("hostnames") or [_EVERYTHING]:
            yield Claim(which, section, str(hostname), path)
        for hostname in own:
            yield Claim(which, section, str(hostname), _GRPC)
