"""Files as requests to the plain `/predict` and to TorchServe's path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from onnx import helper

from slipway_runtime.errors import InvalidRequest
from slipway_runtime.inference.signature import Signature, TensorSpec
from slipway_runtime.protocols.predict import read_any
from slipway_runtime.protocols.upload import form_parts
from tests.unit.runtime import models
from tests.unit.runtime.processes import serving

PNG = bytes([0x89]) + b"PNG\r\n\x1a\n" + bytes(range(256)) * 20
FORM = "multipart/form-data; boundary=b"


def summed() -> Any:
    """`y` is the sum of the bytes of a file, as a number per file."""
    return models.model_of(
        [
            helper.make_node("Cast", ["file"], ["wide"], to=7),
            helper.make_node("ReduceSum", ["wide"], ["y"], keepdims=1),
        ],
        [models.tensor("file", "UINT8", ["bytes"])],
        [models.tensor("y", "INT64", [1])],
    )


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = models.saved(summed(), tmp_path_factory.mktemp("upload") / "m.onnx")
    document = path.with_suffix(".yaml")
    document.write_text(
        "kind: ModelDeployment\nmetadata: {name: m}\n"
        "spec: {model: {uri: 'configmap://a/b'}, "
        "serving: {maxJSONBytes: 1Ki, maxRequestBytes: 64Ki}}\n"
    )
    with serving("-f", document, "--model", path) as server:
        server.wait_for("ready")
        yield server.url


@pytest.mark.parametrize("path", ["/predict", "/v1/predict", "/predictions/m"])
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"content-type": "image/png"}, id="an image"),
        pytest.param({"content-type": "application/octet-stream"}, id="bytes"),
        pytest.param({}, id="unannounced, as curl -T sends it"),
    ],
)
def test_a_file_is_the_request(url: str, path: str, headers: dict[str, str]) -> None:
    content = PNG if headers else PNG[:1000]  # what is not announced may be JSON: its limit holds
    answer = httpx.post(url + path, content=content, headers=headers, trust_env=False)
    found = answer.json()
    prediction = found["prediction"] if isinstance(found, dict) else found
    assert (answer.status_code, prediction) == (200, [sum(content)])


def test_a_form_with_a_file_is_the_request(url: str) -> None:
    sent = httpx.post(f"{url}/predict", files={"image": ("cat.png", PNG)}, trust_env=False)
    assert sent.json()["prediction"] == [sum(PNG)]
    sent = httpx.post(f"{url}/predictions/m", files={"data": PNG}, trust_env=False)
    assert sent.json() == [sum(PNG)]


def test_files_have_the_limit_of_binary_bodies(url: str) -> None:
    image = {"content-type": "image/png"}
    large = httpx.post(f"{url}/predict", content=b"x" * 65537, headers=image, trust_env=False)
    assert (large.status_code, "serving.maxRequestBytes" in large.json()["error"]) == (413, True)
    json = httpx.post(f"{url}/predict", content=b"[" + b" " * 2000, trust_env=False)
    assert (json.status_code, "serving.maxJSONBytes" in json.json()["error"]) == (413, True)


def test_json_goes_on_working(url: str) -> None:
    for body in ({"file": [1, 2]}, [1, 2], {"inputs": [1, 2]}):
        answer = httpx.post(f"{url}/predict", json=body, trust_env=False)
        assert (answer.status_code, answer.json()["prediction"]) == (200, [3])


def of(datatype: str, *shape: int) -> Signature:
    return Signature((TensorSpec("x", datatype, shape),), (TensorSpec("y", "FP32", (-1,)),))


def form(*parts: bytes) -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="data"; filename="f"\r\n\r\n'
    return b"".join(head + part + b"\r\n" for part in parts) + b"--b--\r\n"


@pytest.mark.parametrize(
    ("signature", "parts", "expected"),
    [
        pytest.param(of("BYTES", -1), [b"one"], ["one"], id="a text"),
        pytest.param(of("BYTES", -1), [b"one", b"two"], ["one", "two"], id="texts"),
        pytest.param(of("BYTES", -1, 1), [b"one", b"two"], [["one"], ["two"]], id="rows of texts"),
        pytest.param(of("BYTES", 1, 1), [b"one"], [["one"]], id="fixed to one"),
        pytest.param(of("UINT8", -1), [b"\r\n--b\r"], [*b"\r\n--b\r"], id="nearly a boundary"),
    ],
)
def test_a_form_becomes_the_input(
    signature: Signature, parts: list[bytes], expected: list[Any]
) -> None:
    tensor = read_any(form(*parts), FORM, signature)["x"]
    assert tensor.tolist() == expected


def test_the_bytes_of_a_file_are_not_copied() -> None:
    body = bytes(range(100))
    tensor = read_any(body, "image/jpeg", of("UINT8", -1))["x"]
    assert np.shares_memory(tensor, np.frombuffer(body, np.uint8))


@pytest.mark.parametrize(
    ("signature", "content_type", "body", "expected"),
    [
        pytest.param(
            of("FP32", -1, 3, 224, 224),
            "image/png",
            PNG,
            "content-type: got 'image/png', expected application/json: the model takes "
            "'x' FP32 [-1, 3, 224, 224], and a file is taken by one input of UINT8 and shape [-1]",
            id="an image for numbers",
        ),
        pytest.param(of("UINT8", -1, -1), FORM, form(PNG), "content-type: got", id="pixels"),
        pytest.param(of("BYTES", -1), "image/png", PNG, "is no valid UTF-8", id="no text"),
        pytest.param(of("BYTES", -1, 3), "image/png", b"", "content-type: got", id="three texts"),
        pytest.param(of("UINT8", -1), FORM, form(b"a", b"b"), "form: has 2 parts", id="two files"),
        pytest.param(of("BYTES", 1), FORM, form(b"a", b"b"), "form: has 2 parts", id="one text"),
        pytest.param(of("UINT8", -1), FORM, form(*[b""] * 65), "more than 64 parts", id="many"),
        pytest.param(of("UINT8", -1), FORM, form(PNG)[:-9], "its form is cut off", id="cut off"),
        pytest.param(of("UINT8", -1), FORM, b"--b--\r\n", "body: ", id="no parts"),
        pytest.param(of("UINT8", -1), FORM, b"", "its form is cut off or empty", id="empty"),
        pytest.param(of("UINT8", -1), FORM, b"nothing", "body: no valid form", id="no form"),
        pytest.param(
            of("UINT8", -1), "multipart/form-data", form(PNG), "with a boundary", id="no boundary"
        ),
        pytest.param(
            of("UINT8", -1), f"{FORM}{'b' * 70}", form(PNG), "with a boundary", id="a long boundary"
        ),
    ],
)
def test_what_is_no_file_for_this_model_is_refused(
    signature: Signature, content_type: str, body: bytes, expected: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_any(body, content_type, signature)
    assert expected in str(caught.value)


def test_json_that_says_it_is_bytes_is_read_where_the_model_takes_no_files() -> None:
    tensor = read_any(b" [[1, 2]]", "application/octet-stream", of("FP32", -1, 2))["x"]
    assert tensor.tolist() == [[1, 2]]


def test_long_heads_of_parts_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="no valid form"):
        form_parts(b"--b\r\na: " + b"x" * 10_000 + b"\r\n\r\n\r\n--b--\r\n", FORM)
