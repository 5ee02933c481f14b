"""Names, labels and selectors of everything the operator creates: one function per name.

Lives here: every name, label and annotation key, so that no two modules can spell one differently.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from slipway_operator.api import v1alpha1

Manifest = dict[str, Any]
"""A Kubernetes object as a plain dict."""

MODEL: Final = "slipway.dev/model"
"""Label of serving pods and of every child: the name of the ModelDeployment."""
REVISION: Final = "slipway.dev/revision"
"""Label of serving pods and of the revision's objects: its hash."""
SUPPLY_FOR: Final = "slipway.dev/supply-for"
"""Label of the supply step's pods. They never carry MODEL or REVISION, which Services select by."""
SUPPLY_REVISION: Final = "slipway.dev/supply-revision"
POLL_OF: Final = "slipway.dev/poll-of"
"""Label of the Job that looks at a model's source again: the hash of the spec it looks for."""
CHECK_FOR: Final = "slipway.dev/check-for"
"""Label of the Job of a check, and of its pods, which never carry MODEL or REVISION either."""
CHECK_REVISION: Final = "slipway.dev/check-revision"
CHECK_STEP: Final = "slipway.dev/check-step"
"""Numbers of attempt and step."""
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGER: Final = "slipway"

MODEL_DIGEST: Final = "slipway.dev/model-digest"
SUPPLY_RESULT: Final = "slipway.dev/supply-result"
CONVERTING_TEMPLATE: Final = "slipway.dev/converting-template"
"""Annotation of a revision's record: its pod template since its model is known to need a
conversion."""
PROMOTED_AT: Final = "slipway.dev/promoted-at"
REVISION_NUMBER: Final = "slipway.dev/revision-number"

SERVING_FILE: Final = "serving.json"
SERVE: Final = "serve"
"""Name of the container that serves, and of its command."""
HTTP_PORT: Final = 8080
GRPC_PORT: Final = 8081
ADMIN_PORT: Final = 8082


@dataclass(frozen=True, slots=True)
class Owner:
    """The ModelDeployment that owns what is rendered."""

    name: str
    namespace: str
    uid: str

    @classmethod
    def of(cls, mdep: Mapping[str, Any]) -> Owner:
        """Take the identity out of a ModelDeployment."""
        meta = mdep["metadata"]
        return cls(meta["name"], meta["namespace"], meta["uid"])

    def reference(self) -> Manifest:
        """Build the controller owner reference: garbage collection instead of a finalizer."""
        return {
            "apiVersion": v1alpha1.API_VERSION,
            "kind": v1alpha1.KIND,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }


def revision_name(name: str, revision: str) -> str:
    """Name of the revision's ControllerRevision, Job, ConfigMap, Deployment, Service and PDB."""
    return f"{name}-{revision}"


def grpc_route_name(name: str) -> str:
    """Name of the GRPCRoute, where gRPC has one; the HTTPRoute bears the name itself."""
    return f"{name}-grpc"


def service_account_name(name: str) -> str:
    """Name of the ServiceAccount without rights that the pods run as."""
    return f"{name}-runtime"


def revision_selector(name: str, revision: str) -> dict[str, str]:
    """Select the serving pods of one revision."""
    return {MODEL: name, REVISION: revision}


def scale_selector(name: str) -> str:
    """Select all serving pods, in the form of the scale subresource."""
    return f"{MODEL}={name}"


def child_labels(name: str, revision: str | None = None) -> dict[str, str]:
    """Label a child. The parent's labels are not copied: tools track by them, and would prune."""
    labels = {MANAGED_BY: MANAGER, MODEL: name}
    return labels if revision is None else {**labels, REVISION: revision}


def poll_name(name: str) -> str:
    """Name of the Job that looks at the model's source again; no revision's hash is this word."""
    return f"{name}-poll"


def poll_labels(name: str, spec_hash: str) -> dict[str, str]:
    """Label its pod: of the supply step, and of no revision."""
    return {MANAGED_BY: MANAGER, SUPPLY_FOR: name, POLL_OF: spec_hash}


def supply_labels(name: str, revision: str) -> dict[str, str]:
    """Label the supply step's pods."""
    return {MANAGED_BY: MANAGER, SUPPLY_FOR: name, SUPPLY_REVISION: revision}


def check_labels(name: str, revision: str, step: str) -> dict[str, str]:
    """Label the pods of a check's Job."""
    return {MANAGED_BY: MANAGER, CHECK_FOR: name, CHECK_REVISION: revision, CHECK_STEP: step}


def check_name(name: str, revision: str, check: str, step: str) -> str:
    """Name of the Job of a check: at most 62 characters, and another one for each step."""
    mark = hashlib.sha256(f"{check}\n{step}".encode()).hexdigest()[:10]
    return f"{revision_name(name, revision)}-{mark}"


def child(
    api_version: str,
    kind: str,
    owner: Owner,
    name: str,
    *,
    revision: str | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    """Begin a child: kind, name, labels, owner."""
    metadata: Manifest = {
        "name": name,
        "namespace": owner.namespace,
        "labels": child_labels(owner.name, revision),
        "ownerReferences": [owner.reference()],
    }
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}
