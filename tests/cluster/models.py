"""ModelDeployments in a test's namespace."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from tests.cluster.kubelet import SELECTOR
from tests.kubeapi import Api, Manifest, eventually, is_true

_KUBECTL: Final = Path(sys.executable).parent / "kubectl"


class Models:
    """ModelDeployments in the test's namespace."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.api, self.namespace = api, namespace

    def apply(
        self, name: str = "m", *, uri: str = "https://models.example/1.onnx", **spec: Any
    ) -> Manifest:
        """Apply one; more fields of the spec come as keywords."""
        runtime = {"nodeSelector": SELECTOR, **spec.pop("runtime", {})}
        model = {"uri": uri, **spec.pop("model", {})}
        return self.api.apply(
            {
                "apiVersion": "slipway.dev/v1alpha1",
                "kind": "ModelDeployment",
                "metadata": {"name": name, "namespace": self.namespace},
                "spec": {"model": model, "runtime": runtime, **spec},
            },
            manager="user",
        )

    def get(self, name: str = "m") -> Manifest:
        """Read one."""
        found = self.api.get("ModelDeployment", self.namespace, name)
        assert found is not None
        return found

    def until(self, kind: str, name: str = "m", *, timeout_s: float = 40) -> Manifest:
        """Wait for a condition to be True of the present spec."""
        return eventually(
            lambda: found if is_true(found := self.get(name), kind) else None,
            f"{name} is {kind}",
            timeout_s=timeout_s,
            describe=lambda: yaml.safe_dump(self.get(name).get("status")),
        )

    def child(self, kind: str, name: str) -> Manifest | None:
        """Read an object in the namespace."""
        return self.api.get(kind, self.namespace, name)

    @contextmanager
    def watched(self) -> Iterator[Callable[[], list[str]]]:
        """Let kubectl watch them beside the block; tells the lines that it has printed so far."""
        command = [str(_KUBECTL), "-n", self.namespace, "get", "mdep", "--watch", "--no-headers"]
        with tempfile.NamedTemporaryFile() as out:
            process = subprocess.Popen(command, stdout=out)

            def lines() -> list[str]:
                return Path(out.name).read_text().splitlines()

            try:
                eventually(lines, "kubectl tells what there is")
                yield lines
            finally:
                process.terminate()
                process.wait(timeout=20)

    def kubectl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run kubectl in the namespace."""
        command = [str(_KUBECTL), "-n", self.namespace, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
