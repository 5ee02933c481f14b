"""The CRD comes late, goes, and comes back (cases A32 to A34)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import pytest
import yaml

from tests.cluster.conftest import CRD, is_established
from tests.cluster.models import Models
from tests.cluster.operators import Operator
from tests.kubeapi import Api, Refused, eventually

NAME: Final = "modeldeployments.slipway.dev"


@pytest.fixture
def crd(api: Api) -> Iterator[None]:
    """The CRD is back when the test is over, whatever happened."""
    yield
    _install(api)


def _install(api: Api) -> None:
    api.apply(yaml.safe_load(CRD.read_text()))
    eventually(
        lambda: is_established(api.get("CustomResourceDefinition", None, NAME)), "it is there"
    )
    eventually(lambda: _answers(api), "it answers", timeout_s=30)


def _answers(api: Api) -> bool:
    try:
        return api.find("ModelDeployment") is not None
    except Refused as refused:
        if refused.status == 429:  # storage is (re)initializing
            return False
        raise


def _remove(api: Api) -> None:
    api.delete("CustomResourceDefinition", None, NAME)
    eventually(lambda: api.get("CustomResourceDefinition", None, NAME) is None, "it is gone")


@pytest.mark.usefixtures("crd")
@pytest.mark.parametrize(
    "namespaces", [pytest.param("", id="A33 cluster"), pytest.param("own", id="A33 namespaces")]
)
def test_a_crd_that_comes_late_is_waited_for(
    models: Models, start: Callable[..., Operator], namespaces: str
) -> None:
    _remove(models.api)
    operator = start(watch_namespaces=namespaces and models.namespace)
    eventually(lambda: "is not installed" in operator.text("/readyz"), "it says what it waits for",
               timeout_s=20, describe=operator.tail)  # fmt: skip
    assert operator.answer("/livez") == 200
    _install(models.api)
    operator.until_ready()
    models.apply()
    models.until("Ready", timeout_s=30)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("crd")
def test_a32_a_crd_that_is_deleted_and_comes_back(
    models: Models, start: Callable[..., Operator]
) -> None:
    operator = start(watch_namespaces="").until_ready()
    _until_collected(models)
    models.apply()
    name = models.until("Ready")["status"]["stable"]["name"]
    _remove(models.api)
    eventually(lambda: models.child("Deployment", name) is None, "the children are collected",
               timeout_s=90)  # fmt: skip
    _install(models.api)
    if operator.process.poll() is not None:  # it may end; Kubernetes would start it again
        operator = start(watch_namespaces="").until_ready()
    models.apply()
    models.until("Ready", timeout_s=90)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("crd")
def test_a32_a_crd_whose_return_was_overlooked_is_found(
    models: Models, start: Callable[..., Operator]
) -> None:
    """An operator whose watch was cut by the deletion ends, and would be started again."""
    attempts = (_overlooks(models, start) for _ in range(5))
    operator = next(found for found in attempts if found.process.poll() is None)
    assert "watched by nobody" in operator.log.read_text()
    assert operator.end() == 0


def _until_collected(models: Models) -> None:
    """Kubernetes' garbage collector learns of a new kind within half a minute, and not before."""
    models.apply()
    models.until("Ready")
    models.api.delete("ModelDeployment", models.namespace, "m")
    eventually(lambda: not models.api.children(models.namespace), "all is gone", timeout_s=90)


def _overlooks(models: Models, start: Callable[..., Operator]) -> Operator:
    operator = start(watch_namespaces="", discovery_s="2", module="tests.cluster.overlooking")
    operator.until_ready()

    def has_ended() -> bool:
        return operator.process.poll() is not None

    _remove(models.api)
    eventually(
        lambda: "group='slipway.dev'" in operator.log.read_text() or has_ended(),
        "kopf knows of none",
        timeout_s=90,
    )
    _install(models.api)
    models.apply()
    eventually(
        lambda: _is_ready(models) or has_ended(),
        "it serves, or the operator has ended",
        timeout_s=90,
    )
    return operator


def _is_ready(models: Models) -> bool:
    found = (models.get().get("status") or {}).get("conditions") or ()
    return any((c["type"], c["status"]) == ("Ready", "True") for c in found)


@pytest.mark.usefixtures("crd")
def test_a34_an_older_crd_is_warned_of_and_harms_nothing(
    models: Models, start: Callable[..., Operator]
) -> None:
    same = start(watch_namespaces="").until_ready()
    models.apply(serving={"threads": 2})
    before = models.until("Ready")["status"]["stable"]
    assert "the CRD is not that of this operator" not in same.log.read_text()
    same.end()
    older = yaml.safe_load(CRD.read_text())
    schema = older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    spec = schema["spec"]
    del spec["properties"]["exposure"]
    rules = spec.get("x-kubernetes-validations", [])
    spec["x-kubernetes-validations"] = [r for r in rules if "exposure" not in r["rule"]]
    models.api.apply(older)
    other = start(watch_namespaces="").until_ready()
    eventually(lambda: "the CRD is not that of this operator" in other.log.read_text(), "it warns")
    models.apply(replicas=2, serving={"threads": 2})
    after = models.until("Ready")["status"]["stable"]
    assert after["hash"] == before["hash"]
