"""A candidate that is judged by a real Prometheus, and what that one answers to bad questions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from slipway_operator.engine.bounded import BoundedClient
from slipway_operator.engine.prometheus import Prometheus as Asker
from slipway_operator.plan.queries import Question
from tests.cluster.counters import PORT, Counters
from tests.cluster.kubelet import Script
from tests.cluster.models import Models
from tests.cluster.test_checks import _begin, _check, _until
from tests.kubeapi import eventually
from tests.stores.prometheus import Prometheus

STABLE: Final = "127.0.78.1"
CANDIDATE: Final = "127.0.78.2"
_OF: Final = 'sum(rate(slipway_requests_total{revision="{{candidate}}"%s}[5s]))'
ERRORS: Final = _OF % ',code="500"' + " / " + _OF % ""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """One for the module."""
    with Prometheus(tmp_path_factory.mktemp("prometheus")) as running:
        yield running


@pytest.mark.parametrize(
    ("query", "value", "reason"),
    [
        ("vector(0.25)", 0.25, ""),
        ("scalar(vector(3))", 3.0, ""),
        ("-1e3", -1000.0, ""),
        ("0 / 0", None, "the answer is NaN"),
        ("vector(1) / 0", None, "the answer is +Inf"),
        ("nothing_like_it", None, "no series has an answer"),
        ('label_replace(vector(1), "a", "b", "", "") or vector(2)', None, "2 series"),
        ("up[1m]", None, "comes to a matrix"),
        ("'word'", None, "comes to a string"),
        ("sum(", None, "status 400: 'invalid parameter"),
    ],
)
async def test_a65_what_a_real_one_answers_is_a_number_or_no_data(
    real: Prometheus, query: str, value: float | None, reason: str
) -> None:
    client = BoundedClient()
    try:
        found = await Asker(client).ask(Question(real.address, query))
    finally:
        await client.close()
    assert found.value == value
    assert reason in found.reason


@pytest.mark.usefixtures("operator")
def test_a65_a_candidate_is_judged_when_there_is_something_to_judge_by(
    models: Models, script: Script, real: Prometheus
) -> None:
    check = {"name": "q", "type": "PromQL", "query": ERRORS, "max": "0.2"}
    wanted = {"prometheus": {"address": real.address}, "checks": [check]}
    first = _begin(models, script, wanted)
    candidate = _until(models, "Baking")["candidate"]
    assert "no series" in _check(models, "NoData")["message"]
    with Counters({STABLE: 0.01, CANDIDATE: 0.5}):
        real.scrape({
            f"{STABLE}:{PORT}": {"revision": first["hash"]},
            f"{CANDIDATE}:{PORT}": {"revision": candidate["hash"]},
        })  # fmt: skip
        status = _until(models, "Failed")
    assert status["rollout"]["reason"] == "AnalysisFailed"
    assert status["rollout"]["message"].startswith("check q: 0.")


@pytest.mark.usefixtures("operator")
def test_a65_a_prometheus_that_dies_takes_no_candidate_along(
    models: Models, script: Script, tmp_path: Path
) -> None:
    check = {"name": "q", "type": "PromQL", "query": "vector(0.1)", "max": "0.2"}
    with Prometheus(tmp_path) as mortal:
        wanted = {"prometheus": {"address": mortal.address}, "checks": [check]}
        _begin(models, script, wanted, steps=[{"weight": 50, "hold": "20s"}])
        _until(models, "Baking")
        _check(models, "Pass")
    said = _check(models, "NoData")
    assert "Cannot connect" in said["message"]
    eventually(
        lambda: models.get()["status"]["rollout"]["state"] == "Baking", "neither passed nor failed"
    )
