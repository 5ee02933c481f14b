"""The API page and its description: the model's own, sendable, and from no other host."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from slipway_runtime.inference.signature import Signature, TensorSpec
from slipway_runtime.protocols.openapi import infer_paths
from tests.unit.runtime import models
from tests.unit.runtime.processes import Serving, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    model = models.identity("FP32", "BYTES", "BOOL", "INT64", "FP16", shape=["n", 2])
    path = models.saved(model, tmp_path_factory.mktemp("page") / "kinds.onnx")
    with serving(path) as running:
        running.wait_for("ready")
        yield running


@pytest.fixture(scope="module")
def admin(server: Serving) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.admin, trust_env=False) as opened:
        yield opened


@pytest.fixture(scope="module")
def description(admin: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = admin.get("/openapi.json").json()
    return found


def test_the_description_is_valid(description: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(description).validate()
    assert description["openapi"].startswith("3.1")
    assert description["info"]["description"] == "Model kinds, version 1, ready."
    assert "/v2/models/{model}/versions/{version}/ready" in description["paths"]


def test_every_example_fits_its_schema_and_is_answered(
    admin: httpx.Client, description: dict[str, Any]
) -> None:
    asked = 0
    for path, verbs in description["paths"].items():
        for verb, operation in verbs.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content is None:
                continue
            jsonschema.validate(content["example"], content["schema"])
            filled = path.format(
                **{
                    each["name"]: each["schema"]["enum"][0]
                    for each in operation.get("parameters", ())
                }
            )
            answer = admin.request(verb, filled, json=content["example"])
            assert (answer.status_code, path) == (200, path), answer.text
            schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
            jsonschema.validate(answer.json(), schema)
            asked += 1
    assert asked == 10


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"name": "other"}, id="another name"),
        pytest.param({"datatype": "INT8"}, id="another datatype"),
        pytest.param({"shape": [1]}, id="another rank"),
        pytest.param({"shape": [1, 3]}, id="another fixed size"),
    ],
)
def test_the_schema_refuses_what_the_model_refuses(
    admin: httpx.Client, description: dict[str, Any], change: dict[str, Any]
) -> None:
    operation = description["paths"]["/v2/models/{model}/infer"]["post"]
    content = operation["requestBody"]["content"]["application/json"]
    first, *others = content["example"]["inputs"]
    body = {"inputs": [{**first, **change}, *others]}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(body, content["schema"])
    assert admin.post("/v2/models/kinds/infer", json=body).status_code == 400


def test_the_page_loads_nothing_from_elsewhere(admin: httpx.Client) -> None:
    html = admin.get("/docs")
    assert html.headers["content-type"].startswith("text/html")
    assert html.headers["content-security-policy"].startswith("default-src 'self';")
    loaded = re.findall(r'(?:src|href)="([^"]+)"', html.text)
    assert sorted(loaded) == [
        "/docs/page.css",
        "/docs/page.js",
        "/openapi.json",
        "/openapi.json",
        "data:,",
    ]
    for path in ("/docs/page.css", "/docs/page.js"):
        asset = admin.get(path)
        assert (asset.status_code, "//" in re.sub(r"//.*", "", asset.text)) == (200, False)
        assert not re.search(r"https?:|@import|innerHTML|url\(", asset.text)


def test_the_page_is_not_for_clients(server: Serving) -> None:
    for path in ("/docs", "/docs/page.js", "/openapi.json"):
        assert httpx.get(server.url + path, trust_env=False).status_code == 404


@pytest.mark.parametrize(
    "signature",
    [
        pytest.param(None, id="nothing is loaded"),
        pytest.param(Signature((), (TensorSpec("y", "FP32", ()),)), id="no inputs"),
        pytest.param(
            Signature((TensorSpec("x", "FP32", (1, 3, 224, 224)),), (TensorSpec("y", "FP32", ()),)),
            id="a large one",
        ),
    ],
)
def test_any_model_is_described(signature: Signature | None) -> None:
    paths = infer_paths("m", "1", signature)
    document = {"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": paths}
    OpenAPIV31SpecValidator(document).validate()
    content = paths["/predict"]["post"]["requestBody"]["content"]["application/json"]
    assert ("example" in content) == (signature is not None and not any(signature.inputs))
