"""Logs and traces of a server that runs, and what they cost one that sends none."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from time import monotonic

import grpc
import pytest

from slipway_runtime.inference.timing import Timing
from slipway_runtime.monitoring.telemetry import CLIENT_GONE, Telemetry
from slipway_runtime.monitoring.tracing import Tracing
from tests.unit.runtime import models
from tests.unit.runtime.collector import Collector, Span, collector
from tests.unit.runtime.hostile import INFER, asked, body, plain, request
from tests.unit.runtime.processes import Serving, pod_folder, runtime, serving
from tests.unit.runtime.protocols.calls import infer
from tests.unit.runtime.protocols.calls import request as grpc_request

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


def sends_to(patch: pytest.MonkeyPatch, receiver: Collector, **more: str) -> None:
    """Set OpenTelemetry's variables, as a pod's `env` does."""
    variables = {
        "EXPORTER_OTLP_ENDPOINT": receiver.url,
        "BSP_SCHEDULE_DELAY": "50",
        "RESOURCE_ATTRIBUTES": "deployment.environment.name=tests,slipway.model=mine",
        **more,
    }
    for name, value in variables.items():
        patch.setenv(f"OTEL_{name}", value)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Collector]:
    with collector() as made:
        yield made


@pytest.fixture(scope="module")
def server(receiver: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("traced")
    source = models.saved(models.affine(), folder / "affine.onnx")
    config, store = pod_folder(folder, source, serving={"threads": 1})
    arguments = ("--config", config, "--model-dir", store)
    with pytest.MonkeyPatch.context() as patch:
        sends_to(patch, receiver)
        with serving(*arguments, host="127.0.0.1", access_log_sample=1) as running:
            running.wait_for("ready")
            yield running


def lines(server: Serving, count: int, **fields: object) -> list[dict[str, object]]:
    """Access lines with these fields, once there are so many."""

    def found() -> list[dict[str, object]]:
        requests = (line for line in server.lines if line.get("message") == "request")
        return [line for line in requests if fields.items() <= line.items()]

    with server.news:
        assert server.news.wait_for(lambda: len(found()) >= count, 20), server.lines
        return found()


def only(receiver: Collector, **attributes: object) -> Span:
    """The span of the one request with these attributes."""
    receiver.until(lambda: bool(receiver.server_spans(**attributes)))
    [span] = receiver.server_spans(**attributes)
    return span


def test_a_request_continues_its_callers_trace(server: Serving, receiver: Collector) -> None:
    headers = (("traceparent", TRACEPARENT), ("tracestate", "vendor=1"), ("X-Request-Id", "r-1"))
    sent = body(id="continued")
    reply = asked(server, request(body=sent, headers=headers))
    assert reply.status == 200
    span = only(receiver, slipway_request_id="continued")
    assert (span.trace_id, span.parent_id, span.state) == (TRACE, PARENT, "vendor=1")
    assert span.name == "POST /v2/models/{model}/infer"
    assert span.status == 0
    assert span.attributes == {
        "slipway.protocol": "rest",
        "slipway.request.id": "continued",
        "http.request.method": "POST",
        "http.route": "/v2/models/{model}/infer",
        "http.response.status_code": 200,
        "http.request.body.size": len(sent),
        "http.response.body.size": len(reply.body),
        "url.scheme": "http",
    }
    [told] = lines(server, 1, id="continued")
    assert (told["trace_id"], told["span_id"]) == (TRACE, span.span_id)
    assert (told["request_id"], told["bytes_in"], told["status"]) == ("r-1", len(sent), 200)


def test_the_parts_of_a_request_lie_within_it(server: Serving, receiver: Collector) -> None:
    assert asked(server, request(body=body(id="parts"))).status == 200
    span = only(receiver, slipway_request_id="parts")
    receiver.until(lambda: len(receiver.children(span)) == 2)
    parts = receiver.children(span)
    queue, execution = parts["queue"], parts["execution"]
    assert {each.trace_id for each in parts.values()} == {span.trace_id}
    assert span.start_ns <= queue.start_ns <= queue.end_ns == execution.start_ns
    assert execution.start_ns < execution.end_ns <= span.end_ns
    assert execution.attributes == {"slipway.batch.rows": 1}


def test_the_resource_says_who_answers(server: Serving, receiver: Collector) -> None:
    assert asked(server, request(body=body(id="resource"))).status == 200
    resource = only(receiver, slipway_request_id="resource").resource
    kept = {k: v for k, v in resource.items() if not k.startswith("telemetry.")}
    assert kept.pop("service.instance.id")
    assert kept.pop("service.version")
    assert kept == {
        "service.name": "slipway-runtime",
        "k8s.namespace.name": "models",
        "slipway.model": "mine",
        "slipway.revision": "0123456789",
        "deployment.environment.name": "tests",
    }


@pytest.mark.parametrize(
    ("path", "sent", "route", "protocol"),
    [
        pytest.param("/v1/models/digits:predict", b'{"instances": [[1,1,1,1]]}',
                     "/v1/models/{model}:predict", "v1", id="TensorFlow Serving's"),
        pytest.param("/v1/models/digits/versions/7:predict", b'{"instances": [[1,1,1,1]]}',
                     "/v1/models/{model}/versions/{version}:predict", "v1", id="of a version"),
        pytest.param("/predict", b'{"inputs": [[1,1,1,1]]}', "/predict", "predict", id="plain"),
        pytest.param("/predictions/digits", b'{"inputs": [[1,1,1,1]]}',
                     "/predictions/{model}", "torchserve", id="TorchServe's"),
        pytest.param("/v2/models/digits/versions/7/infer", body(),
                     "/v2/models/{model}/versions/{version}/infer", "rest", id="V2 of a version"),
    ],
)  # fmt: skip
def test_every_wire_is_told_of(
    server: Serving, receiver: Collector, path: str, sent: bytes, route: str, protocol: str
) -> None:
    assert asked(server, request(path=path, body=sent)).status == 200
    span = only(receiver, http_route=route, slipway_protocol=protocol)
    assert span.name == f"POST {route}"
    assert lines(server, 1, route=route)[0]["protocol"] == protocol


@pytest.mark.parametrize(
    ("path", "sent", "status", "error"),
    [
        pytest.param("/v2/models/a%0Ab%1B%25s/infer", body(), 404, "ModelNotFound",
                     id="B66 lines in a model's name"),
        pytest.param(INFER, plain(name="\x1b[31m\n"), 400, "InvalidTensor",
                     id="B66 escapes in an input's name"),
        pytest.param(INFER, b"", 400, "InvalidRequest", id="no body"),
    ],
)  # fmt: skip
def test_a_failure_is_told_by_its_kind_and_not_in_the_clients_words(
    server: Serving, receiver: Collector, path: str, sent: bytes, status: int, error: str
) -> None:
    assert asked(server, request(path=path, body=sent)).status == status
    span = only(receiver, error_type=error)
    assert span.attributes["http.response.status_code"] == status
    # The client's fault is no fault of the server's span.
    assert span.status == 0
    [told] = lines(server, 1, error=error)
    assert told["status"] == status
    words = " ".join([*span.texts, json.dumps(told)])
    assert "[31m" not in words
    assert "%s" not in words


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("zz-1", id="B67 nonsense"),
        pytest.param(f"ff-{TRACE}-{PARENT}-01", id="B67 a version that cannot be"),
        pytest.param(f"00-{'0' * 32}-{PARENT}-01", id="B67 trace 0"),
        pytest.param("%s" * 4000, id="B66 many words"),
    ],
)
def test_a_trace_that_is_none_begins_a_new_one(
    server: Serving, receiver: Collector, header: str
) -> None:
    name = f"new {len(header)} {header[:4]}"
    headers = (("traceparent", header), ("tracestate", header), ("baggage", header))
    assert asked(server, request(body=body(id=name), headers=headers)).status == 200
    span = only(receiver, slipway_request_id=name)
    assert span.parent_id == ""
    assert span.trace_id not in ("0" * 32, TRACE)
    assert header not in span.texts


def test_b67_a_megabyte_of_trace_is_refused_with_its_head(server: Serving) -> None:
    reply = asked(server, request(body=body(), headers=(("traceparent", "0" * 2**20),)))
    assert reply.status == 431
    assert asked(server, request(body=body())).status == 200


def test_b66_a_long_id_is_cut_and_stays_on_its_line(server: Serving, receiver: Collector) -> None:
    raw = request(body=body(id="cut \x1b[31m\n\u2028%s" + "x" * 240))
    assert asked(server, raw).status == 200

    def found() -> list[str]:
        ids = (str(span.attributes.get("slipway.request.id")) for span in receiver.spans)
        return [each for each in ids if each.startswith("cut \x1b")]

    receiver.until(lambda: bool(found()))
    [kept] = found()
    [told] = lines(server, 1, id=kept)
    assert (len(kept.encode()), told["status"]) == (128, 200)
    assert not any("raw" in line for line in server.lines), "a line that is no JSON"


def test_one_who_hangs_up_is_told_of(receiver: Collector) -> None:
    with pytest.MonkeyPatch.context() as patch:
        sends_to(patch, receiver)
        tracing = Tracing(resource={"slipway.revision": "r"}, release="0")
    telemetry = Telemetry(None, tracing)
    exchange = telemetry.begin("rest", "/gone", [], verb="POST")
    telemetry.end(exchange, CLIENT_GONE, error="ClientGone")
    tracing.close()
    assert only(receiver, http_route="/gone").attributes["error.type"] == "ClientGone"


def test_a_call_over_grpc_is_told_in_its_own_terms(receiver: Collector) -> None:
    with pytest.MonkeyPatch.context() as patch:
        sends_to(patch, receiver)
        tracing = Tracing(resource={}, release="0")
    telemetry = Telemetry(None, tracing)
    method = "inference.GRPCInferenceService/ModelInfer"
    exchange = telemetry.begin("grpc", method, [(b"traceparent", TRACEPARENT.encode())])
    assert exchange.timing == Timing()
    telemetry.end(exchange, 503, grpc_status="UNAVAILABLE", error="ModelNotReady")
    tracing.close()
    span = only(receiver, rpc_method=method)
    assert (span.name, span.trace_id, span.parent_id) == (method, TRACE, PARENT)
    assert span.status == 2
    assert span.attributes == {
        "slipway.protocol": "grpc",
        "rpc.system.name": "grpc",
        "rpc.method": method,
        "rpc.response.status_code": "UNAVAILABLE",
        "error.type": "ModelNotReady",
    }


def test_grpc_continues_its_callers_trace(server: Serving, receiver: Collector) -> None:
    values = {"fp32_contents": [1, 1, 1, 1]}
    sent = grpc_request("x", "FP32", [1, 4], contents=values, id="over-grpc")
    with grpc.insecure_channel(server.grpc) as channel:
        infer(channel, sent, metadata=[("traceparent", TRACEPARENT)])
    span = only(receiver, slipway_request_id="over-grpc")
    assert (span.trace_id, span.parent_id) == (TRACE, PARENT)
    assert span.attributes["rpc.response.status_code"] == "OK"
    [told] = lines(server, 1, id="over-grpc")
    assert (told["protocol"], told["trace_id"], told["bytes_in"]) == (
        "grpc",
        TRACE,
        sent.ByteSize(),
    )


def test_the_standard_sampler_decides(receiver: Collector) -> None:
    with pytest.MonkeyPatch.context() as patch:
        sends_to(patch, receiver, TRACES_SAMPLER="parentbased_always_off")
        tracing = Tracing(resource={}, release="0")
    telemetry = Telemetry(None, tracing)
    for header in (b"", TRACEPARENT[:-1].encode() + b"0", TRACEPARENT.encode()):
        telemetry.end(telemetry.begin("rest", "/sampled", [(b"traceparent", header)]), 200)
    tracing.close()
    # Only the one whose caller has taken it.
    assert only(receiver, rpc_method="/sampled").parent_id == PARENT


def test_a_collector_that_fails_is_told_once_and_raises_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with collector(status=400) as failing:
        sends_to(monkeypatch, failing)
        tracing = Tracing(resource={}, release="0")
        telemetry = Telemetry(None, tracing)
        for count in (1, 2, 3):
            telemetry.end(telemetry.begin("rest", "/lost", [], verb="POST"), 200)
            failing.until(partial(failing.has_come, count))
        tracing.close()
    [told] = caplog.records
    assert (told.levelname, told.getMessage()) == ("WARNING", "traces may be missing")
    assert "code: 400" in vars(told)["cause"]


def test_a_collector_that_is_silent_does_not_hold_the_end_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    model = models.saved(models.affine(), tmp_path / "digits.onnx")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", silent)
    with serving(model) as server:
        server.wait_for("ready")
        assert asked(server, request(body=body())).status == 200
        begun_s = monotonic()
        assert server.stop() == 0
        assert monotonic() - begun_s < 5
    assert server.wait_for("telemetry not all sent")["waited_s"] == 3.0


@pytest.fixture
def silent() -> Iterator[str]:
    """A port where connections are taken and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_wrong_variable_is_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models.saved(models.affine(), tmp_path / "digits.onnx")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")
    ended = runtime("serve", model, http_port=0, grpc_port=0, admin_port=0)
    assert ended.returncode == 2
    assert "OTEL_EXPORTER_OTLP_ENDPOINT: got 'collector:4317'" in ended.stderr


def test_who_sends_no_traces_does_not_load_the_library() -> None:
    code = "import sys, slipway_runtime.server; print('opentelemetry.sdk' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
