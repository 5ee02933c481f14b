"""No request fails while versions, replicas and pods change under continuous traffic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.e2e.conftest import Place
from tests.e2e.files import Digits, request
from tests.e2e.models import Models
from tests.e2e.traffic import Traffic
from tests.kubeapi import Manifest, eventually

_DRAINED_S: Final = 90
"""A revision keeps its pods for a minute after the next one has taken over."""


@pytest.fixture(scope="module")
def models(place: Place, digits: Digits) -> Iterator[Models]:
    """Two versions of a classifier, of which the first is served by two pods."""
    with place() as made:
        made.publish("digits-v1", digits.first)
        made.publish("digits-v2", digits.second)
        serve(made, "v1")
        yield made


@pytest.fixture(scope="module")
def traffic(models: Models, digits: Digits, images: dict[str, str]) -> Traffic:
    """A client that never stops asking."""
    body = request(digits.held_out.pixels[:1], "X")
    return Traffic(models, images["runtime"], "digits", body)


def serve(models: Models, version: str, replicas: int = 2) -> Manifest:
    """Apply a version and wait until it is served."""
    uri = f"configmap://digits-{version}/model.onnx"
    models.apply("digits", uri=uri, model={"version": version}, replicas=replicas)
    return models.until("Ready", "digits")


def until_pods(models: Models, count: int, revision: str = "") -> None:
    """Wait until there are exactly so many pods, those on their way out included."""
    eventually(
        lambda: len(models.pods("digits", revision)) == count,
        f"{count} pods",
        timeout_s=_DRAINED_S,
        describe=lambda: models.kubectl("get", "pods", "-o", "wide"),
    )


def test_a_second_version_takes_over(models: Models, traffic: Traffic) -> None:
    serve(models, "v1")
    with traffic.unbroken():
        serve(models, "v2")
        traffic.until_answered("v2", 20)


def test_replicas_come_and_go(models: Models, traffic: Traffic) -> None:
    revision = serve(models, "v2")["status"]["stable"]["hash"]
    with traffic.unbroken():
        serve(models, "v2", replicas=3)
        until_pods(models, 3, revision)
        models.kubectl("scale", "mdep/digits", "--replicas=1")
        models.until("Ready", "digits")
        until_pods(models, 1, revision)


def test_a_pod_is_deleted_by_hand(models: Models, traffic: Traffic) -> None:
    revision = serve(models, "v2")["status"]["stable"]["hash"]
    until_pods(models, 2, revision)
    victim = models.pods("digits", revision)[0]["metadata"]["name"]
    with traffic.unbroken():
        models.kubectl("delete", "pod", victim)
        models.until("Ready", "digits")
        until_pods(models, 2, revision)


def test_the_first_version_ends_and_comes_back(models: Models, traffic: Traffic) -> None:
    with traffic.unbroken():
        second = serve(models, "v2")["status"]["stable"]
        # Connections that are kept stay with the version before until its pods end.
        until_pods(models, 2)
        until_pods(models, 2, second["hash"])
    with traffic.unbroken():
        again = serve(models, "v1")["status"]["stable"]
        traffic.until_answered("v1", 20)
    assert again["revision"] == 1
