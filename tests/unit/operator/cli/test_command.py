"""The command itself, as a process: what it prints, and with which status it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.unit.repository.files import REPOSITORY

GOLDEN = REPOSITORY / "tests" / "golden" / "plan"
EXAMPLE = "examples/digits.yaml"


def slipway(*arguments: str, cwd: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    """Run the command without any cluster."""
    return subprocess.run(
        [sys.executable, "-m", "slipway_operator.cli", *arguments],
        cwd=cwd,
        env={**os.environ, "KUBECONFIG": "/nowhere", "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        pytest.param("example.txt", ["plan", "-f", EXAMPLE], id="plan"),
        pytest.param("help.txt", ["plan", "--help"], id="help"),
        pytest.param("verbs.txt", ["--help"], id="verbs"),
    ],
)
def test_it_prints_what_the_golden_file_says(name: str, arguments: list[str]) -> None:
    done = slipway(*arguments)
    assert done.returncode == 0, done.stderr
    golden = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(done.stdout)
    assert done.stdout == golden.read_text(), "review the difference, then run `make golden`"


def test_the_guide_shows_what_it_prints() -> None:
    guide = (REPOSITORY / "docs" / "guides" / "plan.md").read_text()
    assert (GOLDEN / "example.txt").read_text() in guide


def test_the_objects_can_be_read_as_yaml_and_each_comes_once() -> None:
    objects = list(yaml.safe_load_all(slipway("plan", "-f", EXAMPLE, "-o", "yaml").stdout))
    names = [(o["kind"], o["metadata"]["name"]) for o in objects]
    assert len(names) == len(set(names))
    assert {"ControllerRevision", "Job", "Deployment", "Service"} <= {kind for kind, _ in names}


def test_a_format_that_is_named_is_planned_with_the_steps_that_convert_it(tmp_path: Path) -> None:
    spec = {"model": {"uri": "https://models.test/digits.ubj", "format": "XGBoost"}}
    document = {"apiVersion": "slipway.dev/v1alpha1", "kind": "ModelDeployment",
                "metadata": {"name": "digits"}, "spec": spec}  # fmt: skip
    file = tmp_path / "digits.yaml"
    file.write_text(yaml.safe_dump(document))
    done = slipway("plan", "-f", str(file), "-o", "yaml", "--converter-image", "own:1")
    (pod,) = [o["spec"]["template"]["spec"] for o in yaml.safe_load_all(done.stdout)
              if o["kind"] == "Deployment"]  # fmt: skip
    steps = {c["name"]: c["image"] for c in pod["initContainers"]}
    assert list(steps) == ["fetch", "convert", "admit"]
    assert steps["convert"] == "own:1"


def test_json_has_stages_with_reasons() -> None:
    told = json.loads(slipway("plan", "-f", EXAMPLE, "-o", "json").stdout)
    assert [stage["ready"] for stage in told["stages"]] == [False, False, True]
    assert all(change["why"] for stage in told["stages"] for change in stage["changes"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("{", "while parsing", id="no YAML"),
        pytest.param("kind: Pod", "no ModelDeployment", id="another kind"),
        pytest.param(
            "{apiVersion: v2, kind: ModelDeployment, metadata: {name: m}, spec: {}}",
            "apiVersion: got 'v2', expected 'slipway.dev/v1alpha1'",
            id="another version",
        ),
        pytest.param(
            "{apiVersion: slipway.dev/v1alpha1, kind: ModelDeployment, metadata: {name: m},"
            " spec: {model: {uri: 'https://h/m'}, replicaz: 2}}",
            "m: spec.replicaz: Extra inputs are not permitted",
            id="an unknown field",
        ),
        pytest.param(
            "{apiVersion: slipway.dev/v1alpha1, kind: ModelDeployment, metadata: {}, spec: {}}",
            "metadata.name: got None",
            id="no name",
        ),
    ],
)
def test_a_bad_file_is_refused_in_words(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(text)
    done = slipway("plan", "-f", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert expected in done.stderr


def test_without_a_cluster_a_diff_says_what_is_missing() -> None:
    done = slipway("plan", "-f", EXAMPLE, "--diff")
    assert done.returncode == 1
    assert "set KUBECONFIG" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(["status", "m"], "set KUBECONFIG", id="no kubeconfig"),
        pytest.param(
            ["abort", "m", "--kubeconfig", "/nowhere"], "there is no kubeconfig '/nowhere'",
            id="no such kubeconfig",
        ),
    ],
)  # fmt: skip
def test_without_a_cluster_every_verb_says_what_is_missing(
    arguments: list[str], expected: str
) -> None:
    done = slipway(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert expected in done.stderr


def test_a_rollback_goes_somewhere_or_back() -> None:
    done = slipway("rollback", "m", "r3", "--undo")
    assert done.returncode == 2
    assert "not allowed with" in done.stderr


def test_it_is_installed_under_both_names() -> None:
    for name in ("slipway", "kubectl-slipway"):
        program = Path(sys.executable).parent / name
        done = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.stdout.startswith("slipway "), done.stderr
