"""`slipway plan --diff` on a real API server: it tells what would change, and changes nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.kubelet import SELECTOR
from tests.cluster.models import Models
from tests.cluster.operators import RUNTIME_IMAGE
from tests.kubeapi import condition, eventually

pytestmark = pytest.mark.usefixtures("operator")


def _plan(models: Models, folder: Path, **spec: Any) -> subprocess.CompletedProcess[str]:
    """Plan what `models.apply(**spec)` would apply."""
    document = {
        "apiVersion": "slipway.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "m"},
        "spec": {
            "model": {"uri": "https://models.example/1.onnx"},
            "runtime": {"nodeSelector": SELECTOR},
            **spec,
        },
    }
    file = folder / "m.yaml"
    file.write_text(yaml.safe_dump(document))
    return subprocess.run(
        [
            sys.executable, "-m", "slipway_operator.cli", "plan", "-f", str(file), "--diff",
            "-n", models.namespace, "--runtime-image", RUNTIME_IMAGE,
        ],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_diff_tells_exactly_what_changes_and_changes_nothing(
    models: Models, tmp_path: Path
) -> None:
    fresh = _plan(models, tmp_path)
    assert fresh.returncode == 0, fresh.stderr
    assert "+ Job m-" in fresh.stdout
    assert models.api.get("ModelDeployment", models.namespace, "m") is None
    models.apply()
    models.until("Ready")
    same = _plan(models, tmp_path)
    assert "nothing to do" in same.stdout, same.stdout
    versions = {
        c["metadata"]["name"] + c["kind"]: c["metadata"]["resourceVersion"]
        for c in models.api.children(models.namespace)
    }
    more = _plan(models, tmp_path, replicas=3)
    changed = [line.strip() for line in more.stdout.splitlines() if line.startswith("      ")]
    assert changed == ["-  replicas: 1", "+  replicas: 3"], more.stdout
    assert "+ PodDisruptionBudget m-" in more.stdout
    assert versions == {
        c["metadata"]["name"] + c["kind"]: c["metadata"]["resourceVersion"]
        for c in models.api.children(models.namespace)
    }


def test_a25_a_name_that_another_bears_is_told_before_it_is_needed(
    models: Models, tmp_path: Path
) -> None:
    models.api.create(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "m", "namespace": models.namespace},
            "spec": {"ports": [{"port": 80}]},
        }
    )
    done = _plan(models, tmp_path)
    assert done.returncode == 0, done.stderr
    (hindered,) = [line for line in done.stdout.splitlines() if line.startswith("  !")]
    assert hindered.split()[1:3] == ["Service", "m"]
    assert "does not belong to this ModelDeployment" in hindered
    assert done.stdout.splitlines()[-1].startswith("  status: not Ready: NameConflict: Service 'm'")
    models.apply()
    stalled = eventually(
        lambda: (
            found
            if (found := condition(models.get(), "Stalled")) and found["status"] == "True"
            else None
        ),
        "Stalled",
    )
    assert stalled["reason"] == "NameConflict", "as it was told"


def test_the_api_server_judges_the_document_in_its_own_words(
    models: Models, tmp_path: Path
) -> None:
    done = _plan(models, tmp_path, autoscaling={"minReplicas": 0})
    assert (done.returncode, done.stdout) == (1, "")
    assert "0 needs autoscaling.keda" in done.stderr
