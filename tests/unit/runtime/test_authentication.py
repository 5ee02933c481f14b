"""B68 on real servers: who may ask, on every wire, and what everybody else is told."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, time
from typing import Any, Final

import grpc
import httpx
import pytest

from slipway_runtime.authentication.tokens import LEEWAY_S
from slipway_runtime.protocols.proto import health_pb2
from slipway_runtime.protocols.proto import open_inference_pb2 as pb
from slipway_runtime.protocols.proto import tensorflow_serving_pb2 as tf
from tests.unit.runtime import models
from tests.unit.runtime.credentials import AUDIENCE, ISSUER, Issuer, mount
from tests.unit.runtime.hostile import GOOD, asked, body, connected, received, request
from tests.unit.runtime.processes import Serving, infer_body, pod_folder, runtime, serving
from tests.unit.runtime.protocols.calls import call, infer
from tests.unit.runtime.protocols.calls import request as grpc_request

KEY: Final = "correct-horse-battery-staple"
OTHER: Final = "another-key-of-another-client"
MISSING: Final = (
    "credentials: none, expected Authorization: Bearer KEY or X-API-Key: KEY; the query is not read"
)
WRONG: Final = "credentials: the key is not valid"
V2_BODY: Final = infer_body("x", "FP32", [1, 4], [1, 1, 1, 1])
INFERENCE: Final = {
    "/v2/models/digits/infer": V2_BODY,
    "/v2/models/digits/versions/7/infer": V2_BODY,
    "/v1/models/digits:predict": {"instances": [[1, 1, 1, 1]]},
    "/predict": {"inputs": [[1, 1, 1, 1]]},
    "/predictions/digits": [[1, 1, 1, 1]],
}
_RELOADED_S: Final = 30.0


@dataclass(frozen=True)
class Guarded:
    """A server, and the volume with its keys."""

    server: Serving
    volume: Path

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(self.server.url + path, headers=headers, trust_env=False)

    def post(self, path: str, document: Any, **headers: str) -> httpx.Response:
        return httpx.post(self.server.url + path, json=document, headers=headers, trust_env=False)

    def infer(self, **headers: str) -> int:
        return self.post("/v2/models/digits/infer", V2_BODY, **headers).status_code

    def until(self, status: int, **headers: str) -> None:
        """Wait until a key is, or is no longer, valid."""
        deadline = monotonic() + _RELOADED_S
        while self.infer(**headers) != status:
            assert monotonic() < deadline, self.server.status()


@contextmanager
def pod(folder: Path, policy: dict[str, Any], files: dict[str, str]) -> Iterator[Guarded]:
    """A server as the operator starts it."""
    source = models.saved(models.affine(), folder / "affine.onnx")
    config, store = pod_folder(folder, source)
    volume = mount(folder / "authentication", files)
    arguments = ("--config", config, "--model-dir", store, "--authentication", json.dumps(policy))
    with serving(*arguments, "--authentication-dir", volume, host="127.0.0.1") as running:
        running.wait_for("ready")
        yield Guarded(running, volume)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    with pod(folder, {"type": "APIKeys"}, {"alice": f"{KEY}\n", "bob": OTHER}) as found:
        yield found


@pytest.fixture(scope="module")
def channel(guarded: Guarded) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(guarded.server.grpc) as found:
        yield found


def with_key(key: str = KEY) -> dict[str, Any]:
    return {"metadata": (("x-api-key", key),)}


@pytest.mark.parametrize("path", INFERENCE)
@pytest.mark.parametrize(
    ("headers", "error"),
    [
        pytest.param({}, MISSING, id="missing"),
        pytest.param({"authorization": "Basic YTpi"}, MISSING, id="another scheme"),
        pytest.param({"authorization": f"Bearer {KEY}x"}, WRONG, id="wrong"),
        pytest.param({"x-api-key": KEY[:-1]}, WRONG, id="a part of one"),
        pytest.param({"cookie": f"x-api-key={KEY}"}, MISSING, id="in a cookie"),
    ],
)
def test_b68_inference_over_rest_needs_a_key(
    guarded: Guarded, path: str, headers: dict[str, str], error: str
) -> None:
    answer = guarded.post(path, INFERENCE[path], **headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith('Bearer realm="digits"')
    assert answer.json()["error"] == error
    assert not [name for name in answer.headers if name.startswith("x-model-")]


@pytest.mark.parametrize("path", INFERENCE)
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"authorization": f"Bearer {KEY}"}, id="a bearer"),
        pytest.param({"x-api-key": OTHER}, id="another's X-API-Key"),
    ],
)
def test_b68_a_key_admits_to_every_wire_of_rest(
    guarded: Guarded, path: str, headers: dict[str, str]
) -> None:
    for _ in range(3):  # a head that repeats goes another way
        assert guarded.post(path, INFERENCE[path], **headers).status_code == 200


@pytest.mark.parametrize(
    "query", [f"?api_key={KEY}", f"?access_token={KEY}", f"?x-api-key={KEY}&authorization={KEY}"]
)
def test_b68_a_key_in_the_query_is_none(guarded: Guarded, query: str) -> None:
    answer = guarded.post(f"/v2/models/digits/infer{query}", V2_BODY)
    assert (answer.status_code, answer.json()) == (401, {"error": MISSING})
    assert guarded.get(f"/v2/models/digits{query}").status_code == 401


@pytest.mark.parametrize("name", ["X-API-Key", "Authorization"])
def test_b68_a_header_that_comes_twice_is_ambiguous(guarded: Guarded, name: str) -> None:
    value = KEY if name == "X-API-Key" else f"Bearer {KEY}"
    twice = request(body=body(), headers=((name, value), (name, value)))
    reply = asked(guarded.server, twice)
    assert (reply.status, reply.error) == (
        401, "credentials: the header came twice, expected it once",
    )  # fmt: skip


PATHS: Final = (
    "/v2", "/v2/", "/v2/models", "/v2/models/digits", "/v2/models/digits/ready",
    "/v2/models/digits/config", "/v2/models/stats", "/v1/models/digits", "/v1/models",
    "/v1/models/digits/metadata", "/no/such/path", "/v2/models/digits/infer", "/predict",
    "/v2/health/live/", "/v2//health/live", "/v2/health/%6cive", "/v2/health/../models",
    "/ping/", "//", "/metrics", "/docs",
)  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_b68_everything_but_health_needs_a_key(guarded: Guarded, path: str) -> None:
    """Paths as bytes: what opens a path, and what answers it, is decided by the same ones."""
    reply = asked(guarded.server, request("GET", path), "GET")
    assert (reply.status, reply.error) == (401, MISSING), path


@pytest.mark.parametrize("path", ["/", "/ping", "/v2/health/live", "/v2/health/ready"])
def test_b68_health_of_the_server_answers_everybody(guarded: Guarded, path: str) -> None:
    assert guarded.get(path).status_code == 200
    assert guarded.post(path, {}).status_code == 401, "only GET tells it"


def test_b68_metadata_and_wrong_verbs_are_told_to_those_with_a_key(guarded: Guarded) -> None:
    key = {"x-api-key": KEY}
    assert guarded.get("/v2/models/digits", **key).json()["name"] == "digits"
    assert guarded.get("/v2/models/digits/infer", **key).status_code == 405
    assert guarded.get("/no/such/path", **key).status_code == 404
    assert guarded.post("/v2/repository/index", {}, **key).json()[0]["name"] == "digits"
    assert guarded.post("/v2/repository/index", {}).status_code == 401


def test_b68_a_body_is_not_waited_for(guarded: Guarded) -> None:
    """The refusal comes before the first byte of a body that was announced."""
    head = request(headers=(("Content-Length", "60000000"),))
    with connected(guarded.server, 10) as sock:
        sock.sendall(head)
        reply = received(sock)
    assert (reply.status, reply.headers["connection"]) == (401, "close")
    expecting = (("Content-Length", "6"), ("Expect", "100-continue"))
    with connected(guarded.server, 10) as sock:
        sock.sendall(request(headers=expecting))
        assert received(sock).status == 401, "and not 100"


def test_b68_each_request_of_a_connection_is_looked_at(guarded: Guarded) -> None:
    with_one = request(body=body(), headers=(("X-API-Key", KEY),))
    with connected(guarded.server) as sock:
        for _ in range(4):
            sock.sendall(with_one)
            assert received(sock).status == 200
        sock.sendall(GOOD)
        assert received(sock).status == 401


def refused(channel: grpc.Channel, method: str, service: str, **more: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, method, b"", pb.ModelInferResponse, service=service, **more)
    error: Any = caught.value
    trailers = {key for key, _ in error.trailing_metadata()}
    assert not {name for name in trailers if name.startswith("x-model-")}
    return error.code().name, str(error.details())


V2: Final = "inference.GRPCInferenceService"
METHODS: Final = [
    *((V2, name) for name in (
        "ModelInfer", "ModelReady", "ModelMetadata", "ServerMetadata", "ModelConfig",
        "ModelStatistics", "RepositoryIndex", "NoSuchMethod",
    )),
    ("tensorflow.serving.PredictionService", "Predict"),
    ("tensorflow.serving.PredictionService", "GetModelMetadata"),
    ("tensorflow.serving.ModelService", "GetModelStatus"),
    ("no.such.Service", "Method"),
]  # fmt: skip


@pytest.mark.parametrize(("service", "method"), METHODS)
def test_b68_every_method_of_grpc_needs_a_key(
    channel: grpc.Channel, service: str, method: str
) -> None:
    assert refused(channel, method, service) == ("UNAUTHENTICATED", MISSING)
    assert refused(channel, method, service, **with_key("x" * 32)) == ("UNAUTHENTICATED", WRONG)


def test_b68_a_key_admits_to_grpc(channel: grpc.Channel) -> None:
    asked_for = grpc_request("x", "FP32", [1, 4], contents={"fp32_contents": [1, 1, 1, 1]})
    for metadata in ((("authorization", f"Bearer {KEY}"),), (("x-api-key", OTHER),)):
        answer = infer(channel, asked_for, metadata=metadata)
        assert answer.outputs[0].name == "scores"
    predict = tf.PredictRequest()
    predict.model_spec.name = "digits"
    predict.inputs["x"].CopyFrom(tf.TensorProto(dtype="DT_FLOAT", float_val=[1, 1, 1, 1]))
    for size in (1, 4):
        predict.inputs["x"].tensor_shape.dim.add(size=size)
    service = "tensorflow.serving.PredictionService"
    found = call(channel, "Predict", predict, tf.PredictResponse, service=service, **with_key())
    assert "scores" in found.outputs


def test_b68_health_over_grpc_answers_everybody(channel: grpc.Channel) -> None:
    check = health_pb2.HealthCheckRequest()
    health = "grpc.health.v1.Health"
    found = call(channel, "Check", check, health_pb2.HealthCheckResponse, service=health)
    assert found.status == health_pb2.HealthCheckResponse.SERVING
    assert call(channel, "ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse).ready
    assert call(channel, "ServerLive", pb.ServerLiveRequest(), pb.ServerLiveResponse).live


def test_b68_the_admin_port_is_apart(guarded: Guarded) -> None:
    admin = guarded.server.admin
    for path in ("/livez", "/readyz", "/metrics", "/status", "/docs"):
        assert httpx.get(admin + path, trust_env=False).status_code == 200, path
    answer = httpx.post(f"{admin}/v2/models/digits/infer", json=V2_BODY, trust_env=False)
    assert answer.status_code == 200, "the operator's preflight has no key"
    assert guarded.server.status()["authentication"] == {
        "type": "APIKeys", "keys": 2, "problem": None,
    }  # fmt: skip


def test_b68_refusals_are_counted_and_keys_are_told_to_nobody(guarded: Guarded) -> None:
    metrics = f"{guarded.server.admin}/metrics"

    def counted() -> float:
        text = httpx.get(metrics, trust_env=False).text
        lines = [x for x in text.splitlines() if 'reason="Unauthenticated"' in x]
        return float(lines[0].rsplit(" ", 1)[1])

    guarded.infer()
    before = counted()
    wrong = "this-key-is-wrong-and-secret"
    guarded.post(f"/v2/models/digits/infer?key={KEY}", V2_BODY, **{"x-api-key": wrong})
    guarded.get("/v2", authorization=f"Bearer {wrong}")
    with grpc.insecure_channel(guarded.server.grpc) as channel:
        refused(channel, "ModelInfer", V2, **with_key(wrong))
    assert counted() == before + 3
    told = json.dumps(guarded.server.lines) + httpx.get(metrics, trust_env=False).text
    told += json.dumps(guarded.server.status())
    assert "Unauthenticated" in told
    for secret in (KEY, OTHER, wrong):
        assert secret not in told


def test_b68_keys_change_without_a_restart(tmp_path: Path) -> None:
    with pod(tmp_path, {"type": "APIKeys"}, {"alice": KEY}) as guarded:
        with connected(guarded.server) as sock:  # a head that is known, on a connection that stays
            one = request(body=body(), headers=(("X-API-Key", KEY),))
            for _ in range(3):
                sock.sendall(one)
                assert received(sock).status == 200
            mount(guarded.volume, {"alice": KEY, "bob": OTHER})
            guarded.until(200, **{"x-api-key": OTHER})
            mount(guarded.volume, {"bob": OTHER})
            guarded.until(401, **{"x-api-key": KEY})
            sock.sendall(one)
            assert received(sock).status == 401, "revoked"
        assert guarded.infer(**{"x-api-key": OTHER}) == 200
        assert guarded.server.wait_for("keys reloaded")["keys"] == 2


def test_b68_a_bad_file_keeps_the_keys_and_no_key_admits_nobody(tmp_path: Path) -> None:
    with pod(tmp_path, {"type": "APIKeys"}, {"alice": KEY}) as guarded:
        mount(guarded.volume, {"alice": "a-new-key-of-alice-s", "bob": "bad"})
        line = guarded.server.wait_for("keys not reloaded; those before stay valid")
        assert line["cause"].startswith("authentication: key 'bob' has 3 characters")
        assert guarded.server.status()["authentication"] == {
            "type": "APIKeys", "keys": 1, "problem": line["cause"],
        }  # fmt: skip
        assert guarded.infer(**{"x-api-key": KEY}) == 200
        mount(guarded.volume, {})
        guarded.until(401, **{"x-api-key": KEY})
        guarded.server.wait_for("there is no key any more; every request is refused")
        assert guarded.server.status()["authentication"]["problem"] is None
        mount(guarded.volume, {"alice": KEY})
        guarded.until(200, **{"x-api-key": KEY})


def test_b68_a_stream_ends_when_its_key_does(tmp_path: Path) -> None:
    asked_for = grpc_request("x", "FP32", [1, 4], contents={"fp32_contents": [1, 1, 1, 1]})
    with (
        pod(tmp_path, {"type": "APIKeys"}, {"alice": KEY, "bob": OTHER}) as guarded,
        grpc.insecure_channel(guarded.server.grpc) as channel,
    ):

        def messages() -> Iterator[pb.ModelInferRequest]:
            yield asked_for
            mount(guarded.volume, {"bob": OTHER})
            guarded.until(401, **{"x-api-key": KEY})
            yield asked_for

        answers = channel.stream_stream(
            f"/{V2}/ModelStreamInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelStreamInferResponse.FromString,
        )(messages(), timeout=30, **with_key())
        assert next(answers).infer_response.outputs[0].name == "scores"
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_b68_health_needs_a_key_where_the_spec_says_so(tmp_path: Path) -> None:
    policy = {"type": "APIKeys", "healthEndpoints": "Required"}
    with pod(tmp_path, policy, {"alice": KEY}) as guarded:
        for path in ("/", "/ping", "/v2/health/live", "/v2/health/ready"):
            assert guarded.get(path).status_code == 401
            assert guarded.get(path, **{"x-api-key": KEY}).status_code == 200
        with grpc.insecure_channel(guarded.server.grpc) as channel:
            assert refused(channel, "Check", "grpc.health.v1.Health")[0] == "UNAUTHENTICATED"
        assert httpx.get(f"{guarded.server.admin}/readyz", trust_env=False).status_code == 200


def test_b68_tokens_on_both_wires(tmp_path: Path) -> None:
    issuer, stranger = Issuer(), Issuer()
    policy = {"type": "JWT", "issuer": ISSUER, "audience": AUDIENCE}
    with (
        pod(tmp_path, policy, {"jwks.json": issuer.jwks()}) as guarded,
        grpc.insecure_channel(guarded.server.grpc) as channel,
    ):

        def over_rest(token: str) -> httpx.Response:
            headers = {"authorization": f"Bearer {token}"}
            return guarded.post("/v2/models/digits/infer", V2_BODY, **headers)

        good = issuer.token()
        for _ in range(4):
            assert over_rest(good).status_code == 200
        expired = over_rest(issuer.token(exp=time() - LEEWAY_S - 5))
        assert expired.status_code == 401
        assert expired.headers["www-authenticate"] == (
            'Bearer realm="digits", error="invalid_token",'
            ' error_description="the token has expired"'
        )
        assert over_rest(issuer.token(aud="other")).json() == {
            "error": "the token is for another audience"
        }
        assert guarded.infer(**{"x-api-key": good}) == 401
        metadata: dict[str, Any] = {"metadata": (("authorization", f"Bearer {good}"),)}
        ready = pb.ModelReadyRequest(name="digits")
        assert call(channel, "ModelReady", ready, pb.ModelReadyResponse, **metadata).ready
        wrong = {"metadata": (("authorization", f"Bearer {stranger.token()}"),)}
        assert refused(channel, "ModelInfer", V2, **wrong) == (
            "UNAUTHENTICATED", "the token has no valid signature",
        )  # fmt: skip
        mount(guarded.volume, {"jwks.json": stranger.jwks()})
        guarded.until(200, authorization=f"Bearer {stranger.token()}")
        assert over_rest(good).status_code == 401, "though it was remembered"
        assert good not in json.dumps(guarded.server.lines)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({}, "there is no key, so nobody could ask", id="an empty Secret"),
        pytest.param({"alice": "x"}, "key 'alice' has 1 characters", id="no key"),
        pytest.param(None, "No such file or directory", id="no volume"),
    ],
)
def test_b68_without_a_key_a_pod_does_not_start(
    tmp_path: Path, files: dict[str, str] | None, expected: str
) -> None:
    config, store = pod_folder(tmp_path, models.saved(models.affine(), tmp_path / "a.onnx"))
    volume = tmp_path / "v" if files is None else mount(tmp_path / "v", files)
    ended = runtime(
        "serve", "--config", config, "--model-dir", store,
        "--authentication", '{"type": "APIKeys"}', "--authentication-dir", volume,
        http_port=0, grpc_port=0, admin_port=0,
    )  # fmt: skip
    assert ended.returncode == 2
    assert expected in json.loads(ended.stderr.splitlines()[-1])["cause"]


def test_b68_a_laptop_honours_the_block_with_keys_from_a_file(tmp_path: Path) -> None:
    model = models.saved(models.affine(), tmp_path / "digits.onnx")
    keys = tmp_path / "keys"
    keys.write_text(f"# alice\n{KEY}\n")
    manifest = tmp_path / "digits.yaml"
    manifest.write_text(
        "kind: ModelDeployment\nmetadata: {name: digits}\n"
        f"spec:\n  model: {{uri: '{model.as_uri()}'}}\n"
        "  security: {authentication: {type: APIKeys, secretName: keys}}\n"
    )
    with serving("-f", manifest, "--model", model, "--api-keys", keys) as server:
        server.wait_for("ready")
        guarded = Guarded(server, keys)
        assert guarded.infer() == 401
        assert guarded.infer(**{"x-api-key": KEY}) == 200
        keys.write_text(f"{KEY}\n{OTHER}\n")
        guarded.until(200, **{"x-api-key": OTHER})


YAML: Final = (
    "kind: ModelDeployment\nmetadata: {name: digits}\nspec:\n  model: {uri: 'file:///m'}\n"
)
OF_KEYS: Final = "  security: {authentication: {type: APIKeys, secretName: keys}}\n"
OF_TOKENS: Final = (
    "  security: {authentication: {type: JWT, issuer: i, audience: a, jwks: {secret: {}}}}\n"
)


@pytest.mark.parametrize(
    ("security", "arguments", "expected"),
    [
        pytest.param(OF_KEYS, (), "its keys with --api-keys FILE", id="keys of a cluster"),
        pytest.param(OF_TOKENS, (), "its keys with --jwks FILE", id="tokens without keys"),
        pytest.param(OF_TOKENS, ("--api-keys", "k"), "with --jwks FILE", id="the other ones"),
        pytest.param("", ("--jwks", "k"), "with --api-keys FILE", id="nobody issues tokens"),
        pytest.param("", ("--authentication", "{}"), "expected it in pods only", id="a pod's"),
        pytest.param("  security: {tls: {}}\n", (), "spec.security.tls", id="a later release's"),
    ],
)
def test_b68_a_laptop_never_serves_openly_what_asks_for_keys(
    tmp_path: Path, security: str, arguments: tuple[str, ...], expected: str
) -> None:
    model = models.saved(models.affine(), tmp_path / "digits.onnx")
    manifest = tmp_path / "digits.yaml"
    manifest.write_text(YAML + security)
    ended = runtime("serve", "-f", manifest, "--model", model, *arguments)
    assert ended.returncode == 2
    assert expected in json.loads(ended.stderr.splitlines()[-1])["cause"]


def test_flags_of_a_laptop_are_refused_in_a_pod(tmp_path: Path) -> None:
    ended = runtime(
        "serve", "--config", tmp_path / "c", "--model-dir", tmp_path, "--api-keys", tmp_path / "k"
    )
    assert ended.returncode == 2


def test_without_the_block_nothing_is_asked_for(tmp_path: Path) -> None:
    model = models.saved(models.affine(), tmp_path / "digits.onnx")
    with serving(model) as server:
        server.wait_for("ready")
        assert Guarded(server, model).infer() == 200
        assert "authentication" not in server.status()


def test_b68_a_flood_of_wrong_keys_leaves_good_clients_served(guarded: Guarded) -> None:
    bad = request(body=body(), headers=(("X-API-Key", "w" * 40),))
    good = request(body=body(), headers=(("X-API-Key", KEY),))
    host, port = guarded.server.url.removeprefix("http://").split(":")
    for _ in range(200):
        with socket.create_connection((host, int(port)), 10) as sock:
            sock.sendall(bad)
            assert received(sock).status == 401
    assert asked(guarded.server, good).status == 200
