"""The CustomResourceDefinition: what the API server and its readers rely on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from slipway_operator.api import crd
from slipway_operator.api.schema import Schema, lint, lint_bounded
from slipway_operator.api.v1alpha1 import REVISIONED

COMMITTED = Path(__file__).parents[4] / "crds" / crd.FILE_NAME
VERSION: dict[str, Any] = crd.custom_resource_definition()["spec"]["versions"][0]
ROOT: Schema = VERSION["schema"]["openAPIV3Schema"]
SPEC: Schema = ROOT["properties"]["spec"]
STATUS: Schema = ROOT["properties"]["status"]


def _walk(node: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from _walk(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in node:
            yield from _walk(node[key], f"{path}[]")


def _rules() -> list[tuple[str, dict[str, str]]]:
    return [
        (path, found)
        for path, node in _walk(SPEC, "spec")
        for found in node.get("x-kubernetes-validations", ())
    ]


def test_the_committed_file_is_in_step() -> None:
    assert COMMITTED.read_text() == crd.render()


def test_no_key_is_a_boolean_to_kubectl() -> None:
    """Go reads YAML 1.1, where `n` and `y` are booleans, too."""
    assert re.findall(r"(?m)^ *([yYnN]):|[{,] ?([yYnN]):", crd.render()) == []
    assert "'n':" in crd.render()


def test_it_stays_a_third_of_what_an_annotation_holds() -> None:
    """As the API server stores it, and client-side apply copies it into an annotation."""
    document = yaml.safe_load(crd.render())
    assert len(json.dumps(document, separators=(",", ":")).encode()) < 80 * 1024


def test_the_linter_has_nothing_to_say() -> None:
    assert list(lint(ROOT)) == []


def test_every_text_list_and_map_of_the_spec_is_bounded() -> None:
    assert list(lint_bounded(SPEC)) == []


@pytest.mark.parametrize("block", [b for b in REVISIONED if b in SPEC["properties"]])
def test_a_revisioned_field_has_no_default(block: str) -> None:
    nodes = _walk(SPEC["properties"][block], f"spec.{block}")
    assert [path for path, node in nodes if "default" in node] == []


def test_the_status_has_one_default_which_says_not_yet_seen() -> None:
    defaults = {path: node["default"] for path, node in _walk(STATUS, "") if "default" in node}
    assert defaults == {"": {"observedGeneration": -1}}


@pytest.mark.parametrize(
    ("path", "found"), [pytest.param(p, r, id=f"{p}: {r['rule'][:40]}") for p, r in _rules()]
)
def test_the_message_of_a_rule_names_the_field(path: str, found: dict[str, str]) -> None:
    named = found["message"].partition(":")[0]
    assert re.fullmatch(r"[a-z][A-Za-z]*(\.[a-z][A-Za-z]*)+", named)
    assert f"spec.{named}".startswith(path.replace("[]", ""))


def test_rules_of_names_say_metadata_name() -> None:
    messages = [r["message"] for r in ROOT["x-kubernetes-validations"]]
    assert all(m.startswith("metadata.name: ") for m in messages)


@pytest.mark.parametrize(
    "column", [c["jsonPath"] for c in VERSION["additionalPrinterColumns"] if c["name"] != "Age"]
)
def test_a_column_shows_a_field_that_exists(column: str) -> None:
    node = ROOT
    for part in column.replace("[0]", ".[]").strip(".").split("."):
        node = node["items"] if part == "[]" else node["properties"][part]
    assert node["type"] == "string"


def test_every_leaf_says_whether_it_is_revisioned_or_live() -> None:
    silent = [
        path
        for path, node in _walk(SPEC, "spec")
        if "properties" not in node and "Revisioned" not in node.get("description", "")
        and "Live" not in node.get("description", "") and path.count(".") == 2
        and not path.endswith("]") and "exposure" not in path
    ]  # fmt: skip
    assert silent == []


def test_the_yaml_has_no_anchors() -> None:
    text = crd.render()
    assert not re.search(r"[:\-] [&*][a-z]", text)
    assert yaml.safe_load(text) == crd.custom_resource_definition()


def test_check_passes_on_the_committed_file_and_fails_on_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("a: 1\n")
    assert crd.main(["--check", str(COMMITTED)]) == 0
    assert crd.main(["--check", str(other)]) == 1
    assert "make crd" in capsys.readouterr().err


def test_write_makes_what_check_accepts(tmp_path: Path) -> None:
    written = tmp_path / "crd.yaml"
    assert crd.main(["--write", str(written)]) == 0
    assert crd.main(["--check", str(written)]) == 0


def test_the_scale_subresource_points_to_fields_that_exist() -> None:
    scale = VERSION["subresources"]["scale"]
    assert SPEC["properties"]["replicas"]["type"] == "integer"
    assert STATUS["properties"]["replicas"]["type"] == "integer"
    assert STATUS["properties"]["selector"]["type"] == "string"
    assert set(scale.values()) == {".spec.replicas", ".status.replicas", ".status.selector"}
