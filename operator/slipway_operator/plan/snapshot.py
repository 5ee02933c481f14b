"""Everything that was observed of one ModelDeployment, frozen: the only input of `plan()`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from slipway_operator.plan.capacity import Capacity
from slipway_operator.plan.evidence import Evidence
from slipway_operator.plan.gateways import GatewayKey, KnownGateway
from slipway_operator.plan.names import Manifest, Owner
from slipway_operator.plan.policy import TemplateKey
from slipway_operator.plan.preflight import Trial
from slipway_operator.plan.queries import Answers
from slipway_operator.plan.template import Template
from slipway_operator.plan.workload import RuntimeDefaults

ChildKey = tuple[str, str]
"""Kind and name."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One ModelDeployment, what it owns, its pods, and the time of looking."""

    mdep: Mapping[str, Any]
    now: datetime
    defaults: RuntimeDefaults
    children: Mapping[ChildKey, Manifest] = field(default_factory=dict)
    """Owned objects only: a foreign object of the same name is not in here."""
    pods: tuple[Manifest, ...] = ()
    """Serving pods and those of the supply step."""
    mount_failures: Mapping[str, str] = field(default_factory=dict)
    """Pod name to the kubelet's message: Events of reason FailedMount."""
    capacity: Capacity | None = None
    """What the latency objective needs; None when it was not measured yet."""
    missing_kinds: frozenset[str] = frozenset()
    """Kinds of other projects that are not installed."""
    evidence: Evidence | None = None
    """What was counted of both tracks; None when nothing was since the operator started."""
    endpoints: Mapping[str, int] = field(default_factory=dict)
    """Name of a Service to its endpoints that are ready."""
    gateways: Mapping[GatewayKey, KnownGateway] = field(default_factory=dict)
    """The Gateways that the spec names, as far as the operator may look for them."""
    rival: str = ""
    """An older ModelDeployment that has asked for the same of a Gateway, in words."""
    contested: frozenset[ChildKey] = frozenset()
    """Routes that somebody has changed again and again lately."""
    preflight: Trial | None = None
    """What the last preflight came to; None when none was made since the operator started."""
    answers: Answers | None = None
    """What a Prometheus has answered lately; None when it was not asked."""
    templates: Mapping[TemplateKey, Template] = field(default_factory=dict)
    """The Jobs of checks, as they were last read."""

    @property
    def owner(self) -> Owner:
        """Identity of the ModelDeployment."""
        return Owner.of(self.mdep)

    @property
    def generation(self) -> int:
        """Generation of the spec."""
        return int(self.mdep["metadata"].get("generation", 0))

    @property
    def status(self) -> Mapping[str, Any]:
        """The status as stored; empty before the first."""
        return self.mdep.get("status") or {}

    def child(self, kind: str, name: str) -> Manifest | None:
        """Find an owned object."""
        return self.children.get((kind, name))

    def of_kind(self, kind: str) -> Iterator[Manifest]:
        """All owned objects of a kind, by name."""
        for (found, _), manifest in sorted(self.children.items()):
            if found == kind:
                yield manifest
