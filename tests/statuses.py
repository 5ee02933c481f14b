"""A ModelDeployment in every situation, as the real planner tells it.

Lives here: the situations, by name, each lived through in simulation, or put together as a scene.
What comes of them is kept under `tests/golden/statuses`; health checks, the command and the page
are tried on those files.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import yaml

from slipway_operator.api.v1alpha1 import parse_spec
from slipway_operator.plan.action import ACTION
from slipway_operator.plan.autoscaler import SCALED_OBJECT
from slipway_operator.plan.evidence import Evidence, Sample, identity
from slipway_operator.plan.plan import Problem, plan, with_problems
from slipway_operator.plan.policy import policy_of
from slipway_operator.plan.snapshot import Snapshot
from tests.builders import Scene, spec_of
from tests.unit.operator.plan.canaries import STEPS, Canary
from tests.unit.operator.plan.world import BAD_MODEL, BAD_PODS

Manifest = dict[str, Any]

FIRST: Final = "https://models.test/digits-1.onnx"
SECOND: Final = "https://models.test/digits-2.onnx"
ROLLOUT: Final = {"steps": STEPS, "watch": "60s", "traffic": {"settle": "5s"}}
_MOST_TICKS: Final = 80


def _spec(uri: str = FIRST, **rollout: Any) -> Manifest:
    return {"model": {"uri": uri}, "replicas": 4, "rollout": {**ROLLOUT, **rollout}}


def _serving(**rollout: Any) -> Canary:
    """The first revision serves."""
    world = Canary(_spec(**rollout))
    world.settle(100)
    return world


def _until(world: Canary, state: str, reason: str = "") -> Manifest:
    """Live until the rollout is in a state."""
    for _ in range(_MOST_TICKS):
        world.reconcile()
        told = world.mdep["status"]["rollout"]
        if told["state"] == state and reason in ("", told.get("reason")):
            return world.mdep
        world.tick(5)
    raise AssertionError(f"never {state} {reason}: {world.mdep['status']}")


def _candidate(state: str, reason: str = "", uri: str = SECOND, **rollout: Any) -> Manifest:
    """Ask for a second revision, and live until its rollout is in a state."""
    world = _serving(**rollout)
    world.change(_spec(uri, **rollout))
    return _until(world, state, reason)


def _fresh() -> Manifest:
    return {**Canary(_spec()).mdep, "status": {"observedGeneration": -1}}


def _pending() -> Manifest:
    world = Canary(_spec())
    world.reconcile()
    return world.mdep


def _starting() -> Manifest:
    world = Canary(_spec())
    for _ in range(3):
        world.reconcile()
        world.tick(5)
    world.reconcile()
    return world.mdep


def _never_started(uri: str) -> Manifest:
    world = Canary(_spec(uri))
    for _ in range(12):
        world.reconcile()
        world.tick(5)
    world.reconcile()
    return world.mdep


def _unobserved() -> Manifest:
    world = _serving()
    world.change(_spec(SECOND))
    return world.mdep


def _deleted() -> Manifest:
    mdep = _serving().mdep
    return {**mdep, "metadata": {**mdep["metadata"], "deletionTimestamp": "2026-11-20T10:00:00Z"}}


def _weighed(errors: float) -> Manifest:
    """A step with counted requests of both revisions."""
    judged = {"analysis": {"checks": [{"name": "errors", "type": "ErrorRate"}]}}
    world = _serving(**judged)
    world.change(_spec(SECOND, **judged))
    hash_ = _until(world, "Baking")["status"]["candidate"]["hash"]
    world.evidence = _counted(world, hash_, errors)
    world.reconcile()
    return world.mdep


def _counted(world: Canary, hash_: str, errors: float) -> Evidence:
    policy = policy_of(parse_spec(world.mdep["spec"]))
    known = Evidence(identity(hash_, 1))
    for reading in range(5):
        stable, candidate = _sample(4000 * reading, 0.005), _sample(1000 * reading, errors)
        known = known.read({"s": stable}, {"c": candidate}, policy, is_cut=False)
    return known


def _sample(requests: int, errors: float) -> Sample:
    bad = round(requests * errors)
    return Sample(requests - bad, bad, {0.1: requests, math.inf: requests})


def _undecided(reason: str, **analysis: Any) -> Manifest:
    judged: Manifest = {
        "analysis": {"checks": [{"name": "errors", "type": "ErrorRate"}], **analysis}
    }
    return _candidate("Paused", reason, **judged)


def _inconclusive() -> Manifest:
    judged = {
        "analysis": {
            "checks": [{"name": "errors", "type": "ErrorRate"}], "onInconclusive": "Pause",
        }
    }  # fmt: skip
    world = _serving(**judged)
    world.change(_spec(SECOND, **judged))
    hash_ = _until(world, "Baking")["status"]["candidate"]["hash"]
    world.evidence = _counted(world, hash_, 0.008)
    return _until(world, "Paused", "Inconclusive")


def _pinned() -> Manifest:
    world = _serving()
    first = world.mdep["status"]["stable"]["hash"]
    world.change(_spec(SECOND))
    _until(world, "Watching")
    second = _until(world, "Idle")["status"]["stable"]["hash"]
    world.mdep["metadata"]["annotations"] = {ACTION: f"rollback:{first} @{second} #1"}
    while world.mdep["status"]["stable"]["hash"] != first:
        world.tick(5)
        world.reconcile()
    return world.mdep


def _earlier() -> Manifest:
    """Two revisions have served."""
    world = _serving()
    world.change(_spec(SECOND))
    _until(world, "Watching")
    return _until(world, "Idle")


def _switched(**fields: Any) -> Manifest:
    world = _serving()
    world.change({**_spec(), **fields})
    for _ in range(4):
        world.reconcile()
        world.tick(5)
    return world.mdep


def _aborting() -> Manifest:
    world = _serving()
    world.change(_spec(SECOND))
    _until(world, "Baking")
    world.act("abort", 1)
    return _until(world, "Aborting")


def _aborted_by_user() -> Manifest:
    world = _serving()
    world.change(_spec(SECOND))
    _until(world, "Baking")
    world.act("abort", 1)
    return _until(world, "Failed")


def _scene(scene: Scene, status: Mapping[str, Any] | None = None) -> Manifest:
    decided = plan(scene.snapshot()).status
    return {**scene.mdep, "status": dict(status or decided or {})}


def _degraded(available: int) -> Manifest:
    spec = {**spec_of(FIRST), "replicas": 2}
    return _scene(Scene(spec).serving(spec, replicas=2, available=available))


def _invalid_spec() -> Manifest:
    mdep = _serving().mdep
    mdep = {
        **mdep,
        "metadata": {**mdep["metadata"], "generation": 9},
        "spec": {**mdep["spec"], "novelty": True},
    }
    return {**mdep, "status": plan(_snapshot(mdep)).status}


def _snapshot(mdep: Manifest) -> Snapshot:
    return replace(Scene(spec_of(FIRST)).snapshot(), mdep=mdep)


def _refused() -> Manifest:
    """A write was refused for good."""
    mdep = _serving().mdep
    problem = Problem("NameConflict", "Service 'digits' belongs to somebody else", True)
    return {**mdep, "status": with_problems(_snapshot(mdep), mdep["status"], [problem])}


def _without_keda() -> Manifest:
    spec = {**spec_of(FIRST), "autoscaling": {
        "minReplicas": 1, "maxReplicas": 4, "keda": {"triggers": [{"type": "cpu"}]},
    }}  # fmt: skip
    scene = Scene(spec).serving(spec)
    scene.missing_kinds = frozenset({*scene.missing_kinds, SCALED_OBJECT})
    return _scene(scene)


SITUATIONS: Final[Mapping[str, Callable[[], Manifest]]] = {
    "fresh": _fresh,
    "unobserved": _unobserved,
    "deleted": _deleted,
    "pending": _pending,
    "starting": _starting,
    "first-model-bad": lambda: _never_started(f"https://models.test/{BAD_MODEL}"),
    "first-pods-late": lambda: _never_started(f"https://models.test/{BAD_PODS}"),
    "healthy": lambda: _serving().mdep,
    "healthy-with-history": _earlier,
    "preparing": lambda: _candidate("Preparing"),
    "preflight": lambda: _candidate("Preflight", preflight={"warmupRequests": 5}),
    "shifting": lambda: _candidate("Shifting"),
    "baking": lambda: _candidate("Baking"),
    "baking-counted": lambda: _weighed(0.006),
    "promoting": lambda: _candidate("Promoting"),
    "watching": lambda: _candidate("Watching"),
    "paused-by-spec": lambda: _candidate("Paused", "Paused", paused=True),
    "paused-for-approval": lambda: _candidate(
        "Paused", "AwaitingApproval", steps=[{**STEPS[0], "approval": "Manual"}, STEPS[1]]
    ),
    "paused-without-data": lambda: _undecided("InsufficientTraffic", maxStepDuration="30s"),
    "paused-inconclusive": _inconclusive,
    "aborting": _aborting,
    "aborted-by-user": _aborted_by_user,
    "aborted-by-analysis": lambda: _weighed_to("Failed"),
    "aborted-model-bad": lambda: _candidate("Failed", uri=f"https://models.test/{BAD_MODEL}"),
    "aborted-pods-late": lambda: _candidate("Failed", uri=f"https://models.test/{BAD_PODS}"),
    "pinned": _pinned,
    "suspended": lambda: _switched(suspend=True),
    "no-replicas": lambda: _switched(replicas=0),
    "pods-missing": lambda: _degraded(1),
    "no-pods": lambda: _degraded(0),
    "invalid-spec": _invalid_spec,
    "name-conflict": _refused,
    "keda-missing": _without_keda,
}  # fmt: skip


def _weighed_to(state: str) -> Manifest:
    judged = {"analysis": {"checks": [{"name": "errors", "type": "ErrorRate"}]}}
    world = _serving(**judged)
    world.change(_spec(SECOND, **judged))
    hash_ = _until(world, "Baking")["status"]["candidate"]["hash"]
    world.evidence = _counted(world, hash_, 0.2)
    return _until(world, state)


FOLDER: Final = Path(__file__).parent / "golden" / "statuses"


def written(mdep: Manifest) -> str:
    """Write an object as it is kept."""
    return yaml.safe_dump(json.loads(json.dumps(mdep)), sort_keys=False, width=100)


def recorded(name: str) -> Manifest:
    """Read what is kept of a situation; whoever asks gets a copy of their own."""
    found: Manifest = json.loads(_kept(name))
    return found


@functools.cache
def _kept(name: str) -> str:
    return json.dumps(yaml.safe_load((FOLDER / f"{name}.yaml").read_text()))
