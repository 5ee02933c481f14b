"""Fixtures: the project's own Helm, and copies of the chart to render."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chart.rendering import PLACEHOLDER_CRD, REPOSITORY, Helm, Rendering, copy_of_chart


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """The Helm of the project's cache; the environment variable HELM names another."""
    binary = os.environ.get("HELM")
    if not binary:
        tools = subprocess.run(
            [sys.executable, "-m", "devcluster", "tools"],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        binary = json.loads(tools.stdout)["helm"]
    return Helm(Path(binary), tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the chart with the repository's CRDs."""
    crds = {path.name: path.read_text() for path in (REPOSITORY / "crds").glob("*.yaml")}
    assert crds, "crds/ holds no CustomResourceDefinition"
    return copy_of_chart(tmp_path_factory.mktemp("chart"), crds)


@pytest.fixture(scope="session")
def chart_with_placeholder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the chart with a small CRD, so that a field of the API changes no golden file."""
    return copy_of_chart(tmp_path_factory.mktemp("placeholder"), {"crd.yaml": PLACEHOLDER_CRD})


@pytest.fixture(scope="session")
def default(helm: Helm, chart: Path) -> Rendering:
    """The chart as it is rendered without any value of the user's."""
    return helm.template(chart)
