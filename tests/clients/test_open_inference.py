"""The Open Inference Protocol's own clients: open-inference-openapi and open-inference-grpc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.clients.running import PROPERTIES, SERVER, Servers, same, tensor

NUMBERS = [1, 2, 3, 4, 5, 6, 7, 8.5]
ROWS = tensor("x", "FP32", [2, 4], NUMBERS)
HUGE = tensor("x", "FP32", [1, 4], [3e38] * 4)
REQUEST = {"id": "42", "inputs": [ROWS], "outputs": [{"name": "scores"}]}
NAMED = {"model_name": "affine"}
VERSION = {"model_version": "1"}
INFERENCES: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "flat": ({"method": "model_infer", **NAMED, "request": REQUEST}, ROWS),
    "nested": (
        {
            "method": "model_infer",
            **NAMED,
            "request": {"inputs": [{**ROWS, "data": [NUMBERS[:4], NUMBERS[4:]]}]},
        },
        ROWS,
    ),
    "a version": (
        {"method": "model_version_infer", **NAMED, **VERSION, "request": REQUEST},
        ROWS,
    ),
    "parameters": (
        {
            "method": "model_infer",
            **NAMED,
            "request": {**REQUEST, "parameters": {"a": 1, "b": "x", "c": True}},
        },
        ROWS,
    ),
    "infinity, which the client can read and not send": (
        {"method": "model_infer", **NAMED, "request": {"inputs": [HUGE]}},
        HUGE,
    ),
}
METADATA = {
    "name": "affine",
    "versions": ["1"],
    "platform": "onnx_onnxv1",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
    "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 3]}],
    "properties": PROPERTIES,
}
REST_TOLD: Mapping[str, tuple[dict[str, Any], Any]] = {
    "live": ({"method": "check_server_liveness"}, None),
    "ready": ({"method": "check_server_readiness"}, None),
    "model ready": ({"method": "check_model_readiness", **NAMED}, None),
    "version ready": ({"method": "check_model_version_readiness", **NAMED, **VERSION}, None),
    "server": ({"method": "read_server_metadata"}, SERVER),
    "model": ({"method": "read_model_metadata", **NAMED}, METADATA),
    "version": ({"method": "read_model_version_metadata", **NAMED, **VERSION}, METADATA),
}
UNKNOWN = "model 'nobody': unknown, expected 'affine'"
BAD_INPUT = "input 'y': unknown, expected 'x'"
REST_REFUSED: Mapping[str, tuple[dict[str, Any], int, str]] = {
    "unknown model": ({"method": "read_model_metadata", "model_name": "nobody"}, 404, UNKNOWN),
    "unknown model's readiness": (
        {"method": "check_model_readiness", "model_name": "nobody"},
        404,
        UNKNOWN,
    ),
    "unknown input": (
        {"method": "model_infer", **NAMED, "request": {"inputs": [{**ROWS, "name": "y"}]}},
        400,
        BAD_INPUT,
    ),
}

MODEL = {"name": "affine"}
TYPED = {
    "model_name": "affine",
    "id": "42",
    "inputs": [
        {
            "name": "x",
            "datatype": "FP32",
            "shape": ["2", "4"],
            "contents": {"fp32_contents": NUMBERS},
        }
    ],
}
# protobuf's JSON has bytes in base64: 8 times the little-endian 1.0.
RAW = {
    **TYPED,
    "inputs": [{"name": "x", "datatype": "FP32", "shape": ["2", "4"]}],
    "raw_input_contents": ["AACAPwAAgD8AAIA/AACAPwAAgD8AAIA/AACAPwAAgD8="],
}
GRPC_TOLD: Mapping[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "live": ("ServerLive", {}, {"live": True}),
    "ready": ("ServerReady", {}, {"ready": True}),
    "model ready": ("ModelReady", MODEL, {"ready": True}),
    "version ready": ("ModelReady", {**MODEL, "version": "1"}, {"ready": True}),
    "server": ("ServerMetadata", {}, SERVER),
    "model": (
        "ModelMetadata",
        {**MODEL, "version": "1"},
        {
            **METADATA,
            "inputs": [{"name": "x", "datatype": "FP32", "shape": ["-1", "4"]}],
            "outputs": [{"name": "scores", "datatype": "FP32", "shape": ["-1", "3"]}],
        },
    ),
}
GRPC_REFUSED: Mapping[str, tuple[str, dict[str, Any], str, str]] = {
    "unknown model": ("ModelMetadata", {"name": "nobody"}, "NOT_FOUND", UNKNOWN),
    "unknown input": (
        "ModelInfer",
        {**TYPED, "inputs": [{**TYPED["inputs"][0], "name": "y"}]},  # type: ignore[dict-item]
        "INVALID_ARGUMENT",
        BAD_INPUT,
    ),
}
GRPC_INFERENCES: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "typed": (TYPED, ROWS),
    "a version": ({**TYPED, "model_version": "1"}, ROWS),
    "raw": (RAW, tensor("x", "FP32", [2, 4], [1] * 8)),
}


@pytest.fixture(scope="module")
def seen(servers: Servers) -> dict[str, Any]:
    """What the clients saw, by wire and step; their program runs once."""
    rest = {**{k: v[0] for k, v in INFERENCES.items()}, **{k: v[0] for k, v in REST_TOLD.items()}}
    rest |= {name: step for name, (step, *_) in REST_REFUSED.items()}
    steps: dict[str, Any] = {
        f"rest: {name}": {"call": "rest", "server": "affine", **step} for name, step in rest.items()
    }
    for name, (method, request, *_) in {**GRPC_TOLD, **GRPC_REFUSED}.items():
        told = {"call": "grpc", "server": "affine", "method": method, "request": request}
        steps[f"grpc: {name}"] = told
    for name, (request, _) in GRPC_INFERENCES.items():
        asked = {"call": "grpc_fp32", "server": "affine", "request": request}
        steps[f"grpc inference: {name}"] = asked
    return servers.ask("open-inference", "open_inference", steps)


@pytest.mark.parametrize("name", INFERENCES)
def test_answers_over_rest_are_those_of_onnx_runtime(
    seen: dict[str, Any], servers: Servers, name: str
) -> None:
    step, given = INFERENCES[name]
    answer = seen[f"rest: {name}"]["value"]
    assert (answer["model_name"], answer["model_version"]) == ("affine", "1")
    assert answer.get("id") == step["request"].get("id")
    (output,) = answer["outputs"]
    assert (output["name"], output["datatype"]) == ("scores", "FP32")
    expected = servers.computed("affine", given)["scores"]
    assert output["shape"] == expected["shape"]
    # JSON has the shortest digits of an FP32; the client reads them as FP64.
    assert output["data"] == pytest.approx(expected["data"], rel=1e-6)


@pytest.mark.parametrize("name", REST_TOLD)
def test_descriptions_over_rest_are_what_the_client_takes(seen: dict[str, Any], name: str) -> None:
    assert seen[f"rest: {name}"] == {"value": REST_TOLD[name][1]}


@pytest.mark.parametrize("name", REST_REFUSED)
def test_refusals_over_rest_reach_the_caller(seen: dict[str, Any], name: str) -> None:
    _, status, words = REST_REFUSED[name]
    refused = seen[f"rest: {name}"]["refused"]
    assert refused["status"] == status
    assert words in str(refused["body"])


@pytest.mark.parametrize("name", GRPC_TOLD)
def test_descriptions_over_grpc_are_what_the_stub_reads(seen: dict[str, Any], name: str) -> None:
    assert seen[f"grpc: {name}"] == {"value": GRPC_TOLD[name][2]}


@pytest.mark.parametrize("name", GRPC_REFUSED)
def test_refusals_over_grpc_reach_the_caller(seen: dict[str, Any], name: str) -> None:
    *_, status, words = GRPC_REFUSED[name]
    assert seen[f"grpc: {name}"] == {"refused": {"status": status, "message": words}}


@pytest.mark.parametrize("name", GRPC_INFERENCES)
def test_answers_over_grpc_are_those_of_onnx_runtime(
    seen: dict[str, Any], servers: Servers, name: str
) -> None:
    expected = servers.computed("affine", GRPC_INFERENCES[name][1])
    same(seen[f"grpc inference: {name}"]["value"], expected)
