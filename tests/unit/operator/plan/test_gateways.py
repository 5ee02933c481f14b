"""What may be asked of a Gateway, what the routes say, and whether they are taken."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from slipway_operator.api.gateway import Gateway
from slipway_operator.plan.gateways import Gate, GatewayKey, KnownGateway, gate_of
from slipway_operator.plan.names import Manifest, Owner
from slipway_operator.plan.routes import Split, outside, routes
from slipway_operator.plan.verification import mismatch, standing
from slipway_operator.verdict.counts import Interval, Tally
from tests.builders import OTHER_URI, revision_of, spec_of

OWNER = Owner("m", "t1", "uid-m")
OLD = revision_of(OWNER, spec_of())
NEW = revision_of(OWNER, spec_of(OTHER_URI), number=2)
REST_ONLY = revision_of(OWNER, spec_of(OTHER_URI, serving={"protocols": ["REST"]}), number=3)
PUBLIC = GatewayKey("infra", "public")
TRAEFIK = frozenset({"HTTPRouteBackendProtocolH2C", "HTTPRoutePathRewrite"})


def gateway(**more: Any) -> Gateway:
    parents = [{"name": "public", "namespace": "infra"}]
    return Gateway.model_validate({"parentRefs": parents, "hostnames": ["m.test"], **more})


def gate(
    wanted: Gateway | None = None, features: frozenset[str] | None = TRAEFIK, **more: Any
) -> Gate:
    known = {PUBLIC: KnownGateway(features=features)}
    given: dict[str, Any] = {"missing_kinds": frozenset(), "is_trusted": False, **more}
    found = gate_of(wanted or gateway(), "t1", given.pop("known", known), **given)
    assert found is not None
    return found


def split(weight: int) -> Split:
    return Split(OLD, NEW, weight)


def backends(port: int, **weights: int) -> list[Manifest]:
    names = {"old": f"m-{OLD.hash}", "new": f"m-{NEW.hash}"}
    return [{"name": names[k], "port": port, "weight": w} for k, w in weights.items()]


def rules(route: Manifest) -> list[tuple[list[str], list[Manifest]]]:
    return [
        ([m["path"]["value"] for m in r.get("matches", ())], r["backendRefs"])
        for r in route["spec"]["rules"]
    ]


GRPC_PATHS = [
    "/inference.GRPCInferenceService", "/tensorflow.serving.PredictionService",
    "/tensorflow.serving.ModelService", "/grpc.health.v1.Health",
]  # fmt: skip


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        pytest.param(0, {"old": 100}, id="one reference to the stable revision"),
        pytest.param(25, {"old": 75, "new": 25}, id="two with their weights"),
        pytest.param(100, {"new": 100}, id="one reference to the candidate"),
    ],
)
def test_all_rules_have_the_same_weights(weight: int, expected: dict[str, int]) -> None:
    (route,) = routes(OWNER, gate(), split(weight))
    assert (route["kind"], route["metadata"]["name"]) == ("HTTPRoute", "m")
    assert route["spec"]["hostnames"] == ["m.test"]
    assert route["spec"]["parentRefs"] == [{"name": "public", "namespace": "infra"}]
    assert rules(route) == [
        (GRPC_PATHS, backends(9000, **expected)),
        (["/"], backends(80, **expected)),
    ]


def test_grpc_with_hostnames_of_its_own_is_a_route_of_its_own() -> None:
    wanted = gateway(grpc={"mode": "GRPCRoute", "hostnames": ["grpc.m.test"]})
    http, grpc = routes(OWNER, gate(wanted, None), split(25))
    assert rules(http) == [(["/"], backends(80, old=75, new=25))]
    assert (grpc["kind"], grpc["metadata"]["name"]) == ("GRPCRoute", "m-grpc")
    assert grpc["spec"]["hostnames"] == ["grpc.m.test"]
    assert rules(grpc) == [([], backends(9000, old=75, new=25))]
    assert outside(gate(wanted), "GRPC") == ["grpc.m.test"]


def test_without_the_feature_grpc_does_not_come_by_path() -> None:
    (route,) = routes(OWNER, gate(features=frozenset()), split(0))
    assert rules(route) == [(["/"], backends(80, old=100))]
    assert outside(gate(features=frozenset()), "GRPC") == []
    assert outside(gate(), "GRPC") == ["m.test"]


def test_a_revision_that_does_not_speak_a_protocol_gets_none_of_it() -> None:
    (route,) = routes(OWNER, gate(), Split(OLD, REST_ONLY, 25))
    grpc, rest = rules(route)
    assert grpc[1] == [{"name": f"m-{OLD.hash}", "port": 9000, "weight": 75}]
    assert [b["weight"] for b in rest[1]] == [75, 25]


def test_a_prefix_is_taken_off_before_the_model_sees_it() -> None:
    found = gate(gateway(pathPrefix="/digits", filters=[], timeouts={}))
    (route,) = routes(OWNER, found, split(0))
    (rule,) = route["spec"]["rules"]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/digits"}}]
    path = {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}
    assert rule["filters"] == [{"type": "URLRewrite", "urlRewrite": {"path": path}}]
    assert outside(found, "REST") == ["m.test/digits"]


MIRROR = {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "x", "port": 80}}}
HEADER = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"add": []}}


@pytest.mark.parametrize(
    ("wanted", "features", "more", "expected"),
    [
        pytest.param({}, None, {}, None, id="weights need nothing"),
        pytest.param({"filters": [HEADER]}, None, {}, None, id="nor does a core filter"),
        pytest.param(
            {"filters": [MIRROR]}, TRAEFIK, {}, "UnsupportedByGateway", id="a filter not listed"
        ),
        pytest.param(
            {"filters": [MIRROR]}, None, {}, "UnsupportedByGateway", id="nothing is listed"
        ),
        pytest.param(
            {"filters": [MIRROR]}, None, {"is_trusted": True}, None, id="but it is trusted"
        ),
        pytest.param(
            {"filters": [MIRROR]}, TRAEFIK, {"is_trusted": True}, "UnsupportedByGateway",
            id="trust does not outweigh a list",
        ),
        pytest.param(
            {"filters": [{"type": "Sorcery"}]}, TRAEFIK, {}, "UnsupportedByGateway",
            id="an unknown filter",
        ),
        pytest.param(
            {"timeouts": {"request": "5s"}}, TRAEFIK, {}, "UnsupportedByGateway", id="a timeout"
        ),
        pytest.param(
            {"grpc": {}}, frozenset(), {}, "UnsupportedByGateway", id="gRPC that is asked for"
        ),
        pytest.param(
            {}, TRAEFIK, {"missing_kinds": frozenset({"HTTPRoute"})}, "GatewayAPIMissing",
            id="A64: no Gateway API",
        ),
        pytest.param(
            {}, TRAEFIK, {"missing_kinds": frozenset({"GRPCRoute"})}, None,
            id="a kind that is not needed",
        ),
        pytest.param(
            {"grpc": {"mode": "GRPCRoute", "hostnames": ["g.test"]}}, TRAEFIK,
            {"missing_kinds": frozenset({"GRPCRoute"})}, "GatewayAPIMissing",
            id="a kind that is needed",
        ),
        pytest.param({}, TRAEFIK, {"rival": "they belong to t0/n"}, "HostnameConflict", id="rival"),
    ],
)  # fmt: skip
def test_why_no_route_is_written(
    wanted: dict[str, Any],
    features: frozenset[str] | None,
    more: dict[str, Any],
    expected: str | None,
) -> None:
    found = gate(gateway(**wanted), features, **more).trouble
    assert (found.reason if found else None) == expected


def taken(route: Manifest, generation: int = 3, **changes: Any) -> Manifest:
    """A live route that its Gateway has taken."""
    live = copy.deepcopy(route)
    live["metadata"]["generation"] = 3
    told = {"observedGeneration": generation, "reason": "Ok", "message": ""}
    accepted = {"type": "Accepted", "status": "True", **told, **changes}
    resolved = {"type": "ResolvedRefs", "status": "True", **told}
    parent = {"group": "gateway.networking.k8s.io", "kind": "Gateway",
              "name": "public", "namespace": "infra"}  # fmt: skip
    entry = {"parentRef": parent, "conditions": [accepted, resolved]}
    return {**live, "status": {"parents": [entry]}}


def judged(live: list[Manifest], **more: Any) -> tuple[bool, str]:
    wanted = list(routes(OWNER, gate(), split(25)))
    found = standing(gate(**more), wanted, live)
    return found.is_verified, found.reason


ROUTE = next(routes(OWNER, gate(), split(25)))


def _partial(live: Manifest) -> Manifest:
    dropped = {"type": "PartiallyInvalid", "status": "True", "reason": "UnsupportedValue"}
    live["status"]["parents"][0]["conditions"].append(dropped)
    return live


def _blind(live: Manifest) -> Manifest:
    for condition in live["status"]["parents"][0]["conditions"]:
        del condition["observedGeneration"]
    return live


def _by_another(live: Manifest) -> Manifest:
    live["status"]["parents"][0]["parentRef"]["name"] = "private"
    return live


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        pytest.param([taken(ROUTE)], (True, "TrafficSettled"), id="taken, defaults written out"),
        pytest.param([], (False, "RoutePending"), id="not there"),
        pytest.param([ROUTE], (False, "RoutePending"), id="nobody has said anything"),
        pytest.param([taken(ROUTE, 2)], (False, "RoutePending"), id="an older generation"),
        pytest.param([_by_another(taken(ROUTE))], (False, "RoutePending"), id="another Gateway"),
        pytest.param(
            [taken(ROUTE, status="False", reason="NotAllowedByListeners")],
            (False, "RouteRefused"), id="refused",
        ),
        pytest.param(
            [taken(ROUTE, status="False", reason="HostnameConflict")],
            (False, "HostnameConflict"), id="A26: an older route has the hostname",
        ),
        pytest.param([_partial(taken(ROUTE))], (False, "RouteRefused"), id="a rule was dropped"),
        pytest.param([_blind(taken(ROUTE))], (True, "Unverifiable"), id="no generation is told"),
    ],
)  # fmt: skip
def test_whether_a_route_is_taken(live: list[Manifest], expected: tuple[bool, str]) -> None:
    assert judged(live) == expected


def test_a_gateway_that_is_gone_has_taken_nothing() -> None:
    known = {PUBLIC: KnownGateway("Gateway infra/public does not exist")}
    assert judged([taken(ROUTE)], known=known) == (False, "GatewayNotReady")
    assert judged([taken(ROUTE)], known={}) == (True, "TrafficSettled"), "it cannot be looked for"


CHOSEN = (("x-canary", "yes"),)
BY_HEADER = [{"type": "Exact", "name": "x-canary", "value": "yes"}]
NAMED = frozenset({"HTTPRouteNamedRouteRule", "HTTPRouteBackendRequestHeaderModification"})


def test_requests_with_the_headers_go_to_the_candidate_and_all_others_as_before() -> None:
    wanted = gateway(grpc={"mode": "GRPCRoute", "hostnames": ["grpc.m.test"]})
    http, grpc = routes(OWNER, gate(wanted, None), Split(OLD, NEW, 0, CHOSEN))
    path = {"type": "PathPrefix", "value": "/"}
    assert http["spec"]["rules"] == [
        {"matches": [{"path": path, "headers": BY_HEADER}], "backendRefs": backends(80, new=100)},
        {"matches": [{"path": path}], "backendRefs": backends(80, old=100)},
    ]
    assert grpc["spec"]["rules"] == [
        {"matches": [{"headers": BY_HEADER}], "backendRefs": backends(9000, new=100)},
        {"backendRefs": backends(9000, old=100)},
    ]


def test_rules_have_names_and_requests_their_revision_where_that_is_listed() -> None:
    (route,) = routes(OWNER, gate(features=NAMED), Split(OLD, NEW, 25, CHOSEN))
    assert [r["name"] for r in route["spec"]["rules"]] == ["candidate-header", "live"]
    (refs,) = [r["backendRefs"] for r in route["spec"]["rules"] if r["name"] == "live"]
    told = [ref["filters"][0]["requestHeaderModifier"]["set"][0] for ref in refs]
    assert told == [{"name": "X-Model-Revision", "value": r.hash} for r in (OLD, NEW)]


@pytest.mark.parametrize(
    ("features", "percent", "expected"),
    [
        pytest.param(TRAEFIK, 20, [], id="never where it is not listed"),
        pytest.param(frozenset({"HTTPRouteRequestMirror"}), 20, [], id="not a part of them"),
        pytest.param(frozenset({"HTTPRouteRequestMirror"}), 100, [{}], id="but all of them"),
        pytest.param(
            frozenset({"HTTPRouteRequestMirror", "HTTPRouteRequestPercentageMirror"}), 20,
            [{"percent": 20}], id="a part where that is listed",
        ),
    ],
)  # fmt: skip
def test_requests_are_mirrored_only_where_that_is_known(
    features: frozenset[str], percent: int, expected: list[Manifest]
) -> None:
    found = list(routes(OWNER, gate(features=features), Split(OLD, NEW, 0, (), percent)))
    target = {"backendRef": {"name": f"m-{NEW.hash}", "port": 80}}
    filters = [f for r in found[0]["spec"]["rules"] for f in r.get("filters", ())]
    assert [f["requestMirror"] for f in filters] == [{**target, **e} for e in expected]


@pytest.mark.parametrize(
    ("counted", "weight", "fits"),
    [
        pytest.param((240, 760), 25, True, id="within two points"),
        pytest.param((230, 770), 25, True, id="within four sigma"),
        pytest.param((2_000, 8_000), 25, False, id="with more requests it is not"),
        pytest.param((0, 1_000), 25, False, id="another route takes all"),
        pytest.param((0, 99), 25, True, id="too few to say"),
        pytest.param((50, 50), 0, True, id="no weight"),
    ],
)
def test_a_share_that_is_not_the_weight_is_told(
    counted: tuple[int, int], weight: int, fits: bool
) -> None:
    share = Interval(Tally(counted[0]), Tally(counted[1]))
    assert (mismatch(share, weight, 100) == "") is fits
