"""kserve's inference clients: V1 and V2 over REST, and gRPC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.clients.running import HALF, INFINITY, NAN, Servers, echoed, same, tensor

ROWS = tensor("x", "FP32", [2, 4], [1, 2, 3, 4, 5, 6, 7, 8.5])
UNORDERED = tensor("x", "FP32", [1, 4], [NAN, INFINITY, 0, -INFINITY])
NO_ROWS = tensor("x", "FP32", [0, 4], [])
AFFINE = {"server": "affine", "inputs": [ROWS]}

CALLS = ("rest_infer", "grpc_infer")
IN_EVERY_FORM: Mapping[str, dict[str, Any]] = {
    "rows": AFFINE,
    "no rows": {"server": "affine", "inputs": [NO_ROWS]},
    "every datatype": {"server": "echoes", "inputs": echoed(is_finite=True)},
    "an id": {**AFFINE, "request_id": "42"},
    "a version": {**AFFINE, "model_version": "1"},
    "parameters": {**AFFINE, "parameters": {"text": "x", "number": 1, "truth": True}},
    "an output in binary": {**AFFINE, "outputs": {"scores": {"binary_data": True}}},
    "all outputs in binary": {**AFFINE, "parameters": {"binary_data_output": True}},
}
IN_BINARY: Mapping[str, dict[str, Any]] = {
    "FP16": {"server": "half", "inputs": [HALF]},
    "NaN": {"server": "affine", "inputs": [UNORDERED]},
    "every datatype with NaN": {"server": "echoes", "inputs": echoed()},
}
INFERENCES = {
    f"{call}, {form}: {name}": {"call": call, "binary": form == "binary", **step}
    for call in CALLS
    for form in ("binary", "JSON or typed")
    for name, step in {**IN_EVERY_FORM, **(IN_BINARY if form == "binary" else {})}.items()
}
REST = {"call": "rest", "server": "affine"}
GRPC = {"call": "grpc", "server": "affine"}
PREDICT = {**REST, "protocol": "v1", "method": "infer", "model_name": "affine"}
TOLD: Mapping[str, tuple[dict[str, Any], Any]] = {
    "V1 live": ({**REST, "protocol": "v1", "method": "is_server_live"}, True),
    "V1 model ready": (
        {**REST, "protocol": "v1", "method": "is_model_ready", "model_name": "affine"},
        True,
    ),
    "V2 live": ({**REST, "protocol": "v2", "method": "is_server_live"}, True),
    "V2 ready": ({**REST, "protocol": "v2", "method": "is_server_ready"}, True),
    "V2 model ready": (
        {**REST, "protocol": "v2", "method": "is_model_ready", "model_name": "affine"},
        True,
    ),
    "V2 unknown model": (
        {**REST, "protocol": "v2", "method": "is_model_ready", "model_name": "nobody"},
        False,
    ),
    "gRPC live": ({**GRPC, "method": "is_server_live"}, True),
    "gRPC ready": ({**GRPC, "method": "is_server_ready"}, True),
    "gRPC model ready": ({**GRPC, "method": "is_model_ready", "model_name": "affine"}, True),
}
UNKNOWN = "model 'nobody': unknown, expected 'affine'"
BAD = {"server": "affine", "inputs": [tensor("y", "FP32", [1, 4], [1] * 4)]}
REFUSED: Mapping[str, tuple[dict[str, Any], int | str, str]] = {
    "V1 unknown model": (
        {**REST, "protocol": "v1", "method": "is_model_ready", "model_name": "nobody"},
        404,
        UNKNOWN,
    ),
    "V1 another shape": (
        {**PREDICT, "data": {"instances": [[1, 2, 3]]}},
        400,
        "input 'x': shape [1, 3], expected [-1, 4]",
    ),
    "V1 explanations": (
        {**PREDICT, "method": "explain", "data": {"instances": [[1, 2, 3, 4]]}},
        501,
        "method 'explain': not served, expected predict",
    ),
    "V2 unknown input": ({"call": "rest_infer", **BAD}, 400, "input 'y': unknown, expected 'x'"),
    # The client writes null for NaN and for both infinities, which is refused and not guessed at.
    "V2 NaN in JSON": (
        {"call": "rest_infer", "server": "affine", "inputs": [UNORDERED], "binary": False},
        400,
        "input 'x': data[0] is None, expected a number",
    ),
    "gRPC unknown input": (
        {"call": "grpc_infer", **BAD},
        "INVALID_ARGUMENT",
        "input 'y': unknown, expected 'x'",
    ),
    "gRPC unknown model": (
        {**GRPC, "method": "is_model_ready", "model_name": "nobody"},
        "NOT_FOUND",
        UNKNOWN,
    ),
}


@pytest.fixture(scope="module")
def seen(servers: Servers) -> dict[str, Any]:
    """What the clients saw, by step; their program runs once."""
    steps = {name: step for name, (step, *_) in {**TOLD, **REFUSED}.items()}
    predictions = {"V1 predictions": {**PREDICT, "data": {"instances": [[1, 2, 3, 4]]}}}
    return servers.ask("kserve", "kserve_inference", {**INFERENCES, **steps, **predictions})


@pytest.mark.parametrize("name", INFERENCES)
def test_answers_are_those_of_onnx_runtime(
    seen: dict[str, Any], servers: Servers, name: str
) -> None:
    step, answer = INFERENCES[name], seen[name]["value"]
    assert answer["model"] == step["server"]
    if "request_id" in step:
        assert answer["id"] == step["request_id"]
    same(answer["outputs"], servers.computed(step["server"], *step["inputs"]))


@pytest.mark.parametrize("name", [name for name in INFERENCES if name.startswith("rest")])
def test_outputs_come_in_binary_where_that_was_asked(seen: dict[str, Any], name: str) -> None:
    wanted = "octet-stream" if name.endswith("in binary") else "json"
    assert seen[name]["value"]["content_type"] == f"application/{wanted}"


@pytest.mark.parametrize("name", TOLD)
def test_health_is_told(seen: dict[str, Any], name: str) -> None:
    assert seen[name] == {"value": TOLD[name][1]}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_reach_the_caller(seen: dict[str, Any], name: str) -> None:
    _, status, words = REFUSED[name]
    refused = seen[name]["refused"]
    assert refused["status"] == status
    assert words in refused["message"]


def test_predictions_by_rows_are_those_of_onnx_runtime(
    seen: dict[str, Any], servers: Servers
) -> None:
    (row,) = seen["V1 predictions"]["value"]["predictions"]
    expected = servers.computed("affine", tensor("x", "FP32", [1, 4], [1, 2, 3, 4]))
    assert row == pytest.approx(expected["scores"]["data"], rel=1e-6)
