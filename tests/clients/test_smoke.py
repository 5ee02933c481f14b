"""One run of each client's program, for those who have no time for all of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.clients import test_openapi
from tests.clients.description import corrected
from tests.clients.running import Servers, same, served, tensor

ROWS = tensor("x", "FP32", [2, 4], [1, 2, 3, 4, 5, 6, 7, 8.5])
ASKED = {"server": "affine", "inputs": [ROWS]}
IN_PROTOBUF = {
    "model_name": "affine",
    "inputs": [
        {
            "name": "x",
            "datatype": "FP32",
            "shape": ROWS["shape"],
            "contents": {"fp32_contents": ROWS["data"]},
        }
    ],
}


STEPS: Mapping[str, Mapping[str, dict[str, Any]]] = {
    "tritonclient": {
        "ready": {"call": "tell", "server": "affine", "method": "is_server_ready"},
        "answer": {"call": "infer", **ASKED},
        "refusal": {"call": "infer", **ASKED, "model_version": "9"},
    },
    "kserve": {
        "REST": {"call": "rest_infer", **ASKED},
        "gRPC": {"call": "grpc_infer", **ASKED, "binary": False},
        "V1": {
            "call": "rest",
            "server": "affine",
            "protocol": "v1",
            "method": "infer",
            "model_name": "affine",
            "data": {"instances": [ROWS["data"][:4], ROWS["data"][4:]]},
        },
    },
    "ovmsclient": {
        "REST": {"call": "predict", **ASKED, "wire": "http"},
        "gRPC": {"call": "predict", **ASKED, "wire": "grpc"},
    },
    "open-inference": {
        "REST": {
            "call": "rest",
            "server": "affine",
            "method": "model_infer",
            "model_name": "affine",
            "request": {"inputs": [ROWS]},
        },
        "gRPC": {"call": "grpc_fp32", "server": "affine", "request": IN_PROTOBUF},
    },
}
FLAVOURS = ("http", "http-aio", "grpc", "grpc-aio")
RUNS = {
    **{flavour: ("tritonclient", "triton", flavour) for flavour in FLAVOURS},
    "kserve": ("kserve", "kserve_inference"),
    "ovmsclient": ("ovmsclient", "tensorflow_serving"),
    "open-inference": ("open-inference", "open_inference"),
}
WORKERS = 2


@pytest.fixture(scope="module")
def affine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with served(tmp_path_factory.mktemp("smoke"), "affine") as running:
        yield running


Runs = Mapping[str, Future[dict[str, Any]]]


@pytest.fixture(scope="module")
def runs(affine: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """All programs, some at a time: most of their time they import."""
    folder = tmp_path_factory.mktemp("openapi")
    with ThreadPoolExecutor(WORKERS) as pool:
        started = {"schemathesis": pool.submit(openapi_report, affine, folder)}
        for name, (client, program, *arguments) in RUNS.items():
            started[name] = pool.submit(affine.ask, client, program, STEPS[client], *arguments)
        yield started


def openapi_report(affine: Servers, folder: Path) -> dict[str, Any]:
    return test_openapi.report(affine, corrected(), folder, examples=1, phases="examples,fuzzing")


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_tritonclient(affine: Servers, runs: Runs, flavour: str) -> None:
    seen = runs[flavour].result()
    assert seen["ready"] == {"value": True}
    same(seen["answer"]["value"]["outputs"], affine.computed("affine", ROWS))
    assert "version '9' is not served" in seen["refusal"]["refused"]["message"]


def test_kserve(affine: Servers, runs: Runs) -> None:
    seen, expected = runs["kserve"].result(), affine.computed("affine", ROWS)
    for wire in ("REST", "gRPC"):
        same(seen[wire]["value"]["outputs"], expected)
    found = [number for row in seen["V1"]["value"]["predictions"] for number in row]
    assert found == pytest.approx(expected["scores"]["data"], rel=1e-6)


def test_ovmsclient(affine: Servers, runs: Runs) -> None:
    seen, expected = runs["ovmsclient"].result(), affine.computed("affine", ROWS)
    for wire in ("REST", "gRPC"):
        assert seen[wire]["value"]["data"] == pytest.approx(expected["scores"]["data"], rel=1e-6)


def test_open_inference(affine: Servers, runs: Runs) -> None:
    seen, expected = runs["open-inference"].result(), affine.computed("affine", ROWS)
    (output,) = seen["REST"]["value"]["outputs"]
    assert output["data"] == pytest.approx(expected["scores"]["data"], rel=1e-6)
    same(seen["gRPC"]["value"], expected)


def test_schemathesis(runs: Runs) -> None:
    test_openapi.check(runs["schemathesis"].result(), corrected(), test_openapi.INFER)
