"""What is going to happen, stage by stage, by the operator's own planner. Pure.

Lives here: carrying plans out on a copy of what is known, and letting the world answer as well as
it can: the model verifies, all pods become ready, time passes.
Stays out: reading the cluster (`live.py`) and showing (`show.py`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, Literal

from slipway_operator.api.v1alpha1 import parse_spec
from slipway_operator.kube.apply import covers
from slipway_operator.plan import conditions
from slipway_operator.plan.children import key
from slipway_operator.plan.evidence import identity
from slipway_operator.plan.gateways import ROUTES
from slipway_operator.plan.names import MODEL_DIGEST, REVISION, SUPPLY_RESULT, Manifest
from slipway_operator.plan.plan import Plan, plan
from slipway_operator.plan.policy import policy_of
from slipway_operator.plan.preflight import Trial
from slipway_operator.plan.progress import read as progress_of
from slipway_operator.plan.revision import SupplyResult, read
from slipway_operator.plan.routes import live_routes
from slipway_operator.plan.service import selected_revision
from slipway_operator.plan.sizing import desired_replicas
from slipway_operator.plan.snapshot import ChildKey, Snapshot
from slipway_operator.verdict.golden import NAME
from slipway_operator.verdict.outcome import Finding, Verdict

UNKNOWN_DIGEST: Final = "sha256:" + "0" * 64
"""Stands for what the supply step is going to find out."""
_MAX_PASSES: Final = 10
_MAX_WAITS: Final = 100

Action = Literal["create", "change", "delete"]


@dataclass(frozen=True, slots=True)
class Change:
    """One object that a stage creates, changes or deletes."""

    action: Action
    after: Manifest | None
    before: Manifest | None
    obstacle: str = ""
    """Why it is not going to happen."""

    @property
    def manifest(self) -> Manifest:
        """The object, as it will be or was."""
        found = self.after or self.before
        if found is None:
            raise ValueError("a change has an object")
        return found


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that happens once something has come about."""

    when: str
    changes: tuple[Change, ...]
    message: str
    """What the status says at its end."""
    ready: bool


def forecast(snapshot: Snapshot) -> list[Stage]:
    """Tell all stages from here to the rest; those in which nothing changes are left out.

    The first stage is always told, also when it is empty.
    """
    now, snapshot = _stage("now", snapshot)
    stages = [now]
    for when, happens in _AFTERWARDS:
        stage, snapshot = _stage(when, happens(snapshot))
        if stage.changes:
            stages.append(stage)
    return [*stages, *_later(snapshot)]


def created(stages: Sequence[Stage]) -> list[ChildKey]:
    """Name the objects that will be created."""
    return [key(c.manifest) for s in stages for c in s.changes if c.action == "create"]


def with_taken(stages: Sequence[Stage], taken: Mapping[ChildKey, str]) -> list[Stage]:
    """Tell of names that others bear: what they hinder, and that nothing is Ready from then on.

    Args:
        stages: what would happen otherwise.
        taken: for each name that is taken, what the operator is going to say about it.
    """
    told, problems = list[Stage](), list[str]()
    for stage in stages:
        changes = tuple(_hindered(change, taken) for change in stage.changes)
        problems += [c.obstacle for c in changes if c.obstacle]
        if problems:
            message = f"{conditions.NAME_CONFLICT}: {problems[0]}"
            stage = replace(stage, message=message, ready=False)
        told.append(replace(stage, changes=changes))
    return told


def _hindered(change: Change, taken: Mapping[ChildKey, str]) -> Change:
    if change.action != "create":
        return change
    return replace(change, obstacle=taken.get(key(change.manifest), ""))


def _later(snapshot: Snapshot) -> Iterator[Stage]:
    """Let time pass from one moment at which something is due to the next; pods become ready."""
    elapsed_s = 0
    for _ in range(_MAX_WAITS):
        wait_s = plan(snapshot).requeue_after_s
        if wait_s is None:
            return
        elapsed_s += math.ceil(wait_s)
        snapshot = replace(snapshot, now=snapshot.now + timedelta(seconds=math.ceil(wait_s)))
        stage, snapshot = _stage(f"{elapsed_s} seconds later", snapshot, _ready)
        if stage.changes:
            yield stage


def _stage(
    when: str, snapshot: Snapshot, answer: Callable[[Snapshot], Snapshot] = lambda known: known
) -> tuple[Stage, Snapshot]:
    """Carry plans out until nothing is left to do; the world answers each as it can."""
    begin = snapshot.children
    decided = plan(snapshot)
    for _ in range(_MAX_PASSES):
        after = answer(applied(snapshot, decided))
        if after == snapshot:
            break
        snapshot = after
        decided = plan(snapshot)
    status = decided.status or {}
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status["conditions"])
    changes = tuple(_changes(begin, snapshot.children))
    return Stage(when, changes, str(status.get("message", "")), ready), snapshot


def applied(snapshot: Snapshot, decided: Plan) -> Snapshot:
    """Carry one plan out, as the API server would."""
    children = dict(snapshot.children)
    for resize in decided.resize:
        live = children[key(resize.live)]
        children[key(live)] = {**live, "spec": {**live["spec"], "replicas": resize.replicas}}
    for want in decided.apply:
        children[key(want)] = _merged(children.get(key(want)), want)
    for gone in decided.delete:
        children.pop(key(gone), None)
    mdep = dict(snapshot.mdep)
    if decided.status is not None:
        mdep["status"] = json.loads(json.dumps(decided.status))
    return replace(snapshot, mdep=mdep, children=children)


def _merged(live: Manifest | None, want: Manifest) -> Manifest:
    if live is not None and covers(live, want):
        return live
    known = live or {"metadata": {}, "spec": {"replicas": 1}}
    kept = {k: v for k, v in known.items() if k == "status"}
    # The API server will give it identity; what the planner reads of that is the uid.
    identity = {"uid": known["metadata"].get("uid", f"new-{want['metadata']['name']}")}
    merged = {**kept, **want, "metadata": {**want["metadata"], **identity}}
    if want["kind"] == "Deployment" and "replicas" not in want["spec"]:
        merged["spec"] = {**want["spec"], "replicas": desired_replicas(known)}
    return merged


def _changes(
    before: Mapping[ChildKey, Manifest], after: Mapping[ChildKey, Manifest]
) -> Iterator[Change]:
    for which, new in after.items():
        old = before.get(which)
        if old is None:
            yield Change("create", new, None)
        elif not covers(old, _without_status(new)):
            yield Change("change", new, old)
    for which, old in before.items():
        if which not in after:
            yield Change("delete", None, old)


def _without_status(manifest: Manifest) -> Manifest:
    metadata = {k: v for k, v in manifest["metadata"].items() if k != "uid"}
    return {**{k: v for k, v in manifest.items() if k != "status"}, "metadata": metadata}


def _verified(snapshot: Snapshot) -> Snapshot:
    """Every supply step succeeds; the digest is the spec's, or not known yet."""
    children = dict(snapshot.children)
    for child in snapshot.of_kind("ControllerRevision"):
        revision = read(child)
        if revision is None or revision.result is not None:
            continue
        digest = str((revision.spec.get("model") or {}).get("digest") or UNKNOWN_DIGEST)
        result = SupplyResult(digest, "ONNX", 0, {})
        told = {MODEL_DIGEST: digest, SUPPLY_RESULT: json.dumps(result.manifest(), sort_keys=True)}
        metadata = child["metadata"]
        notes = {**(metadata.get("annotations") or {}), **told}
        children[key(child)] = {**child, "metadata": {**metadata, "annotations": notes}}
    return replace(snapshot, children=children)


def _ready(snapshot: Snapshot) -> Snapshot:
    """Every pod becomes ready, and every Gateway does as it is told."""
    children, endpoints = dict(snapshot.children), dict(snapshot.endpoints)
    for child in snapshot.of_kind("Deployment"):
        replicas = desired_replicas(child)
        status = {
            "observedGeneration": child["metadata"].get("generation", 0), "replicas": replicas,
            "updatedReplicas": replicas, "availableReplicas": replicas,
        }  # fmt: skip
        children[key(child)] = {**child, "status": status}
        endpoints[child["metadata"]["name"]] = replicas
    endpoints[snapshot.owner.name] = sum(
        desired_replicas(d) for d in snapshot.of_kind("Deployment") if _is_selected(snapshot, d)
    )
    for route in live_routes(snapshot):
        children[key(route)] = {**route, "status": _taken(route)}
    return replace(snapshot, children=children, endpoints=endpoints)


def _is_selected(snapshot: Snapshot, workload: Manifest) -> bool:
    """Whether the Service that clients use sends requests to a Deployment's pods."""
    apex = snapshot.child("Service", snapshot.owner.name)
    found = selected_revision(apex) if apex else ""
    return found in (None, workload["metadata"]["labels"][REVISION])


def _taken(route: Manifest) -> Manifest:
    """Every Gateway takes the routes as they are."""
    generation = route["metadata"].get("generation", 0)
    conditions = [
        {"type": kind, "status": "True", "observedGeneration": generation, "reason": "Forecast"}
        for kind in ("Accepted", "ResolvedRefs")
    ]
    parents = route["spec"]["parentRefs"]
    return {"parents": [{"parentRef": p, "conditions": conditions} for p in parents]}


def _answered(snapshot: Snapshot) -> Snapshot:
    """The candidate answers the requests of its preflight as it has to."""
    progress, wish = progress_of(snapshot.status), policy_of(parse_spec(snapshot.mdep["spec"]))
    if progress is None or wish.preflight is None:
        return snapshot
    passed = Finding(NAME, Verdict.PASS, "all answers are as expected")
    rollout = identity(progress.candidate, progress.attempt)
    return replace(snapshot, preflight=Trial(rollout, wish.preflight, passed))


_AFTERWARDS: Final[tuple[tuple[str, Callable[[Snapshot], Snapshot]], ...]] = (
    ("when the model is fetched and verified", _verified),
    ("when all pods are ready", _ready),
    ("when the preflight has passed", _answered),
)

_WHY: Final[Mapping[str, str]] = {
    "ServiceAccount": "the pods run as it; it has no rights and its token is not mounted",
    "ControllerRevision": "the record of the revision: its blocks and its pod template, for ever",
    "Job": "fetches the model once and verifies it, before anything is deployed",
    "ConfigMap": "tells the runtime what to serve, by digest; immutable",
    "Deployment": "the pods of the revision; spec.security alone changes their template",
    "HorizontalPodAutoscaler": "decides how many pods the revision has",
    "ScaledObject": "lets KEDA decide how many pods the revision has",
    "PodDisruptionBudget": "lets a node drain take one pod of the revision at a time",
    "PodMonitor": "lets the Prometheus Operator scrape the pods",
}


def why(manifest: Mapping[str, Any]) -> str:
    """Say in a sentence what an object is for."""
    if manifest["kind"] in ROUTES:
        names = " and ".join(p["name"] for p in manifest["spec"]["parentRefs"])
        return f"brings clients in through Gateway {names}"
    if manifest["kind"] == "Service":
        meta = manifest["metadata"]
        is_apex = "slipway.dev/revision" not in (meta.get("labels") or {})
        return _apex_text(manifest) if is_apex else "reaches this revision"
    return _WHY.get(manifest["kind"], "belongs to the ModelDeployment")


def _apex_text(apex: Mapping[str, Any]) -> str:
    chosen = (
        "one revision" if REVISION in apex["spec"]["selector"] else "the pods of both revisions"
    )
    return f"what clients use; it selects {chosen}"
