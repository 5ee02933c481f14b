"""V1, TorchServe and the plain /predict: the codecs, then a real server."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from slipway_runtime.errors import InvalidRequest
from slipway_runtime.inference.request import InferenceResponse
from slipway_runtime.inference.signature import Signature, TensorSpec
from slipway_runtime.protocols.asked import Asked
from slipway_runtime.protocols.dialect import Identity, Target
from slipway_runtime.protocols.head import Head
from slipway_runtime.protocols.predict import Plain, TorchServe
from slipway_runtime.protocols.v1 import V1, predict_target
from tests.unit.runtime import models
from tests.unit.runtime.processes import Serving, pod_folder, serving

X = TensorSpec("x", "FP32", (-1, 2))
W = TensorSpec("w", "BYTES", (-1,))
Y = TensorSpec("y", "FP32", (-1, 2))
LABEL = TensorSpec("label", "INT64", (-1,))
ONE = Signature((X,), (Y,))
TWO = Signature((X, W), (Y, LABEL))
ME = Identity("m", "7")


def decode(document: Any, signature: Signature, dialect: Any = None) -> dict[str, Any]:
    body = json.dumps(document).encode()
    inputs = (dialect or V1()).decode(body, Head(), signature).request.inputs
    return {name: tensor.tolist() for name, tensor in inputs.items()}


@pytest.mark.parametrize(
    ("document", "signature", "expected"),
    [
        pytest.param({"instances": [[1, 2]]}, ONE, {"x": [[1, 2]]}, id="rows of one input"),
        pytest.param(
            {"instances": [{"x": [1, 2], "w": "a"}, {"w": "b", "x": [3, 4]}]},
            TWO,
            {"x": [[1, 2], [3, 4]], "w": ["a", "b"]},
            id="rows of several inputs",
        ),
        pytest.param({"instances": [{"x": [1, 2]}]}, ONE, {"x": [[1, 2]]}, id="a row by name"),
        pytest.param({"inputs": [[1, 2]]}, ONE, {"x": [[1, 2]]}, id="the column of one input"),
        pytest.param(
            {"inputs": {"x": [[1, 2]], "w": ["a", "b"]}},
            TWO,
            {"x": [[1, 2]], "w": ["a", "b"]},
            id="columns of their own lengths",
        ),
        pytest.param(
            {"instances": [{"b64": base64.b64encode("é".encode()).decode()}]},
            Signature((W,), (Y,)),
            {"w": ["é"]},
            id="base64 is no object of inputs",
        ),
        pytest.param(
            {"instances": [["NaN", 1]], "signature_name": "any", "more": 1},
            Signature((TensorSpec("x", "FP32", (-1, 2)),), ()),
            {"x": [[pytest.approx(float("nan"), nan_ok=True), 1]]},
            id="NaN, and keys of others",
        ),
        pytest.param({"inputs": []}, ONE, {"x": []}, id="no rows"),
    ],
)
def test_requests_are_read(document: Any, signature: Signature, expected: dict[str, Any]) -> None:
    assert decode(document, signature) == expected


@pytest.mark.parametrize(
    ("document", "signature", "expected"),
    [
        pytest.param({}, ONE, "has neither, expected one of", id="neither form"),
        pytest.param(
            {"instances": [1], "inputs": [1]}, ONE, "has instances and inputs", id="both forms"
        ),
        pytest.param([], ONE, "body: got [], expected an object", id="a list"),
        pytest.param({"instances": []}, ONE, "instances: got []", id="no rows"),
        pytest.param({"instances": {"x": 1}}, ONE, "expected a list of rows", id="no list"),
        pytest.param({"instances": [[1, 2]]}, TWO, "the model has 2 inputs", id="which input"),
        pytest.param(
            {"instances": [{"x": [1, 2]}, {"w": "a"}]},
            TWO,
            "instances[1]: got {'w': 'a'}",
            id="rows that differ",
        ),
        pytest.param({"instances": [{"x": [1, 2]}]}, TWO, "'w' missing", id="an input missing"),
        pytest.param({"inputs": {"q": 1}}, ONE, "input 'q': unknown", id="an unknown input"),
        pytest.param({"instances": [[1, 2], [3]]}, ONE, "ragged", id="ragged rows"),
        pytest.param({"instances": [[1, 2, 3]]}, ONE, "shape [1, 3]", id="another shape"),
        pytest.param({"instances": [1.5]}, Signature((LABEL,), ()), "1.5", id="a float for INT64"),
        pytest.param(
            {"instances": [{"b64": "?"}]}, Signature((W,), ()), "expected base64", id="no base64"
        ),
        pytest.param(
            {"instances": [{"b64": "/w=="}]}, Signature((W,), ()), "no valid UTF-8", id="no UTF-8"
        ),
        pytest.param({"signature_name": 5, "instances": [1]}, ONE, "signature_name", id="a number"),
    ],
)
def test_bad_requests_are_told_why(document: Any, signature: Signature, expected: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(document, signature)
    assert expected in str(caught.value)


def answer(dialect: Any, *, is_row_form: bool, several: bool) -> Any:
    scores = np.array([[0.1, np.nan], [0.3, np.inf]], np.float32)
    outputs = ((Y, scores), (LABEL, np.array([4, 5])))
    response = InferenceResponse(outputs if several else outputs[:1])
    asked = Asked(None, is_row_form=is_row_form)  # type: ignore[arg-type]  # not looked at
    return json.loads(dialect.encode(response, asked, ME).body)


ROWS = [[pytest.approx(0.1), "NaN"], [pytest.approx(0.3), "Infinity"]]


@pytest.mark.parametrize(
    ("dialect", "is_row_form", "several", "expected"),
    [
        pytest.param(V1(), True, False, {"predictions": ROWS}, id="rows of one output"),
        pytest.param(
            V1(),
            True,
            True,
            {"predictions": [{"y": ROWS[0], "label": 4}, {"y": ROWS[1], "label": 5}]},
            id="rows of several outputs",
        ),
        pytest.param(V1(), False, False, {"outputs": ROWS}, id="one column"),
        pytest.param(
            V1(), False, True, {"outputs": {"y": ROWS, "label": [4, 5]}}, id="several columns"
        ),
        pytest.param(
            Plain(),
            False,
            True,
            {
                "outputs": {"y": ROWS, "label": [4, 5]},
                "prediction": ROWS,
                "model": "m",
                "version": "7",
            },
            id="plain",
        ),
        pytest.param(TorchServe(), False, False, ROWS, id="TorchServe, one output"),
        pytest.param(
            TorchServe(), False, True, {"y": ROWS, "label": [4, 5]}, id="TorchServe, several"
        ),
    ],
)
def test_answers_are_written(dialect: Any, is_row_form: bool, several: bool, expected: Any) -> None:
    assert answer(dialect, is_row_form=is_row_form, several=several) == expected


def test_bytes_come_in_base64_where_the_name_says_so() -> None:
    words = np.array(["é"], object)
    response = InferenceResponse(((TensorSpec("image_bytes", "BYTES", (-1,)), words),))
    asked = Asked(None, is_row_form=True)  # type: ignore[arg-type]  # not looked at
    assert json.loads(V1().encode(response, asked, ME).body) == {"predictions": [{"b64": "w6k="}]}


@pytest.mark.parametrize(
    ("document", "signature", "expected"),
    [
        pytest.param({"inputs": [[1, 2]]}, ONE, {"x": [[1, 2]]}, id="inputs"),
        pytest.param({"data": [[1, 2]]}, ONE, {"x": [[1, 2]]}, id="data"),
        pytest.param({"features": [1, 2]}, ONE, {"x": [[1, 2]]}, id="a row of features"),
        pytest.param({"input": [1, 2]}, ONE, {"x": [[1, 2]]}, id="input"),
        pytest.param({"instances": [[1, 2], [3, 4]]}, ONE, {"x": [[1, 2], [3, 4]]}, id="instances"),
        pytest.param([[1, 2]], ONE, {"x": [[1, 2]]}, id="a bare list"),
        pytest.param([1, 2], ONE, {"x": [[1, 2]]}, id="a bare row"),
        pytest.param({"x": [[1, 2]]}, ONE, {"x": [[1, 2]]}, id="the input's own name"),
        pytest.param(
            {"inputs": {"x": [[1, 2]], "w": ["a"]}}, TWO, {"x": [[1, 2]], "w": ["a"]}, id="by name"
        ),
        pytest.param(
            [{"x": [1, 2], "w": "a"}], TWO, {"x": [[1, 2]], "w": ["a"]}, id="rows by name"
        ),
        pytest.param(
            {"inputs": {"inputs": [1]}},
            Signature((TensorSpec("inputs", "FP32", (-1,)),), ()),
            {"inputs": [1]},
            id="an input called inputs",
        ),
        pytest.param(
            {"features": 5},
            Signature((TensorSpec("x", "FP32", (-1,)),), ()),
            {"x": [5]},
            id="a lone number",
        ),
    ],
)
def test_tutorials_are_understood(
    document: Any, signature: Signature, expected: dict[str, Any]
) -> None:
    assert decode(document, signature, Plain()) == expected


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        pytest.param({}, "expected one of inputs", id="nothing"),
        pytest.param({"inputs": [1], "data": [1]}, "has inputs and data", id="two forms"),
        pytest.param("x", "expected an object or a list", id="a word"),
        pytest.param([1, 2, 3], "shape [1, 3]", id="another shape"),
        pytest.param({"inputs": {"q": 1}}, "input 'q': unknown", id="an unknown input"),
    ],
)
def test_other_bodies_are_refused(document: Any, expected: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(document, ONE, Plain())
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param(b"/v1/models/m:predict", Target("m"), id="a model"),
        pytest.param(b"/v1/models/m%3Apredict", Target("m"), id="an encoded colon"),
        pytest.param(b"/v1/models/m/versions/3:predict", Target("m", "3"), id="a version"),
        pytest.param(b"/v1/models/m/versions/0:predict", Target("m"), id="the latest"),
        pytest.param(b"/v1/models/m/labels/a:predict", Target("m", "labels/a"), id="a label"),
        pytest.param(b"/v1/models/m", None, id="status"),
        pytest.param(b"/v1/models/m:classify", None, id="another method"),
        pytest.param(b"/v1/models/m/other/3:predict", None, id="another word"),
        pytest.param(b"/v2/models/m:predict", None, id="another protocol"),
    ],
)
def test_paths_name_models(path: bytes, expected: Target | None) -> None:
    assert predict_target(path) == expected


# --- a real server


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("v1")
    model: Path = models.saved(models.affine(), folder / "affine.onnx")
    labelled = {"uri": "configmap://m/k", "version": "v1.2"}
    config, models_folder = pod_folder(folder, model, model=labelled)
    running: Serving
    with serving("--config", config, "--model-dir", models_folder, host="127.0.0.1") as running:
        running.wait_for("ready")
        with httpx.Client(base_url=running.url, trust_env=False) as opened:
            yield opened


SCORES = [[pytest.approx(value, rel=1e-6) for value in (18 / 7, 22 / 7, 26 / 7)]]
ROW = [[1, 1, 1, 1]]
STATUS = {
    "name": "digits",
    "ready": True,
    "model_version_status": [
        {
            "version": "7",
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
    ],
}


@pytest.mark.parametrize(
    ("path", "document", "expected"),
    [
        pytest.param(
            "/v1/models/digits:predict", {"instances": ROW}, {"predictions": SCORES}, id="V1 rows"
        ),
        pytest.param(
            "/v1/models/digits/versions/0:predict",
            {"inputs": ROW},
            {"outputs": SCORES},
            id="V1 column of ovmsclient's version",
        ),
        pytest.param(
            "/v1/models/digits/labels/v1.2:predict",
            {"instances": ROW},
            {"predictions": SCORES},
            id="V1 by the label of the spec",
        ),
        pytest.param(
            "/predict",
            {"features": ROW[0]},
            {
                "outputs": {"scores": SCORES},
                "prediction": SCORES,
                "model": "digits",
                "version": "7",
            },
            id="plain",
        ),
        pytest.param("/predictions/digits", ROW, SCORES, id="TorchServe"),
        pytest.param("/predictions/digits/7", {"data": ROW}, SCORES, id="TorchServe's version"),
    ],
)
def test_predictions_are_answered(
    client: httpx.Client, path: str, document: Any, expected: Any
) -> None:
    found = client.post(path, content=json.dumps(document))
    assert (found.status_code, found.json()) == (200, expected)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("/", {"status": "alive"}, id="live"),
        pytest.param("/ping", {"status": "Healthy"}, id="TorchServe's ping"),
        pytest.param("/v1/models", {"models": ["digits"]}, id="names"),
        pytest.param("/v1/models/digits", STATUS, id="status"),
        pytest.param("/v1/models/digits/versions/7", STATUS, id="status of a version"),
        pytest.param("/v1/models/digits/versions/0", STATUS, id="status of the latest"),
        pytest.param("/v1/models/digits/labels/v1.2", STATUS, id="status of a label"),
    ],
)
def test_what_is_served_is_told(client: httpx.Client, path: str, expected: Any) -> None:
    found = client.get(path)
    assert (found.status_code, found.json()) == (200, expected)


def test_metadata_has_both_spellings(client: httpx.Client) -> None:
    found = client.get("/v1/models/digits/versions/0/metadata").json()
    assert found["modelSpec"] == {"name": "digits", "signatureName": "", "version": "7"}
    assert found["model_spec"]["version"] == "7"
    default = found["metadata"]["signature_def"]["signatureDef"]["serving_default"]
    assert default["inputs"] == {
        "x": {
            "dtype": "DT_FLOAT",
            "tensorShape": {
                "dim": [{"size": "-1", "name": ""}, {"size": "4", "name": ""}],
                "unknownRank": False,
            },
            "name": "x",
        }
    }


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        pytest.param("POST", "/v1/models/digits:predict", 400, "body: empty", id="no body"),
        pytest.param("POST", "/v1/models/x:predict", 404, "model 'x': unknown", id="no model"),
        pytest.param(
            "POST", "/v1/models/digits/versions/9:predict", 404, "version '9'", id="no version"
        ),
        pytest.param(
            "POST", "/v1/models/digits/labels/a:predict", 404, "'labels/a'", id="no label"
        ),
        pytest.param("POST", "/v1/models/digits:classify", 501, "not served", id="classify"),
        pytest.param("POST", "/v1/models/digits/versions/1:regress", 501, "not", id="regress"),
        pytest.param("POST", "/v1/models/digits:explain", 501, "not served", id="explain"),
        pytest.param("POST", "/v1/models/digits:other", 404, "unknown", id="another method"),
        pytest.param("GET", "/v1/models/digits:predict", 405, "expected POST", id="GET"),
        pytest.param(
            "GET",
            "/v1/models/digits/labels/stable",
            404,
            "version 'labels/stable' is not served, expected '7' or 'labels/v1.2'",
            id="a role is no label",
        ),
        pytest.param("GET", "/v1/models/x", 404, "model 'x': unknown", id="status of another"),
        pytest.param("GET", "/predict", 405, "expected POST", id="GET on predict"),
        pytest.param("POST", "/predict", 400, "body: empty", id="an empty plain request"),
    ],
)
def test_errors_are_one_string(
    client: httpx.Client, method: str, path: str, status: int, words: str
) -> None:
    found = client.request(method, path)
    assert (found.status_code, list(found.json())) == (status, ["error"])
    assert words in found.json()["error"]


def test_torchserve_has_its_own_form_of_errors(client: httpx.Client) -> None:
    found = client.put("/predictions/x", content=b"[1]")
    message = "model 'x': unknown, expected 'digits'"
    assert (found.status_code, found.json()) == (
        404,
        {"error": message, "code": 404, "type": "ModelNotFound", "message": message},
    )
