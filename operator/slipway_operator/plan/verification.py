"""Whether the Gateways do what the routes say, as far as they tell. Pure.

For every Gateway that a route names there has to be an entry in the route's status that accepts
this very generation, resolves its references and drops nothing; and the Gateway itself has to be
programmed. That proves what a Gateway has read, not what its proxies do: traffic is given time to
settle on top (`transition.py`), and the share of the requests is compared with the weight.
Source: `rollout.md` A4.4.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from slipway_operator.plan import conditions as c
from slipway_operator.plan.gateways import GROUP, Gate
from slipway_operator.plan.names import Manifest
from slipway_operator.verdict.counts import Interval

_ACCEPTED = "Accepted"
_RESOLVED = "ResolvedRefs"
_PARTIAL = "PartiallyInvalid"
_POINTS: Final = 0.02
_SIGMAS: Final = 4


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether routes are taken."""

    is_verified: bool
    reason: str = c.TRAFFIC_SETTLED
    message: str = "every Gateway has taken the routes"
    is_blind: bool = False
    """A Gateway does not tell which generation it has taken."""
    is_gone: bool = False
    """There is no Gateway that could take any traffic, or no route can be written."""
    is_stuck: bool = False
    """Only another spec, or another cluster, helps."""


def standing(gate: Gate, wanted: Iterable[Manifest], live: Iterable[Manifest]) -> Standing:
    """Judge the routes.

    Args:
        gate: the way in.
        wanted: the routes that there are to be; what they say does not matter.
        live: those that there are.
    """
    if gate.trouble is not None:
        return Standing(False, gate.trouble.reason, gate.trouble.message, False, True, True)
    if gate.obstacle:
        return Standing(False, c.GATEWAY_NOT_READY, gate.obstacle, is_gone=True)
    found = {_key(route): route for route in live}
    judged = [_judged(found.get(_key(want)), want) for want in wanted]
    refused = next((s for s in judged if not s.is_verified), None)
    return refused or next((s for s in judged if s.is_blind), None) or Standing(True)


def mismatch(share: Interval | None, weight: int, min_requests: int) -> str:
    """Say how far the candidate's share of the requests is from its weight; empty when it fits.

    Formula: |share - weight| > max(2 points, 4 sigma), with sigma of that many coin tosses.
    """
    total = share.candidate.requests + share.stable.requests if share else 0.0
    if share is None or not weight or total < max(1, min_requests):
        return ""
    wanted = weight / 100
    allowed = max(_POINTS, _SIGMAS * math.sqrt(wanted * (1 - wanted) / total))
    if abs(share.exposure - wanted) <= allowed:
        return ""
    return (
        f"the candidate got {100 * share.exposure:.1f} % of {total:.0f} requests, and the routes"
        f" say {weight} %: another route takes some, or they come by the Service in the cluster"
    )


def _key(route: Manifest) -> tuple[str, str]:
    return route["kind"], route["metadata"]["name"]


def _judged(live: Manifest | None, want: Manifest) -> Standing:
    name = f"{want['kind']} {want['metadata']['name']!r}"
    if live is None:
        return Standing(False, c.ROUTE_PENDING, f"{name} is not there yet")
    namespace = live["metadata"].get("namespace", "")
    entries = (live.get("status") or {}).get("parents") or ()
    found = [
        _taken(live, name, parent, _entry_of(entries, parent, namespace))
        for parent in live["spec"].get("parentRefs") or ()
    ]
    refused = next((s for s in found if not s.is_verified), None)
    return refused or next((s for s in found if s.is_blind), None) or Standing(True)


def _entry_of(
    entries: Iterable[Mapping[str, Any]], parent: Mapping[str, Any], namespace: str
) -> Mapping[str, Any] | None:
    wanted = _defaulted(parent, namespace)
    return next(
        (e for e in entries if _defaulted(e.get("parentRef") or {}, namespace) == wanted), None
    )


def _defaulted(parent: Mapping[str, Any], namespace: str) -> tuple[Any, ...]:
    return (
        parent.get("group", GROUP),
        parent.get("kind", "Gateway"),
        parent.get("namespace") or namespace,
        parent.get("name"),
        parent.get("sectionName"),
        parent.get("port"),
    )


def _taken(
    live: Manifest, name: str, parent: Mapping[str, Any], entry: Mapping[str, Any] | None
) -> Standing:
    namespace = parent.get("namespace") or live["metadata"].get("namespace", "")
    by = f"Gateway {namespace}/{parent.get('name')}"
    if entry is None:
        return Standing(False, c.ROUTE_PENDING, f"{by} has not said whether it takes {name}")
    told = {x.get("type"): x for x in entry.get("conditions") or ()}
    generation = int(live["metadata"].get("generation", 0))
    for kind in (_ACCEPTED, _RESOLVED):
        found = told.get(kind)
        if found is None or _is_old(found, generation):
            text = f"{by} has not said whether it takes {name} as it is now"
            return Standing(False, c.ROUTE_PENDING, text)
        if found.get("status") != "True":
            return _refused(by, name, found)
    if (told.get(_PARTIAL) or {}).get("status") == "True":
        return _refused(by, name, told[_PARTIAL])
    if any("observedGeneration" not in told[kind] for kind in (_ACCEPTED, _RESOLVED)):
        text = f"{by} does not tell which version of {name} it has taken"
        return Standing(True, c.UNVERIFIABLE, text, is_blind=True)
    return Standing(True)


def _is_old(condition: Mapping[str, Any], generation: int) -> bool:
    return int(condition.get("observedGeneration", generation)) < generation


def _refused(by: str, name: str, condition: Mapping[str, Any]) -> Standing:
    cause = str(condition.get("reason"))
    reason = c.HOSTNAME_CONFLICT if cause == c.HOSTNAME_CONFLICT else c.ROUTE_REFUSED
    text = f"{by} does not take {name}: {cause}: {condition.get('message', '')}"
    return Standing(False, reason, text.removesuffix(": "))
