"""A model of another format on its way: fetched as it is, converted elsewhere, taken over."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from slipway_runtime.supply.digest import file_digest
from tests.unit.runtime import models
from tests.unit.runtime.processes import runtime, serving_document

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
        "source": None,
    }


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
    import zipfile

    with zipfile.ZipFile(way.source / "model", "w") as archive:
        archive.writestr("schema.json", "{}")
    way.fetch()
    code, told = way.run(
        "convert-supplied", asked(), "--original", way.original, "--into", way.converted
    )
    assert (code, told["failure"]["reason"]) == (10, "Unsupported")
    assert "lacks 'skops'" in told["failure"]["message"]
