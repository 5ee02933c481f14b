"""The statuses that other programs decide by: what is kept of them is what the planner tells."""

from __future__ import annotations

import os

import jsonschema
import pytest

from slipway_operator.plan.progress import State
from tests.statuses import FOLDER, SITUATIONS, recorded, written
from tests.unit.repository.test_documentation import model_deployment_schema


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_recorded_status_is_what_the_planner_tells(name: str) -> None:
    told = written(SITUATIONS[name]())
    kept = FOLDER / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(told)
    assert kept.read_text() == told, "review the difference, then run `make golden`"


def test_nothing_else_is_kept() -> None:
    assert {f.stem for f in FOLDER.iterdir()} == set(SITUATIONS)


@pytest.mark.parametrize("name", set(SITUATIONS) - {"invalid-spec"})
def test_every_recorded_object_is_one_that_the_api_server_would_store(name: str) -> None:
    jsonschema.validate(recorded(name), model_deployment_schema())


def test_every_state_and_phase_of_a_rollout_is_recorded() -> None:
    found = [recorded(name).get("status", {}) for name in SITUATIONS]
    states = {(status.get("rollout") or {}).get("state") for status in found}
    assert {str(state) for state in State} <= states
    phases = {status.get("phase") for status in found}
    assert phases >= {
        "Pending", "Healthy", "Progressing", "Paused", "RollingBack", "Degraded", "Failed",
        "Suspended",
    }  # fmt: skip
