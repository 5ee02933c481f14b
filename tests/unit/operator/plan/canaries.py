"""A world in which traffic is shared, with proxies that learn late; and the laws of a canary.

Everything of `world.py` holds here, too. On top come users who pause, approve and abort, and the
eleven invariants of `rollout.md` B5, checked at the write that would break one.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from slipway_operator.api.v1alpha1 import parse_spec
from slipway_operator.plan.action import ACTION
from slipway_operator.plan.clock import parse
from slipway_operator.plan.conditions import PREFLIGHT_UNAVAILABLE
from slipway_operator.plan.evidence import Evidence, identity
from slipway_operator.plan.names import MODEL, REVISION, Manifest
from slipway_operator.plan.plan import plan
from slipway_operator.plan.policy import policy_of
from slipway_operator.plan.preflight import Trial
from slipway_operator.plan.progress import Progress, State
from slipway_operator.plan.progress import read as progress_of
from slipway_operator.plan.revision import read
from slipway_operator.plan.service import selected_revision
from slipway_operator.plan.snapshot import Snapshot
from slipway_operator.plan.tracks import available
from slipway_operator.plan.workload import SERVE
from slipway_operator.verdict.outcome import Finding, Verdict
from tests.unit.operator.plan.world import (
    BAD_MODEL,
    BAD_PODS,
    DEAD_STORE,
    BrokenLaw,
    Planner,
    World,
)

CRASHING: Final = "crashing"
"""The pods of a model with this in its URI become ready, and crash now and then."""
WRONG: Final = "wrong-answers"
"""A model with this in its URI does not pass a preflight."""
SILENT: Final = "silent"
"""The preflight of a model with this in its URI cannot be made."""
URIS: Final = (
    *(f"https://models.test/{n}" for n in ("a", "b", "c", "d")),
    *(
        f"https://models.test/{n}"
        for n in (BAD_MODEL, BAD_PODS, DEAD_STORE, CRASHING, WRONG, SILENT)
    ),
)
HOLD_S: Final = 20
STEPS: Final = [{"weight": 20, "hold": f"{HOLD_S}s"}, {"weight": 50, "hold": f"{HOLD_S}s"}]
ROLLOUT: Final = {
    "steps": STEPS, "watch": "30s", "traffic": {"settle": "5s"}, "progressDeadline": "10m",
}  # fmt: skip
SHARED: Final = "*"
_LAG_S: Final = 5
_REPLICAS: Final = 4


class Canary(World):
    """One ModelDeployment that rolls out step by step."""

    def __init__(self, spec: Mapping[str, Any], planner: Planner = plan, seed: int = 0) -> None:
        super().__init__(spec, planner)
        self.seen_by_proxies: list[tuple[Any, str]] = []
        """Times from which on proxies may go by a selector, newest last."""
        self.is_disturbed = False
        """Somebody or something let a step be skipped or a candidate take over early."""
        self.evidence: Evidence | None = None
        """What was counted of the candidate."""
        self.refused: set[str] = set()
        """Hashes of the revisions that cannot pass the preflight which is wished."""
        self.slices: dict[str, int] | None = None
        """What late EndpointSlices still say; None: they say what is so."""
        self._random = random.Random(seed)

    # --- what the operator sees

    def snapshot(self) -> Snapshot:
        """Freeze the world; crashing pods show how often they did."""
        found = super().snapshot()
        pods = [p for d in self.deployments() if (p := self._crashing_pod(d)) is not None]
        return Snapshot(
            found.mdep, found.now, found.defaults, found.children, (*found.pods, *pods),
            missing_kinds=found.missing_kinds, evidence=self.evidence, preflight=self._trial(),
            endpoints=self.endpoints() if self.slices is None else self.slices,
        )  # fmt: skip

    def endpoints(self) -> dict[str, int]:
        """What is available has an endpoint, of its own Service and of the apex."""
        ready = {d["metadata"]["labels"][REVISION]: available(d) for d in self.deployments()}
        apex = self._selector()
        total = sum(ready.values()) if apex == SHARED else ready.get(apex, 0)
        name = self.owner.name
        return {name: total, **{f"{name}-{revision}": n for revision, n in ready.items()}}

    def _trial(self) -> Trial | None:
        """What the engine tells of a preflight that the status asks for."""
        progress = progress_of(self.mdep.get("status") or {})
        wish = policy_of(parse_spec(self.mdep["spec"])).preflight
        if progress is None or wish is None or not self._is_tried(progress):
            return None
        verdict = self._answers(progress.candidate)
        found = Finding("golden", verdict, f"played: {verdict}")
        return Trial(identity(progress.candidate, progress.attempt), wish, found)

    def _is_tried(self, progress: Progress) -> bool:
        workload = self.deployment(progress.candidate)
        has_pods = workload is not None and available(workload)
        is_asked = progress.state is State.PREFLIGHT or progress.reason == PREFLIGHT_UNAVAILABLE
        return bool(is_asked and has_pods)

    def _answers(self, revision: str) -> Verdict:
        uri = self._uri(revision)
        if WRONG in uri:
            return Verdict.FAIL
        return Verdict.NO_DATA if SILENT in uri else Verdict.PASS

    def change(self, spec: Mapping[str, Any]) -> None:
        """Write the spec; a preflight refuses who comes after it was wished, and only as long."""
        super().change(spec)
        candidate = (self.mdep.get("status", {}).get("candidate") or {}).get("hash")
        if not (spec.get("rollout") or {}).get("preflight"):
            self.refused.clear()
        elif WRONG in spec["model"]["uri"] and self.desired != candidate:
            self.refused.add(self.desired)

    def _crashing_pod(self, workload: Manifest) -> Manifest | None:
        revision = workload["metadata"]["labels"][REVISION]
        if CRASHING not in self._uri(revision) or not available(workload):
            return None
        labels = {MODEL: self.owner.name, REVISION: revision}
        container = {"name": SERVE, "ready": True, "restartCount": 2, "state": {"running": {}}}
        return {
            "metadata": {"name": f"p-{revision}", "uid": f"p-{revision}", "labels": labels},
            "status": {"phase": "Running", "containerStatuses": [container]},
        }

    # --- the laws

    def reconcile(self, fuse: int | None = None) -> bool:
        """Carry a plan out; a whole one leaves nobody with a share of the requests and no pod."""
        wrote = super().reconcile(fuse)
        if fuse is None and self.mdep.get("status"):
            self._check_alive()
        return wrote

    def _check_alive(self) -> None:
        status = self.mdep["status"]
        candidate = self.deployment((status.get("candidate") or {}).get("hash", ""))
        stable = self.deployment(self.stable)
        is_dead = candidate is not None and not available(candidate)
        is_reached = status["rollout"].get("verifiedWeight") or status["rollout"].get("toldAt")
        is_missed = is_dead and is_reached and not self._size().is_off
        is_step = self.state in ("Shifting", "Baking", "Paused")
        if is_missed and is_step and stable and available(stable):
            raise BrokenLaw(f"a step goes on in {self.state} though no pod of it is left")

    @property
    def state(self) -> str:
        """Where the rollout stands, as last announced."""
        return str(self.mdep.get("status", {}).get("rollout", {}).get("state", ""))

    def may_get_traffic(self) -> set[str]:
        """Selectors that some proxy may still go by."""
        old = [s for at, s in self.seen_by_proxies if at <= self.now]
        return {*old[-1:], *(s for at, s in self.seen_by_proxies if at > self.now)}

    def _apply(self, want: Manifest) -> None:
        before = self._selector()
        super()._apply(want)
        after = self._selector()
        if after != before:
            lag = timedelta(seconds=self._random.uniform(0, _LAG_S))
            self.seen_by_proxies.append((self.now + lag, after))

    def _selector(self) -> str:
        apex = self.objects.get(("Service", self.owner.name))
        return (selected_revision(apex) or SHARED) if apex else ""

    def _check_write(self, known: Manifest | None, want: Manifest) -> None:
        is_apex = want["kind"] == "Service" and want["metadata"]["name"] == self.owner.name
        if is_apex and self.stable:
            self._check_traffic(selected_revision(want) or SHARED)
        if not is_apex:
            super()._check_write(known, want)

    def _check_traffic(self, selector: str) -> None:
        candidate = (self.mdep["status"].get("candidate") or {}).get("hash")
        is_news = selector in (SHARED, candidate) and selector != self._selector()
        if is_news and candidate in self.refused:
            raise BrokenLaw(f"{candidate} was refused by its preflight and gets requests")
        if self.state == "Aborting" and selector != self.stable and selector != self._selector():
            raise BrokenLaw(f"I11 traffic goes to {selector} while aborting")
        if selector == SHARED and self._selector() != SHARED:
            self._check_sharing()
        elif selector not in (SHARED, self._selector(), self.stable):
            self._check_apex(selector)

    def _check_sharing(self) -> None:
        candidate = self.mdep["status"]["candidate"]["hash"]
        workload = self.deployment(candidate)
        if self._size().is_off:
            return
        if workload is None or available(workload) < 1:
            raise BrokenLaw("I8 a share of the traffic for a candidate without pods")
        others = [
            d for d in self.deployments()
            if d["metadata"]["labels"][REVISION] not in (self.stable, candidate)
        ]  # fmt: skip
        if any(d["spec"]["replicas"] or d["status"]["replicas"] for d in others):
            raise BrokenLaw("I4 a revision without a track has a share of the traffic")

    def _check_apex(self, revision: str) -> None:
        stable, workload = self.deployment(self.stable), self.deployment(revision)
        is_down = stable is not None and not available(stable)
        if is_down and workload is not None and available(workload):
            return  # fix forward
        super()._check_apex(revision)

    def _check_deployment(self, known: Manifest | None, want: Manifest) -> None:
        super()._check_deployment(known, want)
        revision = want["metadata"]["labels"][REVISION]
        before = known["spec"]["replicas"] if known else 0
        recreates = self.mdep["spec"]["rollout"].get("strategy") == "Recreate"
        if before and not want["spec"]["replicas"] and not recreates:
            self._check_drained(revision, "scaled to 0")

    def _check_off(self, revision: str, what: str) -> None:
        wanted = self.mdep["spec"]["rollout"]
        is_wished = wanted.get("capacity") == "Conserve" or wanted.get("strategy") == "Recreate"
        if not (is_wished and revision == self.stable and what == "scaled down"):
            super()._check_off(revision, what)

    def _check_drained(self, revision: str, what: str) -> None:
        if not self._size().is_off and {revision, SHARED} & self.may_get_traffic():
            raise BrokenLaw(f"I5 {revision} was {what} though it may get requests")

    def _delete(self, live: Manifest) -> None:
        found = read(live) if live["kind"] == "ControllerRevision" else None
        if found is not None and found.hash == self.stable:
            raise BrokenLaw("I3 the record of the stable revision was deleted")
        revision = live["metadata"]["labels"].get(REVISION)
        if live["kind"] == "Deployment" and live["spec"]["replicas"]:
            self._check_drained(revision, "deleted")
        super()._delete(live)

    def _report(self, report: Mapping[str, Any] | None) -> bool:
        before = copy.deepcopy(self.mdep.get("status") or {})
        wrote = super()._report(report)
        if wrote and report is not None:
            self._check_weights(report)
            self._check_steps(before, report)
        return wrote

    def _check_weights(self, report: Mapping[str, Any]) -> None:
        weights = [report[t]["weight"] for t in ("stable", "candidate") if t in report]
        if self.stable and report.get("stable") and sum(weights) != 100:
            raise BrokenLaw(f"I1 weights {weights}")
        if len(weights) < 2 and report["rollout"].get("weight"):
            raise BrokenLaw("I9 a weight without a candidate")

    def _check_steps(self, before: Mapping[str, Any], report: Mapping[str, Any]) -> None:
        """Only a step whose time is over lets the next one begin (I6)."""
        old, new = before.get("rollout", {}), report["rollout"]
        was, now = (r.get("weight", {}).get("desired", 0) for r in (old, new))
        hash_, stable = before.get("candidate", {}).get("hash"), before.get("stable")
        if new["state"] == "Idle" and report["stable"]["hash"] == hash_ and stable:
            self._check_commit(old, report["stable"]["hash"])
        if new["state"] == "Aborting" and now:
            raise BrokenLaw("I11 a weight while aborting")
        if now <= was or not was or self.is_disturbed or new.get("weight", {}).get("note"):
            return
        begun = parse(old.get("stepSince"))
        if begun is None or self.now - begun < timedelta(seconds=HOLD_S):
            raise BrokenLaw(f"I6 {was} % was not held before {now} %")

    def _check_commit(self, old: Mapping[str, Any], committed: str) -> None:
        weight = old.get("weight", {}).get("desired", 0)
        if weight == 100 or old.get("fast") or self._size().is_off:
            return
        raise BrokenLaw(f"I6 {committed} was committed at {weight} %")

    # --- what users do

    def act(self, verb: str, nonce: int) -> None:
        """Write the annotation for whatever is going on."""
        status = self.mdep.get("status") or {}
        target = (status.get("candidate") or status.get("stable") or {}).get("hash", "")
        notes = self.mdep["metadata"].setdefault("annotations", {})
        notes[ACTION] = f"{verb} @{target} #{nonce}"
        self.is_disturbed = self.is_disturbed or verb in ("promote", "skip-step")

    def kill_candidate(self) -> None:
        """Let all pods of the candidate fail at once."""
        candidate = (self.mdep.get("status", {}).get("candidate") or {}).get("hash")
        self.kill(str(candidate))
        self.is_disturbed = True

    def flap(self) -> None:
        """Let a pod of each revision fail; without any the candidate may take over early."""
        super().flap()
        self.is_disturbed = True

    def _check_rest(self) -> None:
        if self.state == "Failed":
            if self._selector() != self.stable:
                raise BrokenLaw(f"I7 failed, and traffic is at {self._selector()}")
            return
        super()._check_rest()


class Canaries(RuleBasedStateMachine):
    """One ModelDeployment's canaries, with crashes between any two writes."""

    planner: Planner = staticmethod(plan)

    def __init__(self) -> None:
        super().__init__()
        spec = {"model": {"uri": URIS[0]}, "replicas": _REPLICAS, "rollout": ROLLOUT}
        self.world = Canary(spec, type(self).planner)
        self.world.settle(100)
        self.nonce = 0

    @rule(fuse=st.none() | st.integers(0, 8))
    def reconcile(self, fuse: int | None) -> None:
        self.world.reconcile(fuse)

    @rule(passes=st.integers(1, 12), seconds=st.sampled_from([1, 5, 10]))
    def advance(self, passes: int, seconds: int) -> None:
        for _ in range(passes):
            self.world.tick(seconds)
            self.world.reconcile()

    @rule(seconds=st.sampled_from([1, 5, 61]))
    def tick(self, seconds: int) -> None:
        self.world.tick(seconds)

    @rule(uri=st.sampled_from(URIS))
    def change_model(self, uri: str) -> None:
        self._change(model={"uri": uri})

    @rule(replicas=st.sampled_from([0, 1, 3, 4, 6]))
    def scale(self, replicas: int) -> None:
        self._change(replicas=replicas)

    @rule(changes=st.sampled_from([
        {}, {"paused": True}, {"strategy": "BlueGreen", "steps": None}, {"rollback": "Canary"},
        {"steps": [{**STEPS[0], "approval": "Manual"}, STEPS[1]]}, {"watch": "0s"},
        {"onAbort": "Keep", "abortKeep": "1m"},
        {"preflight": {"golden": {}}}, {"preflight": {"golden": {}}, "strategy": "BlueGreen",
        "steps": None},
    ]))  # fmt: skip
    def change_rollout(self, changes: dict[str, Any]) -> None:
        wanted = {k: v for k, v in {**ROLLOUT, **changes}.items() if v is not None}
        self.world.is_disturbed = True
        self._change(rollout=wanted)

    @rule(verb=st.sampled_from(["approve", "promote", "skip-step", "retry", "rollback:none"]))
    def act(self, verb: str) -> None:
        self.nonce += 1
        self.world.act(verb, self.nonce)

    @precondition(lambda self: self.world.state)  # without a status nobody knows whom to name
    @rule()
    def abort(self) -> None:
        self.nonce += 1
        self.world.act("abort", self.nonce)
        self.world.reconcile()
        if self.world.state not in ("Aborting", "Failed", "Idle", "Preparing", "Promoting"):
            raise BrokenLaw(f"I10 an abort was not taken in {self.world.state}")

    def _change(self, **blocks: Any) -> None:
        self.world.change({**self.world.mdep["spec"], **blocks})

    @rule()
    def flap(self) -> None:
        self.world.flap()

    @rule()
    def kill_candidate(self) -> None:
        self.world.kill_candidate()

    @precondition(lambda self: self.world.state in ("Idle", "Baking", "Watching"))
    @rule()
    def lose_status(self) -> None:
        self.world.is_disturbed = True
        self.world.lose_status()

    def teardown(self) -> None:
        self._change(rollout=ROLLOUT, replicas=_REPLICAS)
        self.world.settle(200)
