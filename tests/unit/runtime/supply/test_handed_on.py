"""A model of another format on its way: fetched as it is, converted elsewhere, taken over."""

import hashlib
import io
import json
import os
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import jsonschema
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from slipway_runtime.supply.digest import file_digest
from slipway_runtime.supply.tree import folder_digest, walked
from tests.unit.runtime import models
from tests.unit.runtime.processes import runtime, serving_document
from tests.unit.runtime.store import StoreDouble, says

SCHEMA = json.loads(Path("tests/contract/termination.schema.json").read_text())
URI = "configmap://m/model"
REPORT = {
    "framework": "scikit-learn 1.9.1",
    "parity": {"rows": 1280, "maxAbsDiff": "2.4e-06", "labelAgreementPercent": 100},
}


class Way:
    """The folders of one revision's pod."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "source"
        self.original, self.converted = folder / "original", folder / "converted"
        self.into, self.message = folder / "models", folder / "termination-log"
        for each in (self.source, self.converted, self.into):
            each.mkdir()

    def run(self, verb: str, document: object, *arguments: object) -> tuple[int, dict[str, Any]]:
        """Run a step; its exit code and its message."""
        self.message.write_text("")
        done = runtime(
            verb, *arguments, "--termination-message", self.message,
            config_json=json.dumps(document),
        )  # fmt: skip
        text = self.message.read_text()
        told = json.loads(text) if text else {}
        if told:
            jsonschema.validate(told, SCHEMA)
        return done.returncode, told

    def fetch(self, **document: Any) -> tuple[int, dict[str, Any]]:
        """Bring the model here as it is."""
        return self.run(
            "fetch", asked(**document), "--as-is", "--into", self.original,
            "--source-dir", self.source,
        )  # fmt: skip

    def admit(self, *arguments: object, **document: Any) -> tuple[int, dict[str, Any]]:
        """Take over what was converted."""
        return self.run(
            "admit", asked(**document), "--original", self.original,
            "--converted", self.converted, "--into", self.into, *arguments,
        )  # fmt: skip

    def leave(self) -> Path:
        """Do as a converting step does."""
        (self.converted / "report.json").write_text(json.dumps(REPORT))
        model: Path = models.saved(models.affine(), self.converted / "model.onnx")
        return model


def asked(model: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """serving.json of a pickle that may be loaded."""
    document = serving_document(URI)
    allowed = {"allowPickle": True} if model is None else model
    return {**document, "model": {**document["model"], **allowed}, **more}


@pytest.fixture
def way(tmp_path: Path) -> Way:
    found = Way(tmp_path)
    (found.source / "model").write_bytes(pickle.dumps({"weights": [1.0, 2.0]}))
    return found


def test_a_model_of_another_format_is_kept_as_it_is(way: Way) -> None:
    assert way.fetch() == (0, {})
    assert (way.original / "model").read_bytes() == (way.source / "model").read_bytes()
    assert json.loads((way.original / "original.json").read_text()) == {
        "format": "Sklearn",
        "digest": file_digest(way.source / "model"),
    }


class Saved:
    """A folder as TensorFlow writes it, in a claim and in an archive of a web server."""

    FILES: ClassVar = {"saved_model.pb": b"\x08\x01", "variables/variables.index": b"weights"}

    @classmethod
    def on_claim(cls, folder: Path) -> str:
        """Write it below a folder; the URI."""
        for name, content in cls.FILES.items():
            path = folder / "digits" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return "pvc://models/digits/"

    @classmethod
    def zipped(cls, *more: str) -> bytes:
        """Pack it, in a folder of its own."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name, content in cls.FILES.items():
                archive.writestr(f"digits/{name}", content)
            for name in more:
                archive.writestr(name, b"x")
        return packed.getvalue()


@pytest.mark.parametrize("format_", ["Auto", "TensorFlow"])
def test_a_saved_model_is_kept_as_the_folder_that_it_is(way: Way, format_: str) -> None:
    asks = {"uri": Saved.on_claim(way.source), "format": format_}
    assert way.fetch(model=asks) == (0, {})
    kept = way.original / "folder"
    assert {n: (kept / n).read_bytes() for n in walked(kept)} == Saved.FILES
    facts = json.loads((way.original / "original.json").read_text())
    assert facts == {
        "format": "TensorFlow", "digest": folder_digest(way.source / "digits"), "path": "folder",
    }  # fmt: skip
    # A container that starts again believes its own bytes only.
    assert way.fetch(model=asks, sourceDigest=facts["digest"]) == (0, {})
    code, told = way.fetch(model=asks, sourceDigest="sha256:" + "0" * 64)
    assert (code, told["failure"]["reason"]) == (10, "DigestMismatch")


def test_a_saved_model_in_an_archive_is_unpacked(way: Way, store_double: StoreDouble) -> None:
    packed = Saved.zipped()
    store_double.answers["/digits.zip"] = [says(200, packed)]
    assert way.fetch(model={"uri": store_double.url("/digits.zip")}) == (0, {})
    facts = json.loads((way.original / "original.json").read_text())
    assert facts["path"] == "folder/digits"
    assert facts["digest"] == f"sha256:{hashlib.sha256(packed).hexdigest()}"
    assert (way.original / facts["path"] / "saved_model.pb").is_file()


@pytest.mark.parametrize("format_", ["Auto", "TensorFlow"])
def test_c16_a_hostile_archive_is_no_saved_model(
    way: Way, store_double: StoreDouble, format_: str
) -> None:
    store_double.answers["/digits.zip"] = [says(200, Saved.zipped("../../planted"))]
    code, told = way.fetch(model={"uri": store_double.url("/digits.zip"), "format": format_})
    assert (code, told["failure"]["reason"]) == (10, "Unsupported")
    assert not list(way.original.parent.rglob("planted"))
    assert not (way.original / "original.json").exists()


@pytest.mark.parametrize(
    ("uri", "format_", "words"),
    [
        pytest.param("pvc://models/digits/", "Keras", "is a folder, expected the one file",
                     id="a folder of another format"),
        pytest.param("configmap://m/model", "TensorFlow", "is one file, expected the folder",
                     id="TensorFlow in one file"),
    ],
)  # fmt: skip
def test_only_tensorflow_is_a_folder(way: Way, uri: str, format_: str, words: str) -> None:
    Saved.on_claim(way.source)
    code, told = way.fetch(model={"uri": uri, "format": format_})
    assert (code, told["failure"]["reason"]) == (10, "Unsupported")
    assert words in told["failure"]["message"]


@pytest.mark.parametrize("resolve", [("--resolve",), ()], ids=["in a Job", "on a laptop"])
def test_the_lean_step_tells_a_saved_model(way: Way, resolve: tuple[str, ...]) -> None:
    """Without `--resolve`, too: a folder without ONNX is nothing to serve from."""
    model = {"uri": Saved.on_claim(way.source)}
    folders = ("--into", way.into, "--source-dir", way.source)
    code, told = way.run("fetch", asked(model=model), *resolve, *folders)
    assert (code, told["failure"]["format"]) == (10, "TensorFlow")


def test_a_file_in_an_archive_of_its_own_is_converted_as_before(
    way: Way, store_double: StoreDouble
) -> None:
    """Models of Keras, skops and PyTorch are ZIP archives themselves."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("metadata.json", "{}")
    store_double.answers["/digits.zip"] = [says(200, packed.getvalue())]
    uri = store_double.url("/digits.zip")
    assert way.fetch(model={"uri": uri, "format": "Keras"}) == (0, {})
    assert (way.original / "model").read_bytes() == packed.getvalue()


def test_what_was_converted_is_taken_over_with_both_digests(way: Way) -> None:
    way.fetch()
    model = way.leave()
    code, told = way.admit("--resolve")
    assert code == 0
    result = told["result"]
    assert result["digest"] == file_digest(model)
    assert result["format"] == "Sklearn"
    assert result["conversion"] == {"sourceDigest": file_digest(way.source / "model"), **REPORT}
    assert [t["name"] for t in result["signature"]["inputs"]] == ["x"]
    assert (way.into / "model.onnx").read_bytes() == model.read_bytes()
    assert json.loads((way.into / "model.json").read_text())["digest"] == result["digest"]


def test_a_pod_takes_over_only_the_bytes_that_were_checked(way: Way) -> None:
    way.fetch()
    right = file_digest(way.leave())
    assert way.admit(digest=right)[0] == 0
    code, told = way.admit(digest="sha256:" + "0" * 64)
    assert (code, told["failure"]["reason"]) == (10, "DigestMismatch")
    assert "converted once more" in told["failure"]["message"]
    assert not (way.into / "model.json").exists()


def test_another_original_than_was_checked_is_refused(way: Way) -> None:
    code, told = way.fetch(sourceDigest="sha256:" + "0" * 64)
    assert (code, told["failure"]["reason"]) == (10, "DigestMismatch")
    assert told["failure"]["message"].startswith("digest: got sha256:")


def test_a_pickle_that_nobody_allowed_ends_where_it_is_fetched(way: Way) -> None:
    code, told = way.fetch(model={})
    assert (code, told["failure"]["reason"]) == (10, "PickleNotAllowed")


def test_a_model_that_became_onnx_meanwhile_is_not_converted(way: Way) -> None:
    models.saved(models.affine(), way.source / "model")
    code, told = way.fetch()
    assert (code, told["failure"]["reason"]) == (10, "Unsupported")
    assert "give model.digest" in told["failure"]["message"]


def test_the_lean_step_names_the_format_that_has_to_be_converted(way: Way) -> None:
    folders = ("--into", way.into, "--source-dir", way.source)
    code, told = way.run("fetch", asked(), "--resolve", *folders)
    failure = told["failure"]
    assert (code, failure["reason"], failure["format"]) == (10, "Unsupported", "Sklearn")
    assert "converterImage" in failure["message"]
    code, told = way.run("fetch", asked(model={}), "--resolve", *folders)
    assert (told["failure"]["reason"], "format" in told["failure"]) == ("PickleNotAllowed", False)


@pytest.mark.parametrize("name", ["model.onnx", "report.json"])
@pytest.mark.parametrize("trap", ["link", "pipe", "folder", "nothing"])
def test_a_trap_in_place_of_a_file_is_no_model(way: Way, name: str, trap: str) -> None:
    """C18: whoever wrote the pickle may have written whatever lies there."""
    way.fetch()
    way.leave()
    place = way.converted / name
    place.unlink()
    if trap == "link":
        place.symlink_to("/etc/passwd")
    elif trap == "pipe":
        os.mkfifo(place)
    elif trap == "folder":
        place.mkdir()
    code, told = way.admit("--resolve")
    assert (code, told["failure"]["reason"]) == (10, "InvalidModel")


def test_a_report_that_lies_about_its_form_is_refused(way: Way) -> None:
    way.fetch()
    way.leave()
    (way.converted / "report.json").write_text(json.dumps({**REPORT, "digest": "sha256:" + "1"}))
    code, told = way.admit()
    assert (code, told["failure"]["reason"]) == (10, "InvalidModel")


def test_a_library_that_the_image_lacks_is_named(way: Way) -> None:
    """These tests have scikit-learn, and no skops."""
    with zipfile.ZipFile(way.source / "model", "w") as archive:
        archive.writestr("schema.json", "{}")
    way.fetch()
    code, told = way.run(
        "convert-supplied", asked(), "--original", way.original, "--into", way.converted
    )
    assert (code, told["failure"]["reason"]) == (10, "Unsupported")
    assert "lacks 'skops'" in told["failure"]["message"]


INT8 = {"optimization": {"quantization": "DynamicInt8"}}


def network(place: Path) -> Path:
    """A network of 64 inputs and 10 scores, large enough for its weights to matter."""
    random = np.random.default_rng(0)
    kernel = numpy_helper.from_array(random.normal(size=(64, 10)).astype(np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["scores"])],
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 10])],
        [kernel],
    )
    found: Path = models.saved(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), place
    )
    return found


def samples(folder: Path, width: int = 64) -> Path:
    """Two hundred rows that the network tells apart."""
    rows = np.random.default_rng(1).normal(size=(200, width)).round(4)
    tensor = {"name": "x", "datatype": "FP32", "shape": [200, width], "data": rows.ravel().tolist()}
    file = folder / "samples.json"
    file.write_text(json.dumps([{"inputs": [tensor]}]))
    return file


def optimize(way: Way, *arguments: object, **document: Any) -> tuple[int, dict[str, Any]]:
    """The step between: its exit code and its message."""
    folders = ("--original", way.original, "--into", way.converted)
    return way.run("convert-supplied", asked(**document), *folders, *arguments)


def test_an_onnx_model_is_optimised_on_its_way(way: Way, tmp_path: Path) -> None:
    original = network(way.source / "model")
    assert way.fetch(model=INT8) == (0, {})
    small = {"optimization": {"quantization": "DynamicInt8", "minAgreementPercent": 90}}
    assert optimize(way, "--samples", samples(tmp_path), model=small) == (0, {})
    code, told = way.admit("--resolve", model=small)
    assert code == 0
    result = told["result"]
    assert (result["format"], result["digest"]) == ("ONNX", file_digest(way.into / "model.onnx"))
    found = result["conversion"]
    assert found["sourceDigest"] == file_digest(original)
    assert 90 <= found["parity"]["labelAgreementPercent"] <= 100
    assert found["parity"]["rows"] == 200
    before = found["optimization"]["sizeBytesBefore"]
    assert before == original.stat().st_size > result["sizeBytes"]
    facts = json.loads((way.into / "model.json").read_text())
    assert facts["conversion"]["optimization"] == found["optimization"]


def test_a_pod_repeats_it_without_samples_and_compares_nothing(way: Way) -> None:
    source = file_digest(network(way.source / "model"))
    low = {"optimization": {"quantization": "DynamicInt8", "minAgreementPercent": 0}}
    way.fetch(model=low)
    optimize(way, model=low)
    digest = file_digest(way.converted / "model.onnx")
    (way.converted / "model.onnx").unlink()
    # 100 % of generated rows would not agree: who compares now is refused.
    full = {"optimization": {"quantization": "DynamicInt8", "minAgreementPercent": 100}}
    pinned = {"digest": digest, "sourceDigest": source}
    assert optimize(way, model=low, **pinned)[0] == 0
    assert file_digest(way.converted / "model.onnx") == digest
    code, told = way.admit(model=low, **pinned)
    assert (code, "parity" in told["result"]["conversion"]) == (0, False)
    (way.converted / "model.onnx").unlink()
    assert optimize(way, model=full)[1]["failure"]["reason"] == "ConversionMismatch"
    assert optimize(way, model=full, **pinned)[0] == 0


def test_a_model_that_answers_otherwise_is_refused_by_name(way: Way, tmp_path: Path) -> None:
    network(way.source / "model")
    model = {"optimization": {"pruning": "Magnitude", "sparsityPercent": 98}}
    way.fetch(model=model)
    code, told = optimize(way, "--samples", samples(tmp_path), model=model)
    failure = told["failure"]
    assert (code, failure["reason"]) == (10, "ConversionMismatch")
    assert re.match(r"model\.optimization: [0-9.]+ % of 200 labels agree", failure["message"])
    assert "lower minAgreementPercent" in failure["message"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(None, "sample 1: input 'x' has shape [200, 3], expected [-1, 64]", id="shape"),
        pytest.param('[{"inputs": [{"name": "y"}]}]', "'samples.json' cannot be used", id="form"),
        pytest.param("{" * 2000, "cannot be used", id="no JSON"),
        pytest.param("[" * 100_000, "cannot be used", id="a nest"),
    ],
)
def test_samples_that_do_not_fit_are_named(
    way: Way, tmp_path: Path, text: str | None, expected: str
) -> None:
    network(way.source / "model")
    way.fetch(model=INT8)
    file = samples(tmp_path, width=3)
    if text is not None:
        file.write_text(text)
    code, told = optimize(way, "--samples", file, model=INT8)
    assert (code, told["failure"]["reason"]) == (10, "InvalidConfig")
    assert told["failure"]["message"].startswith("model.samples: ")
    assert expected in told["failure"]["message"]


def test_other_samples_than_were_checked_are_told_as_the_cause(way: Way, tmp_path: Path) -> None:
    model = {
        "optimization": {"quantization": "StaticInt8", "minAgreementPercent": 0},
        "samples": {"configMap": {"name": "rows", "key": "samples.json"}},
    }
    network(way.source / "model")
    way.fetch(model=model)
    assert optimize(way, "--samples", samples(tmp_path), model=model)[0] == 0
    code, told = way.admit(model=model, digest="sha256:" + "0" * 64)
    assert (code, told["failure"]["reason"]) == (10, "DigestMismatch")
    assert "ConfigMap 'rows' of model.samples has changed" in told["failure"]["message"]


def test_a_folder_is_not_optimised(way: Way) -> None:
    document = serving_document("pvc://models/v1/")
    code, told = way.run(
        "fetch", {**document, "model": {**document["model"], "format": "ONNX", **INT8}}, "--as-is",
        "--into", way.original, "--source-dir", way.source,
    )  # fmt: skip
    assert (code, told["failure"]["reason"]) == (10, "Unsupported")
    assert "slipway-runtime optimize" in told["failure"]["message"]
