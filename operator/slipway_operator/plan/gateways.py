"""What is known of the Gateways that a ModelDeployment names, and what they can do.

Lives here: reading Gateways and their classes, and which features may be asked for.
Stays out: the routes (`routes.py`), and whether they are taken (`verification.py`).

A feature is asked for only where every class that is concerned lists it: an implementation may
accept a filter that it does not know, and fail every request. A class without a list (older ones),
or one that may not be read, has weights and exact headers, unless the spec trusts it.
Source: `rollout.md` A4.3, B7.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from slipway_operator.api.gateway import Gateway
from slipway_operator.plan import conditions as c

GROUP: Final = "gateway.networking.k8s.io"
API_VERSION: Final = f"{GROUP}/v1"
HTTP_ROUTE: Final = "HTTPRoute"
GRPC_ROUTE: Final = "GRPCRoute"
ROUTES: Final = (HTTP_ROUTE, GRPC_ROUTE)

H2C: Final = "HTTPRouteBackendProtocolH2C"
PATH_REWRITE: Final = "HTTPRoutePathRewrite"
MIRROR: Final = "HTTPRouteRequestMirror"
PERCENTAGE_MIRROR: Final = "HTTPRouteRequestPercentageMirror"
NAMED_RULES: Final = "HTTPRouteNamedRouteRule"
BACKEND_HEADERS: Final = "HTTPRouteBackendRequestHeaderModification"
REQUEST_TIMEOUT: Final = "HTTPRouteRequestTimeout"
_OF_FILTERS: Final[Mapping[str, str]] = {
    "RequestHeaderModifier": "",
    "RequestRedirect": "",
    "ResponseHeaderModifier": "HTTPRouteResponseHeaderModification",
    "RequestMirror": "HTTPRouteRequestMirror",
    "CORS": "HTTPRouteCORS",
    "ExtensionRef": "",
}
"""Feature of each type of filter; empty where every implementation has it, or says itself."""


class GatewayKey(NamedTuple):
    """A Gateway."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class KnownGateway:
    """A Gateway that was looked for."""

    obstacle: str = ""
    """Why it takes no traffic, in words; empty when it does."""
    features: frozenset[str] | None = None
    """Of its class; None when that lists none, or could not be read."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What all Gateways of a route can do."""

    listed: frozenset[str] | None
    is_trusted: bool

    def has(self, feature: str) -> bool:
        """Tell whether a feature may be asked for."""
        if not feature:
            return True
        return feature in self.listed if self.listed is not None else self.is_trusted


@dataclass(frozen=True, slots=True)
class GateTrouble:
    """Why no route can be written."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Gate:
    """The way in: what the spec asks for, and what is known of those who are to do it."""

    wanted: Gateway
    abilities: Abilities
    trouble: GateTrouble | None = None
    obstacle: str = ""
    """Why a Gateway takes no traffic; empty as far as is known."""

    @property
    def has_grpc_route(self) -> bool:
        """Whether gRPC has a route of its own."""
        return self.wanted.grpc is not None and self.wanted.grpc.mode == GRPC_ROUTE

    def cannot_mirror(self, percent: int) -> str:
        """Name the feature that is missing to mirror a share of the requests; empty when none."""
        needed = [MIRROR, *([PERCENTAGE_MIRROR] if percent < 100 else [])]
        return next((feature for feature in needed if not self.abilities.has(feature)), "")

    @property
    def has_grpc_rule(self) -> bool:
        """Whether gRPC comes under the hostnames of REST."""
        is_whole = (self.wanted.path_prefix or "/") == "/"
        return is_whole and not self.has_grpc_route and self.abilities.has(H2C)


def gateway_keys(namespace: str, wanted: Gateway) -> list[GatewayKey]:
    """Name the Gateways of a block."""
    return [GatewayKey(p.namespace or namespace, p.name) for p in wanted.parent_refs]


def gate_of(
    wanted: Gateway | None,
    namespace: str,
    known: Mapping[GatewayKey, KnownGateway],
    missing_kinds: frozenset[str],
    *,
    is_trusted: bool,
    rival: str = "",
) -> Gate | None:
    """Look at the way in; None when the spec names no Gateway.

    Args:
        wanted: `spec.exposure.gateway`.
        namespace: of the ModelDeployment.
        known: the Gateways that could be looked for.
        missing_kinds: kinds that the API server does not have.
        is_trusted: features that are not listed are taken for granted.
        rival: an older ModelDeployment that has asked for the same, in words.
    """
    if wanted is None:
        return None
    keys = gateway_keys(namespace, wanted)
    gate = Gate(
        wanted,
        Abilities(_common([known[k].features if k in known else None for k in keys]), is_trusted),
        obstacle="; ".join(known[k].obstacle for k in keys if k in known and known[k].obstacle),
    )
    trouble = _missing(gate, missing_kinds) or _conflict(rival) or _unsupported(gate)
    return Gate(gate.wanted, gate.abilities, trouble, gate.obstacle)


def _common(lists: list[frozenset[str] | None]) -> frozenset[str] | None:
    found = [listed for listed in lists if listed is not None]
    return frozenset.intersection(*found) if found and len(found) == len(lists) else None


def _missing(gate: Gate, missing: frozenset[str]) -> GateTrouble | None:
    needed = [HTTP_ROUTE, *([GRPC_ROUTE] if gate.has_grpc_route else [])]
    absent = " and ".join(repr(kind) for kind in needed if kind in missing)
    if not absent:
        return None
    text = (
        f"spec.exposure.gateway: the cluster has no kind {absent} of {API_VERSION}; install the"
        " Gateway API, 1.1 or later, or remove spec.exposure.gateway"
    )
    return GateTrouble(c.GATEWAY_API_MISSING, text)


def _conflict(rival: str) -> GateTrouble | None:
    if not rival:
        return None
    text = (
        f"spec.exposure.gateway: {rival}, which is older; choose another hostname or pathPrefix,"
        " or remove one of the two"
    )
    return GateTrouble(c.HOSTNAME_CONFLICT, text)


def _unsupported(gate: Gate) -> GateTrouble | None:
    for field, feature in _asked(gate.wanted):
        if not gate.abilities.has(feature):
            return GateTrouble(c.UNSUPPORTED_BY_GATEWAY, _unsupported_text(gate, field, feature))
    return None


def _unsupported_text(gate: Gate, field: str, feature: str) -> str:
    if gate.abilities.listed is not None:
        cure = "remove the field, or choose another Gateway"
        return f"exposure.gateway.{field}: the GatewayClass does not list {feature}; {cure}"
    if gate.obstacle:
        return f"exposure.gateway.{field}: needs {feature}, and {gate.obstacle}"
    return (
        f"exposure.gateway.{field}: needs {feature}, and the features of the GatewayClass are not"
        " known; remove the field, or set rollout.traffic.trustFeatures if you know that it has it"
    )


def _asked(wanted: Gateway) -> list[tuple[str, str]]:
    """Fields that need more than every implementation has, with the feature."""
    found = []
    if (wanted.path_prefix or "/") != "/":
        found.append(("pathPrefix", PATH_REWRITE))
    if wanted.grpc is not None and wanted.grpc.mode != GRPC_ROUTE:
        found.append(("grpc.mode", H2C))
    if wanted.timeouts and wanted.timeouts.request:
        found.append(("timeouts.request", REQUEST_TIMEOUT))
    return [*found, *((f"filters[{n}]", _feature(f)) for n, f in enumerate(wanted.filters or ()))]


def _feature(filter_: Mapping[str, Any]) -> str:
    kind = str(filter_.get("type"))
    if kind == "URLRewrite":
        is_path = "path" in (filter_.get("urlRewrite") or {})
        return PATH_REWRITE if is_path else "HTTPRouteHostRewrite"
    return _OF_FILTERS.get(kind, f"a filter of type {kind}")
