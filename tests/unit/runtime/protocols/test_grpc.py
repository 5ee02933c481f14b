"""The gRPC port of a real server process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from slipway_runtime.inference.datatypes import DTYPES
from slipway_runtime.protocols.codec_binary import write_tensor
from slipway_runtime.protocols.proto import health_pb2
from slipway_runtime.protocols.proto import open_inference_pb2 as pb
from slipway_runtime.protocols.proto import tensorflow_serving_pb2 as tf
from tests.unit.runtime import models
from tests.unit.runtime.processes import REVISION, Serving, pod_folder, serving
from tests.unit.runtime.protocols.calls import call, infer, refusal, request, stream

Unary: TypeAlias = "grpc.UnaryUnaryMultiCallable[bytes, bytes]"
ROW = np.ones((1, 4), np.float32).tobytes()
SCORES = np.array([[18, 22, 26]], np.float32) / 7


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("grpc")
    model = models.saved(models.affine(), folder / "affine.onnx")
    config, models_folder = pod_folder(
        folder,
        model,
        model={"uri": "configmap://m/k", "version": "2026-11-20"},
        serving={"maxJSONBytes": 100_000, "maxRequestBytes": "300Ki"},
    )
    with serving("--config", config, "--model-dir", models_folder, host="127.0.0.1") as running:
        running.wait_for("ready")
        yield running


@pytest.fixture(scope="module")
def channel(server: Serving) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.grpc) as opened:
        yield opened


def raw_request(**more: Any) -> pb.ModelInferRequest:
    return request("x", "FP32", [1, 4], raw=[ROW], **more)


def typed_request(**more: Any) -> pb.ModelInferRequest:
    return request("x", "FP32", [1, 4], contents={"fp32_contents": [1, 1, 1, 1]}, **more)


TENSORS = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": ["-1", "4"]}],
    "outputs": [{"name": "scores", "datatype": "FP32", "shape": ["-1", "3"]}],
}
NAMED = {"name": "digits", "version": "7"}


@pytest.mark.parametrize(
    ("method", "sent", "kind", "expected"),
    [
        pytest.param(
            "ServerLive", pb.ServerLiveRequest(), pb.ServerLiveResponse, {"live": True}, id="live"
        ),
        pytest.param(
            "ServerReady",
            pb.ServerReadyRequest(),
            pb.ServerReadyResponse,
            {"ready": True},
            id="ready",
        ),
        pytest.param(
            "ModelReady",
            pb.ModelReadyRequest(**NAMED),
            pb.ModelReadyResponse,
            {"ready": True},
            id="model ready",
        ),
        pytest.param(
            "ServerMetadata",
            pb.ServerMetadataRequest(),
            pb.ServerMetadataResponse,
            {
                "name": "slipway",
                "version": "0.1.0",
                "extensions": [
                    "binary_tensor_data",
                    "classification",
                    "parameters",
                    "statistics",
                    "model_configuration",
                ],
            },
            id="server",
        ),
        pytest.param(
            "ModelMetadata",
            pb.ModelMetadataRequest(name="digits"),
            pb.ModelMetadataResponse,
            {
                "name": "digits",
                "versions": ["7"],
                "platform": "onnx_onnxv1",
                **TENSORS,
                "properties": {
                    "onnx.ir_version": "9",
                    "onnx.producer_name": "tests",
                    "onnx.opset_import": "17",
                    "slipway.dev/digest": models.digest(models.affine()),
                },
            },
            id="model",
        ),
        pytest.param(
            "ModelConfig",
            pb.ModelConfigRequest(name="digits"),
            pb.ModelConfigResponse,
            {
                "config": {
                    "name": "digits",
                    "platform": "onnxruntime_onnx",
                    "backend": "onnxruntime",
                    "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": ["-1", "4"]}],
                    "output": [{"name": "scores", "data_type": "TYPE_FP32", "dims": ["-1", "3"]}],
                }
            },
            id="configuration",
        ),
        pytest.param(
            "RepositoryIndex",
            pb.RepositoryIndexRequest(ready=True),
            pb.RepositoryIndexResponse,
            {"models": [{"name": "digits", "version": "7", "state": "READY"}]},
            id="repository",
        ),
    ],
)
def test_calls_that_tell(
    channel: grpc.Channel, method: str, sent: Message, kind: type[Message], expected: Any
) -> None:
    found = call(channel, method, sent, kind)
    assert MessageToDict(found, preserving_proto_field_name=True) == expected


@pytest.mark.parametrize("name", ["ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics"])
def test_only_the_model_is_known(channel: grpc.Channel, name: str) -> None:
    for asked in ({"name": "x"}, {"name": "digits", "version": "8"}):
        with pytest.raises(grpc.RpcError) as caught:
            call(channel, name, getattr(pb, f"{name}Request")(**asked), Message)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_statistics_count_inferences(channel: grpc.Channel) -> None:
    def count() -> int:
        found = call(
            channel, "ModelStatistics", pb.ModelStatisticsRequest(), pb.ModelStatisticsResponse
        )
        return int(found.model_stats[0].inference_stats.success.count)

    before = count()
    infer(channel, raw_request())
    assert count() == before + 1


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(raw_request(id="42"), id="raw"),
        pytest.param(typed_request(id="42", model_version="7"), id="typed"),
    ],
)
def test_an_inference_is_answered_in_raw(channel: grpc.Channel, sent: pb.ModelInferRequest) -> None:
    found = infer(channel, sent)
    assert (found.model_name, found.model_version, found.id) == ("digits", "7", "42")
    [output] = found.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("scores", "FP32", [1, 3])
    assert not output.HasField("contents")
    scores = np.frombuffer(found.raw_output_contents[0], np.float32).reshape(1, 3)
    np.testing.assert_allclose(scores, SCORES, rtol=1e-6)


def test_the_answer_says_which_revision_gave_it(channel: grpc.Channel) -> None:
    send: Unary = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    _, done = send.with_call(raw_request().SerializeToString(), timeout=20)
    assert dict(done.trailing_metadata()) == {
        "x-model-name": "digits",
        "x-model-version": "2026-11-20",
        "x-model-revision": REVISION,
    }


def test_the_best_classes_come_by_name(channel: grpc.Channel) -> None:
    wanted = pb.ModelInferRequest.InferRequestedOutputTensor(
        name="scores", parameters={"classification": pb.InferParameter(int64_param=1)}
    )
    found = infer(channel, raw_request(outputs=[wanted]))
    assert (found.outputs[0].datatype, list(found.outputs[0].shape)) == ("BYTES", [1, 1])
    assert found.raw_output_contents[0] == b"\x0a\0\0\x003.714286:2"


def test_what_kserve_sends_beside_raw_contents_is_ignored(channel: grpc.Channel) -> None:
    sent = raw_request()
    sent.inputs[0].parameters["binary_data_size"].int64_param = 16
    assert infer(channel, sent).outputs[0].name == "scores"


@pytest.mark.parametrize(
    ("sent", "code", "words"),
    [
        pytest.param(b"\xff", "INVALID_ARGUMENT", "no valid ModelInferRequest", id="no message"),
        pytest.param(b"", "NOT_FOUND", "model '': unknown", id="no name"),
        pytest.param(
            request("x", "FP32", [1, 4], model="y", raw=[ROW]),
            "NOT_FOUND",
            "model 'y': unknown",
            id="another model",
        ),
        pytest.param(
            raw_request(model_version="8"), "NOT_FOUND", "version '8'", id="another version"
        ),
        pytest.param(
            request("x", "FP32", [1, 4], raw=[ROW[:8]]),
            "INVALID_ARGUMENT",
            "8 bytes of data, expected 16",
            id="too few bytes",
        ),
        pytest.param(
            request("x", "FP32", [1, 4], raw=[ROW] * 2),
            "INVALID_ARGUMENT",
            "raw_input_contents: 2 entries, expected 1",
            id="too many entries",
        ),
        pytest.param(
            request("x", "FP32", [-1, 4], raw=[ROW]),
            "INVALID_ARGUMENT",
            "shape [-1, 4]",
            id="a negative dimension",
        ),
        pytest.param(
            b"\x0a\x06digits" + b"\x2a\x00" * 65,
            "INVALID_ARGUMENT",
            "more than 64 of field 5",
            id="many inputs",
        ),
        pytest.param(
            request("x", "FP32", [6500, 4], contents={"fp32_contents": [0] * 26_000}),
            "RESOURCE_EXHAUSTED",
            "104004 bytes of typed data, expected at most 100000",
            id="too much typed data",
        ),
        pytest.param(
            b"\0" * 307_201, "RESOURCE_EXHAUSTED", "expected at most 307200", id="too large"
        ),
    ],
)
def test_a_bad_request_has_a_code_and_words(
    channel: grpc.Channel, sent: pb.ModelInferRequest | bytes, code: str, words: str
) -> None:
    found, details = refusal(channel, sent)
    assert found == code
    assert words in details


def test_the_limit_holds_after_decompression(channel: grpc.Channel) -> None:
    sent = request("x", "FP32", [50_000, 4], raw=[bytes(800_000)]).SerializeToString()
    with pytest.raises(grpc.RpcError) as caught:
        infer(channel, sent, compression=grpc.Compression.Gzip)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_compressed_messages_are_read(channel: grpc.Channel) -> None:
    assert infer(channel, raw_request(), compression=grpc.Compression.Gzip).model_name == "digits"


def test_a_large_message_is_answered_like_a_small_one(channel: grpc.Channel) -> None:
    rows = np.ones((17_000, 4), np.float32)
    found = infer(channel, request("x", "FP32", [17_000, 4], raw=[rows.tobytes()]))
    assert list(found.outputs[0].shape) == [17_000, 3]


def test_methods_that_are_not_served_say_so(channel: grpc.Channel) -> None:
    for method in ("SystemSharedMemoryStatus", "RepositoryModelLoad", "Nothing"):
        with pytest.raises(grpc.RpcError) as caught:
            call(channel, method, b"", Message)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_stream_survives_a_bad_request(channel: grpc.Channel) -> None:
    requests = [raw_request(id="1"), request("y", "FP32", [1], raw=[b""]), raw_request(id="3")]
    answers = list(stream(channel, requests))
    assert [answer.infer_response.id for answer in answers] == ["1", "", "3"]
    assert [answer.error_message for answer in answers] == [
        "",
        "input 'y': unknown, expected 'x'",
        "",
    ]


def test_a_long_stream_is_answered_in_order(channel: grpc.Channel) -> None:
    answers = stream(channel, (raw_request(id=str(number)) for number in range(500)))
    assert [int(answer.infer_response.id) for answer in answers] == list(range(500))


@pytest.mark.parametrize("service", ["", "inference.GRPCInferenceService"])
def test_health_is_told(channel: grpc.Channel, service: str) -> None:
    found = call(
        channel,
        "Check",
        health_pb2.HealthCheckRequest(service=service),
        health_pb2.HealthCheckResponse,
        service="grpc.health.v1.Health",
    )
    assert found.status == health_pb2.HealthCheckResponse.SERVING


def test_health_of_an_unknown_service_is_not_found(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(
            channel,
            "Check",
            health_pb2.HealthCheckRequest(service="x"),
            health_pb2.HealthCheckResponse,
            service="grpc.health.v1.Health",
        )
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_health_can_be_watched(channel: grpc.Channel) -> None:
    send: grpc.UnaryStreamMultiCallable[bytes, bytes]
    send = channel.unary_stream("/grpc.health.v1.Health/Watch")
    watch = send(b"", timeout=20)
    assert (
        health_pb2.HealthCheckResponse.FromString(next(watch)).status
        == health_pb2.HealthCheckResponse.SERVING
    )
    watch.cancel()


def test_b56_a_deadline_stops_the_model_and_a_drain_ends_the_calls(tmp_path: Path) -> None:
    model = models.saved(models.counting(), tmp_path / "digits.onnx")
    endless = request("n", "INT64", [1], contents={"int64_contents": [2**40]})
    quick = request("n", "INT64", [1], contents={"int64_contents": [3]})
    with (
        serving(model, drain_s=20) as server,
        grpc.insecure_channel(server.grpc) as channel,
    ):
        server.wait_for("ready")
        with pytest.raises(grpc.RpcError) as caught:
            infer(channel, endless, timeout=0.5)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        server.until(running=0)
        found = infer(channel, quick)
        assert np.frombuffer(found.raw_output_contents[0], np.int64).tolist() == [3]
        half_a_second = request("n", "INT64", [1], contents={"int64_contents": [200_000]})
        send: Unary = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        answer = send.future(half_a_second.SerializeToString(), timeout=20)
        server.until(running=1)
        assert server.stop() == 0
        assert pb.ModelInferResponse.FromString(answer.result()).outputs[0].name == "total_out"


@pytest.mark.parametrize("other", ["BYTES", "BF16"])  # ONNX Runtime does not mix these two
def test_every_datatype_goes_through_a_server(tmp_path: Path, other: str) -> None:
    datatypes = [name for name in DTYPES if name not in ("BYTES", "BF16")] + [other]
    model = models.saved(models.identity(*datatypes), tmp_path / "digits.onnx")
    parts = {name: np.array([0, 1], DTYPES[name]).tobytes() for name in datatypes}
    if other == "BYTES":
        parts[other] = write_tensor(np.array(["é", ""], object))
    sent = pb.ModelInferRequest(model_name="digits", raw_input_contents=parts.values())
    for name in parts:
        sent.inputs.add(name=f"in_{name}", datatype=name, shape=[2])
    with serving(model) as server, grpc.insecure_channel(server.grpc) as channel:
        server.wait_for("ready")
        found = infer(channel, sent)
    contents = zip(found.outputs, found.raw_output_contents, strict=True)
    assert {output.datatype: content for output, content in contents} == parts


# --- TensorFlow Serving

PREDICTION = "tensorflow.serving.PredictionService"


def tf_request(**more: Any) -> tf.PredictRequest:
    proto = tf.TensorProto(dtype="DT_FLOAT", float_val=[1])
    for size in (1, 4):
        proto.tensor_shape.dim.add(size=size)
    spec = tf.ModelSpec(name="digits", signature_name="serving_default", **more)
    return tf.PredictRequest(model_spec=spec, inputs={"x": proto})


def test_tensorflow_predictions_are_answered(channel: grpc.Channel) -> None:
    found = call(channel, "Predict", tf_request(), tf.PredictResponse, service=PREDICTION)
    assert (found.model_spec.name, found.model_spec.version.value) == ("digits", 7)
    scores = np.frombuffer(found.outputs["scores"].tensor_content, np.float32).reshape(1, 3)
    np.testing.assert_allclose(scores, SCORES, rtol=1e-6)


def test_tensorflow_asks_for_versions_and_labels(channel: grpc.Channel) -> None:
    for version, code in ((0, None), (7, None), (8, grpc.StatusCode.NOT_FOUND)):
        sent = tf_request()
        sent.model_spec.version.value = version
        try:
            call(channel, "Predict", sent, tf.PredictResponse, service=PREDICTION)
            found = None
        except grpc.RpcError as err:
            found = err.code()
        assert found is code
    with pytest.raises(grpc.RpcError, match="labels/stable"):
        call(
            channel,
            "Predict",
            tf_request(version_label="stable"),
            tf.PredictResponse,
            service=PREDICTION,
        )


def test_tensorflow_metadata_is_a_signature(channel: grpc.Channel) -> None:
    sent = tf.GetModelMetadataRequest(
        model_spec=tf.ModelSpec(name="digits"), metadata_field=["signature_def"]
    )
    found = call(channel, "GetModelMetadata", sent, tf.GetModelMetadataResponse, service=PREDICTION)
    signatures = tf.SignatureDefMap()
    assert found.metadata["signature_def"].Unpack(signatures)
    default = signatures.signature_def["serving_default"]
    assert default.method_name == "tensorflow/serving/predict"
    assert default.inputs["x"].dtype == tf.DT_FLOAT
    assert [dim.size for dim in default.outputs["scores"].tensor_shape.dim] == [-1, 3]


def test_tensorflow_status_is_told(channel: grpc.Channel) -> None:
    found = call(
        channel,
        "GetModelStatus",
        tf.GetModelStatusRequest(model_spec=tf.ModelSpec(name="digits")),
        tf.GetModelStatusResponse,
        service="tensorflow.serving.ModelService",
    )
    [status] = found.model_version_status
    assert (status.version, status.state) == (7, tf.ModelVersionStatus.AVAILABLE)


def test_tensorflow_methods_on_examples_are_not_served(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, "Classify", b"", Message, service=PREDICTION)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
