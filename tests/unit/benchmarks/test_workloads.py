"""Every wire carries the same numbers, and answers are read from all of them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.runtime.workloads import (
    HEADER_LENGTH,
    MODELS,
    answer,
    difference,
    grpc_answer,
    inputs,
    request,
)
from slipway_runtime.protocols.proto import open_inference_pb2 as pb


@pytest.mark.parametrize("model", MODELS)
def test_json_binary_and_grpc_carry_the_same_numbers(model: str) -> None:
    tensors = inputs(model)
    as_json = json.loads(request(model, "json").body)["inputs"]
    binary = request(model, "binary")
    head = int(binary.headers[HEADER_LENGTH])
    message = pb.ModelInferRequest.FromString(request(model, "grpc").body[5:])
    assert binary.body[head:] == b"".join(message.raw_input_contents)
    for tensor, raw in zip(as_json, message.raw_input_contents, strict=True):
        expected = tensors[tensor["name"]]
        assert np.array_equal(np.asarray(tensor["data"], expected.dtype), expected.ravel())
        assert raw == expected.tobytes()


@pytest.mark.parametrize("model", ["digits", "cls"])
def test_the_naive_form_carries_the_same_numbers(model: str) -> None:
    (array,) = inputs(model).values()
    rows = json.loads(request(model, "plain").body)["inputs"]
    assert np.array_equal(np.asarray(rows, np.float32).ravel(), array.ravel())


def test_a_grpc_frame_says_how_long_its_message_is() -> None:
    frame = request("digits", "grpc").body
    assert frame[0] == 0
    assert int.from_bytes(frame[1:5], "big") == len(frame) - 5


def test_the_picture_is_as_large_as_it_is_said() -> None:
    assert 215_000 < len(request("cls", "json").body) < 245_000


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(ValueError, match="got 'tea', expected one of"):
        inputs("tea")


LABEL = np.array([4], np.int64)
SCORES = np.array([0.25, 0.75], np.float32)


def test_answers_are_read_from_json() -> None:
    outputs = [
        {"name": "label", "datatype": "INT64", "shape": [1, 1], "data": [[4]]},
        {"name": "scores", "datatype": "FP32", "shape": [1, 2], "data": [0.25, 0.75]},
    ]
    found = answer("json", json.dumps({"outputs": outputs}).encode(), {})
    assert difference(found, {"label": LABEL, "scores": SCORES}) is None


def test_answers_are_read_from_binary_tensors() -> None:
    outputs = [
        {"name": name, "datatype": kind, "parameters": {"binary_data_size": size}}
        for name, kind, size in (("label", "INT64", 8), ("scores", "FP32", 8))
    ]
    head = json.dumps({"outputs": outputs}).encode()
    body = head + LABEL.tobytes() + SCORES.tobytes()
    found = answer("binary", body, {HEADER_LENGTH.lower(): str(len(head))})
    assert difference(found, {"label": LABEL, "scores": SCORES}) is None


def test_answers_are_read_from_the_naive_form() -> None:
    found = answer("plain", b'{"outputs": {"label": [4], "scores": [[0.25, 0.75]]}}', {})
    assert difference(found, {"label": LABEL, "scores": SCORES}) is None


@pytest.mark.parametrize("is_raw", [True, False], ids=["raw", "typed"])
def test_answers_are_read_from_grpc(is_raw: bool) -> None:
    message = pb.ModelInferResponse()
    label = message.outputs.add(name="label", datatype="INT64", shape=[1])
    scores = message.outputs.add(name="scores", datatype="FP32", shape=[1, 2])
    if is_raw:
        message.raw_output_contents.extend([LABEL.tobytes(), SCORES.tobytes()])
    else:
        label.contents.int64_contents.extend(LABEL)
        scores.contents.fp32_contents.extend(SCORES)
    assert difference(grpc_answer(message), {"label": LABEL, "scores": SCORES}) is None


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param({}, "outputs: got [], expected ['scores']", id="no output"),
        pytest.param({"scores": SCORES[:1]}, "got 1 numbers, expected 2", id="too few"),
        pytest.param({"scores": SCORES + 0.01}, "differs from ONNX Runtime by up to 0.01",
                     id="other numbers"),
        pytest.param({"scores": SCORES * np.nan}, "differs from ONNX Runtime", id="no numbers"),
    ],
)  # fmt: skip
def test_a_wrong_answer_is_described(found: dict[str, np.ndarray], expected: str) -> None:
    assert expected in str(difference(found, {"scores": SCORES}))


def test_the_last_digits_may_differ() -> None:
    assert difference({"scores": SCORES + 1e-6}, {"scores": SCORES}) is None
