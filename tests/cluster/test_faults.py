"""The API server has a bad day; the end is the same as on a good one (cases A38 to A47, A53).

One operator behind one proxy serves all tests that do not end it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.faultproxy import (
    EVERY,
    READS,
    WRITES,
    Cut,
    Delay,
    Expire,
    Fault,
    FaultProxy,
    Hang,
    Refuse,
    Swallow,
    answers,
)
from tests.cluster.models import Models
from tests.cluster.operators import Operator
from tests.kubeapi import Api, Manifest, condition, eventually

NO_LEASE = "^(?!.*/leases)"


@pytest.fixture(scope="module")
def shared(
    api: Api, shared_proxy: FaultProxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    """An operator that sees the API server only through the proxy; nothing here may end it."""
    log = tmp_path_factory.mktemp("operator") / "behind.log"
    running = Operator(shared_proxy.kubeconfig, "", log, lease_namespace="default").until_ready()
    yield running
    assert running.end() == 0, running.tail()
    assert "reconcile crashed" not in running.log.read_text()


@pytest.fixture
def behind(proxy: FaultProxy, shared: Operator) -> Iterator[Operator]:
    """That operator, alive before and after."""
    yield shared
    assert shared.process.poll() is None, "the operator never ends"
    assert shared.answer("/livez") == 200


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([Fault(Delay(0.3), duration_s=6)], id="A43 slow"),
        pytest.param(
            [Fault(answers.conflict(), verbs=WRITES, path=NO_LEASE, skip=k, count=1)
             for k in range(12)], id="A40 every second write conflicts",
        ),
        pytest.param(
            [Fault(answers.internal_error(), verbs=WRITES, path=NO_LEASE, count=5)], id="A43 500"
        ),
        pytest.param(
            [Fault(answers.unavailable(), path=NO_LEASE, skip=2 * k, count=1) for k in range(20)],
            id="A43 a third of all requests fails",
        ),
        pytest.param([Fault(answers.unavailable(), duration_s=4)], id="A43 503 for everything"),
        pytest.param([Fault(Refuse(), duration_s=4)], id="A44 connections refused"),
        pytest.param(
            [Fault(Hang(), verbs=WRITES, path="/deployments", count=1)], id="A45 a write hangs"
        ),
        pytest.param([Fault(answers.unauthorized(), verbs=READS, count=1)], id="A39 once"),
        pytest.param([Fault(answers.unauthorized(), duration_s=3)], id="A39 for a while"),
        pytest.param(
            [Fault(answers.expired(), verbs={"list"}, path="/pods$", count=2),
             Fault(Cut(), path="/pods$")], id="A41 410 for a list",
        ),
    ],
)  # fmt: skip
def test_a_model_becomes_ready_through(
    models: Models, proxy: FaultProxy, behind: Operator, faults: list[Fault]
) -> None:
    for fault in faults:
        proxy.inject(fault)
    models.apply(replicas=2)
    status = models.until("Ready", timeout_s=60)["status"]
    assert (status["stable"]["revision"], status["stable"]["available"]) == (1, 2)


def test_a37_a_missing_right_is_named_and_the_rest_goes_on(
    models: Models, proxy: FaultProxy, behind: Operator
) -> None:
    proxy.inject(
        Fault(answers.forbidden(), verbs=WRITES, path="/poddisruptionbudgets/", count=EVERY)
    )
    mark = proxy.mark()
    models.apply(replicas=2)

    def told() -> Manifest | None:
        now = condition(models.get(), "Ready")
        return now if now and now["reason"] == "Forbidden" else None

    ready = eventually(told, "the right is named", describe=lambda: models.get().get("status"))
    assert "poddisruptionbudgets" in ready["message"]
    eventually(lambda: (condition(models.get(), "Available") or {}).get("status") == "True",
               "it serves", describe=lambda: models.get()["status"])  # fmt: skip
    assert behind.answer("/readyz") == 200
    tries = proxy.requests(verbs=WRITES, path="/poddisruptionbudgets/", after=mark)
    assert len(tries) <= 25, "one a pass while there is news, then one a minute"


def test_a38_without_the_right_to_tell_the_work_is_done(
    models: Models, proxy: FaultProxy, behind: Operator
) -> None:
    path = f"/namespaces/{models.namespace}/modeldeployments/m/status"
    fault = proxy.inject(Fault(answers.forbidden(), verbs=WRITES, path=path, count=EVERY))
    models.apply()
    eventually(
        lambda: [d for d in models.api.find("Deployment", models.namespace)
                 if d.get("status", {}).get("availableReplicas")],
        "the pods serve",
    )  # fmt: skip
    assert proxy.tally(fault).fired <= 25
    proxy.clear()
    models.until("Ready", timeout_s=70)


def test_a42_a_pause_that_is_asked_for_is_kept_by_all(
    models: Models, proxy: FaultProxy, behind: Operator
) -> None:
    models.apply("a")
    models.until("Ready", "a")
    mark = proxy.mark()  # before the fault: an Event about the first may be what is refused
    fault = proxy.inject(
        Fault(answers.too_many_requests(5), verbs=WRITES, path=f"{NO_LEASE}.*{models.namespace}")
    )
    for name in ("b", "c", "d"):
        models.apply(name)
    for name in ("b", "c", "d"):
        models.until("Ready", name, timeout_s=40)
    assert proxy.tally(fault).fired == 1
    asked = proxy.requests(verbs=WRITES, path=NO_LEASE, after=mark)
    refused = next(r for r in asked if r.status == 429)
    # What was on its way already is not called back.
    later = [r.at - refused.at for r in asked if r.at > refused.at + 0.3]
    assert min(later) >= 5


@pytest.mark.parametrize(
    "action", [pytest.param(Cut(), id="A46 cut"), pytest.param(Expire(), id="A41 410 Gone")]
)
def test_watches_that_end_are_taken_up_again(
    models: Models, proxy: FaultProxy, behind: Operator, action: Cut | Expire
) -> None:
    models.apply()
    models.until("Ready")
    for kind in ("modeldeployments", "deployments", "pods", "jobs", "services"):
        proxy.inject(Fault(action, path=f"/{kind}$"))
    models.apply(replicas=3)
    assert models.until("Ready", timeout_s=40)["status"]["stable"]["available"] == 3


def test_a46_watches_that_end_all_the_time_lose_nothing(
    models: Models, proxy: FaultProxy, behind: Operator
) -> None:
    models.apply()
    models.until("Ready")
    for turn in range(4):
        proxy.inject(Fault(Cut(), path=NO_LEASE, count=EVERY, duration_s=0.2))
        models.apply(replicas=2 + turn % 2)
    assert models.until("Ready", timeout_s=40)["status"]["stable"]["available"] == 3


def test_a47_what_is_seen_too_late_deletes_nothing(
    models: Models, proxy: FaultProxy, behind: Operator
) -> None:
    """The operator believes in a state that is over, as after a list from a lagging server."""
    models.apply(replicas=2)
    name = models.until("Ready")["status"]["stable"]["name"]
    proxy.inject(Fault(Swallow(), path="/poddisruptionbudgets$", count=EVERY))
    note = {"metadata": {"annotations": {"team.example/note": "written meanwhile"}}}
    models.api.merge("PodDisruptionBudget", models.namespace, name, note)
    mark = proxy.mark()
    models.apply(replicas=1)  # at one replica there is no budget: it is to be deleted
    refused = eventually(
        lambda: (
            [r for r in proxy.requests(verbs={"delete"}, after=mark) if r.status == 409] or None
        ),
        "the deletion is refused",
    )
    assert refused
    assert models.child("PodDisruptionBudget", name) is not None
    proxy.clear()
    proxy.inject(Fault(Cut(), path="/poddisruptionbudgets$"))  # and so it sees what is true
    models.api.merge("PodDisruptionBudget", models.namespace, name, note | {"spec": {}})
    note["metadata"]["annotations"]["team.example/note"] = "and again"
    models.api.merge("PodDisruptionBudget", models.namespace, name, note)
    eventually(lambda: models.child("PodDisruptionBudget", name) is None, "it is deleted",
               timeout_s=30)  # fmt: skip


def test_a53_a_poisonous_one_delays_no_other(
    models: Models, proxy: FaultProxy, behind: Operator
) -> None:
    fault = proxy.inject(
        Fault(answers.internal_error(), verbs=WRITES, path="/[^/]*poison[^/]*", count=EVERY)
    )
    models.apply("poison")
    eventually(lambda: proxy.tally(fault).fired >= 3, "it fails")
    for number in range(10):
        models.apply(f"good-{number}")
    for number in range(10):
        models.until("Ready", f"good-{number}")
    assert proxy.tally(fault).fired <= 60, "its pauses double"
    proxy.clear()
    models.until("Ready", "poison", timeout_s=60)
