"""A small synchronous client of the API server for tests: dicts in, dicts out.

It is not the operator's client, so that one mistake cannot hide in both.
"""

from __future__ import annotations

import base64
import ssl
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx
import yaml

Manifest = dict[str, Any]
T = TypeVar("T")

COLUMNS: Final = [
    "NAME", "READY", "PHASE", "STABLE", "CANDIDATE", "REPLICAS", "URL", "AGE",
]  # fmt: skip
"""What `kubectl get` shows of a ModelDeployment."""

PLURALS: Final = {
    "ModelDeployment": ("apis/slipway.dev/v1alpha1", "modeldeployments"),
    "ControllerRevision": ("apis/apps/v1", "controllerrevisions"),
    "Deployment": ("apis/apps/v1", "deployments"),
    "ReplicaSet": ("apis/apps/v1", "replicasets"),
    "Job": ("apis/batch/v1", "jobs"),
    "PodDisruptionBudget": ("apis/policy/v1", "poddisruptionbudgets"),
    "HorizontalPodAutoscaler": ("apis/autoscaling/v2", "horizontalpodautoscalers"),
    "ScaledObject": ("apis/keda.sh/v1alpha1", "scaledobjects"),
    "HTTPRoute": ("apis/gateway.networking.k8s.io/v1", "httproutes"),
    "GRPCRoute": ("apis/gateway.networking.k8s.io/v1", "grpcroutes"),
    "Gateway": ("apis/gateway.networking.k8s.io/v1", "gateways"),
    "Role": ("apis/rbac.authorization.k8s.io/v1", "roles"),
    "ClusterRole": ("apis/rbac.authorization.k8s.io/v1", "clusterroles"),
    "RoleBinding": ("apis/rbac.authorization.k8s.io/v1", "rolebindings"),
    "Lease": ("apis/coordination.k8s.io/v1", "leases"),
    "CustomResourceDefinition": ("apis/apiextensions.k8s.io/v1", "customresourcedefinitions"),
    "ConfigMap": ("api/v1", "configmaps"),
    "Secret": ("api/v1", "secrets"),
    "PersistentVolume": ("api/v1", "persistentvolumes"),
    "PersistentVolumeClaim": ("api/v1", "persistentvolumeclaims"),
    "Service": ("api/v1", "services"),
    "ServiceAccount": ("api/v1", "serviceaccounts"),
    "ResourceQuota": ("api/v1", "resourcequotas"),
    "LimitRange": ("api/v1", "limitranges"),
    "ValidatingWebhookConfiguration": (
        "apis/admissionregistration.k8s.io/v1",
        "validatingwebhookconfigurations",
    ),
    "Pod": ("api/v1", "pods"),
    "Event": ("api/v1", "events"),
    "Node": ("api/v1", "nodes"),
    "Namespace": ("api/v1", "namespaces"),
}
CHILD_KINDS: Final = (
    "ControllerRevision", "Job", "ConfigMap", "Deployment", "Service", "ServiceAccount",
    "PodDisruptionBudget", "HorizontalPodAutoscaler",
)  # fmt: skip
_CLUSTER_SCOPED: Final = {
    "ClusterRole",
    "Node",
    "Namespace",
    "PersistentVolume",
    "CustomResourceDefinition",
    "ValidatingWebhookConfiguration",
}


class Refused(Exception):
    """The API server refused; its words are the text."""

    def __init__(self, answer: httpx.Response) -> None:
        body = answer.json() if "json" in answer.headers.get("content-type", "") else {}
        super().__init__(body.get("message", answer.text))
        self.status = answer.status_code


class Api:
    """The API server, as the administrator of a kubeconfig."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        context = ssl.create_default_context(cadata=_text(cluster, "certificate-authority"))
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as pem:
            pem.write(_text(user, "client-certificate") + "\n" + _text(user, "client-key"))
            pem.flush()
            context.load_cert_chain(pem.name)
        # A handshake that fails beside seven others has sent no request yet, and is made again.
        transport = httpx.HTTPTransport(verify=context, retries=3)
        self.http = httpx.Client(base_url=cluster["server"], transport=transport, timeout=30)

    def path(self, kind: str, namespace: str | None = None, name: str | None = None) -> str:
        """Path of an object, or of a namespace's objects."""
        root, plural = PLURALS[kind]
        parts = [root, plural] if namespace is None else [root, "namespaces", namespace, plural]
        return "/" + "/".join([*parts, name] if name else parts)

    def send(self, method: str, path: str, **more: Any) -> Manifest:
        """Send a request and read the answer.

        Raises:
            Refused: the status is not a success.
        """
        answer = self.http.request(method, path, **more)
        if answer.status_code >= 300:
            raise Refused(answer)
        read: Manifest = answer.json()
        return read

    def get(self, kind: str, namespace: str | None, name: str) -> Manifest | None:
        """Read an object; None when there is none."""
        try:
            return self.send("GET", self.path(kind, namespace, name))
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    def find(self, kind: str, namespace: str | None = None, labels: str = "") -> list[Manifest]:
        """Read all objects of a kind."""
        answer = self.send("GET", self.path(kind, namespace), params={"labelSelector": labels})
        items: list[Manifest] = answer["items"]
        return [{**item, "kind": kind} for item in items]

    def apply(self, manifest: Manifest, *, manager: str = "test", strict: bool = True) -> Manifest:
        """Write an object by server-side apply."""
        meta = manifest["metadata"]
        path = self.path(manifest["kind"], meta.get("namespace"), meta["name"])
        query = {"fieldManager": manager, "force": "true"}
        if strict:
            query["fieldValidation"] = "Strict"
        headers = {"Content-Type": "application/apply-patch+yaml"}
        return self.send("PATCH", path, json=manifest, params=query, headers=headers)

    def create(self, manifest: Manifest) -> Manifest:
        """Create an object."""
        path = self.path(manifest["kind"], manifest["metadata"].get("namespace"))
        return self.send("POST", path, json=manifest)

    def merge(
        self, kind: str, namespace: str | None, name: str, patch: Manifest, sub: str = ""
    ) -> Manifest:
        """Change fields of an object, or of its subresource."""
        path = self.path(kind, namespace, name) + (f"/{sub}" if sub else "")
        headers = {"Content-Type": "application/merge-patch+json"}
        return self.send("PATCH", path, json=patch, headers=headers)

    def delete(
        self, kind: str, namespace: str | None, name: str, *, grace: int | None = None
    ) -> None:
        """Delete an object, its dependants in the background; one that is gone is fine."""
        options: Manifest = {"propagationPolicy": "Background"}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        try:
            self.send("DELETE", self.path(kind, namespace, name), json=options)
        except Refused as refused:
            if refused.status != 404:
                raise

    def children(self, namespace: str) -> list[Manifest]:
        """All objects in a namespace that a ModelDeployment owns."""
        return [
            o
            for kind in CHILD_KINDS
            for o in self.find(kind, namespace)
            if any(r["kind"] == "ModelDeployment" for r in o["metadata"].get("ownerReferences", ()))
        ]


def _text(entry: Manifest, key: str) -> str:
    if f"{key}-data" in entry:
        return base64.b64decode(entry[f"{key}-data"]).decode()
    return Path(entry[key]).read_text()


def eventually(
    find: Callable[[], T | None], what: str, *, timeout_s: float = 40, describe: Any = None
) -> T:
    """Ask until there is an answer that is not None or False, and return it.

    Raises:
        AssertionError: there was none in time; `describe()` says how things stood.
    """
    end = time.monotonic() + timeout_s
    while True:
        found = find()
        if found is not None and found is not False:
            return found
        if time.monotonic() > end:
            state = f"\n{describe()}" if describe else ""
            raise AssertionError(f"not within {timeout_s} s: {what}{state}")
        time.sleep(0.05)  # the pause between two looks, not a wait for something


def condition(mdep: Manifest | None, kind: str) -> Manifest | None:
    """Find a condition that is about the present spec."""
    if mdep is None:
        return None
    for found in (mdep.get("status") or {}).get("conditions") or ():
        if found["type"] == kind and found["observedGeneration"] == mdep["metadata"]["generation"]:
            result: Manifest = found
            return result
    return None


def condition_of(found: Manifest | None, kind: str) -> Manifest | None:
    """Find a condition of any object, whatever it is about."""
    conditions: list[Manifest] = ((found or {}).get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c["type"] == kind), None)


def told(mdep: Manifest | None, kind: str) -> Manifest:
    """The condition that must be there by now."""
    found = condition(mdep, kind)
    assert found is not None, f"{kind} is not told"
    return found


def is_true(mdep: Manifest | None, kind: str) -> bool:
    """Tell whether a condition is True for the present spec."""
    return (condition(mdep, kind) or {}).get("status") == "True"
