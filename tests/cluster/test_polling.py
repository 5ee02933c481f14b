"""A source that is looked at again, on a real API server: what follows, and what does not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import pytest

from devcluster.cluster import Cluster
from tests.cluster.audit import writes
from tests.cluster.kubelet import DIGEST, Looked, Script, Supplied, SupplyFails
from tests.cluster.models import Models
from tests.cluster.operators import Operator
from tests.kubeapi import Manifest, Refused, eventually, is_true

pytestmark = pytest.mark.timeout(300)

OTHER: Final = "sha256:" + "cd" * 32
POLL: Final = {"poll": {"every": "30s"}}
_LOOK_S: Final = 90.0
"""Half a minute until the first look is due, and a busy machine."""


def job(models: Models) -> Manifest | None:
    return models.child("Job", "m-poll")


def looked(models: Models, before: str = "") -> Manifest:
    """Wait until a look is over, that is none before; its Job."""

    def over() -> Manifest | None:
        found = job(models)
        if found is None or found["metadata"]["uid"] == before:
            return None
        return found if found.get("status", {}).get("completionTime") else None

    return eventually(over, "a look is over", timeout_s=_LOOK_S)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"poll": {"every": "29s"}}, "model.poll.every: expected 30s to 168h"),
        ({"poll": {"every": "169h"}}, "model.poll.every: expected 30s to 168h"),
        ({**POLL, "digest": DIGEST}, "model.poll: with a digest there is nothing else to find"),
        (
            {**POLL, "uri": f"oci://registry.example/m@{DIGEST}"},
            "model.poll: with a digest there is nothing else to find",
        ),
    ],
)
def test_what_cannot_be_polled_is_refused(
    models: Models, model: dict[str, Any], message: str
) -> None:
    with pytest.raises(Refused) as caught:
        models.apply(model=model)
    assert message in str(caught.value)


@pytest.mark.usefixtures("operator")
def test_other_bytes_are_rolled_out_and_the_spec_stays(models: Models, script: Script) -> None:
    applied = models.apply(model=POLL)
    first = models.until("Ready")["status"]["stable"]
    assert job(models) is None, "nobody looks before it is due"
    same = looked(models)
    eventually(lambda: models.get()["status"]["polled"].get("mark"), "the look is noted")
    assert models.get()["status"]["stable"]["hash"] == first["hash"]
    script.look, script.supply = Looked(OTHER), Supplied(OTHER)
    models.api.delete("Job", models.namespace, "m-poll")  # to look at once
    looked(models, same["metadata"]["uid"])
    second = eventually(
        lambda: status
        if (status := models.get()["status"])["stable"]["hash"] != first["hash"]
        and is_true(models.get(), "Ready")
        else None,
        "the other bytes serve", timeout_s=60,
    )  # fmt: skip
    assert second["model"]["digest"] == second["polled"]["digest"] == OTHER
    assert second["stable"]["revision"] == 2
    assert models.get()["spec"] == applied["spec"]
    supply = models.child("Job", second["stable"]["name"])
    assert supply is not None
    assert OTHER in str(supply["spec"]["template"]["spec"]["containers"][0]["env"])


@pytest.mark.usefixtures("operator")
def test_a_look_that_fails_is_told_and_harms_nothing(models: Models, script: Script) -> None:
    script.look = SupplyFails("Unavailable", "the store is away", is_terminal=False)
    models.apply(model=POLL)
    stable = models.until("Ready")["status"]["stable"]
    told = eventually(
        lambda: found if (found := models.get()["status"]["polled"]).get("reason") else None,
        "the failure is told", timeout_s=_LOOK_S,
    )  # fmt: skip
    assert (told["reason"], told["message"]) == ("Unavailable", "the store is away")
    status = models.until("Ready")["status"]
    assert status["stable"] == stable
    assert "candidate" not in status


def test_a_restart_looks_at_nothing_early_and_writes_nothing(
    models: Models, start: Callable[..., Operator], cluster: Cluster
) -> None:
    operator = start().until_ready()
    models.apply(model={"poll": {"every": "1h"}})
    models.until("Ready")
    _until_idle(operator)
    operator.end()
    mark = cluster.audit.mark()
    again = start().until_ready()
    eventually(lambda: again.is_leading, "it leads")
    eventually(lambda: again.metric("slipway_reconcile_total") >= 1, "it has looked at all")
    _until_idle(again)
    found = [w for w in writes(cluster.audit, mark) if w.namespace == models.namespace]
    assert {w.resource for w in found} == {"leases"}
    assert job(models) is None


def _until_idle(operator: Operator) -> None:
    """Wait until nothing is reconciled over two looks; that a look is due some day counts not."""
    seen = [-1.0]

    def idle() -> bool:
        now = operator.metric("slipway_reconcile_total")
        same, seen[0] = now == seen[0], now
        time.sleep(1.0)  # two looks are a second apart
        return same

    eventually(idle, "the operator is idle", timeout_s=60)
