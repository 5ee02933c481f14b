"""What a model file says of itself, within bounds and safe to show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from slipway_runtime.properties import properties
from slipway_runtime.protocols.proto import open_inference_pb2 as pb
from slipway_runtime.provenance import CONVERSION
from slipway_runtime.supply.digest import file_digest
from tests.unit.runtime import models
from tests.unit.runtime.processes import Serving, pod_folder, runtime, serving
from tests.unit.runtime.protocols import calls

OWN = {"onnx.ir_version": "9", "onnx.producer_name": "tests", "onnx.opset_import": "17"}
LINEAGE = {"accuracy": "0.97", "git_commit": "8f3c1e", "mlflow_run_id": "b2a7"}
MADE = {
    "format": "Sklearn",
    "framework": "scikit-learn 1.9.1",
    "sourceDigest": "sha256:" + "5" * 64,
    "converter": "slipway 0.1.0",
    "rows": 1280,
    "tolerance": 0.0001,
    "labelsAgree": True,
}


def stating(**props: str) -> Any:
    model = models.affine()
    helper.set_model_props(model, props)
    return model


def read(model: Any) -> dict[str, str]:
    return properties(model.SerializeToString())


def test_a_file_tells_who_made_it_and_what_its_author_added() -> None:
    model = stating(**LINEAGE)
    model.producer_version, model.domain, model.model_version = "1.2", "ai.example", 3
    model.doc_string = "Trained on a Tuesday."
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    assert read(model) == {
        "onnx.ir_version": "9",
        "onnx.producer_name": "tests",
        "onnx.producer_version": "1.2",
        "onnx.domain": "ai.example",
        "onnx.model_version": "3",
        "onnx.doc_string": "Trained on a Tuesday.",
        "onnx.opset_import": "17, ai.onnx.ml 3",
        **LINEAGE,
    }


def test_a_file_and_its_content_say_the_same(tmp_path: Path) -> None:
    model = stating(**LINEAGE)
    assert properties(models.saved(model, tmp_path / "m.onnx")) == read(model)


def test_a_version_may_be_negative() -> None:
    model = models.affine()
    model.model_version = -3
    assert read(model)["onnx.model_version"] == "-3"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("x" * 256, "x" * 256, id="as long as may be"),
        pytest.param("x" * 257, "x" * 255 + "…", id="one more"),
        pytest.param("é" * 10**6, "é" * 255 + "…", id="a text of megabytes"),
        pytest.param("a\x1b[2J\n\x7f", "a\\u001b[2J\\n\\u007f", id="what steers a terminal"),
        pytest.param("a\u202eb", "a\\u202eb", id="what turns the reading round"),
    ],
)
def test_values_are_cut_and_escaped(value: str, expected: str) -> None:
    assert read(stating(key=value))["key"] == expected


def test_keys_are_cut_and_escaped() -> None:
    assert list(read(stating(**{"k" * 100: "1", "a\nb": "2"})))[-2:] == ["k" * 63 + "…", "a\\nb"]


def test_at_most_32_are_told() -> None:
    found = read(stating(**{f"key{number}": "x" for number in range(100)}))
    assert len(found) == 32
    assert OWN.items() <= found.items()


def test_onnx_fields_cannot_be_impersonated() -> None:
    assert read(stating(**{"onnx.producer_name": "somebody"}))["onnx.producer_name"] == "tests"


def test_what_slipway_wrote_may_be_longer() -> None:
    classes = {"slipway.dev/classes.p": json.dumps(["name"] * 400)}
    assert read(stating(**classes))["slipway.dev/classes.p"] == classes["slipway.dev/classes.p"]


@given(content=st.binary(max_size=200))
def test_any_bytes_have_an_answer(content: bytes) -> None:
    assert len(properties(content)) <= 32


def test_text_that_is_no_unicode_is_told_all_the_same() -> None:
    raw = stating(key="value").SerializeToString().replace(b"value", b"va\xffue")
    assert properties(raw)["key"] == "va�ue"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    told = {**LINEAGE, CONVERSION: json.dumps(MADE), "slipway.dev/optimization": "graph All"}
    return models.saved(stating(**told), tmp_path_factory.mktemp("properties") / "m.onnx")


def test_inspect_shows_them(file: Path) -> None:
    told = runtime("inspect", file).stdout
    assert "property   accuracy  0.97\n" in told
    assert "property   onnx.opset_import  17\n" in told
    assert "optimised  graph All\n" in told
    assert "source     Sklearn, read by scikit-learn 1.9.1\n" in told
    assert CONVERSION not in told


def test_programs_get_them_as_json(file: Path) -> None:
    done = runtime("inspect", file, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["file"], told["digest"]) == (str(file), file_digest(file))
    assert told["sizeBytes"] == file.stat().st_size
    assert told["framework"] == "tests"
    assert [(i["name"], i["datatype"], i["shape"]) for i in told["inputs"]] == [
        ("x", "FP32", [-1, 4])
    ]
    assert told["outputs"] == [{"name": "scores", "datatype": "FP32", "shape": [-1, 3]}]
    assert told["conversion"] == {**MADE, "columns": []}
    assert told["properties"]["accuracy"] == "0.97"
    assert CONVERSION not in told["properties"]


def test_json_of_a_model_without_words_has_no_conversion(affine_model: Path) -> None:
    told = json.loads(runtime("inspect", affine_model, "--json").stdout)
    assert told["conversion"] is None


def test_no_word_of_a_file_steers_the_terminal(tmp_path: Path) -> None:
    evil = "\x1b[2J\u202e"
    made = {**MADE, "format": evil, "framework": evil, "sourceDigest": evil, "converter": evil}
    props = {evil: evil, CONVERSION: json.dumps(made), "slipway.dev/optimization": evil}
    model = stating(**props)
    model.producer_name = model.producer_version = model.domain = model.doc_string = evil
    done = runtime("inspect", models.saved(model, tmp_path / "m.onnx"))
    assert "framework  \\u001b[2J\\u202e\n" in done.stdout
    assert "converter  \\u001b[2J\\u202e\n" in done.stdout
    assert "optimised  \\u001b[2J\\u202e\n" in done.stdout
    assert [c for c in done.stdout if not c.isprintable() and c != "\n"] == []


@pytest.fixture(scope="module")
def server(file: Path) -> Iterator[Serving]:
    config, folder = pod_folder(file.parent, file)
    with serving("--config", config, "--model-dir", folder, host="127.0.0.1") as running:
        running.wait_for("ready")
        yield running


def test_metadata_has_them_over_rest(server: Serving, file: Path) -> None:
    answer = httpx.get(f"{server.url}/v2/models/digits", trust_env=False).json()
    found = answer["properties"]
    assert (OWN | LINEAGE).items() <= found.items()
    assert found["slipway.dev/digest"] == file_digest(file)
    assert json.loads(found[CONVERSION]) == MADE


def test_metadata_has_the_same_over_grpc(server: Serving) -> None:
    with grpc.insecure_channel(server.grpc) as channel:
        sent = pb.ModelMetadataRequest(name="digits")
        found = calls.call(channel, "ModelMetadata", sent, pb.ModelMetadataResponse)
    rest = httpx.get(f"{server.url}/v2/models/digits", trust_env=False).json()
    assert dict(found.properties) == rest["properties"]


def test_the_status_tells_where_the_model_comes_from(server: Serving) -> None:
    status = server.status()
    assert (status["format"], status["framework"]) == ("Sklearn", "scikit-learn 1.9.1")
    assert status["conversion"] == {
        "sourceDigest": MADE["sourceDigest"],
        "converter": "slipway 0.1.0",
        "parity": {"rows": 1280, "tolerance": 0.0001, "labelsAgree": True},
    }
    assert LINEAGE.items() <= status["properties"].items()


def test_no_log_line_repeats_them(server: Serving) -> None:
    assert "8f3c1e" not in json.dumps(server.lines)
