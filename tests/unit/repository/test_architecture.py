"""The import contracts hold, and would be broken by what they forbid."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.repository.files import PACKAGES, REPOSITORY


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the two source roots in a folder."""
    roots = os.pathsep.join(str(folder / package.parent.name) for package in PACKAGES)
    code = "from importlinter.cli import lint_imports_command as main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, "--no-cache", "--config", REPOSITORY / ".importlinter"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": roots, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the two source roots, to be broken."""
    folder = tmp_path_factory.mktemp("roots")
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(package, folder / package.parent.name / package.name, ignore=ignored)
    return folder


def test_every_contract_is_kept() -> None:
    done = lint(REPOSITORY)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        pytest.param(
            "operator/slipway_operator/plan/names.py",
            "import logging",
            "The plan is pure",
            id="a plan that logs",
        ),
        pytest.param(
            "operator/slipway_operator/plan/names.py",
            "from slipway_operator.kube import kinds",
            "The operator's layers",
            id="a plan that knows the API server",
        ),
        pytest.param(
            "operator/slipway_operator/engine/cache.py",
            "import kopf",
            "kopf has one door",
            id="kopf through another door",
        ),
        pytest.param(
            "operator/slipway_operator/engine/cache.py",
            "import kubernetes",
            "The API server has one door",
            id="the API server through another door",
        ),
        pytest.param(
            "runtime/slipway_runtime/errors.py",
            "import onnxruntime",
            "ONNX Runtime has one door",
            id="ONNX Runtime through another door",
        ),
        pytest.param(
            "runtime/slipway_runtime/errors.py",
            "import starlette",
            "Starlette stays at the wires",
            id="Starlette behind the wires",
        ),
        pytest.param(
            "runtime/slipway_runtime/errors.py",
            "import slipway_operator",
            "Operator and runtime never import each other",
            id="one half that knows the other",
        ),
    ],
)
def test_a_forbidden_import_breaks_its_contract(
    copied: Path, module: str, line: str, contract: str
) -> None:
    path = copied / module
    before = path.read_text()
    try:
        path.write_text(f"{before}\n{line}\n")
        done = lint(copied)
    finally:
        path.write_text(before)
    assert done.returncode != 0
    broken = [shown for shown in done.stdout.splitlines() if shown.endswith("BROKEN")]
    assert any(shown.startswith(contract) for shown in broken), done.stdout
