"""An API server, a kubelet and users, as plain dicts: where plans are carried out and laws checked.

Every write checks the laws at once, so that a crash between any two writes is covered. A law that
does not hold raises `BrokenLaw`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from slipway_operator.api.managers import FIELD_MANAGER, HANDOVER_MANAGER
from slipway_operator.api.scaling import Autoscaling
from slipway_operator.api.status import Status
from slipway_operator.api.v1alpha1 import parse_spec
from slipway_operator.kube.apply import covers, marked
from slipway_operator.plan.autoscaler import HPA
from slipway_operator.plan.children import Resize, key
from slipway_operator.plan.clock import timestamp
from slipway_operator.plan.monitoring import POD_MONITOR
from slipway_operator.plan.names import MODEL_DIGEST, REVISION, Manifest, Owner, supply_labels
from slipway_operator.plan.plan import Plan, plan
from slipway_operator.plan.policy import SCALE_DOWN_DELAY_S
from slipway_operator.plan.revision import read, revision_hash
from slipway_operator.plan.scene import is_complete
from slipway_operator.plan.security import unsecured
from slipway_operator.plan.service import selected_revision
from slipway_operator.plan.sizing import Size, bounds, scaler_of
from slipway_operator.plan.snapshot import ChildKey, Snapshot
from slipway_operator.plan.workload import EXIT_TERMINAL, FETCH
from tests.builders import DEFAULTS, NOW, failure_message, mdep, result_of, success_message

BAD_MODEL: Final = "bad-model"
"""A URI with this in it never passes its checks."""
BAD_PODS: Final = "bad-pods"
"""The pods of a model with this in its URI never become ready."""
DEAD_STORE: Final = "dead-store"
"""A URI with this in it has a store that never answers."""

HPA_CONTROLLER: Final = "kube-controller-manager"

Planner = Callable[[Snapshot], Plan]


def is_applied(live: Manifest, want: Manifest) -> bool:
    """Tell whether a live object already is what a plan wants, so that nothing is written."""
    return covers(live, marked(want))


class BrokenLaw(AssertionError):
    """The planner did what it must never do."""


class Crashed(Exception):
    """The operator died between two writes."""


class World:
    """One ModelDeployment and everything around it."""

    def __init__(self, spec: Mapping[str, Any], planner: Planner = plan) -> None:
        self.mdep = mdep(spec)
        self.owner = Owner.of(self.mdep)
        self.planner = planner
        self.now = NOW
        self.objects: dict[ChildKey, Manifest] = {}
        self.pods: list[Manifest] = []
        self.stable = ""
        """Hash of the revision that was last committed as stable."""
        self.verified: set[str] = set()
        self.supplied: list[str] = []
        """Hashes of the revisions whose supply Jobs were created, in order."""
        self.is_slow = False
        """Whether supply Jobs run on and on, without an end."""
        self._version = 1
        self._fuse: int | None = None
        self._selected_before = ""

    # --- what the operator does

    def snapshot(self) -> Snapshot:
        """Freeze the world."""
        return Snapshot(
            copy.deepcopy(self.mdep), self.now, DEFAULTS,
            copy.deepcopy(self.objects), tuple(copy.deepcopy(self.pods)),
            missing_kinds=frozenset({POD_MONITOR}),
        )  # fmt: skip

    def reconcile(self, fuse: int | None = None) -> bool:
        """Carry a plan out, or only its first `fuse` writes; tell whether anything was written."""
        self._fuse = fuse
        decided = self.planner(self.snapshot())
        draining, self._selected_before = self._may_drain(), self.selected()
        try:
            wrote = self._carry_out(decided)
        except Crashed:
            return True
        self._check_replicas(draining | self._may_drain())  # a commit begins the delay anew
        return wrote

    def _carry_out(self, decided: Plan) -> bool:
        wrote = False
        for resize in decided.resize:
            self._resize(resize)
            wrote = True
        for want in decided.apply:
            live = self.objects.get(key(want))
            if live is None or not is_applied(live, want):
                self._apply(want)
                wrote = True
        for live in decided.delete:
            self._delete(live)
            wrote = True
        return self._report(decided.status) or wrote

    def _apply(self, want: Manifest) -> None:
        self._burn()
        known = self.objects.get(key(want))
        stored = copy.deepcopy(marked(want))
        meta = stored["metadata"]
        before = known["metadata"] if known else {}
        meta["uid"] = before.get("uid", f"uid-{self._version}")
        meta["creationTimestamp"] = before.get("creationTimestamp", timestamp(self.now))
        same = known is not None and known.get("spec") == stored.get("spec")
        meta["generation"] = before.get("generation", 0) + (not same)
        meta["resourceVersion"] = self._next_version()
        if known and "status" in known:
            stored["status"] = known["status"]
        if want["kind"] == "Deployment":
            self._own_replicas(known, stored)
        self._check_write(known, stored)
        self.objects[key(want)] = stored
        revision = want["metadata"]["labels"].get(REVISION)
        if known is None and want["kind"] == "Job" and revision:
            self.supplied.append(revision)

    def _own_replicas(self, known: Manifest | None, stored: Manifest) -> None:
        """Server-side apply: a field that its last owner drops goes back to its default."""
        owners = {m["manager"] for m in known["metadata"]["managedFields"]} if known else set()
        before = known["spec"]["replicas"] if known else 1
        if "replicas" in stored["spec"]:
            same = stored["spec"]["replicas"] == before
            owners = {*owners, FIELD_MANAGER} if same else {FIELD_MANAGER}
        else:
            was_ours = FIELD_MANAGER in owners
            owners -= {FIELD_MANAGER}
            stored["spec"]["replicas"] = 1 if was_ours and not owners else before
        stored["metadata"]["managedFields"] = [{"manager": m} for m in sorted(owners)]

    def _resize(self, resize: Resize) -> None:
        self._burn()
        live = self.objects[key(resize.live)]
        changed = copy.deepcopy(live)
        self._set_replicas(changed, resize.replicas, HANDOVER_MANAGER)
        self._check_write(live, changed)
        self.objects[key(live)] = changed

    def _set_replicas(self, live: Manifest, replicas: int, manager: str) -> None:
        meta, same = live["metadata"], live["spec"]["replicas"] == replicas
        kept = meta["managedFields"] if same else []
        if manager not in [m["manager"] for m in kept] and (
            manager == HANDOVER_MANAGER or not same
        ):
            kept = [*kept, {"manager": manager}]
        meta |= {"managedFields": kept, "resourceVersion": self._next_version()}
        meta["generation"] += not same
        live["spec"]["replicas"] = replicas

    def _delete(self, live: Manifest) -> None:
        self._burn()
        if live["kind"] == "Deployment":
            self._check_off(live["metadata"]["labels"][REVISION], "deleted")
        self._remove(key(live))

    def _report(self, report: Mapping[str, Any] | None) -> bool:
        if report is None or report == self.mdep.get("status"):
            return False
        self._burn()
        Status.model_validate(report)  # an unknown field would be pruned, and written for ever
        self.mdep["status"] = json.loads(json.dumps(report))
        self.mdep["metadata"]["resourceVersion"] = self._next_version()
        self._commit((report.get("stable") or {}).get("hash", ""))
        return True

    def _commit(self, stable: str) -> None:
        if stable != self.stable and stable != self._selected_before:
            raise BrokenLaw(f"{stable} became stable before the apex selected it")
        if stable != self.stable and BAD_PODS in self._uri(stable) and not self._size().is_off:
            raise BrokenLaw(f"{stable} became stable though its pods are never ready")
        self.stable = stable

    def _burn(self) -> None:
        if self._fuse is not None:
            if self._fuse == 0:
                raise Crashed
            self._fuse -= 1

    def _next_version(self) -> str:
        self._version += 1
        return str(self._version)

    # --- the laws

    def _check_write(self, known: Manifest | None, want: Manifest) -> None:
        match want["kind"]:
            case "Deployment":
                self._check_deployment(known, want)
            case "Service" if want["metadata"]["name"] == self.owner.name:
                self._check_apex(str(selected_revision(want)))

    def _check_deployment(self, known: Manifest | None, want: Manifest) -> None:
        digest = want["spec"]["template"]["metadata"]["annotations"][MODEL_DIGEST]
        if digest not in self.verified:
            raise BrokenLaw(f"deployed before it was verified: {digest}")
        if known and unsecured(known["spec"]["template"]) != unsecured(want["spec"]["template"]):
            raise BrokenLaw("the pods of a revision were changed")
        before = known["spec"]["replicas"] if known else 0
        # Under autoscaling nobody but the autoscaler takes pods away.
        needed = before if self._scaler() else self._size().replicas
        if want["spec"]["replicas"] < min(before, needed):
            self._check_off(want["metadata"]["labels"][REVISION], "scaled down")

    def _check_off(self, revision: str, what: str) -> None:
        if self._size().is_off:
            if what == "deleted" and revision == self.stable:
                raise BrokenLaw("the stable revision was deleted")
            return
        if revision == self.stable:
            raise BrokenLaw(f"the stable revision was {what}")
        if self.stable and revision == self.selected():
            raise BrokenLaw(f"the revision that the apex selects was {what}")

    def _check_apex(self, revision: str) -> None:
        if not self.stable or revision == self.stable:
            return
        workload = self.deployment(revision)
        if workload is None or not is_complete(workload, self._needed()):
            raise BrokenLaw(f"the apex selects {revision}, whose pods are not all ready")

    def _may_drain(self) -> set[str]:
        """What the apex selects, and while the delay runs everything that has served."""
        found = {self.selected(), self.stable}
        records = [read(o) for (kind, _), o in self.objects.items() if kind == "ControllerRevision"]
        served = {r.hash: r.promoted_at for r in records if r and r.promoted_at}
        told = self.mdep.get("status", {}).get("rollout", {}).get("promotedAt", "")
        since = timestamp(self.now - timedelta(seconds=SCALE_DOWN_DELAY_S))
        return found | served.keys() if max((told, *served.values())) > since else found

    def _check_replicas(self, draining: set[str]) -> None:
        status = self.mdep.get("status") or {}
        tracks = {(status.get(t) or {}).get("hash") for t in ("stable", "candidate")}
        for (kind, _), live in self.objects.items():
            revision = live["metadata"]["labels"].get(REVISION)
            up = kind == "Deployment" and live["spec"]["replicas"] > 0
            if up and revision not in tracks | draining:
                raise BrokenLaw(f"{revision} has pods and no role")

    def _size(self) -> Size:
        """What the spec asks for at least."""
        spec = parse_spec(self.mdep["spec"])
        if spec.suspend:
            return Size(0)
        scaling = scaler_of(spec)
        return Size(spec.replicas) if scaling is None else Size(bounds(scaling)[0], True)

    def _needed(self) -> Size:
        """What a candidate needs to take over: under autoscaling, as many pods as the stable."""
        size, stable = self._size(), self.deployment(self.stable)
        scaling = self._scaler()
        if not size.is_floor or scaling is None or stable is None:
            return size
        return Size(min(max(size.replicas, stable["spec"]["replicas"]), bounds(scaling)[1]), True)

    def _scaler(self) -> Autoscaling | None:
        spec = parse_spec(self.mdep["spec"])
        return None if spec.suspend else scaler_of(spec)

    # --- what is there

    @property
    def desired(self) -> str:
        """Hash of the revision that the spec asks for."""
        return revision_hash(self.mdep["spec"])

    def selected(self) -> str:
        """Hash of the revision that the apex selects."""
        apex = self.objects.get(("Service", self.owner.name))
        return str(selected_revision(apex)) if apex else ""

    def deployment(self, revision: str) -> Manifest | None:
        """A revision's Deployment."""
        return self.objects.get(("Deployment", f"{self.owner.name}-{revision}"))

    def deployments(self) -> list[Manifest]:
        """Every revision's Deployment."""
        return [o for (kind, _), o in self.objects.items() if kind == "Deployment"]

    def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason of a condition."""
        found = {c["type"]: c for c in self.mdep.get("status", {}).get("conditions", ())}
        return (found[kind]["status"], found[kind]["reason"]) if kind in found else ("", "")

    def _uri(self, revision: str) -> str:
        record = self.objects.get(("ControllerRevision", f"{self.owner.name}-{revision}"))
        return str(record["data"]["spec"]["model"]["uri"]) if record else ""

    # --- what users do

    def change(self, spec: Mapping[str, Any]) -> None:
        """Apply another spec."""
        if spec != self.mdep["spec"]:
            self.mdep["spec"] = copy.deepcopy(dict(spec))
            self.mdep["metadata"]["generation"] += 1

    def lose_status(self) -> None:
        """Restore from a backup without status: the record promoted last is the truth."""
        self.mdep.pop("status", None)
        records = [read(o) for (kind, _), o in self.objects.items() if kind == "ControllerRevision"]
        promoted = [r for r in records if r and r.promoted_at]
        latest = max(promoted, key=lambda r: (r.promoted_at, r.number), default=None)
        self.stable = latest.hash if latest else ""

    def remove(self, kind: str, name: str) -> None:
        """Delete an object by hand."""
        if (kind, name) in self.objects:
            self._remove((kind, name))

    def _remove(self, which: ChildKey) -> None:
        gone = self.objects.pop(which)
        if gone["kind"] == "Job":
            uid = gone["metadata"]["uid"]
            self.pods = [p for p in self.pods if p["metadata"]["ownerReferences"][0]["uid"] != uid]

    # --- what Kubernetes does

    def tick(self, seconds: float = 5, *, stumbles: bool = False) -> None:
        """Let time pass: Jobs run, pods start; `stumbles` lets a supply step fail for now."""
        self.now += timedelta(seconds=seconds)
        for (kind, _), live in list(self.objects.items()):
            if kind == "Job":
                self._run_job(live, stumbles=stumbles)
            elif kind == "Deployment":
                self._run_deployment(live)

    def flap(self) -> None:
        """Let a pod of each revision fail for a moment."""
        for (kind, _), live in self.objects.items():
            status = live.get("status") or {}
            if kind == "Deployment" and status.get("availableReplicas"):
                status["availableReplicas"] -= 1

    def kill(self, revision: str) -> None:
        """Let all pods of a revision fail at once, until time passes."""
        found = self.deployment(revision)
        if found is not None and found.get("status"):
            found["status"]["availableReplicas"] = 0

    def _run_autoscaler(self, scaler: Manifest, wish: int) -> None:
        """Move a Deployment as the real controller does: one at zero it leaves alone."""
        live = self.objects.get(("Deployment", scaler["spec"]["scaleTargetRef"]["name"]))
        if live is None or not live["spec"]["replicas"]:
            return
        lowest, highest = scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]
        self._set_replicas(live, min(max(wish, lowest), highest), HPA_CONTROLLER)

    def autoscale(self, wish: int) -> None:
        """Let the load ask for a number of pods of every revision that is autoscaled."""
        for (kind, _), live in list(self.objects.items()):
            if kind == HPA:
                self._run_autoscaler(live, wish)

    def _run_job(self, job: Manifest, *, stumbles: bool) -> None:
        if job.get("status") or self.is_slow:
            return
        revision = job["metadata"]["labels"][REVISION]
        uri = json.loads(_config(job))["model"]["uri"]
        if stumbles or DEAD_STORE in uri:
            code, message, ended = 1, failure_message("Unavailable", "503"), "Failed"
        elif BAD_MODEL in uri:
            code, ended = EXIT_TERMINAL, "Failed"
            message = failure_message("InvalidModel", "not an ONNX model")
        else:
            code, message, ended = 0, success_message(uri), "Complete"
            self.verified.add(result_of(uri).digest)
        self.pods.append(_supply_pod(self.owner, revision, job, code, message, self.now))
        at = timestamp(self.now)
        job["status"] = {
            "conditions": [{"type": ended, "status": "True", "lastTransitionTime": at}]
        }

    def _run_deployment(self, live: Manifest) -> None:
        wanted = live["spec"]["replicas"]
        status = live.setdefault("status", {"replicas": 0, "availableReplicas": 0})
        bad = BAD_PODS in self._uri(live["metadata"]["labels"][REVISION])
        ready = 0 if bad else min(wanted, status["availableReplicas"] + 1)
        status |= {
            "observedGeneration": live["metadata"]["generation"],
            "replicas": wanted,
            "updatedReplicas": wanted,
            "availableReplicas": ready,
        }
        ticks = status.get("ticks", 0) + 1 if bad and wanted else 0
        late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
        live["status"] = status | {"ticks": ticks, "conditions": [late] if ticks > 3 else []}

    # --- the end of all faults

    def settle(self, passes: int = 60) -> None:
        """Let everything come to rest.

        Raises:
            BrokenLaw: it does not, or it rests where it should not.
        """
        quiet = 0
        for _ in range(passes):
            self.tick(10)
            quiet = 0 if self.reconcile() else quiet + 1
            if quiet > 10:
                break
        else:
            raise BrokenLaw("it does not come to rest")
        self._check_rest()

    def _check_rest(self) -> None:
        decided = self.planner(self.snapshot())
        pending = [m for m in decided.apply if not is_applied(self.objects[key(m)], m)]
        if pending or decided.delete or decided.status != self.mdep["status"]:
            raise BrokenLaw("the plan of an applied plan is not empty")
        spec = parse_spec(self.mdep["spec"])
        is_unsupplied = BAD_MODEL in spec.model.uri or DEAD_STORE in spec.model.uri
        if is_unsupplied or (BAD_PODS in spec.model.uri and not self._size().is_off):
            self._check_failed()
        elif self.condition("Ready")[0] != "True" or self.selected() != self.desired:
            raise BrokenLaw(f"not Ready: {self.mdep['status']['message']}")

    def _check_failed(self) -> None:
        if self.stable == self.desired:  # it was committed while there were to be no pods
            return
        if self.condition("Stalled")[0] != "True":
            raise BrokenLaw("a bad revision is not Stalled")
        if not self.stable:
            return
        if self.condition("Stalled")[1] != "RolloutAborted" or self.selected() != self.stable:
            raise BrokenLaw("a bad revision took the place of the stable one")


def _config(job: Manifest) -> str:
    env = job["spec"]["template"]["spec"]["containers"][0]["env"]
    return str(next(e["value"] for e in env if e["name"] == "SLIPWAY_RUNTIME_CONFIG_JSON"))


def _supply_pod(
    owner: Owner, revision: str, job: Manifest, code: int, message: str, at: datetime
) -> Manifest:
    ended = {"exitCode": code, "message": message, "reason": "Completed" if not code else "Error"}
    return {
        "kind": "Pod",
        "metadata": {
            "name": f"supply-{job['metadata']['uid']}",
            "namespace": owner.namespace,
            "uid": f"uid-supply-{job['metadata']['uid']}",
            "labels": supply_labels(owner.name, revision),
            "creationTimestamp": timestamp(at),
            "ownerReferences": [{"kind": "Job", "uid": job["metadata"]["uid"]}],
        },
        "status": {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [{"name": FETCH, "state": {"terminated": ended}}],
        },
    }
