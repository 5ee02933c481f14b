"""Pods that cannot start: what the status says of them, and how soon."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from tests.e2e.conftest import Place
from tests.e2e.files import multiplier
from tests.e2e.models import SMALL, Models
from tests.kubeapi import Manifest, condition, eventually

_NO_IMAGE = "localhost/slipway-runtime:no-such-tag"
_HUGE = {**SMALL, "requests": {"cpu": "1000"}}


@pytest.fixture(scope="module")
def models(place: Place) -> Iterator[Models]:
    """One ModelDeployment for each way to fail, all at once."""
    with place() as made:
        uri = made.publish("good", multiplier(2))
        taken = [{"name": "SLIPWAY_RUNTIME_HTTP_PORT", "value": "8082"}]  # the admin port
        made.apply("crashing", uri=uri, runtime={"env": taken})
        made.apply("imageless", uri=uri, runtime={"image": _NO_IMAGE})
        made.apply("huge", uri=uri, runtime={"resources": _HUGE})
        yield made


@pytest.mark.parametrize(
    ("name", "reason", "cause"),
    [
        pytest.param(
            "crashing", "CrashLoopBackOff", "port 8082 on 0.0.0.0: cannot be listened on",
            id="a process that ends at once",
        ),
        pytest.param(
            "imageless", "ImagePullFailed", f"{_NO_IMAGE!r} cannot be pulled; check runtime.image",
            id="an image that is not there",
        ),
        pytest.param(
            "huge", "Unschedulable", "Insufficient cpu", id="a pod that fits on no node"
        ),
    ],
)  # fmt: skip
def test_a_pod_that_cannot_start_says_why(
    models: Models, name: str, reason: str, cause: str
) -> None:
    def failed() -> Manifest | None:
        mdep = models.get(name)
        last = mdep.get("status", {}).get("lastFailure", {})
        return mdep if last.get("reason") == reason else None

    mdep = eventually(
        failed,
        f"the status of {name} has {reason}",
        timeout_s=60,
        describe=lambda: yaml.safe_dump(models.get(name).get("status")),
    )
    assert cause in mdep["status"]["lastFailure"]["message"]
    assert mdep["status"]["lastFailure"]["pod"].startswith(f"{name}-")
    ready = condition(mdep, "Ready")
    assert ready is not None
    assert ready["status"] == "False"
    assert cause in ready["message"]
