"""The committed schemas are the types', and what the runtime reads and writes meets them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from slipway_runtime.config import parse_config
from slipway_runtime.errors import ConfigError, InvalidModel
from slipway_runtime.supply.termination import SupplyResult, failure_text, success_text

FOLDER = Path(__file__).parent
SERVING = json.loads((FOLDER / "serving.schema.json").read_text())
TERMINATION = json.loads((FOLDER / "termination.schema.json").read_text())
DIGEST = "sha256:" + "a" * 64

LEAST: dict[str, Any] = {
    "name": "digits",
    "namespace": "models",
    "revision": "0123456789",
    "revisionNumber": 1,
    "model": {"uri": "oci://registry.example.com/models/digits:2"},
}
MOST: dict[str, Any] = {
    **LEAST,
    "digest": DIGEST,
    "model": {**LEAST["model"], "digest": DIGEST, "format": "ONNX", "version": "2026-11-20"},
    "serving": {
        "protocols": ["GRPC", "REST"],
        "requestTimeout": "1h30m",
        "maxRequestBytes": "64Mi",
        "maxJSONBytes": 8388608,
        "threads": 4,
        "executionProvider": "CUDA",
        "batching": {"mode": "On", "maxBatchSize": 16, "maxDelay": "2ms"},
        "queue": {"maxLength": 1024},
        "warmup": {"requests": 3},
    },
}


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("slipway_runtime.config", "serving.schema.json"),
        ("slipway_runtime.supply.termination", "termination.schema.json"),
    ],
)
def test_a_committed_schema_is_that_of_the_types(module: str, name: str) -> None:
    command = [sys.executable, "-m", module, "--check", str(FOLDER / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(LEAST, id="the least"),
        pytest.param(MOST, id="the most"),
        pytest.param({**LEAST, "serving": {"threads": "Auto"}}, id="Auto"),
        pytest.param({**LEAST, "serving": {"threads": "16"}}, id="threads as a string"),
        pytest.param({**LEAST, "serving": {}}, id="an empty block"),
    ],
)
def test_schema_and_types_accept_the_same(document: dict[str, Any]) -> None:
    jsonschema.validate(document, SERVING)
    parse_config(document)


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({}, id="nothing"),
        pytest.param({**LEAST, "tokenizer": {}}, id="an unknown block"),
        pytest.param({**LEAST, "serving": {"batch": {}}}, id="an unknown key"),
        pytest.param({**LEAST, "serving": {"executionProvider": "TPU"}}, id="no such provider"),
        pytest.param({**LEAST, "serving": {"batching": {"mode": "Maybe"}}}, id="no such mode"),
        pytest.param({**LEAST, "serving": {"batching": {"maxBatchSize": 0}}}, id="no batch"),
        pytest.param({**LEAST, "serving": {"batching": {"maxDelay": "2"}}}, id="a delay, unitless"),
        pytest.param({**LEAST, "serving": {"threads": "many"}}, id="threads in words"),
        pytest.param({**LEAST, "serving": {"protocols": []}}, id="no protocol"),
        pytest.param({**LEAST, "serving": {"protocols": ["SOAP"]}}, id="an unknown protocol"),
        pytest.param({**LEAST, "serving": {"protocols": ["REST", "REST"]}}, id="one twice"),
        pytest.param({**LEAST, "serving": {"requestTimeout": "30"}}, id="a duration without unit"),
        pytest.param({**LEAST, "serving": {"maxJSONBytes": "8 MB"}}, id="a size of no Kubernetes"),
        pytest.param(
            {**LEAST, "serving": {"requestTimeout": "10000ms10000ms10000ms10000ms"}},
            id="a long duration",
        ),
        pytest.param({**LEAST, "model": {**LEAST["model"], "version": "a b"}}, id="no label"),
        pytest.param({**LEAST, "revision": "12"}, id="a short revision"),
        pytest.param(
            {**LEAST, "model": {"uri": "oci://a/b", "format": "MOJO"}}, id="an unknown format"
        ),
    ],
)
def test_schema_and_types_refuse_the_same(document: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SERVING)
    with pytest.raises(ConfigError):
        parse_config(document)


def test_both_ends_of_the_supply_step_meet_the_schema() -> None:
    for text in (
        success_text(SupplyResult(digest=DIGEST, size_bytes=1)),
        failure_text(InvalidModel("why")),
    ):
        jsonschema.validate(json.loads(text), TERMINATION)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(
            {"failure": {"reason": "Bored", "terminal": True, "message": ""}}, TERMINATION
        )
