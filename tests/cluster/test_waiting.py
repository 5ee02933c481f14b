"""Who waits for a ModelDeployment is told the truth: `helm --wait` (kstatus) and `kubectl wait`."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from devcluster.addons import helm_program
from devcluster.cluster import Cluster
from tests.cluster.kubelet import SELECTOR, Crashing, Ready, Script, Starting, Supplied, SupplyFails
from tests.cluster.models import Models

pytestmark = pytest.mark.usefixtures("operator")

PATIENCE_S: Final = 45
AT_ONCE_S: Final = 25
"""Far below the patience, far above what the operator needs."""


class Release:
    """One ModelDeployment that Helm installs and waits for, with its default strategy."""

    def __init__(self, models: Models, cluster: Cluster, folder: Path) -> None:
        self._models = models
        self._chart = folder / "chart"
        (self._chart / "templates").mkdir(parents=True)
        about = {"apiVersion": "v2", "name": "model", "version": "1.0.0"}
        (self._chart / "Chart.yaml").write_text(yaml.safe_dump(about))
        homes = ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "KUBECONFIG": str(cluster.kubeconfig),
            **{home: str(folder / home.lower()) for home in homes},
        }

    def install(
        self,
        uri: str = "https://models.example/1.onnx",
        *,
        patience_s: int = PATIENCE_S,
        **spec: Any,
    ) -> tuple[bool, float, str]:
        """Install or upgrade; whether Helm is content, after how many seconds, and its words."""
        manifest = {
            "apiVersion": "slipway.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": "m"},
            "spec": {"model": {"uri": uri}, "runtime": {"nodeSelector": SELECTOR}, **spec},
        }
        (self._chart / "templates" / "model.yaml").write_text(yaml.safe_dump(manifest))
        begun_s = time.monotonic()
        done = subprocess.run(
            [
                str(helm_program()), "upgrade", "--install", "r", str(self._chart),
                "--namespace", self._models.namespace, "--wait", "--timeout", f"{patience_s}s",
            ],
            env=self._environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        return done.returncode == 0, time.monotonic() - begun_s, done.stderr + done.stdout

    def is_available(self, patience_s: int = 1) -> bool:
        """What `kubectl wait` says of Available: whether anybody is served."""
        done = self._models.kubectl(
            "wait", "--for=condition=Available", "mdep/m", f"--timeout={patience_s}s"
        )
        return done.returncode == 0


@pytest.fixture
def release(models: Models, cluster: Cluster, tmp_path: Path) -> Release:
    """Nothing is installed yet."""
    return Release(models, cluster, tmp_path)


def test_a_model_that_serves_is_waited_for(release: Release, script: Script) -> None:
    is_content, _, words = release.install()
    assert is_content, words
    assert release.is_available()
    is_content, _, words = release.install("https://models.example/2.onnx", replicas=2)
    assert is_content, words
    assert release.is_available()


def test_a_model_that_is_being_prepared_is_not_done(release: Release, script: Script) -> None:
    script.serve = Starting()
    is_content, took_s, words = release.install(patience_s=6)
    assert not is_content
    assert took_s > 5, words
    assert "InProgress" in words
    assert not release.is_available()
    script.serve = Ready()
    is_content, _, words = release.install()
    assert is_content, words


@pytest.mark.parametrize("cause", ["supply", "crash"])
def test_a_first_model_that_fails_is_told_at_once(
    release: Release, script: Script, cause: str
) -> None:
    if cause == "supply":
        script.supply = SupplyFails("NotFound", "no such file")
    else:
        script.serve = Crashing(message="boom")
    is_content, took_s, words = release.install()
    assert not is_content
    assert took_s < AT_ONCE_S, words
    assert "Failed" in words
    assert not release.is_available()


def test_a_second_model_that_fails_is_told_at_once_while_the_first_serves(
    release: Release, script: Script
) -> None:
    assert release.install()[0]
    script.supply = SupplyFails("NotFound", "no such file")
    is_content, took_s, words = release.install("https://models.example/2.onnx")
    assert not is_content
    assert took_s < AT_ONCE_S, words
    assert release.is_available()
    script.supply = Supplied()
    is_content, _, words = release.install()  # back to what serves: there is nothing to do
    assert is_content, words


@pytest.mark.parametrize("off", [{"suspend": True}, {"replicas": 0}])
def test_what_is_switched_off_on_purpose_is_done(
    release: Release, script: Script, off: dict[str, Any]
) -> None:
    assert release.install()[0]
    is_content, _, words = release.install(**off)
    assert is_content, words
    assert not release.is_available()
