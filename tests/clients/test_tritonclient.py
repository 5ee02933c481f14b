"""tritonclient over both wires, synchronous and not."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.clients.running import (
    BFLOAT,
    HALF,
    INFINITY,
    NAN,
    PROPERTIES,
    SERVER,
    Servers,
    echoed,
    same,
    tensor,
)

FLAVOURS = ("http", "http-aio", "grpc", "grpc-aio")
ROWS = tensor("x", "FP32", [2, 4], [1, 2, 3, 4, 5, 6, 7, 8.5])
UNORDERED = tensor("x", "FP32", [1, 4], [NAN, INFINITY, 0, -INFINITY])
HALVES = [tensor("a", "FP32", [2, 1], [1, 2]), tensor("b", "FP32", [2, 1], [3, 4])]

ENDLESS = [tensor("n", "INT64", [1], [2**40])]

INFERENCES: Mapping[str, dict[str, Any]] = {
    "every datatype": {"server": "echoes", "inputs": echoed()},
    "FP16": {"server": "half", "inputs": [HALF]},
    "BF16": {"server": "bfloat", "inputs": [BFLOAT]},
    "no rows": {"server": "affine", "inputs": [tensor("x", "FP32", [0, 4], [])]},
    "more than 4 MiB both ways": {
        "server": "joined",
        "inputs": [
            {"name": name, "datatype": "FP32", "shape": [700_000, 1], "pattern": [1, 2.5, -3]}
            for name in ("a", "b")
        ],
    },
    "NaN and infinities": {"server": "affine", "inputs": [UNORDERED]},
    "two inputs": {"server": "joined", "inputs": HALVES},
    "inputs in another order": {"server": "joined", "inputs": HALVES[::-1]},
    "an output by name": {"server": "affine", "inputs": [ROWS], "outputs": [{"name": "scores"}]},
    "a version": {"server": "affine", "inputs": [ROWS], "model_version": "1"},
    "an id": {"server": "affine", "inputs": [ROWS], "request_id": "é 42"},
    "parameters of all kinds": {
        "server": "affine",
        "inputs": [ROWS],
        "parameters": {"text": "x", "number": 1, "truth": True},
    },
    "priority and timeout": {
        "server": "affine",
        "inputs": [ROWS],
        "priority": 1,
        "timeout": 20_000_000,
    },
    "a header": {"server": "affine", "inputs": [ROWS], "headers": {"x-tenant": "a"}},
    "a sequence, of which a model without state knows nothing": {
        "server": "affine",
        "inputs": [ROWS],
        "sequence_id": 7,
        "sequence_start": True,
        "sequence_end": True,
    },
}
OVER_HTTP: Mapping[str, dict[str, Any]] = {
    "every datatype in JSON, answered in binary": {
        "server": "echoes",
        "inputs": echoed(),
        "binary": False,
    },
    "every datatype in JSON, answered in JSON": {
        "server": "echoes",
        "inputs": echoed(),
        "binary": False,
        "outputs": [
            {"name": each["name"].replace("in_", "out_"), "binary_data": False} for each in echoed()
        ],
    },
    "every datatype in binary, answered in JSON": {
        "server": "echoes",
        "inputs": echoed(),
        "outputs": [
            {"name": each["name"].replace("in_", "out_"), "binary_data": False} for each in echoed()
        ],
    },
    "FP16 in JSON both ways": {
        "server": "half",
        "inputs": [HALF],
        "binary": False,
        "outputs": [{"name": "out_FP16", "binary_data": False}],
    },
    # Finite: the client makes no bfloat16 of the word NaN.
    "BF16 answered in JSON": {
        "server": "bfloat",
        "inputs": [tensor("in_BF16", "BF16", [2], [1.0, 3.3895313892515355e38])],
        "outputs": [{"name": "out_BF16", "binary_data": False}],
    },
    "NaN in JSON both ways": {
        "server": "affine",
        "inputs": [UNORDERED],
        "binary": False,
        "outputs": [{"name": "scores", "binary_data": False}],
    },
    "one input in binary, one in JSON": {
        "server": "joined",
        "inputs": [{**HALVES[0], "binary": False}, HALVES[1]],
    },
    **{
        f"{asked} asked in {form}, {answered} answered": {
            "server": "echoes",
            "inputs": echoed(),
            "binary": form == "binary",
            "request_compression_algorithm": asked,
            "response_compression_algorithm": answered,
        }
        for asked in ("gzip", "deflate", None)
        for answered in ("gzip", "deflate", None)
        for form in ("binary", "JSON")
        if asked or answered
    },
}
OVER_GRPC: Mapping[str, dict[str, Any]] = {
    **{
        f"messages in {algorithm}": {
            "server": "echoes",
            "inputs": echoed(),
            "compression_algorithm": algorithm,
        }
        for algorithm in ("gzip", "deflate")
    },
    "one after another whose client has gone": {
        "server": "counting",
        "inputs": [tensor("n", "INT64", [1], [3])],
    },
}
REFUSED: Mapping[str, tuple[dict[str, Any], str, str, str]] = {
    "an unknown input": (
        {"inputs": [tensor("y", "FP32", [1, 4], [1] * 4)]},
        "400",
        "INVALID_ARGUMENT",
        "input 'y': unknown, expected 'x'",
    ),
    "another datatype": (
        {"inputs": [tensor("x", "FP64", [1, 4], [1] * 4)]},
        "400",
        "INVALID_ARGUMENT",
        "input 'x': datatype 'FP64', expected FP32",
    ),
    "another shape": (
        {"inputs": [tensor("x", "FP32", [1, 3], [1] * 3)]},
        "400",
        "INVALID_ARGUMENT",
        "input 'x'",
    ),
    "no input": ({"inputs": []}, "400", "INVALID_ARGUMENT", "input"),
    "an unknown output": (
        {"inputs": [ROWS], "outputs": [{"name": "y"}]},
        "400",
        "INVALID_ARGUMENT",
        "output 'y': unknown, expected 'scores'",
    ),
    "another version": (
        {"inputs": [ROWS], "model_version": "9"},
        "404",
        "NOT_FOUND",
        "version '9' is not served, expected '1'",
    ),
    "more work than the request has time for": (
        {"server": "counting", "inputs": ENDLESS, "timeout": 300_000},
        "504",
        "DEADLINE_EXCEEDED",
        "no answer within the request timeout of 0.",
    ),
}
TOLD: Mapping[str, tuple[dict[str, Any], Any]] = {
    "server live": ({"method": "is_server_live"}, True),
    "server ready": ({"method": "is_server_ready"}, True),
    "model ready": ({"method": "is_model_ready", "model_name": "affine"}, True),
    "version ready": (
        {"method": "is_model_ready", "model_name": "affine", "model_version": "1"},
        True,
    ),
}
DOCUMENTS: Mapping[str, tuple[dict[str, Any], Any]] = {
    "server": ({"method": "get_server_metadata"}, SERVER),
    "model": (
        {"method": "get_model_metadata", "model_name": "affine", "model_version": "1"},
        {
            "name": "affine",
            "versions": ["1"],
            "platform": "onnx_onnxv1",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
            "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 3]}],
            "properties": PROPERTIES,
        },
    ),
    "configuration": (
        {"method": "get_model_config", "model_name": "affine"},
        {
            "name": "affine",
            "platform": "onnxruntime_onnx",
            "backend": "onnxruntime",
            "max_batch_size": 0,
            "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 4]}],
            "output": [{"name": "scores", "data_type": "TYPE_FP32", "dims": [-1, 3]}],
        },
    ),
    "repository": (
        {"method": "get_model_repository_index"},
        [{"name": "affine", "version": "1", "state": "READY", "reason": ""}],
    ),
}
NOT_SERVED: Mapping[str, dict[str, Any]] = {
    "loading": {"method": "load_model", "model_name": "affine"},
    "loading with a file": {
        "method": "load_model",
        "model_name": "affine",
        "config": "{}",
    },
    "unloading": {"method": "unload_model", "model_name": "affine"},
    "trace settings": {"method": "get_trace_settings"},
    "new trace settings": {"method": "update_trace_settings", "settings": {"trace_rate": "1"}},
    "log settings": {"method": "get_log_settings"},
    "new log settings": {"method": "update_log_settings", "settings": {"log_info": True}},
    "shared memory": {"method": "get_system_shared_memory_status"},
    "new shared memory": {
        "method": "register_system_shared_memory",
        "name": "x",
        "key": "/x",
        "byte_size": 8,
    },
    "shared memory of a GPU": {"method": "get_cuda_shared_memory_status"},
}
BURST = [{"inputs": [ROWS], "request_id": str(number)} for number in range(8)]
STREAM = [BURST[0], {"inputs": [tensor("y", "FP32", [1], [0])]}, *BURST[1:]]
RANKED = {"inputs": [ROWS], "outputs": [{"name": "scores", "class_count": 2}]}


def inferences(flavour: str) -> Mapping[str, dict[str, Any]]:
    return {**INFERENCES, **(OVER_HTTP if flavour.startswith("http") else OVER_GRPC)}


def steps(flavour: str) -> dict[str, Any]:
    """Everything that one run of the program does."""
    statistics = {
        "call": "tell",
        "server": "affine",
        "method": "get_inference_statistics",
        "model_name": "affine",
    }
    made = {name: {"call": "infer", **step} for name, step in inferences(flavour).items()}
    made |= {
        name: {"call": "infer", "server": "affine", **step} for name, (step, *_) in REFUSED.items()
    }
    told = {**TOLD, **DOCUMENTS}
    made |= {name: {"call": "tell", "server": "affine", **told[name][0]} for name in told}
    made |= {
        name: {"call": "tell", "server": "affine", **step} for name, step in NOT_SERVED.items()
    }
    made["ranked"] = {"call": "infer", "server": "affine", **RANKED}
    made["unknown model"] = {
        "call": "tell",
        "server": "affine",
        "method": "get_model_metadata",
        "model_name": "nobody",
    }
    made["before"] = statistics
    made["counted"] = {"call": "infer", "server": "affine", "inputs": [ROWS]}
    made["after"] = {**statistics, "model_version": "1"}
    if flavour.startswith("grpc"):
        endless = {"server": "counting", "inputs": ENDLESS, "client_timeout": 0.3}
        made = {"endless": {"call": "infer", **endless}, **made}
        made["stream"] = {"call": "stream", "server": "affine", "requests": STREAM}
        made["stream in gzip"] = {**made["stream"], "compression_algorithm": "gzip"}
    if not flavour.endswith("aio"):
        made["burst"] = {"call": "async_infer", "server": "affine", "requests": BURST}
    return made


Seen = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module")
def seen(servers: Servers) -> Seen:
    """What a flavour saw, by step; its program runs once."""
    return functools.cache(
        lambda flavour: servers.ask("tritonclient", "triton", steps(flavour), flavour)
    )


def cases(*, names: Callable[[str], Mapping[str, Any]]) -> list[Any]:
    """Every name with every flavour that has it."""
    return [
        pytest.param(flavour, name, id=f"{flavour}: {name}")
        for flavour in FLAVOURS
        for name in names(flavour)
    ]


def expected_status(flavour: str, http: str, grpc: str) -> str:
    return http if flavour.startswith("http") else f"StatusCode.{grpc}"


def in_protobuf(document: Any) -> Any:
    """As protobuf writes it in JSON: wide integers are text, defaults are left out.

    So is what Triton's messages do not have, and the Open Inference Protocol's do.
    """
    if isinstance(document, dict):
        kept = {key: value for key, value in document.items() if value and key != "properties"}
        return {key: in_protobuf(value) for key, value in kept.items()}
    if isinstance(document, list):
        return [in_protobuf(value) for value in document]
    return str(document) if type(document) is int else document


@pytest.mark.parametrize(("flavour", "name"), cases(names=inferences))
def test_answers_are_those_of_onnx_runtime(
    seen: Seen, servers: Servers, flavour: str, name: str
) -> None:
    step, answer = inferences(flavour)[name], seen(flavour)[name]["value"]
    assert (answer["model"], answer["version"]) == (step["server"], "1")
    assert answer["id"] == step.get("request_id", "")
    same(answer["outputs"], servers.computed(step["server"], *step["inputs"]))
    datatypes = [output["datatype"] for output in answer["outputs"].values()]
    if step["server"] == "echoes":
        assert datatypes == [each["datatype"] for each in step["inputs"]]


@pytest.mark.parametrize(("flavour", "name"), cases(names=lambda flavour: REFUSED))
def test_refusals_reach_the_caller(seen: Seen, flavour: str, name: str) -> None:
    _, http, grpc, words = REFUSED[name]
    refused = seen(flavour)[name]["refused"]
    assert refused["status"] == expected_status(flavour, http, grpc)
    assert words in refused["message"]


@pytest.mark.parametrize("flavour", ["grpc", "grpc-aio"])
def test_the_clients_own_deadline_ends_a_request(seen: Seen, flavour: str) -> None:
    assert seen(flavour)["endless"]["refused"]["status"] == "StatusCode.DEADLINE_EXCEEDED"


@pytest.mark.parametrize(("flavour", "name"), cases(names=lambda flavour: TOLD))
def test_health_is_told(seen: Seen, flavour: str, name: str) -> None:
    assert seen(flavour)[name] == {"value": TOLD[name][1]}


@pytest.mark.parametrize(("flavour", "name"), cases(names=lambda flavour: DOCUMENTS))
def test_descriptions_are_told(seen: Seen, flavour: str, name: str) -> None:
    expected = DOCUMENTS[name][1]
    if flavour.startswith("grpc"):
        expected = in_protobuf(
            {"configuration": {"config": expected}, "repository": {"models": expected}}.get(
                name, expected
            )
        )
    assert seen(flavour)[name] == {"value": expected}


@pytest.mark.parametrize(("flavour", "name"), cases(names=lambda flavour: NOT_SERVED))
def test_what_is_not_served_is_refused_in_a_form_that_is_read(
    seen: Seen, flavour: str, name: str
) -> None:
    refused = seen(flavour)[name]["refused"]
    assert refused["status"] == expected_status(flavour, "404", "UNIMPLEMENTED")
    assert refused["message"]


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_an_unknown_model_is_named(seen: Seen, flavour: str) -> None:
    refused = seen(flavour)["unknown model"]["refused"]
    assert refused["status"] == expected_status(flavour, "404", "NOT_FOUND")
    assert refused["message"] == "model 'nobody': unknown, expected 'affine'"


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_the_best_classes_come_as_words(seen: Seen, servers: Servers, flavour: str) -> None:
    scores = servers.computed("affine", ROWS)["scores"]["data"]
    words = [f"{scores[place]:f}:{place % 3}" for place in (2, 1, 5, 4)]
    assert seen(flavour)["ranked"]["value"]["outputs"] == {
        "scores": {"datatype": "BYTES", "shape": [2, 2], "data": words}
    }


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_statistics_count_an_inference(seen: Seen, flavour: str) -> None:
    before, after = (_counts(seen(flavour)[name]["value"]) for name in ("before", "after"))
    assert after == {**before, "success": before["success"] + 1, "queue": before["queue"] + 1}


def _counts(told: Any) -> dict[str, int]:
    (model,) = told["model_stats"]
    assert (model["name"], model["version"]) == ("affine", "1")
    kinds = ("success", "fail", "queue")
    return {kind: int(model["inference_stats"][kind].get("count", 0)) for kind in kinds}


@pytest.mark.parametrize("flavour", [each for each in FLAVOURS if not each.endswith("aio")])
def test_requests_at_once_are_answered_each(seen: Seen, servers: Servers, flavour: str) -> None:
    answers = seen(flavour)["burst"]["value"]
    assert [answer["id"] for answer in answers] == [each["request_id"] for each in BURST]
    for answer in answers:
        same(answer["outputs"], servers.computed("affine", ROWS))


@pytest.mark.parametrize("name", ["stream", "stream in gzip"])
@pytest.mark.parametrize("flavour", ["grpc", "grpc-aio"])
def test_a_stream_is_answered_in_order_and_survives_a_bad_request(
    seen: Seen, servers: Servers, flavour: str, name: str
) -> None:
    first, bad, *rest = seen(flavour)[name]["value"]
    assert bad["refused"]["message"] == "input 'y': unknown, expected 'x'"
    assert [answer["id"] for answer in (first, *rest)] == [each["request_id"] for each in BURST]
    for answer in (first, *rest):
        same(answer["outputs"], servers.computed("affine", ROWS))
