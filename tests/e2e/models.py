"""ModelDeployments in a namespace, served by real pods."""

from __future__ import annotations

import base64
import itertools
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from devcluster.kube import kubectl
from tests.e2e.files import KEY
from tests.kubeapi import Api, Manifest, eventually, is_true

SMALL: Final = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}
"""No CPU limit: starting is most of what these pods do."""
READY_S: Final = 60.0
_numbers = itertools.count(1)


@contextmanager
def namespace_with_models(api: Api, kubeconfig: Path) -> Iterator[Models]:
    """Make a namespace that lets only restricted pods in; delete it afterwards."""
    name = f"e2e-{os.getpid()}-{next(_numbers)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": name, "labels": labels}
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    models = Models(api, name, kubeconfig)
    try:
        yield models
    finally:
        # First: or the operator goes on repairing what the namespace's end takes away.
        api.send("DELETE", api.path("ModelDeployment", name))
        api.delete("Namespace", None, name)


class Models:
    """ModelDeployments in one namespace."""

    def __init__(self, api: Api, namespace: str, kubeconfig: Path) -> None:
        self.api, self.namespace = api, namespace
        self._kubeconfig = kubeconfig

    def publish(self, name: str, data: bytes, key: str = KEY) -> str:
        """Put a file into a ConfigMap; tell its URI."""
        self.api.apply(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": self._meta(name),
                "binaryData": {key: base64.b64encode(data).decode()},
            }
        )
        return f"configmap://{name}/{key}"

    def apply(self, name: str = "m", *, uri: str, **spec: Any) -> Manifest:
        """Apply one; more fields of the spec come as keywords."""
        runtime = {"resources": SMALL, "supplyResources": SMALL, **spec.pop("runtime", {})}
        model = {"uri": uri, **spec.pop("model", {})}
        return self.api.apply(
            {
                "apiVersion": "slipway.dev/v1alpha1",
                "kind": "ModelDeployment",
                "metadata": self._meta(name),
                "spec": {"model": model, "runtime": runtime, **spec},
            },
            manager="user",
        )

    def get(self, name: str = "m") -> Manifest:
        """Read one."""
        found = self.api.get("ModelDeployment", self.namespace, name)
        assert found is not None
        return found

    def until(self, kind: str, name: str = "m", *, timeout_s: float = READY_S) -> Manifest:
        """Wait for a condition to be True of the present spec."""
        return eventually(
            lambda: found if is_true(found := self.get(name), kind) else None,
            f"{name} is {kind}",
            timeout_s=timeout_s,
            describe=lambda: yaml.safe_dump(self.get(name).get("status")),
        )

    def serve(self, data: bytes, name: str = "m", **spec: Any) -> Manifest:
        """Publish a model in a ConfigMap of the same name, and wait until it is served."""
        self.apply(name, uri=self.publish(name, data), **spec)
        return self.until("Ready", name)

    def infer(self, body: Manifest, name: str = "m") -> httpx.Response:
        """Ask a model through the API server's proxy to its Service."""
        service = self.api.path("Service", self.namespace, f"{name}:http")
        return self.api.http.post(f"{service}/proxy/v2/models/{name}/infer", json=body)

    def pods(self, name: str = "m", revision: str = "") -> list[Manifest]:
        """Serving pods of a model, or of one of its revisions."""
        labels = f"slipway.dev/model={name}"
        labels += f",slipway.dev/revision={revision}" if revision else ""
        return self.api.find("Pod", self.namespace, labels)

    def versions(self) -> dict[str, str]:
        """The resource version of every ModelDeployment and of everything that one owns."""
        mdeps = self.api.find("ModelDeployment", self.namespace)
        return {
            f"{o['kind']}/{o['metadata']['name']}": o["metadata"]["resourceVersion"]
            for o in (*mdeps, *self.api.children(self.namespace))
        }

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl in the namespace; tell what it printed."""
        command = [str(kubectl()), "-n", self.namespace, *arguments]
        environment = {**os.environ, "KUBECONFIG": str(self._kubeconfig)}
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=100, check=False
        )
        assert not done.returncode, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def run_pod(
        self, name: str, image: str, command: list[str], files: str, env: dict[str, str]
    ) -> Manifest:
        """Start a pod of ours with a ConfigMap at /files, and wait until its process runs."""
        container = {
            "name": "main",
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "command": command,
            "env": [{"name": k, "value": v} for k, v in env.items()],
            "resources": {"requests": {"cpu": "50m"}, "limits": {"cpu": "300m"}},
            "volumeMounts": [{"name": "files", "mountPath": "/files"}],
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            },
        }
        spec = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": [{"name": "files", "configMap": {"name": files}}],
        }
        metadata = {**self._meta(name), "labels": {"app": name}}
        self.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        return eventually(
            lambda: p if (p := self._pod(name))["status"].get("phase") == "Running" else None,
            f"pod {name} runs",
            timeout_s=30,
            describe=lambda: yaml.safe_dump(self._pod(name)["status"]),
        )

    def _pod(self, name: str) -> Manifest:
        found = self.api.get("Pod", self.namespace, name)
        assert found is not None
        return found

    def _meta(self, name: str) -> Manifest:
        return {"name": name, "namespace": self.namespace}
