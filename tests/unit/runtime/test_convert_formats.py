"""Formats are told by content; what would run code is refused before anything is loaded."""

import bz2
import gzip
import lzma
import pickle
import zipfile
import zlib
from pathlib import Path

import pytest

from slipway_runtime.errors import InvalidModel, NotFound, PickleNotAllowed, Unsupported
from slipway_runtime.formats import recognise, refuse_pickle
from tests.unit.runtime import models
from tests.unit.runtime.processes import runtime

_PICKLE = pickle.dumps({"a": 1})
_PMML = b'<?xml version="1.0"?>\n<PMML version="4.4" xmlns="http://www.dmg.org/PMML-4_4"/>'


class _Planter:
    """Its pickle writes a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self._marker,)


def archive(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, "{}")
    return path


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(_PICKLE, "Sklearn", id="pickle"),
        pytest.param(gzip.compress(_PICKLE), "Sklearn", id="joblib with gzip"),
        pytest.param(zlib.compress(_PICKLE), "Sklearn", id="joblib with zlib"),
        pytest.param(bz2.compress(_PICKLE), "Sklearn", id="joblib with bz2"),
        pytest.param(lzma.compress(_PICKLE), "Sklearn", id="joblib with xz"),
        pytest.param(b'{"learner":{"attributes":{}}}', "XGBoost", id="xgboost json"),
        pytest.param(b'{ "version": [3,2,0], "learner": {}}', "XGBoost", id="xgboost json, later"),
        pytest.param(b"{L\0\0\0\0\0\0\0\x07learner{", "XGBoost", id="xgboost ubj"),
        pytest.param(b"tree\nversion=v4\n", "LightGBM", id="lightgbm"),
        pytest.param(b"\x89HDF\r\n\x1a\n\0", "Keras", id="keras h5"),
        pytest.param(b"\x20\0\0\0TFL3\0\0", "TFLite", id="tflite"),
        pytest.param(_PMML, "PMML", id="pmml"),
    ],
)
def test_a_file_is_recognised(content: bytes, expected: str, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.write_bytes(content)
    assert recognise(model) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param(("schema.json", "1.npy"), "Sklearn", id="skops"),
        pytest.param(("metadata.json", "config.json", "model.weights.h5"), "Keras", id="keras"),
        pytest.param(("m/data.pkl", "m/constants.pkl", "m/code/x.py"), "TorchScript", id="torch"),
    ],
)
def test_an_archive_is_recognised(names: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    assert recognise(archive(tmp_path / "model", *names)) == expected


def test_a_saved_model_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01")
    assert recognise(tmp_path) == "TensorFlow"


def test_onnx_is_recognised(tmp_path: Path) -> None:
    model = models.saved(models.affine(), tmp_path / "model")
    assert recognise(model) == "ONNX"


def test_a_state_dict_of_torch_is_no_program(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"torch\.jit\.script\(model\.eval\(\)\)"):
        recognise(archive(tmp_path / "model.pt", "m/data.pkl", "m/data/0"))


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        pytest.param(b"", InvalidModel, "is empty", id="empty"),
        pytest.param(b"<!DOCTYPE html>", Unsupported, "an HTML or XML document", id="web page"),
        pytest.param(b'{"error": 404}', Unsupported, "a JSON document", id="json"),
        pytest.param(b"PK\x03\x04 broken", InvalidModel, "broken ZIP archive", id="cut archive"),
        pytest.param(b"\x1f\x8b cut", Unsupported, "a gzip archive", id="cut gzip"),
        pytest.param(b"just words", Unsupported, "nothing that is known here", id="words"),
    ],
)
def test_what_is_no_model_is_named(
    content: bytes, error: type[Exception], words: str, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.write_bytes(content)
    with pytest.raises(error, match=words):
        recognise(model)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            '<!DOCTYPE PMML [<!ENTITY x SYSTEM "file:///etc/passwd">]><PMML>&x;</PMML>',
            id="C19 a file",
        ),
        pytest.param(
            '<!DOCTYPE P [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><P>&b;</P>', id="C19 a bomb"
        ),
        pytest.param("<PMML>\0</PMML>", id="C19 another encoding"),
    ],
)
def test_a_document_with_entities_is_refused(text: str, tmp_path: Path) -> None:
    model = tmp_path / "model.pmml"
    model.write_text(text)
    done = runtime("convert", model, "-o", tmp_path / "model.onnx", "--format", "PMML")
    assert done.returncode == 10, done.stderr
    assert "declares a document type or entities" in done.stderr


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="cannot be read"):
        recognise(tmp_path / "none")


def test_a_pickle_needs_a_word_of_consent(tmp_path: Path) -> None:
    model = tmp_path / "model.pkl"
    model.write_bytes(b"(dp0\n.")  # protocol 0 has no mark
    refuse_pickle(model, "Sklearn", allowed=True)
    with pytest.raises(PickleNotAllowed, match=r"set model\.allowPickle: true"):
        refuse_pickle(model, "Sklearn", allowed=False)


@pytest.mark.parametrize(
    "format_", [pytest.param(name, id=f"C18 {name}") for name in ("Auto", "Sklearn")]
)
def test_a_malicious_pickle_runs_nothing_unless_allowed(format_: str, tmp_path: Path) -> None:
    marker, model = tmp_path / "marker", tmp_path / "model.pkl"
    model.write_bytes(pickle.dumps(_Planter(marker)))
    target = tmp_path / "model.onnx"
    done = runtime("convert", str(model), "-o", str(target), "--format", format_)
    assert (done.returncode, "--allow-pickle" in done.stderr) == (10, True), done.stderr
    assert not marker.exists()
    assert not target.exists()
