"""The REST surface of a real server process, asked over real sockets."""

import gzip
import http.client
import json
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.unit.runtime import models
from tests.unit.runtime.processes import REVISION, Serving, infer_body, pod_folder, serving

ROWS = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 1, 1, 1]}]}
INFER = "/v2/models/digits/infer"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("rest")
    model = models.saved(models.affine(), folder / "affine.onnx")
    config, models_folder = pod_folder(
        folder,
        model,
        model={"uri": "configmap://m/k", "version": "2026-11-20"},
        serving={"maxJSONBytes": 100_000, "maxRequestBytes": "300Ki", "requestTimeout": "2s"},
    )
    with serving("--config", config, "--model-dir", models_folder, host="127.0.0.1") as running:
        running.wait_for("ready")
        yield running


@pytest.fixture(scope="module")
def client(server: Serving) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, trust_env=False) as opened:
        yield opened


@pytest.fixture(scope="module")
def admin(server: Serving) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.admin, trust_env=False) as opened:
        yield opened


TENSORS = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
    "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 3]}],
}
SERVER = {
    "name": "slipway",
    "version": "0.1.0",
    "extensions": [
        "binary_tensor_data",
        "classification",
        "parameters",
        "statistics",
        "model_configuration",
    ],
}
CONFIG = {
    "name": "digits",
    "platform": "onnxruntime_onnx",
    "backend": "onnxruntime",
    "max_batch_size": 0,
    "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 4]}],
    "output": [{"name": "scores", "data_type": "TYPE_FP32", "dims": [-1, 3]}],
}
PROPERTIES = {
    "onnx.ir_version": "9",
    "onnx.producer_name": "tests",
    "onnx.opset_import": "17",
    "slipway.dev/digest": models.digest(models.affine()),
}
METADATA = {
    "name": "digits",
    "versions": ["7"],
    "platform": "onnx_onnxv1",
    **TENSORS,
    "properties": PROPERTIES,
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("/v2", SERVER, id="server"),
        pytest.param("/v2/", SERVER, id="server, with a slash"),
        pytest.param("/v2/models/digits/config", CONFIG, id="configuration"),
        pytest.param("/v2/models/digits/versions/7/config", CONFIG, id="version's configuration"),
        pytest.param("/v2/health/live", {"live": True}, id="live"),
        pytest.param("/v2/health/ready", {"ready": True}, id="ready"),
        pytest.param("/v2/models", {"models": ["digits"]}, id="names"),
        pytest.param("/v2/models/digits", METADATA, id="metadata"),
        pytest.param("/v2/models/digits/versions/7", METADATA, id="metadata of a version"),
        pytest.param(
            "/v2/models/digits/ready", {"name": "digits", "ready": True}, id="model ready"
        ),
        pytest.param(
            "/v2/models/digits/versions/7/ready",
            {"name": "digits", "ready": True},
            id="version ready",
        ),
    ],
)
def test_metadata_and_health(client: httpx.Client, path: str, expected: Any) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()) == (200, expected)


def test_an_inference_is_answered(client: httpx.Client) -> None:
    answer = client.post(INFER, json={**ROWS, "id": "42"})
    assert answer.status_code == 200
    body = answer.json()
    data = body["outputs"][0].pop("data")
    np.testing.assert_allclose(data, np.array([18, 22, 26]) / 7, rtol=1e-6)
    assert body == {
        "model_name": "digits",
        "model_version": "7",
        "id": "42",
        "outputs": [{"name": "scores", "datatype": "FP32", "shape": [1, 3]}],
    }


@pytest.mark.parametrize(
    "path", ["/v2/health/live", "/v2/models/digits", "/nowhere", "/v2/models/digits/infer"]
)
def test_every_answer_says_which_revision_gave_it(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    found = {name: headers[f"x-model-{name}"] for name in ("name", "version", "revision")}
    assert found == {"name": "digits", "version": "2026-11-20", "revision": REVISION}


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="tritonclient sends none"),
        pytest.param({"Content-Type": "application/octet-stream"}, id="octets"),
        pytest.param({"Content-Type": "text/plain; charset=x"}, id="nonsense"),
        pytest.param({"Accept-Encoding": "gzip, deflate, br"}, id="aiohttp's Accept-Encoding"),
    ],
)
def test_the_content_type_does_not_matter(client: httpx.Client, headers: dict[str, str]) -> None:
    request = httpx.Request("POST", f"{client.base_url}{INFER}", content=json.dumps(ROWS))
    request.headers.pop("content-type", None)
    request.headers.update(headers)
    answer = client.send(request)
    assert answer.status_code == 200
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "message"),
    [
        pytest.param("POST", INFER, b"", 400, "body: empty, expected", id="no body"),
        pytest.param("POST", INFER, b"{}", 400, "inputs: missing", id="no inputs"),
        pytest.param("POST", INFER, b"[" * 2000, 400, "nesting depth", id="too deep"),
        pytest.param(
            "POST",
            "/v2/models/x/infer",
            b"{}",
            404,
            "model 'x': unknown, expected 'digits'",
            id="an unknown model",
        ),
        pytest.param(
            "POST",
            "/v2/models/digits/versions/1/infer",
            b"{}",
            404,
            "version '1' is not served, expected '7'",
            id="another version",
        ),
        pytest.param(
            "POST",
            "/v2/models/digits/versions/-1/infer",
            b"{}",
            404,
            "version '-1' is not served",
            id="no version",
        ),
        pytest.param(
            "POST",
            "/v2/models/a%2Fb/infer",
            b"{}",
            404,
            "model 'a/b': unknown",
            id="an encoded slash",
        ),
        pytest.param(
            "POST", "/v2/models/" + "x" * 300 + "/infer", b"{}", 404, "unknown", id="a long name"
        ),
        pytest.param(
            "POST",
            "/v2/models/%00%0a/infer",
            b"{}",
            404,
            r"model '\x00\n': unknown",
            id="control characters",
        ),
        pytest.param(
            "GET", "/v2/models/x", b"", 404, "model 'x': unknown", id="metadata of another model"
        ),
        pytest.param(
            "GET",
            "/v2/models/x/ready",
            b"",
            404,
            "model 'x': unknown",
            id="readiness of another model",
        ),
        pytest.param(
            "GET",
            "/v2/models/digits/versions/9",
            b"",
            404,
            "version '9'",
            id="metadata of another version",
        ),
        pytest.param(
            "GET", "/nowhere", b"", 404, "path '/nowhere': unknown", id="an unknown route"
        ),
        pytest.param("GET", "/v2/models/digits/", b"", 404, "unknown", id="a trailing slash"),
        pytest.param("GET", "/V2", b"", 404, "unknown", id="another case"),
        pytest.param("GET", "/docs", b"", 404, "unknown", id="the API page is not for clients"),
        pytest.param("GET", "/openapi.json", b"", 404, "unknown", id="nor is its description"),
        pytest.param("GET", "/metrics", b"", 404, "unknown", id="nor are the metrics"),
        pytest.param("GET", INFER, b"", 405, "got GET, expected POST", id="GET on infer"),
        pytest.param(
            "DELETE", "/v2", b"", 405, "got DELETE, expected GET", id="DELETE on metadata"
        ),
        pytest.param("PATCH", INFER, b"", 405, "got PATCH, expected POST", id="PATCH on infer"),
    ],
)
def test_every_error_is_one_string(
    client: httpx.Client, method: str, path: str, content: bytes, status: int, message: str
) -> None:
    answer = client.request(method, path, content=content)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert message in answer.json()["error"]
    assert len(answer.content) <= 1024
    assert ("allow" in answer.headers) == (status == 405)


def test_a_body_over_the_limit_is_refused_before_it_is_read(client: httpx.Client) -> None:
    answer = client.post(INFER, content=b"x" * 100_001)
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")
    assert answer.json() == {
        "error": "body: 100001 bytes or more, expected at most 100000; "
        "serving.maxJSONBytes sets the limit"
    }


def test_a_chunked_body_is_counted_as_it_comes(client: httpx.Client) -> None:
    assert client.post(INFER, content=iter([b"x" * 60_000, b"x" * 60_000])).status_code == 413


def test_a_chunked_body_within_the_limit_is_served(client: httpx.Client) -> None:
    text = json.dumps(ROWS).encode()
    assert (
        client.post(INFER, content=(text[i : i + 1] for i in range(len(text)))).status_code == 200
    )


def test_an_announced_flood_costs_nothing(server: Serving) -> None:
    address = httpx.URL(server.url)
    with socket.create_connection((address.host, address.port or 0), 10) as sock:
        head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"
        sock.sendall(head.encode())
        assert sock.recv(4096).startswith(b"HTTP/1.1 413")


def test_a_body_that_does_not_come_is_not_waited_for(server: Serving) -> None:
    address = httpx.URL(server.url)
    with socket.create_connection((address.host, address.port or 0), 10) as sock:
        sock.sendall(f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{{".encode())
        assert sock.recv(4096).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "zstd"])
def test_other_encodings_are_refused_by_name(client: httpx.Client, encoding: str) -> None:
    answer = client.post(INFER, content=b"x", headers={"Content-Encoding": encoding})
    assert answer.status_code == 415
    assert f"content-encoding '{encoding}'" in answer.json()["error"]


ROW_BYTES = np.ones((1, 4), np.float32).tobytes()
BINARY_INPUT = {
    "name": "x",
    "datatype": "FP32",
    "shape": [1, 4],
    "parameters": {"binary_data_size": 16},
}
SCORES = (np.array([18, 22, 26], np.float32) / 7).tolist()


def scores_of(answer: httpx.Response) -> list[float]:
    """The scores of an answer in binary."""
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers["inference-header-content-length"])
    [output] = json.loads(answer.content[:length])["outputs"]
    assert output["parameters"] == {"binary_data_size": 12}
    return list(np.frombuffer(answer.content[length:], np.float32).tolist())


@pytest.mark.parametrize("coding", [None, "gzip", "deflate"])
def test_binary_tensors_go_both_ways(client: httpx.Client, coding: str | None) -> None:
    text = json.dumps({"inputs": [BINARY_INPUT], "parameters": {"binary_data_output": True}})
    content = text.encode() + ROW_BYTES
    headers = {"Inference-Header-Content-Length": str(len(text)), "Accept-Encoding": "identity"}
    if coding:
        content = gzip.compress(content) if coding == "gzip" else zlib.compress(content)
        headers |= {"Content-Encoding": coding, "Accept-Encoding": coding}
    answer = client.post(INFER, content=content, headers=headers)
    assert (answer.status_code, answer.headers.get("content-encoding")) == (200, coding)
    np.testing.assert_allclose(scores_of(answer), SCORES, rtol=1e-6)


def test_a_raw_body_is_answered_in_binary(client: httpx.Client) -> None:
    headers = {"Inference-Header-Content-Length": "0"}
    answer = client.post(INFER, content=ROW_BYTES, headers=headers)
    np.testing.assert_allclose(scores_of(answer), SCORES, rtol=1e-6)


def test_binary_bodies_have_a_limit_of_their_own(client: httpx.Client) -> None:
    zeros = np.zeros((10_000, 4), np.float32).tobytes()
    headers = {"Inference-Header-Content-Length": "0"}
    assert client.post(INFER, content=zeros, headers=headers).status_code == 200
    answer = client.post(INFER, content=b"x" * (300 * 1024 + 1), headers=headers)
    assert answer.status_code == 413
    assert "serving.maxRequestBytes sets the limit" in answer.json()["error"]
    text = b"{" + b" " * 100_000 + b"}"
    answer = client.post(
        INFER, content=text, headers={"Inference-Header-Content-Length": str(len(text))}
    )
    assert (answer.status_code, "maxJSONBytes" in answer.text) == (413, True)


def test_a_bomb_is_refused(client: httpx.Client) -> None:
    bomb = gzip.compress(bytes(10 * 2**20))
    answer = client.post(INFER, content=bomb, headers={"Content-Encoding": "gzip"})
    assert (answer.status_code, list(answer.json())) == (413, ["error"])


def test_the_best_classes_come_by_name(client: httpx.Client) -> None:
    wanted = {"outputs": [{"name": "scores", "parameters": {"classification": 2}}]}
    [output] = client.post(INFER, json={**ROWS, **wanted}).json()["outputs"]
    assert output == {
        "name": "scores",
        "datatype": "BYTES",
        "shape": [1, 2],
        "data": ["3.714286:2", "3.142857:1"],
    }


def test_a_request_may_set_its_own_timeout(client: httpx.Client) -> None:
    answer = client.post(INFER, json={**ROWS, "parameters": {"timeout": 5_000_000}})
    assert answer.status_code == 200


def test_the_repository_has_one_model(client: httpx.Client) -> None:
    index = [{"name": "digits", "version": "7", "state": "READY", "reason": ""}]
    for body in (b"", b"{}", b'{"ready": true}', b'{"ready": false}'):
        answer = client.post("/v2/repository/index", content=body)
        assert (answer.status_code, answer.json()) == (200, index)
    for bad in (b"[]", b'{"ready": 1}', b"{"):
        assert client.post("/v2/repository/index", content=bad).status_code == 400


def test_pods_do_not_load_or_unload(client: httpx.Client) -> None:
    for verb in ("load", "unload"):
        assert client.post(f"/v2/repository/models/digits/{verb}", json={}).status_code == 404


def test_statistics_count_what_was_asked(client: httpx.Client) -> None:
    def now() -> dict[str, Any]:
        [found] = client.get("/v2/models/stats").json()["model_stats"]
        assert isinstance(found, dict)
        return found

    before = now()
    client.post(INFER, json=ROWS)
    client.post(INFER, content=b"{")
    after = now()
    stats = client.get("/v2/models/digits/versions/7/stats").json()["model_stats"]
    assert after == stats[0]
    assert after["execution_count"] == before["execution_count"] + 1
    assert after["inference_count"] == before["inference_count"] + 1
    assert after["last_inference"] > 0
    for outcome in ("success", "fail"):
        found, earlier = after["inference_stats"][outcome], before["inference_stats"][outcome]
        assert found["count"] == earlier["count"] + 1
        assert found["ns"] >= 0
    three = {"name": "x", "datatype": "FP32", "shape": [3, 4], "data": [1] * 12}
    client.post(INFER, json={"inputs": [three]})
    last = now()
    by_rows = [
        {s["batch_size"]: s["compute_infer"] for s in n["batch_stats"]} for n in (after, last)
    ]
    assert by_rows[0][1] == by_rows[1][1]
    assert by_rows[1][3]["count"] == by_rows[0].get(3, {"count": 0})["count"] + 1
    assert by_rows[1][3]["ns"] > 0
    assert sum(each["count"] for each in by_rows[1].values()) == last["execution_count"]


def test_one_connection_serves_on_after_errors(server: Serving) -> None:
    address = httpx.URL(server.url)
    connection = http.client.HTTPConnection(address.host, address.port, timeout=10)
    statuses = []
    for body in (b"{}", json.dumps(ROWS).encode(), b"", json.dumps(ROWS).encode()):
        connection.request("POST", INFER, body)
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
    connection.close()
    assert statuses == [400, 200, 400, 200]


def test_a_large_body_is_answered_like_a_small_one(tmp_path: Path) -> None:
    model = models.saved(models.identity("FP32"), tmp_path / "echo.onnx")
    numbers = [i / 8 for i in range(100_000)]
    with serving(model) as running:
        running.wait_for("ready")
        answer = httpx.post(
            f"{running.url}/v2/models/echo/infer",
            json=infer_body("in_FP32", "FP32", [100_000], numbers),
            trust_env=False,
        )
    assert answer.json()["outputs"][0]["data"] == numbers


def test_the_admin_port_tells_what_is_served(admin: httpx.Client) -> None:
    assert admin.get("/livez").json() == {"live": True}
    assert admin.get("/readyz").json() == {"ready": True}
    status = admin.get("/status").json()
    assert status.pop("digest").startswith("sha256:")
    assert status.pop("threads") >= 1
    assert status.pop("tasks") >= 1
    assert status.pop("batching").keys() == {"maxBatchSize", "reason", "gain"}
    assert status == {
        "name": "digits",
        "namespace": "models",
        "revision": REVISION,
        "revisionNumber": 7,
        "version": "2026-11-20",
        "state": "Ready",
        "running": 0,
        "queue": {"length": 0, "maxLength": 1024},
        "signature": TENSORS,
        "format": "ONNX",
        "framework": "tests",
        "conversion": None,
        "properties": {key: PROPERTIES[key] for key in PROPERTIES if key.startswith("onnx.")},
    }


def test_the_description_tells_of_refusals_as_they_are(admin: httpx.Client) -> None:
    document = admin.get("/openapi.json").json()
    readiness = document["paths"]["/v2/models/{model}/versions/{version}/ready"]["get"]
    assert set(readiness["responses"]) == {"200", "404", "503"}
    assert [parameter["name"] for parameter in readiness["parameters"]] == ["model", "version"]
    assert set(document["paths"]["/predictions/{model}"]) == {"post", "put"}
    assert "422" not in json.dumps(document)


def test_a_version_is_asked_for_in_the_path_only(client: httpx.Client) -> None:
    assert client.get("/v2/models/digits", params={"version": "8"}).status_code == 200


def test_what_is_tried_on_the_admin_port_is_no_traffic(admin: httpx.Client) -> None:
    def counted() -> list[str]:
        lines = admin.get("/metrics").text.splitlines()
        return [line for line in lines if line.startswith("slipway_requests_total")]

    before = counted()
    answer = admin.post(INFER, json=ROWS)
    assert (answer.status_code, len(answer.json()["outputs"])) == (200, 1)
    assert admin.post(INFER, content=b"{").status_code == 400
    assert counted() == before


def test_no_word_of_a_request_is_logged(server: Serving, client: httpx.Client) -> None:
    client.post(INFER, content=b'{"id": "private-words"}')
    assert "private-words" not in json.dumps(server.lines)
    messages = {line.get("message") for line in server.lines}
    assert {"listening", "ready"} <= messages <= {"listening", "ready", "request"}
