"""Every value is described, bounded, used and documented, and nothing else is accepted."""

from __future__ import annotations

import importlib.util
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.chart.rendering import CHART, REPOSITORY, Helm, HelmError, Rendering, nested

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())

_spec = importlib.util.spec_from_file_location(
    "generate_readme", REPOSITORY / "charts" / "generate_readme.py"
)
assert _spec is not None
assert _spec.loader is not None
generator = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generator)

LEAVES: dict[str, dict[str, Any]] = dict(generator.leaves(SCHEMA))


def objects(node: dict[str, Any], path: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Return every closed object of the schema with its dotted path."""
    found = [(path or ".", node)] if "properties" in node else []
    for name, child in node.get("properties", {}).items():
        found += objects(child, f"{path}.{name}")
    if "items" in node:
        found += objects(node["items"], f"{path}[]")
    return found


def flat(values: dict[str, Any], prefix: str = "") -> set[str]:
    """Return the dotted paths of a values file, down to the leaves of the schema."""
    found: set[str] = set()
    for name, value in values.items():
        path = prefix + name
        found |= {path} if path in LEAVES else flat(value, f"{path}.")
    return found


def test_the_values_file_is_short_enough_to_be_read() -> None:
    assert len((CHART / "values.yaml").read_text().splitlines()) <= 300


def test_the_helpers_are_few() -> None:
    assert len((CHART / "templates" / "_helpers.tpl").read_text().splitlines()) <= 60


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_defaults_are_valid() -> None:
    jsonschema.validate(VALUES, SCHEMA)


@pytest.mark.parametrize(
    ("path", "node"), objects(SCHEMA), ids=[path for path, _ in objects(SCHEMA)]
)
def test_every_object_of_the_schema_is_closed(path: str, node: dict[str, Any]) -> None:
    assert node["additionalProperties"] is False, path


def test_schema_and_values_name_the_same_keys() -> None:
    assert flat(VALUES) == set(LEAVES)


@pytest.mark.parametrize("path", LEAVES)
def test_every_leaf_has_description_type_range_and_example(path: str) -> None:
    node = LEAVES[path]
    assert node["description"].endswith(".")
    assert len(node["examples"]) == 1
    bounds = {
        "string": {"enum", "pattern"},
        "integer": {"minimum"},
        "boolean": {"type"},
        "array": {"items"},
        "object": {"properties", "additionalProperties"},
    }[node["type"]]
    assert bounds & set(node), f"{path}: got no bound, expected one of {sorted(bounds)}"


@pytest.mark.parametrize("path", LEAVES)
def test_every_value_changes_what_is_rendered(
    helm: Helm, chart: Path, default: Rendering, path: str
) -> None:
    (example,) = LEAVES[path]["examples"]
    values = nested(path, example)
    if path == "serviceAccount.create":
        values["serviceAccount"]["name"] = "made-elsewhere"
    if path in ("networkPolicy.apiServerPorts", "networkPolicy.prometheusPorts"):
        values["networkPolicy"]["enabled"] = True
        default = helm.template(chart, values=nested("networkPolicy.enabled", True))
    jsonschema.validate(values, SCHEMA)
    assert helm.template(chart, values=values).objects != default.objects


def test_every_value_that_a_template_reads_is_in_the_values_file() -> None:
    templates = [*(CHART / "templates").iterdir()]
    read = {
        name
        for template in templates
        for name in re.findall(r"\.Values\.([A-Za-z][\w.]*)", template.read_text())
    }
    known = {path[: end.start()] for path in LEAVES for end in re.finditer(r"\.|$", path)}
    assert read - known == set()


@pytest.mark.parametrize("path", ["crds.kep", "replica", "image.digst", "api.QPS", "global.x"])
def test_an_unknown_key_is_refused_by_name(helm: Helm, chart: Path, path: str) -> None:
    with pytest.raises(HelmError, match=rf"additional properties '{path.split('.')[-1]}'"):
        helm.run("template", "slipway", chart, "--set", f"{path}=false")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("replicas", 0, id="no operator at all"),
        pytest.param("replicas", "two", id="a word for a number"),
        pytest.param("image.digest", "sha256:abc", id="a short digest"),
        pytest.param("image.tag", "a b", id="a tag with a space"),
        pytest.param("image.repository", "", id="no repository"),
        pytest.param("logLevel", "VERBOSE", id="a level that does not exist"),
        pytest.param("image.pullPolicy", "Sometimes", id="a policy that does not exist"),
        pytest.param("podLabels", {"app.kubernetes.io/name": "x"}, id="a label of the selector"),
        pytest.param("podAnnotations", {"a": 1}, id="an annotation that is no string"),
        pytest.param("resources.requests", {"cpu": "lots"}, id="a quantity that is none"),
        pytest.param("tolerations", [{"keys": "x"}], id="a misspelt toleration"),
        pytest.param("lease.name", "", id="a lease without a name"),
    ],
)
def test_a_wrong_value_is_refused_and_named(
    helm: Helm, chart: Path, path: str, value: object
) -> None:
    with pytest.raises(HelmError, match=f"at '/{path.replace('.', '/')}"):
        helm.template(chart, values=nested(path, value))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param(
            {"lease": {"retrySeconds": 10}},
            "got retrySeconds 10, renewDeadlineSeconds 10, durationSeconds 15",
            id="a retry that comes after the deadline",
        ),
        pytest.param(
            {"lease": {"renewDeadlineSeconds": 15}},
            "got retrySeconds 2, renewDeadlineSeconds 15, durationSeconds 15",
            id="a leader that outlives its Lease",
        ),
        pytest.param(
            {"api": {"burst": 10}},
            "api.burst: got 10, expected at least api.qps, which is 50",
            id="a burst below the rate",
        ),
        pytest.param(
            {"serviceAccount": {"create": False}},
            "serviceAccount.name is empty",
            id="no ServiceAccount at all",
        ),
    ],
)
def test_values_that_contradict_each_other_are_refused(
    helm: Helm, chart: Path, values: dict[str, object], message: str
) -> None:
    with pytest.raises(HelmError, match=re.escape(message)):
        helm.template(chart, values=values)


def test_null_takes_a_default_limit_away(helm: Helm, chart: Path) -> None:
    rendering = helm.template(chart, values={"resources": {"limits": {"memory": None}}})
    assert not rendering.container["resources"].get("limits")


def test_readme_and_schema_are_generated_from_the_values_file() -> None:
    stale = [
        path.name for path, text in generator.generated(CHART).items() if path.read_text() != text
    ]
    assert stale == [], "run `make chart`"


def test_a_value_without_a_comment_is_refused_by_the_generator() -> None:
    with pytest.raises(KeyError, match="imageRegistry"):
        generator.described(SCHEMA, {})


def test_the_chart_has_the_projects_version() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert (about["version"], about["appVersion"]) == (project["version"], project["version"])
