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

from slipway_operator.plan.gateways import API_VERSION, GRPC_ROUTE, HTTP_ROUTE, ROUTES, Gate
from slipway_operator.plan.names import Manifest, Owner, child, grpc_route_name, revision_name
from slipway_operator.plan.revision import GRPC, REST, Revision
from slipway_operator.plan.service import GRPC_SERVICE_PORT, HTTP_SERVICE_PORT
from slipway_operator.plan.snapshot import Snapshot

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

    @property
    def shares(self) -> list[tuple[Revision, int]]:
        """Revisions that get requests, with their percent."""
        pairs = ((self.stable, 100 - self.weight), (self.candidate, self.weight))
        return [(revision, share) for revision, share in pairs if revision is not None and share]


def routes(owner: Owner, gate: Gate, split: Split) -> Iterator[Manifest]:
    """Render the routes; one without anything to send to is left out."""
    rules = [
        *(_grpc_rules(owner, split) if gate.has_grpc_rule else ()),
        *_rest_rules(owner, gate, split),
    ]
    if rules:
        hostnames = gate.wanted.hostnames
        yield _route(owner, gate, HTTP_ROUTE, owner.name, hostnames, rules)
    backends = _backends(owner, split, GRPC)
    if gate.has_grpc_route and gate.wanted.grpc and backends:
        name, rule = grpc_route_name(owner.name), {"backendRefs": backends}
        yield _route(owner, gate, GRPC_ROUTE, name, gate.wanted.grpc.hostnames, [rule])


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


def _rest_rules(owner: Owner, gate: Gate, split: Split) -> Iterator[Manifest]:
    backends, prefix = _backends(owner, split, REST), gate.wanted.path_prefix or "/"
    if not backends:
        return
    rule: Manifest = {"matches": [_prefixed(prefix)], "backendRefs": backends}
    filters = [*(gate.wanted.filters or ()), *_stripped(gate, prefix)]
    if filters:
        rule["filters"] = filters
    if gate.wanted.timeouts and gate.wanted.timeouts.request:
        rule["timeouts"] = {"request": gate.wanted.timeouts.request}
    yield rule


def _stripped(gate: Gate, prefix: str) -> Iterator[Manifest]:
    """Take the prefix off a path: the model knows nothing of it. The user's own rewrite wins."""
    own = any(f.get("type") == "URLRewrite" for f in gate.wanted.filters or ())
    if prefix != "/" and not own:
        path = {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}
        yield {"type": "URLRewrite", "urlRewrite": {"path": path}}


def _grpc_rules(owner: Owner, split: Split) -> Iterator[Manifest]:
    if backends := _backends(owner, split, GRPC):
        yield {
            "matches": [_prefixed(f"/{service}") for service in GRPC_SERVICES],
            "backendRefs": backends,
        }


def _prefixed(prefix: str) -> Manifest:
    return {"path": {"type": "PathPrefix", "value": prefix}}


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
            [(m.get("path"), m.get("headers")) for m in rule.get("matches") or ()],
            [(b.get("name"), b.get("port"), b.get("weight", 1)) for b in _refs(rule)],
        )
        for rule in (route.get("spec") or {}).get("rules") or ()
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
        for ref in _refs(rule)
    )


def routed_percent(snapshot: Snapshot, revision: Revision) -> int:
    """Percent of the requests that live routes send to a revision: the most that any rule does."""
    name = revision_name(snapshot.owner.name, revision.hash)
    return max(
        (
            _percent(_refs(rule), name)
            for route in live_routes(snapshot)
            for rule in (route.get("spec") or {}).get("rules") or ()
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
