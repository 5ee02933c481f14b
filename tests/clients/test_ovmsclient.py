"""ovmsclient: TensorFlow Serving's REST and gRPC."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from tests.clients.running import HALF, INFINITY, NAN, Servers, echoed, tensor

WIRES = ("http", "grpc")
ROWS = tensor("x", "FP32", [2, 4], [1, 2, 3, 4, 5, 6, 7, 8.5])
UNORDERED = tensor("x", "FP32", [1, 4], [NAN, INFINITY, 0, 1])
PREDICTIONS: Mapping[str, dict[str, Any]] = {
    "the latest version": {"server": "affine", "inputs": [ROWS]},
    "a version": {"server": "affine", "inputs": [ROWS], "model_version": 1},
    "two inputs": {
        "server": "joined",
        "inputs": [tensor("a", "FP32", [2, 1], [1, 2]), tensor("b", "FP32", [2, 1], [3, 4])],
    },
    "every datatype": {"server": "echoes", "inputs": echoed(is_finite=True)},
}
OVER_GRPC: Mapping[str, dict[str, Any]] = {
    # Over REST the client takes the words for NaN as text, and no list as no answer.
    "every datatype with NaN": {"server": "echoes", "inputs": echoed()},
    "FP16": {"server": "half", "inputs": [HALF]},
    "no rows": {"server": "affine", "inputs": [tensor("x", "FP32", [0, 4], [])]},
}
STATUS = {"1": {"state": "AVAILABLE", "error_code": 0, "error_message": ""}}
METADATA = {
    "model_version": 1,
    "inputs": {"x": {"dtype": "DT_FLOAT", "shape": [-1, 4]}},
    "outputs": {"scores": {"dtype": "DT_FLOAT", "shape": [-1, 3]}},
}
TOLD: Mapping[str, tuple[dict[str, Any], Any]] = {
    "status": ({"method": "get_model_status"}, STATUS),
    "status of a version": ({"method": "get_model_status", "model_version": 1}, STATUS),
    "metadata": ({"method": "get_model_metadata"}, METADATA),
    "metadata of a version": ({"method": "get_model_metadata", "model_version": 1}, METADATA),
}
PREDICT = {"call": "predict", "server": "affine", "inputs": [ROWS]}
TELL = {"call": "tell", "server": "affine"}
UNKNOWN = "model 'nobody': unknown, expected 'affine'"
OTHER = "model 'affine': version '9' is not served, expected '1'"
REFUSED: Mapping[str, tuple[dict[str, Any], str, str]] = {
    "an unknown model": ({**PREDICT, "model_name": "nobody"}, "ModelNotFoundError", UNKNOWN),
    "another version": ({**PREDICT, "model_version": 9}, "ModelNotFoundError", OTHER),
    "an unknown input": (
        {**PREDICT, "inputs": [tensor("y", "FP32", [1, 4], [1] * 4)]},
        "InvalidInputError",
        "input 'y': unknown, expected 'x'",
    ),
    "another shape": (
        {**PREDICT, "inputs": [tensor("x", "FP32", [1, 3], [1] * 3)]},
        "InvalidInputError",
        "input 'x': shape [1, 3], expected [-1, 4]",
    ),
    "status of an unknown model": (
        {**TELL, "method": "get_model_status", "model_name": "nobody"},
        "ModelNotFoundError",
        UNKNOWN,
    ),
    "metadata of another version": (
        {**TELL, "method": "get_model_metadata", "model_version": 9},
        "ModelNotFoundError",
        OTHER,
    ),
}


def predictions(wire: str) -> Mapping[str, dict[str, Any]]:
    return {**PREDICTIONS, **(OVER_GRPC if wire == "grpc" else {})}


def cases(rows: Callable[[str], Mapping[str, Any]]) -> list[Any]:
    """Every row of every wire, and its name in what was seen."""
    return [
        pytest.param(f"{wire}: {name}", row, id=f"{wire}: {name}")
        for wire in WIRES
        for name, row in rows(wire).items()
    ]


@pytest.fixture(scope="module")
def seen(servers: Servers) -> dict[str, Any]:
    """What the clients saw, by wire and step; their program runs once."""
    steps: dict[str, Any] = {}
    for wire in WIRES:
        made = {name: {"call": "predict", **step} for name, step in predictions(wire).items()}
        made |= {name: {**TELL, **step} for name, (step, _) in TOLD.items()}
        made |= {name: step for name, (step, *_) in REFUSED.items()}
        steps |= {f"{wire}: {name}": {"wire": wire, **step} for name, step in made.items()}
    steps["http: NaN"] = {**PREDICT, "wire": "http", "inputs": [UNORDERED]}
    return servers.ask("ovmsclient", "tensorflow_serving", steps)


@pytest.mark.parametrize(("name", "step"), cases(predictions))
def test_answers_are_those_of_onnx_runtime(
    seen: dict[str, Any], servers: Servers, name: str, step: dict[str, Any]
) -> None:
    expected = servers.computed(step["server"], *step["inputs"])
    answer = seen[name]["value"]
    outputs = {next(iter(expected)): answer} if len(expected) == 1 else answer
    assert outputs.keys() == expected.keys()
    for output, found in outputs.items():
        assert found["shape"] == expected[output]["shape"]
        if output == "out_BYTES":
            assert found["data"] == expected[output]["data"]
        else:
            # JSON has the shortest digits of an FP32; the client reads them as FP64.
            np.testing.assert_allclose(found["data"], expected[output]["data"], rtol=1e-6)


@pytest.mark.parametrize(("name", "row"), cases(lambda wire: TOLD))
def test_descriptions_are_told(
    seen: dict[str, Any], name: str, row: tuple[dict[str, Any], Any]
) -> None:
    assert seen[name] == {"value": row[1]}


@pytest.mark.parametrize(("name", "row"), cases(lambda wire: REFUSED))
def test_refusals_reach_the_caller(
    seen: dict[str, Any], name: str, row: tuple[dict[str, Any], str, str]
) -> None:
    _, kind, words = row
    refused = seen[name]["refused"]
    assert refused["kind"] == kind
    assert refused["message"].endswith(words)


def test_nan_comes_as_a_word_over_rest(seen: dict[str, Any]) -> None:
    """Numpy makes text of it, of which `astype(float)` makes NaN; a bare token fails elsewhere."""
    words = seen["http: NaN"]["value"]["data"]
    assert words == ["NaN"] * 3
    assert np.isnan(np.array(words).astype(float)).all()
