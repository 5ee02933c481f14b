"""The PodMonitor: where its kind is, unless the user does not want it."""

from __future__ import annotations

from typing import Any

import pytest

from slipway_operator.api.v1alpha1 import parse_spec
from slipway_operator.plan.names import MODEL, REVISION, Manifest
from slipway_operator.plan.plan import plan
from slipway_operator.plan.workload import pod_template
from tests.builders import DEFAULTS, Scene, spec_of


def _monitors(spec: dict[str, Any], *, missing: frozenset[str] = frozenset()) -> list[Manifest]:
    scene = Scene(spec).serving(spec)
    scene.missing_kinds = missing
    return [m for m in plan(scene.snapshot()).apply if m["kind"] == "PodMonitor"]


def test_it_selects_serving_pods_by_a_port_that_they_have() -> None:
    (monitor,) = _monitors(spec_of())
    template = pod_template(Scene().owner, "abc", parse_spec(spec_of()), DEFAULTS)
    labels = template["metadata"]["labels"]
    selector = monitor["spec"]["selector"]
    assert selector["matchLabels"] == {MODEL: labels[MODEL]}
    assert selector["matchExpressions"] == [{"key": REVISION, "operator": "Exists"}]
    ports = {p["name"] for p in template["spec"]["containers"][0]["ports"]}
    assert {e["port"] for e in monitor["spec"]["podMetricsEndpoints"]} <= ports


@pytest.mark.parametrize(
    ("spec", "missing", "expected"),
    [
        pytest.param(spec_of(), frozenset(), 1, id="by default"),
        pytest.param(spec_of(), frozenset({"PodMonitor"}), 0, id="not installed"),
        pytest.param(spec_of(monitoring={"podMonitor": False}), frozenset(), 0, id="not wanted"),
        pytest.param(spec_of(monitoring={}), frozenset(), 1, id="an empty block"),
    ],
)
def test_when_there_is_one(spec: dict[str, Any], missing: frozenset[str], expected: int) -> None:
    assert len(_monitors(spec, missing=missing)) == expected


def test_it_outlives_a_discovery_that_overlooks_its_kind() -> None:
    (monitor,) = _monitors(spec_of())
    name = monitor["metadata"]["name"]
    wanted = Scene(spec_of()).serving(spec_of())
    wanted.children["PodMonitor", name] = monitor
    wanted.missing_kinds = frozenset({"PodMonitor"})
    assert plan(wanted.snapshot()).delete == ()
    unwanted = Scene(spec_of(monitoring={"podMonitor": False})).serving(spec_of())
    unwanted.missing_kinds = frozenset()
    unwanted.children["PodMonitor", name] = monitor
    assert monitor in plan(unwanted.snapshot()).delete
