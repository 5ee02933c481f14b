"""What an older release has recorded becomes the pods that it made: an upgrade starts no rollout.

The corpus `tests/golden/stored_renderings.json` is frozen, as that of the hashes is: records as
they stand in clusters, and the pods that came of them. A row that fails replaces every pod of every
installation at the next upgrade, so it is a bug in the change under test. When pods are rendered in
another way, add rows of the new way (`row_of`), and leave the old ones.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slipway_operator.api.v1alpha1 import parse_spec
from slipway_operator.plan.children import key
from slipway_operator.plan.names import Owner
from slipway_operator.plan.plan import plan
from slipway_operator.plan.revision import Revision, read, record, revision_hash
from slipway_operator.plan.security import authentication_of
from slipway_operator.plan.workload import RuntimeDefaults, convertible, deployment
from tests.builders import DEFAULTS, Scene, mdep, revision_of
from tests.unit.operator.plan.test_manifests import SCENARIOS
from tests.unit.operator.plan.world import is_applied

RELEASE = "0.1.0"
CORPUS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[3] / "golden" / "stored_renderings.json").read_text()
)
OWNER = Owner.of(mdep())


def row_of(name: str, release: str, spec: dict[str, Any], revision: Revision) -> dict[str, Any]:
    """What is added to the corpus for a revision."""
    return {
        "name": name,
        "release": release,
        "spec": spec,
        "record": record(OWNER, revision),
        "pods": _pods(spec, revision),
    }


def _pods(spec: dict[str, Any], revision: Revision) -> dict[str, Any]:
    """What decides whether a Deployment's pods are replaced, and whether it is made again."""
    rendered = deployment(OWNER, revision, 2, authentication=authentication_of(parse_spec(spec)))
    return {
        "name": rendered["metadata"]["name"],
        "selector": rendered["spec"]["selector"],
        "template": rendered["spec"]["template"],
    }


def _revisions() -> dict[str, tuple[dict[str, Any], Revision]]:
    """What today's corpus should hold."""
    found = {name: (spec, revision_of(OWNER, spec)) for name, spec in SCENARIOS.items()}
    minimal = SCENARIOS["minimal"]
    found["converted"] = (minimal, convertible(revision_of(OWNER, minimal), DEFAULTS))
    return found


@pytest.mark.parametrize("row", [pytest.param(r, id=f"{r['name']} {r['release']}") for r in CORPUS])
def test_a_stored_revision_keeps_its_pods(row: dict[str, Any]) -> None:
    stored = read(row["record"])
    assert stored is not None
    assert _pods(row["spec"], stored) == row["pods"]


def test_a_stored_revision_is_that_of_its_spec() -> None:
    """Otherwise an upgrade would make a second one."""
    for row in CORPUS:
        assert revision_hash(row["spec"]) == row["record"]["data"]["hash"], row["name"]


def test_every_kind_of_pod_is_in_the_corpus() -> None:
    assert {row["name"] for row in CORPUS} >= set(_revisions())


@pytest.mark.parametrize("name", [n for n in SCENARIOS if n != "keys"])  # no Scene has those
def test_an_operator_with_another_image_changes_no_pod(name: str) -> None:
    spec = SCENARIOS[name]
    settled = Scene(spec).serving(spec, replicas=spec.get("replicas", 1)).snapshot()
    newer = RuntimeDefaults("registry.test/runtime:2", converter_image="registry.test/converter:2")
    wanted = plan(replace(settled, defaults=newer)).apply
    kept = [m for m in wanted if m["kind"] in ("ControllerRevision", "Deployment", "Job")]
    assert len(kept) >= 2
    assert all(is_applied(settled.children[key(m)], m) for m in kept)
