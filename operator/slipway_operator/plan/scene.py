"""What is seen of both tracks: their revisions, pods, traffic and checks."""

from __future__ import annotations

from dataclasses import dataclass, field

from slipway_operator.api.v1alpha1 import Spec
from slipway_operator.plan.evaluation import evaluations
from slipway_operator.plan.evidence import Evidence, identity, restored
from slipway_operator.plan.gateways import Gate, gate_of
from slipway_operator.plan.names import Manifest, revision_name
from slipway_operator.plan.pods import first_failure, restarts_of, serving_pods
from slipway_operator.plan.policy import CheckType, Policy, Strategy
from slipway_operator.plan.progress import Progress
from slipway_operator.plan.queries import Answers, Subject
from slipway_operator.plan.ratio import conserved, surged, weighted
from slipway_operator.plan.recovery import recovered
from slipway_operator.plan.revision import Revision
from slipway_operator.plan.routes import routed_percent
from slipway_operator.plan.sizing import Size, Sizes, desired_replicas, sizes
from slipway_operator.plan.snapshot import Snapshot
from slipway_operator.plan.supply import Supply, learnt, supply
from slipway_operator.plan.tracks import Records, available, new_revision, workload_of
from slipway_operator.plan.traffic import Listed, Route, listed, live_route
from slipway_operator.plan.transition import Trouble
from slipway_operator.verdict.outcome import Finding
from slipway_operator.verdict.restarts import restarts


@dataclass(frozen=True, slots=True)
class Scene:
    """What stays the same while transitions are made."""

    snapshot: Snapshot
    spec: Spec
    policy: Policy
    known: Records
    stable: Revision | None
    spec_hash: str
    gate: Gate | None = None
    """The Gateways that clients come through; None when the spec names none."""


@dataclass(frozen=True, slots=True)
class Tracks:
    """What is seen of both tracks, with one candidate."""

    candidate: Revision | None
    supply: Supply | None
    workload: Manifest | None
    """The candidate's Deployment."""
    full: Sizes
    live: Route
    stable_pods: int
    """Available ones."""
    candidate_pods: int
    is_free: bool
    """Nobody without a track would get requests that are shared."""
    stable_is_gone: bool
    shares: tuple[int, ...]
    """Pods of the candidate at each step."""
    percent: int = 0
    """What the routes of a gateway send to the candidate."""
    listed: Listed = field(default_factory=Listed)
    """Endpoints behind the apex Service, where it is shared."""
    stable_wanted: int = 0
    """Pods that the stable revision's Deployment asks for."""


def gate_seen(snapshot: Snapshot, spec: Spec) -> Gate | None:
    """Look at the Gateways that the spec names."""
    traffic = spec.rollout.traffic if spec.rollout else None
    return gate_of(
        spec.exposure.gateway if spec.exposure else None,
        snapshot.owner.namespace,
        snapshot.gateways,
        snapshot.missing_kinds,
        is_trusted=bool(traffic and traffic.trust_features),
        rival=snapshot.rival,
    )


def see(scene: Scene, candidate_hash: str) -> Tracks:
    """Look at both tracks, with one candidate."""
    snapshot, stable = scene.snapshot, scene.stable
    candidate = _candidate(scene, candidate_hash)
    checked = supply(snapshot, candidate) if candidate else None
    if candidate and checked:
        candidate = learnt(candidate, checked, snapshot.defaults)
    is_gated = scene.gate is not None
    full = sizes(snapshot, scene.spec, stable, candidate, is_gated=is_gated)
    workload = workload_of(snapshot, candidate) if candidate else None
    live = live_route(snapshot, stable, candidate, is_gated=is_gated)
    found = Listed()
    if stable and candidate and live is Route.SHARED and not is_gated:
        found = listed(snapshot, stable, candidate)
    return Tracks(
        candidate=candidate,
        supply=checked,
        workload=workload,
        full=full,
        live=live,
        stable_pods=available(workload_of(snapshot, stable)) if stable else 0,
        candidate_pods=available(workload),
        is_free=is_gated or _is_free(snapshot, stable, candidate),
        stable_is_gone=stable is None or _is_gone(snapshot, stable),
        shares=_shares(scene, full),
        stable_wanted=desired_replicas(workload_of(snapshot, stable)) if stable else 0,
        percent=routed_percent(snapshot, candidate) if is_gated and candidate else 0,
        listed=found,
    )


def _candidate(scene: Scene, wanted: str) -> Revision | None:
    """Find a revision, or make the one that the spec asks for."""
    if not wanted:
        return None
    snapshot = scene.snapshot
    found = scene.known.get(wanted) or recovered(snapshot, wanted, scene.spec_hash)
    if found is None and wanted == scene.spec_hash:
        return new_revision(snapshot, scene.spec, wanted, scene.known, scene.stable)
    return found


def _is_free(snapshot: Snapshot, *tracks: Revision | None) -> bool:
    names = {revision_name(snapshot.owner.name, r.hash) for r in tracks if r is not None}
    return not any(
        desired_replicas(d) or (d.get("status") or {}).get("replicas")
        for d in snapshot.of_kind("Deployment")
        if d["metadata"]["name"] not in names
    )


def _is_gone(snapshot: Snapshot, revision: Revision) -> bool:
    """No pod is left, not even one that is ending: it may hold what the next one needs."""
    workload = workload_of(snapshot, revision)
    has_pods = desired_replicas(workload) or ((workload or {}).get("status") or {}).get("replicas")
    return not has_pods and not serving_pods(snapshot, revision.hash)


def pods_of_stable(scene: Scene, full: Sizes) -> int:
    """Count the pods that the stable revision is to have, whoever decides."""
    if not full.stable.is_floor or scene.stable is None:
        return full.stable.replicas
    return max(full.stable.replicas, desired_replicas(workload_of(scene.snapshot, scene.stable)))


def _shares(scene: Scene, full: Sizes) -> tuple[int, ...]:
    policy, pods = scene.policy, pods_of_stable(scene, full)
    if scene.gate is not None:
        return _weighted_shares(policy, full.demand or pods)
    if policy.conserves and not full.stable.is_floor:
        return tuple(conserved(pods, step.weight) for step in policy.steps)
    return tuple(surged(pods, step.weight, policy.max_surge_percent) for step in policy.steps)


def _weighted_shares(policy: Policy, demand: int) -> tuple[int, ...]:
    """Pods of each step: those of its weight, or of the one before beside what is mirrored."""
    shares, weight = [], 0
    for step in policy.steps:
        weight = step.weight or weight
        shares.append(weighted(demand, max(weight, step.mirror_percent, 1)))
    return tuple(shares)


def trouble_of(snapshot: Snapshot, seen: Tracks) -> Trouble | None:
    """Say why the candidate will not become ready by waiting; None when it may."""
    if seen.supply and seen.supply.result is None:
        is_final = seen.supply.is_terminal
        return Trouble(seen.supply.reason, seen.supply.message) if is_final else None
    if seen.candidate is None:
        return None
    found = first_failure(snapshot, serving_pods(snapshot, seen.candidate.hash))
    return Trouble(found.reason, found.message) if found and found.is_stuck else None


def findings_of(scene: Scene, seen: Tracks, progress: Progress) -> tuple[Finding, ...]:
    """What every check says now; those of counters, as they were last read or remembered."""
    if seen.candidate is None or scene.stable is None:
        return ()
    snapshot, policy = scene.snapshot, scene.policy
    known = evidence_of(snapshot, seen.candidate, progress)
    pods = serving_pods(snapshot, seen.candidate.hash)
    crashes = {p["metadata"]["name"]: restarts_of(p) for p in pods}
    counted = [
        restarts(crashes, check.most, check.name).acted(check.action)
        for check in policy.of_type(CheckType.RESTARTS)
        if crashes  # without pods there is another way to fail
    ]
    return (
        *known.findings(policy),
        *counted,
        *_answered(scene, seen.candidate.hash, progress),
        *evaluations(snapshot, policy, seen.candidate.hash, progress),
    )


def _answered(scene: Scene, candidate: str, progress: Progress) -> list[Finding]:
    """What a Prometheus says; what it said of another attempt tells nothing."""
    stable = scene.stable.hash if scene.stable else ""
    owner, this = scene.snapshot.owner, identity(candidate, progress.attempt)
    told = scene.snapshot.answers
    known = told if told is not None and told.rollout == this else Answers(this)
    return known.findings(Subject(owner.namespace, owner.name, stable, candidate), scene.policy)


def evidence_of(snapshot: Snapshot, candidate: Revision, progress: Progress) -> Evidence:
    """As it was last read, or as the status remembers it from before a restart."""
    this, read_lately = identity(candidate.hash, progress.attempt), snapshot.evidence
    if read_lately is not None and read_lately.rollout == this:
        return read_lately
    return restored(this, snapshot.status)


def trial_of(scene: Scene, progress: Progress) -> Finding | None:
    """What the candidate's preflight came to; None while it is not known."""
    told = scene.snapshot.preflight
    this = identity(progress.candidate, progress.attempt)
    return told.about(this, scene.policy.preflight) if told else None


def recreates(scene: Scene) -> bool:
    """Tell whether the stable revision makes room before the candidate comes."""
    return scene.policy.strategy is Strategy.RECREATE and scene.stable is not None


def is_complete(workload: Manifest, size: Size) -> bool:
    """Tell whether a Deployment has the pods of a size, all of its template and available.

    Above a floor an autoscaler adds pods all the time: those that are starting are not missing.
    """
    status = workload.get("status") or {}
    if status.get("observedGeneration", 0) < workload["metadata"].get("generation", 0):
        return False
    wanted, ready = size.replicas, available(workload)
    if size.is_floor:
        return desired_replicas(workload) >= wanted and ready >= wanted
    return (
        workload["spec"].get("replicas") == wanted
        and status.get("replicas", 0) == wanted
        and status.get("updatedReplicas", 0) == wanted
        and ready == wanted
    )


def created_at(workload: Manifest | None) -> str:
    """When a Deployment was made, as the API server says it; empty where there is none."""
    return str(workload["metadata"].get("creationTimestamp") or "") if workload else ""


def deadline_exceeded(workload: Manifest) -> bool:
    """Tell whether Kubernetes has given the Deployment up."""
    return any(
        c.get("type") == "Progressing" and c.get("reason") == "ProgressDeadlineExceeded"
        for c in (workload.get("status") or {}).get("conditions") or ()
    )
