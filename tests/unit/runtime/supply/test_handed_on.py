"""A model of another format on its way: fetched as it is, converted elsewhere, taken over."""

import hashlib
import io
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import jsonschema
import pytest

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
