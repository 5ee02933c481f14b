"""The operator is restarted or dies while a model is served."""

from __future__ import annotations

import numpy as np

from tests.e2e.audit import Audit
from tests.e2e.files import multiplier, request
from tests.e2e.installation import SYSTEM, Installation
from tests.e2e.models import Models
from tests.kubeapi import eventually

_ROW = np.array([[1.0, 2.0]], dtype=np.float32)


def test_a_restart_writes_nothing_but_the_lease(
    models: Models, installation: Installation, audit: Audit
) -> None:
    models.serve(multiplier(2), replicas=2)
    installation.until_settled()
    versions, mark = models.versions(), audit.mark()
    before = {p["metadata"]["uid"] for p in installation.pods()}
    installation.restart()
    installation.until_settled()
    assert before.isdisjoint(p["metadata"]["uid"] for p in installation.pods())
    written = audit.writes(mark, SYSTEM, models.namespace)
    assert {w.partition(" ")[2] for w in written} == {"leases/slipway-operator"}
    assert models.versions() == versions
    assert models.infer(request(_ROW)).is_success


def test_another_takes_over_when_the_leader_dies(
    models: Models, installation: Installation
) -> None:
    status = models.serve(multiplier(2))["status"]
    name = status["stable"]["name"]
    leader = installation.until_settled()
    models.api.delete("Pod", SYSTEM, leader, grace=0)
    models.api.delete("Service", models.namespace, name)
    eventually(
        lambda: models.api.get("Service", models.namespace, name),
        "the deleted Service is back",
        timeout_s=40,
        describe=installation.leader,
    )
    assert installation.until_settled() != leader
    assert models.until("Ready")["status"]["stable"] == status["stable"]
