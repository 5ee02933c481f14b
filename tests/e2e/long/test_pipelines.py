"""Pipelines served from real pods: what clients send is a file or a row, and nothing else.

The references are Pillow, numpy and ONNX Runtime, which see the bare model only.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest

from tests.e2e.conftest import Place
from tests.e2e.models import Models
from tests.kubeapi import eventually
from tests.unit.runtime.pipeline.test_serving import (
    CLASSES,
    IMAGES,
    TABLE,
    check,
    mean_of_channels,
    photo,
    sum_of_columns,
)

_IMAGE: Final = {"name": "image", "datatype": "BYTES", "shape": [1]}


@pytest.fixture(scope="module")
def served(place: Place) -> Iterator[Models]:
    """A classifier of photos and a model of table rows, each with its pipeline."""
    with place() as models:
        for name, model, pipeline in (
            ("photos", mean_of_channels(), IMAGES),
            ("rows", sum_of_columns(), TABLE),
        ):
            uri = models.publish(name, model.SerializeToString())
            models.apply(name, uri=uri, pipeline=pipeline)
        for name in ("photos", "rows"):
            models.until("Ready", name, timeout_s=120)
        yield models


def ask(models: Models, name: str, path: str, **options: Any) -> Any:
    """Ask a model through the API server's proxy to its Service."""
    service = models.api.path("Service", models.namespace, f"{name}:http")
    answer: httpx.Response = models.api.http.post(f"{service}/proxy{path}", **options)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_photo_is_the_request(served: Models) -> None:
    file = photo()
    head = {"content-type": "image/jpeg"}
    found = ask(served, "photos", "/predict", content=file, headers=head)["outputs"]
    check(found["label"][0], found["probability"][0], file)


def test_v2_takes_a_photo_as_base64_and_as_bytes(served: Models) -> None:
    file, path = photo(), "/v2/models/photos/infer"
    plain = {"inputs": [{**_IMAGE, "data": [base64.b64encode(file).decode()]}]}
    raw = len(file).to_bytes(4, "little") + file
    tensor = {**_IMAGE, "parameters": {"binary_data_size": len(raw)}}
    text = json.dumps({"inputs": [tensor]}).encode()
    headers = {"inference-header-content-length": str(len(text))}
    for answer in (
        ask(served, "photos", path, json=plain),
        ask(served, "photos", path, content=text + raw, headers=headers),
    ):
        found = {output["name"]: output["data"] for output in answer["outputs"]}
        check(found["label"], found["probability"], file)


def test_a_row_with_what_is_missing_is_the_request(served: Models) -> None:
    """Ten times the age and the places of the port, which numpy would count alike."""
    rows = [{"age": 20, "port": "C"}, {"age": None, "port": None}, {"age": 1.5, "port": "?"}]
    found = ask(served, "rows", "/v1/models/rows:predict", json={"instances": rows})
    assert found["predictions"] == [10 * (20 + 1), 10 * (30 + 1), 10 * 1.5]


def test_labels_may_lie_in_a_configmap(served: Models) -> None:
    """Until it is there the status asks for it; then the answers are those of the other photos."""
    uri = served.publish("named", mean_of_channels().SerializeToString())
    lists = {"configMap": {"name": "classes", "key": "labels.txt"}, "topK": 3}
    postprocess = [{"softmax": {}}, {"labels": lists}]
    served.apply("named", uri=uri, pipeline={**IMAGES, "postprocess": postprocess})
    expected = "labels: ConfigMap 'classes' does not exist in namespace"
    eventually(
        lambda: expected in json.dumps(served.get("named").get("status") or {}),
        "the status names what is missing",
        timeout_s=15,
        describe=lambda: served.get("named").get("status"),
    )
    served.publish("classes", "\n".join(CLASSES).encode(), "labels.txt")
    served.until("Ready", "named", timeout_s=180)
    file = photo()
    head = {"content-type": "image/jpeg"}
    found = ask(served, "named", "/predict", content=file, headers=head)["outputs"]
    check(found["label"][0], found["probability"][0], file)


def test_the_status_tells_what_clients_send(served: Models) -> None:
    inputs = served.get("photos")["status"]["signature"]["inputs"]
    assert inputs == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
