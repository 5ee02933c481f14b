"""What the documents show exists: commands are targets, and manifests are valid."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.unit.repository.files import REPOSITORY, relative

README = REPOSITORY / "README.md"
DOCUMENTS = [README, *sorted((REPOSITORY / "docs").rglob("*.md"))]
EXAMPLES = sorted(
    path for path in (REPOSITORY / "examples").rglob("*") if path.suffix in {".yaml", ".yml"}
)
NOTES = REPOSITORY / "charts" / "slipway" / "templates" / "NOTES.txt"

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^ *```", re.M | re.S)
_MAKE = re.compile(r"(?:^|`|[;&|(] ?)(?:\$ )?make (?P<targets>[a-z][\w -]*)", re.M)


def fences(text: str) -> Iterator[tuple[str, str]]:
    """Yield language and text of every fenced block."""
    for block in _FENCE.finditer(text):
        indent = block["indent"]
        lines = [line.removeprefix(indent) for line in block["text"].splitlines()]
        yield block["language"], "\n".join(lines) + "\n"


def commanded_targets(text: str) -> set[str]:
    """Return every target of a `make …` in code, in a fence or between backquotes."""
    code = [block for _, block in fences(text)]
    code += [f"`{span}" for span in re.findall(r"`([^`\n]+)`", _FENCE.sub("", text))]
    return {
        target
        for part in code
        for found in _MAKE.finditer(part)
        for target in found["targets"].split()
        if not target.startswith("-")
    }


def makefile_targets() -> set[str]:
    """Return the targets of the Makefile."""
    text = (REPOSITORY / "Makefile").read_text()
    names = re.findall(r"^([A-Za-z][\w -]*?)\s*:(?!=)", text, re.M)
    return {target for line in names for target in line.split()}


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """Turn a structural schema into a JSON schema that refuses what the API server would prune."""
    whole = copy.deepcopy(schema)
    _close(whole)
    return whole


def _close(node: Any) -> None:
    if isinstance(node, list):
        for child in node:
            _close(child)
    if not isinstance(node, dict):
        return
    if node.pop("x-kubernetes-int-or-string", False):
        node["type"] = ["integer", "string"]
    if node.pop("nullable", False) and isinstance(node.get("type"), str):
        node["type"] = [node["type"], "null"]
    is_open = node.get("x-kubernetes-preserve-unknown-fields", False)
    if isinstance(node.get("properties"), dict) and "type" in node and not is_open:
        node.setdefault("additionalProperties", False)
    for child in node.values():
        _close(child)


def model_deployment_schema() -> dict[str, Any]:
    """Return the closed schema of a whole ModelDeployment, from the generated CRD."""
    (path,) = (REPOSITORY / "crds").glob("*.yaml")
    (version,) = yaml.safe_load(path.read_text())["spec"]["versions"]
    schema = copy.deepcopy(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {
        "type": "object",
        "required": ["name"],
        "x-kubernetes-preserve-unknown-fields": True,
    }
    schema["properties"]["kind"] = {"const": "ModelDeployment"}
    schema["properties"]["apiVersion"] = {"const": f"slipway.dev/{version['name']}"}
    schema["required"] = sorted({*schema.get("required", []), "apiVersion", "kind", "metadata"})
    return closed(schema)


def shown_manifests() -> Iterator[tuple[str, str]]:
    """Yield where a manifest is shown and its text: documents, examples, the chart's notes."""
    for path in DOCUMENTS:
        for number, (language, text) in enumerate(fences(path.read_text()), start=1):
            if language in {"yaml", "yml"}:
                yield f"{relative(path)}, block {number}", text
            for heredoc in re.findall(r"<<-?'?EOF'?\n(.*?)^\s*EOF$", text, re.M | re.S):
                yield f"{relative(path)}, block {number}", heredoc
    for path in EXAMPLES:
        yield relative(path), path.read_text()
    for heredoc in re.findall(r"<<EOF\n(.*?)^ *EOF$", NOTES.read_text(), re.M | re.S):
        yield relative(NOTES), heredoc


def model_deployments() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every whole ModelDeployment that is shown."""
    for where, text in shown_manifests():
        if "ModelDeployment" not in text:
            continue
        for found in yaml.safe_load_all(text):
            if isinstance(found, dict) and found.get("kind") == "ModelDeployment":
                yield where, found


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 150


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_every_make_command_of_a_document_is_a_target(document: Path) -> None:
    commanded = commanded_targets(document.read_text())
    if commanded:
        assert commanded - makefile_targets() == set()


def test_the_chart_shows_a_manifest_to_apply() -> None:
    assert relative(NOTES) in {where for where, _ in model_deployments()}


@pytest.mark.parametrize(
    "manifest", [pytest.param(found, id=where) for where, found in model_deployments()]
)
def test_every_model_deployment_that_is_shown_is_valid(manifest: dict[str, Any]) -> None:
    jsonschema.validate(manifest, model_deployment_schema())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        pytest.param({}, "'model' is a required property", id="no model"),
        pytest.param({"model": {"url": "x"}}, "'url' was unexpected", id="a misspelt field"),
    ],
)
def test_a_wrong_model_deployment_would_be_found(spec: dict[str, Any], message: str) -> None:
    manifest = {
        "apiVersion": "slipway.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "digits"},
        "spec": spec,
    }
    validator = jsonschema.Draft202012Validator(model_deployment_schema())
    assert any(message in error.message for error in validator.iter_errors(manifest))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("```\nmake demo\n```\n", {"demo"}, id="a block"),
        pytest.param("```sh\n$ make test-all && make lint\n```\n", {"test-all", "lint"}, id="two"),
        pytest.param("Run `make test`, then rest.", {"test"}, id="in a sentence"),
        pytest.param("They make models fast.", set(), id="the verb is no command"),
    ],
)
def test_commands_are_found_in_code_only(text: str, expected: set[str]) -> None:
    assert commanded_targets(text) == expected
