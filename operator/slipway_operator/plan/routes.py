"""The routes: an HTTPRoute, and where gRPC has hostnames of its own a GRPCRoute.

Lives here: their shape, and reading back what a live one says.
Stays out: who gets how much (`traffic.py`), and whether a Gateway does it (`verification.py`).

They are the operator's alone: all their lists are atomic, so that nobody could own weights in a
route of somebody else. Backends are the Services of the revisions, which never change; a revision
without traffic has no reference, because one to a Service that is gone would invalidate the route.
Source: `rollout.md` A4.2, B7.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from slipway_operator.plan.gateways import (
    API_VERSION,
    BACKEND_HEADERS,
    GRPC_ROUTE,
    HTTP_ROUTE,
    NAMED_RULES,
    ROUTES,
    Gate,
)
from slipway_operator.plan.names import Manifest, Owner, child, grpc_route_name, revision_name
from slipway_operator.plan.revision import GRPC, REST, Revision
from slipway_operator.plan.service import GRPC_SERVICE_PORT, HTTP_SERVICE_PORT
from slipway_operator.plan.snapshot import Snapshot

REVISION_HEADER: Final = "X-Model-Revision"
GRPC_SERVICES: Final = (
    "inference.GRPCInferenceService",
    "tensorflow.serving.PredictionService",
    "tensorflow.serving.ModelService",
    "grpc.health.v1.Health",
)
"""What the runtime serves over gRPC: each is the first part of its paths."""


@dataclass(frozen=True, slots=True)
class Split:
    """Who gets how much of the requests that come through a Gateway."""

    stable: Revision | None
    candidate: Revision | None
    weight: int
    """Percent of the candidate; the rest is the stable revision's."""
    headers: tuple[tuple[str, str], ...] = ()
    """Requests that have all of these go to the candidate."""
    mirror_percent: int = 0
    """Of the requests, that are sent to the candidate, too."""

    @property
    def shares(self) -> list[tuple[Revision, int]]:
        """Revisions that get requests, with their percent."""
        pairs = ((self.stable, 100 - self.weight), (self.candidate, self.weight))
        return [(revision, share) for revision, share in pairs if revision is not None and share]


def routes(owner: Owner, gate: Gate, split: Split) -> Iterator[Manifest]:
    """Render the routes; one without anything to send to is left out."""
    rules = [
        *(_grpc_rules(owner, gate, split) if gate.has_grpc_rule else ()),
        *_rest_rules(owner, gate, split),
    ]
    if rules:
        hostnames = gate.wanted.hostnames
        yield _route(owner, gate, HTTP_ROUTE, owner.name, hostnames, rules)
    if gate.has_grpc_route and gate.wanted.grpc and (found := _grpc_route_rules(owner, split)):
        name = grpc_route_name(owner.name)
        yield _route(owner, gate, GRPC_ROUTE, name, gate.wanted.grpc.hostnames, found)


def _route(
    owner: Owner,
    gate: Gate,
    kind: str,
    name: str,
    hostnames: list[str] | None,
    rules: list[Manifest],
) -> Manifest:
    manifest = child(API_VERSION, kind, owner, name)
    parents = [p.model_dump(by_alias=True, exclude_none=True) for p in gate.wanted.parent_refs]
    manifest["spec"] = {"parentRefs": parents, "rules": rules}
    if hostnames:
        manifest["spec"]["hostnames"] = list(hostnames)
    return manifest


def _grpc_route_rules(owner: Owner, split: Split) -> list[Manifest]:
    chosen = _chosen(owner, split, GRPC)
    rules = [{"matches": [{"headers": _matched(split)}], "backendRefs": chosen}] if chosen else []
    backends = _backends(owner, split, GRPC)
    return [*rules, {"backendRefs": backends}] if backends else rules


def _rest_rules(owner: Owner, gate: Gate, split: Split) -> Iterator[Manifest]:
    prefix = gate.wanted.path_prefix or "/"
    filters = [*(gate.wanted.filters or ()), *_stripped(gate, prefix)]
    for rule in _rules(owner, gate, split, REST, [prefix]):
        found = [*filters, *rule.pop("filters", ())]
        if found:
            rule["filters"] = found
        if gate.wanted.timeouts and gate.wanted.timeouts.request:
            rule["timeouts"] = {"request": gate.wanted.timeouts.request}
        yield rule


def _rules(
    owner: Owner, gate: Gate, split: Split, protocol: str, prefixes: list[str]
) -> Iterator[Manifest]:
    """The rule of those who are chosen by headers, if there is one, and that of all others."""
    paths = [{"path": {"type": "PathPrefix", "value": prefix}} for prefix in prefixes]
    is_named, suffix = gate.abilities.has(NAMED_RULES), "-grpc" if protocol == GRPC else ""
    if chosen := _chosen(owner, split, protocol):
        matches = [{**path, "headers": _matched(split)} for path in paths]
        name = {"name": f"candidate-header{suffix}"} if is_named else {}
        yield {**name, "matches": matches, "backendRefs": _attributed(gate, chosen, owner)}
    if backends := _backends(owner, split, protocol):
        name = {"name": f"live{suffix}"} if is_named else {}
        rule = {**name, "matches": paths, "backendRefs": _attributed(gate, backends, owner)}
        mirrors = list(_mirrors(owner, gate, split, protocol))
        yield {**rule, "filters": mirrors} if mirrors else rule


def _chosen(owner: Owner, split: Split, protocol: str) -> list[Manifest]:
    if not split.headers:
        return []
    return _backends(owner, Split(None, split.candidate, 100), protocol)


def _matched(split: Split) -> list[Manifest]:
    return [{"type": "Exact", "name": name, "value": value} for name, value in split.headers]


def _mirrors(owner: Owner, gate: Gate, split: Split, protocol: str) -> Iterator[Manifest]:
    """A filter that an implementation does not know may fail every request: never without leave."""
    percent = split.mirror_percent
    if not percent or gate.cannot_mirror(percent):
        return
    for backend in _backends(owner, Split(None, split.candidate, 100), protocol):
        target = {k: backend[k] for k in ("name", "port")}
        part = {"percent": percent} if percent < 100 else {}
        yield {"type": "RequestMirror", "requestMirror": {"backendRef": target, **part}}


def _attributed(gate: Gate, backends: list[Manifest], owner: Owner) -> list[Manifest]:
    """Let logs of the gateway and of whatever lies behind it tell the revision."""
    if not gate.abilities.has(BACKEND_HEADERS):
        return backends
    return [
        {**backend, "filters": [_header(backend["name"].removeprefix(f"{owner.name}-"))]}
        for backend in backends
    ]


def _header(revision: str) -> Manifest:
    header = {"name": REVISION_HEADER, "value": revision}
    return {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [header]}}


def _stripped(gate: Gate, prefix: str) -> Iterator[Manifest]:
    """Take the prefix off a path: the model knows nothing of it. The user's own rewrite wins."""
    own = any(f.get("type") == "URLRewrite" for f in gate.wanted.filters or ())
    if prefix != "/" and not own:
        path = {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}
        yield {"type": "URLRewrite", "urlRewrite": {"path": path}}


def _grpc_rules(owner: Owner, gate: Gate, split: Split) -> Iterator[Manifest]:
    return _rules(owner, gate, split, GRPC, [f"/{service}" for service in GRPC_SERVICES])


def _backends(owner: Owner, split: Split, protocol: str) -> list[Manifest]:
    port = GRPC_SERVICE_PORT if protocol == GRPC else HTTP_SERVICE_PORT
    return [
        {"name": revision_name(owner.name, revision.hash), "port": port, "weight": share}
        for revision, share in split.shares
        if protocol in revision.protocols
    ]


def live_routes(snapshot: Snapshot) -> list[Manifest]:
    """The routes that there are."""
    return [route for kind in ROUTES for route in snapshot.of_kind(kind)]


def is_as_wanted(snapshot: Snapshot, wanted: Manifest) -> bool:
    """Tell whether a live route sends requests where one that is wanted does."""
    live = snapshot.child(wanted["kind"], wanted["metadata"]["name"])
    return live is not None and _sends(live) == _sends(wanted)


def _sends(route: Manifest) -> list[Any]:
    """What a route says of traffic: for each rule whom it is for, and who gets it."""
    return [
        (
            [
                (m.get("path") or _ANYWHERE, m.get("headers") or [])
                for m in rule.get("matches") or [{}]
            ],
            [(b.get("name"), b.get("port"), b.get("weight", 1)) for b in _refs(rule)],
            [(m["backendRef"].get("name"), m.get("percent")) for m in _mirrored(rule)],
        )
        for rule in (route.get("spec") or {}).get("rules") or ()
    ]


_ANYWHERE: Final = {"type": "PathPrefix", "value": "/"}


def _mirrored(rule: Manifest) -> list[Manifest]:
    return [
        f["requestMirror"] for f in rule.get("filters") or () if f.get("type") == "RequestMirror"
    ]


def _refs(rule: Manifest) -> list[Manifest]:
    found: list[Manifest] = rule.get("backendRefs") or []
    return found


def routed(snapshot: Snapshot) -> frozenset[str]:
    """Names of the Services that live routes send anything to."""
    return frozenset(
        str(ref.get("name"))
        for route in live_routes(snapshot)
        for rule in (route.get("spec") or {}).get("rules") or ()
        for ref in (*_refs(rule), *(m["backendRef"] for m in _mirrored(rule)))
    )


def routed_percent(snapshot: Snapshot, revision: Revision) -> int:
    """Percent of the requests that live routes send to a revision: the most that any rule does.

    Those that are chosen by headers are not counted.
    """
    name = revision_name(snapshot.owner.name, revision.hash)
    return max(
        (
            _percent(_refs(rule), name)
            for route in live_routes(snapshot)
            for rule in (route.get("spec") or {}).get("rules") or ()
            if not any(m.get("headers") for m in rule.get("matches") or ())
        ),
        default=0,
    )


def _percent(refs: list[Manifest], name: str) -> int:
    total = sum(int(ref.get("weight", 1)) for ref in refs)
    mine = sum(int(ref.get("weight", 1)) for ref in refs if ref.get("name") == name)
    return round(100 * mine / total) if total else 0


def outside(gate: Gate, protocol: str) -> list[str]:
    """Hostnames and paths by which clients reach a protocol through the gateway."""
    if gate.trouble is not None:
        return []
    if protocol == REST:
        prefix = (gate.wanted.path_prefix or "/").rstrip("/")
        return [f"{hostname}{prefix}" for hostname in gate.wanted.hostnames or ["*"]]
    if gate.has_grpc_route and gate.wanted.grpc:
        return list(gate.wanted.grpc.hostnames or ())
    return list(gate.wanted.hostnames or ["*"]) if gate.has_grpc_rule else []
