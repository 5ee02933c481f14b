"""A world in which clients come through a Gateway, whose controller and proxies learn late.

Everything of `canaries.py` holds here, too, and on top: weights go to who has the pods, a promotion
is committed only when the Gateway has taken it, and nothing ends that a proxy may still send to.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from slipway_operator.plan.gateways import GatewayKey, KnownGateway
from slipway_operator.plan.names import Manifest
from slipway_operator.plan.plan import plan
from slipway_operator.plan.snapshot import Snapshot
from slipway_operator.plan.tracks import available
from tests.unit.operator.plan.canaries import ROLLOUT, STEPS, URIS, Canaries, Canary
from tests.unit.operator.plan.world import BrokenLaw, Planner

GATEWAY: Final = GatewayKey("infra", "public")
FEATURES: Final = frozenset({"HTTPRouteBackendProtocolH2C", "HTTPRoutePathRewrite"})
EXPOSURE: Final = {
    "gateway": {
        "parentRefs": [{"name": "public", "namespace": "infra"}],
        "hostnames": ["digits.test"],
    }
}
_LAG_S: Final = 4
_REPLICAS: Final = 4


class GatedCanary(Canary):
    """One ModelDeployment that rolls out by weights of requests."""

    def __init__(self, spec: Mapping[str, Any], planner: Planner = plan, seed: int = 0) -> None:
        super().__init__(spec, planner, seed)
        self.gateway = KnownGateway(features=FEATURES)
        self.answers = True
        """The Gateway's controller is there."""
        self.sent_to: list[tuple[datetime, frozenset[str]]] = []
        """Times from which on proxies may send to revisions, newest last."""

    def snapshot(self) -> Snapshot:
        """Freeze the world."""
        return replace(super().snapshot(), gateways={GATEWAY: self.gateway})

    @property
    def is_gated(self) -> bool:
        """The spec names a Gateway."""
        return bool((self.mdep["spec"].get("exposure") or {}).get("gateway"))

    def route(self) -> Manifest | None:
        """The HTTPRoute."""
        return self.objects.get(("HTTPRoute", self.owner.name))

    def weights(self) -> dict[str, int]:
        """Revision to weight, as the route says."""
        return _weights(self.route(), self.owner.name)

    # --- the laws

    def may_get_traffic(self) -> set[str]:
        """Also revisions that some proxy of the Gateway may still send to."""
        old = [found for at, found in self.sent_to if at <= self.now]
        new = [found for at, found in self.sent_to if at > self.now]
        return super().may_get_traffic().union(*old[-1:], *new)

    def _apply(self, want: Manifest) -> None:
        before = _named(self.route(), self.owner.name)
        super()._apply(want)
        after = _named(self.route(), self.owner.name)
        if after != before:
            lag = timedelta(seconds=self._random.uniform(0, _LAG_S))
            self.sent_to.append((self.now + lag, after))

    def _remove(self, which: Any) -> None:
        super()._remove(which)
        if which[0] == "HTTPRoute":
            lag = timedelta(seconds=self._random.uniform(0, _LAG_S))
            self.sent_to.append((self.now + lag, frozenset()))

    def _check_write(self, known: Manifest | None, want: Manifest) -> None:
        if want["kind"] == "HTTPRoute":
            self._check_route(_weights(known, self.owner.name), want)
        super()._check_write(known, want)

    def _check_traffic(self, selector: str) -> None:
        if self.is_gated and selector == "*":
            raise BrokenLaw("the apex is shared beside a Gateway")
        super()._check_traffic(selector)

    def _check_route(self, before: Mapping[str, int], want: Manifest) -> None:
        for rule_ in want["spec"]["rules"]:
            refs = rule_["backendRefs"]
            if sum(r["weight"] for r in refs) != 100 or len(refs) > 2:
                raise BrokenLaw(f"I1 weights {refs}")
            if any(("Service", r["name"]) not in self.objects for r in refs):
                raise BrokenLaw(f"I1 a reference to nothing: {refs}")
        after = _weights(want, self.owner.name)
        status = self.mdep.get("status") or {}
        tracks = {(status.get(t) or {}).get("hash") for t in ("stable", "candidate")}
        named = _named(want, self.owner.name)
        if self.stable and not named <= tracks | {self.stable}:
            raise BrokenLaw(f"I4 {named} get requests")
        for revision in named - {self.stable} if self.stable else ():
            self._check_reachable(revision)
        for revision, weight in after.items():
            if self.stable and revision != self.stable and weight > before.get(revision, 0):
                self._check_rise(revision, weight)

    def _check_steps(self, before: Mapping[str, Any], report: Mapping[str, Any]) -> None:
        """A weight that is tried again follows the one that was held before it was tried first."""
        if (before.get("rollout") or {}).get("reason") != "TrafficUnverified":
            super()._check_steps(before, report)

    def _check_reachable(self, revision: str) -> None:
        workload = self.deployment(revision)
        known = _named(self.route(), self.owner.name)
        is_new = revision not in known and not self._size().is_off
        if is_new and (workload is None or not available(workload)):
            raise BrokenLaw(f"I8 requests for {revision}, which has no pods")

    def _check_rise(self, revision: str, weight: int) -> None:
        if self.state == "Aborting":
            raise BrokenLaw(f"I11 {revision} goes up to {weight} while aborting")
        workload, stable = self.deployment(revision), self.deployment(self.stable)
        is_down = stable is not None and not available(stable)
        needed = -(-self._size().replicas * weight // 100)
        if self._size().is_off or (is_down and workload and available(workload)):
            return
        if workload is None or available(workload) < max(1, needed):
            raise BrokenLaw(f"I8 {weight} % for {revision}, which has not {needed} pods")

    def _commit(self, stable: str) -> None:
        if self.is_gated and self.stable and stable != self.stable:
            self._check_taken(stable)
        super()._commit(stable)

    def _check_taken(self, stable: str) -> None:
        route = self.route()
        if route is None or self.weights() != {stable: 100}:
            raise BrokenLaw(f"{stable} became stable, and the route says {self.weights()}")
        (parent,) = (route.get("status") or {}).get("parents") or [{"conditions": []}]
        seen = [c["observedGeneration"] for c in parent["conditions"]]
        if not seen or min(seen) < route["metadata"]["generation"]:
            raise BrokenLaw(f"{stable} became stable before the Gateway had taken the route")

    # --- what the Gateway does

    def tick(self, seconds: float = 5, *, stumbles: bool = False) -> None:
        """Let time pass; the Gateway's controller answers, mostly."""
        super().tick(seconds, stumbles=stumbles)
        if self.answers and self._random.random() < 0.8:
            self.answer()

    def answer(self) -> None:
        """Let the Gateway's controller take the routes as they are."""
        for (kind, _), live in self.objects.items():
            if kind in ("HTTPRoute", "GRPCRoute"):
                live["status"] = {"parents": [_taken(p, live) for p in live["spec"]["parentRefs"]]}

    def settle(self, passes: int = 60) -> None:
        """Let everything come to rest, the Gateway included."""
        self.answers, self.gateway = True, KnownGateway(features=FEATURES)
        super().settle(passes)

    def edit_route(self) -> None:
        """Let somebody send everything to the stable revision."""
        route = self.route()
        if route is None:
            return
        changed = copy.deepcopy(route)
        for rule_ in changed["spec"]["rules"]:
            rule_["backendRefs"] = rule_["backendRefs"][:1]
        if changed["spec"] != route["spec"]:
            changed["metadata"]["generation"] += 1
            changed["metadata"]["annotations"].pop("slipway.dev/applied")
            self.objects["HTTPRoute", self.owner.name] = changed


def _taken(parent: Manifest, route: Manifest) -> Manifest:
    told = {"status": "True", "observedGeneration": route["metadata"]["generation"], "reason": "Ok"}
    conditions = [{"type": kind, **told} for kind in ("Accepted", "ResolvedRefs")]
    return {"parentRef": dict(parent), "conditions": conditions}


def _weights(route: Manifest | None, name: str) -> dict[str, int]:
    """Revision to weight, of the requests that no header chooses."""
    found = {
        ref["name"].removeprefix(f"{name}-"): ref["weight"]
        for rule_ in _rules(route)
        if not any(m.get("headers") for m in rule_.get("matches") or ())
        for ref in rule_["backendRefs"]
    }
    return {revision: weight for revision, weight in found.items() if weight}


def _named(route: Manifest | None, name: str) -> frozenset[str]:
    """Every revision that gets any request."""
    refs = (ref["name"] for rule_ in _rules(route) for ref in rule_["backendRefs"])
    return frozenset(ref.removeprefix(f"{name}-") for ref in refs)


def _rules(route: Manifest | None) -> list[Manifest]:
    found: list[Manifest] = route["spec"]["rules"] if route else []
    return found


class Gated(Canaries):
    """One ModelDeployment's canaries through a Gateway, with crashes between any two writes."""

    planner: Planner = staticmethod(plan)
    world: GatedCanary

    def __init__(self) -> None:
        super().__init__()
        spec = {
            "model": {"uri": URIS[0]}, "replicas": _REPLICAS, "rollout": ROLLOUT,
            "exposure": EXPOSURE,
        }  # fmt: skip
        self.world = GatedCanary(spec, type(self).planner)
        self.world.settle(100)

    @rule()
    def controller_stops(self) -> None:
        self.world.answers = False

    @rule()
    def controller_starts(self) -> None:
        self.world.answers = True

    @rule(is_there=st.booleans())
    def gateway(self, is_there: bool) -> None:
        gone = KnownGateway("Gateway infra/public does not exist")
        self.world.gateway = KnownGateway(features=FEATURES) if is_there else gone

    @precondition(lambda self: self.world.route() is not None)
    @rule()
    def edit_route(self) -> None:
        self.world.edit_route()
        self.world.is_disturbed = True

    @rule(percent=st.sampled_from([0, 30]))
    def step_aside(self, percent: int) -> None:
        chosen = {"headers": [{"name": "x-canary", "value": "yes"}]}
        aside = {"mirrorPercent": percent} if percent else chosen
        self.world.is_disturbed = True
        steps = [{**aside, "hold": "20s"}, *STEPS]
        self._change(rollout={**ROLLOUT, "steps": steps}, exposure=EXPOSURE)

    @rule(is_gated=st.booleans())
    def change_exposure(self, is_gated: bool) -> None:
        self.world.is_disturbed = True
        self._change(exposure=EXPOSURE if is_gated else {})

    def teardown(self) -> None:
        self.world.answers = True
        self._change(exposure=EXPOSURE)
        self.nonce += 1
        self.world.gateway = KnownGateway(features=FEATURES)
        for _ in range(4):  # a weight that was not confirmed in time waits for somebody
            self.world.tick(1)
            self.world.reconcile()
        self.world.act("approve", self.nonce)
        super().teardown()
