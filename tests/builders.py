"""Fluent builders of what the planner reads: ModelDeployments, and snapshots in a given state.

`Scene` renders live objects with the planner's own functions and marks them as the reconciler does,
so that a scene in which everything is as it ought to be needs no write.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from slipway_operator.api.v1alpha1 import API_VERSION, KIND, parse_spec
from slipway_operator.kube.apply import marked
from slipway_operator.plan.capacity import Capacity
from slipway_operator.plan.clock import timestamp
from slipway_operator.plan.monitoring import POD_MONITOR
from slipway_operator.plan.names import (
    Manifest,
    Owner,
    child_labels,
    revision_name,
    revision_selector,
    supply_labels,
)
from slipway_operator.plan.revision import (
    Revision,
    SupplyResult,
    record,
    revision_hash,
    revisioned,
)
from slipway_operator.plan.service import apex_service, revision_service
from slipway_operator.plan.serving import serving_configmap
from slipway_operator.plan.snapshot import ChildKey, Snapshot
from slipway_operator.plan.workload import (
    FETCH,
    SERVE,
    RuntimeDefaults,
    deployment,
    disruption_budget,
    pod_template,
    service_account,
    supply_job,
)

NOW: Final = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
LONG_AGO: Final = "2026-11-20T08:00:00Z"
DEFAULTS: Final = RuntimeDefaults(
    "registry.test/slipway-runtime:1", converter_image="registry.test/slipway-converter:1"
)
URI: Final = "https://models.test/digits.onnx"
OTHER_URI: Final = "https://models.test/digits-2.onnx"

Spec = Mapping[str, Any]


def spec_of(uri: str = URI, **blocks: Any) -> dict[str, Any]:
    """A spec as a user writes it."""
    return {"model": {"uri": uri}, **blocks}


def mdep(
    spec: Spec | None = None,
    *,
    name: str = "digits",
    namespace: str = "t1",
    uid: str = "uid-digits",
    generation: int = 1,
    status: Mapping[str, Any] | None = None,
) -> Manifest:
    """A ModelDeployment as the API server stores it."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid,
            "generation": generation,
            "resourceVersion": "1",
        },
        "spec": copy.deepcopy(dict(spec or spec_of())),
        **({"status": copy.deepcopy(dict(status))} if status else {}),
    }


def digest_of(seed: str) -> str:
    """A digest that follows from its seed."""
    return f"sha256:{hashlib.sha256(seed.encode()).hexdigest()}"


def result_of(uri: str) -> SupplyResult:
    """What the supply step finds out about the model behind a URI."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [-1, 64]}
    return SupplyResult(digest_of(uri), "ONNX", 1234, {"inputs": [tensor], "outputs": [tensor]})


def success_message(uri: str) -> str:
    """The termination message of a supply step that went well."""
    return json.dumps({"result": result_of(uri).manifest()})


def failure_message(reason: str, message: str) -> str:
    """The termination message of a supply step that failed."""
    return json.dumps({"failure": {"reason": reason, "message": message}})


def revision_of(
    owner: Owner,
    spec: Spec,
    *,
    number: int = 1,
    resolved: bool = True,
    promoted_at: str = "",
) -> Revision:
    """The revision that a spec asks for."""
    hash_ = revision_hash(spec)
    parsed = parse_spec(dict(spec))
    return Revision(
        hash=hash_,
        number=number,
        spec=revisioned(spec),
        pod_template=pod_template(owner, hash_, parsed, DEFAULTS),
        result=result_of(parsed.model.uri) if resolved else None,
        promoted_at=promoted_at,
    )


def deployment_status(replicas: int, available: int, generation: int = 1) -> Manifest:
    """The status of a Deployment, as its controller writes it."""
    return {
        "observedGeneration": generation,
        "replicas": replicas,
        "updatedReplicas": replicas,
        "availableReplicas": available,
    }


class Scene:
    """A snapshot that is put together piece by piece."""

    def __init__(self, wanted: Spec | None = None, *, generation: int = 1) -> None:
        self.mdep = mdep(wanted, generation=generation)
        self.owner = Owner.of(self.mdep)
        self.children: dict[ChildKey, Manifest] = {}
        self.pods: list[Manifest] = []
        self.mount_failures: dict[str, str] = {}
        self.capacity: Capacity | None = None
        self.missing_kinds = frozenset({POD_MONITOR})
        self.now = NOW

    def snapshot(self) -> Snapshot:
        """Freeze the scene."""
        return Snapshot(
            copy.deepcopy(self.mdep),
            self.now,
            DEFAULTS,
            copy.deepcopy(self.children),
            tuple(copy.deepcopy(self.pods)),
            dict(self.mount_failures),
            self.capacity,
            self.missing_kinds,
        )

    def after(self, seconds: float) -> Self:
        """Look later."""
        self.now += timedelta(seconds=seconds)
        return self

    def status(self, status: Mapping[str, Any]) -> Self:
        """Store a status."""
        self.mdep["status"] = copy.deepcopy(dict(status))
        return self

    def live(self, manifest: Manifest, status: Mapping[str, Any] | None = None) -> Self:
        """Put an object as it lives after it was applied."""
        stored = copy.deepcopy(marked(manifest))
        name = stored["metadata"]["name"]
        stored["metadata"] |= {
            "uid": f"uid-{stored['kind']}-{name}",
            "resourceVersion": "1",
            "generation": 1,
            "creationTimestamp": LONG_AGO,
        }
        if status is not None:
            stored["status"] = dict(status)
        self.children[stored["kind"], name] = stored
        return self

    def without(self, kind: str, name: str) -> Self:
        """Let somebody delete an object."""
        del self.children[kind, name]
        return self

    def name_of(self, spec: Spec) -> str:
        """Name of the objects of a spec's revision."""
        return revision_name(self.owner.name, revision_hash(spec))

    def recorded(
        self, spec: Spec, *, number: int = 1, resolved: bool = True, promoted_at: str = ""
    ) -> Self:
        """Put the ControllerRevision."""
        revision = revision_of(
            self.owner, spec, number=number, resolved=resolved, promoted_at=promoted_at
        )
        return self.live(record(self.owner, revision))

    def job(
        self, spec: Spec, *, ended: str | None = None, at: str = LONG_AGO, number: int = 1
    ) -> Self:
        """Put the supply Job; `ended` is Complete or Failed."""
        revision = revision_of(self.owner, spec, number=number, resolved=False)
        conditions = [{"type": ended, "status": "True", "lastTransitionTime": at}] if ended else []
        manifest = supply_job(self.owner, revision, DEFAULTS, parse_spec(dict(spec)))
        return self.live(manifest, {"conditions": conditions})

    def supply_pod(
        self,
        spec: Spec,
        state: Mapping[str, Any],
        *,
        name: str = "supply-1",
        created: str = LONG_AGO,
        phase: str = "Running",
    ) -> Self:
        """Put a pod of the supply step; `state` is that of its container."""
        labels = supply_labels(self.owner.name, revision_hash(spec))
        container = {"name": FETCH, "image": DEFAULTS.image, "state": dict(state)}
        status = {"phase": phase, "containerStatuses": [container]}
        self._pod(name, labels, status, created)
        owner = {"kind": "Job", "uid": f"uid-Job-{self.name_of(spec)}", "controller": True}
        self.pods[-1]["metadata"]["ownerReferences"] = [owner]
        return self

    def supply_ended(
        self, spec: Spec, exit_code: int, message: str = "", *, reason: str = "Error", **pod: Any
    ) -> Self:
        """Put a pod of the supply step that has ended."""
        ended = {"exitCode": exit_code, "message": message, "reason": reason}
        return self.supply_pod(spec, {"terminated": ended}, **pod)

    def supply_pending(self, spec: Spec, mount_failure: str) -> Self:
        """Put a pod of the supply step whose volume cannot be mounted."""
        self.mount_failures["supply-1"] = mount_failure
        return self.supply_pod(spec, {"waiting": {"reason": "ContainerCreating"}}, phase="Pending")

    def pod(
        self,
        spec: Spec,
        state: Mapping[str, Any],
        *,
        name: str = "pod-1",
        phase: str = "Running",
        ready: bool = False,
        conditions: list[Manifest] | None = None,
        **container: Any,
    ) -> Self:
        """Put a serving pod; `state` is that of its container."""
        hash_ = revision_hash(spec)
        labels = child_labels(self.owner.name) | revision_selector(self.owner.name, hash_)
        found = {
            "name": SERVE, "image": DEFAULTS.image, "state": dict(state), "ready": ready,
            "restartCount": 0, **container,
        }  # fmt: skip
        status = {
            "phase": phase, "containerStatuses": [found], "conditions": conditions or [],
        }  # fmt: skip
        return self._pod(name, labels, status, LONG_AGO)

    def _pod(self, name: str, labels: Manifest, status: Manifest, created: str) -> Self:
        metadata = {
            "name": name, "namespace": self.owner.namespace, "uid": f"uid-{name}",
            "labels": labels, "creationTimestamp": created,
        }  # fmt: skip
        self.pods.append(
            {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status}
        )
        return self

    def deployed(
        self,
        spec: Spec,
        *,
        replicas: int = 1,
        available: int | None = None,
        number: int = 1,
        deadline_exceeded: bool = False,
    ) -> Self:
        """Put ConfigMap, Service, Deployment and disruption budget of a revision."""
        revision = revision_of(self.owner, spec, number=number)
        status = deployment_status(replicas, replicas if available is None else available)
        if deadline_exceeded:
            status["conditions"] = [
                {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
            ]
        self.live(serving_configmap(self.owner, revision))
        self.live(revision_service(self.owner, revision))
        self.live(deployment(self.owner, revision, replicas), status)
        if replicas > 1:
            self.live(disruption_budget(self.owner, revision.hash))
        return self

    def apex(self, spec: Spec) -> Self:
        """Put the apex Service, selecting a spec's revision."""
        exposure = parse_spec(self.mdep["spec"]).exposure
        return self.live(apex_service(self.owner, revision_of(self.owner, spec), exposure))

    def serving(
        self,
        spec: Spec,
        *,
        number: int = 1,
        promoted_at: str = LONG_AGO,
        replicas: int = 1,
        available: int | None = None,
    ) -> Self:
        """Put everything of a stable revision which the apex selects, and the status's pointer."""
        self.live(service_account(self.owner))
        self.recorded(spec, number=number, promoted_at=promoted_at)
        self.job(spec, ended="Complete", number=number)
        self.deployed(spec, replicas=replicas, available=available, number=number)
        self.apex(spec)
        return self.status({"stable": {"hash": revision_hash(spec)}})

    def retired(self, spec: Spec, *, number: int = 1, promoted_at: str = LONG_AGO) -> Self:
        """Put what is kept of a revision that served once: everything but its pods."""
        self.recorded(spec, number=number, promoted_at=promoted_at)
        self.job(spec, ended="Complete", number=number)
        return self.deployed(spec, replicas=0, number=number)


def ago(seconds: float) -> str:
    """A time before `NOW`, as Kubernetes writes it."""
    return timestamp(NOW - timedelta(seconds=seconds))
