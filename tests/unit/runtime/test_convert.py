"""Conversion from end to end, with the one framework that the tests have at hand."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pytest
from sklearn.datasets import load_iris
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from slipway_runtime.inference.session import Cancellation, Session
from slipway_runtime.provenance import conversion
from tests.unit.runtime.processes import runtime

_X, _Y = load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def model() -> Any:
    return LogisticRegression(max_iter=1000).fit(_X, np.array(["a", "b", "c"])[_Y])


@pytest.fixture(scope="module")
def folder(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same file converted twice, and how the first ended."""
    place = tmp_path_factory.mktemp("convert")
    joblib.dump(model, place / "iris.joblib", compress=3)
    np.save(place / "rows.npy", _X)
    for name in ("once", "again"):
        done = runtime(
            *("convert", place / "iris.joblib", "-o", place / f"{name}.onnx", "--allow-pickle"),
            *("--samples", place / "rows.npy", "--report", place / f"{name}.json"),
        )
        assert done.returncode == 0, done.stderr
        (place / f"{name}.txt").write_text(done.stdout)
    return place


def test_the_same_file_gives_the_same_bytes(folder: Path) -> None:
    assert (folder / "once.onnx").read_bytes() == (folder / "again.onnx").read_bytes()


def test_the_answers_are_the_original_ones(folder: Path, model: Any) -> None:
    session = Session(folder / "once.onnx", threads=1)
    rows = _X.astype(np.float32)
    label, scores = session.run({"X": rows}, ["label", "probabilities"], Cancellation())
    assert label.tolist() == model.predict(_X).tolist()
    np.testing.assert_allclose(scores, model.predict_proba(_X), atol=1e-5)


def test_the_report_names_what_was_compared(folder: Path) -> None:
    report = json.loads((folder / "once.json").read_text())
    assert report["format"] == "Sklearn"
    assert report["parity"]["givenRows"] == len(_X)
    assert report["parity"]["labelAgreementPercent"] == 100
    assert report["parity"]["maxAbsDiff"] <= 1e-4
    text = (folder / "once.txt").read_text()
    assert "labels agree 100 %" in text
    assert report["digest"] in text


def test_the_model_says_where_it_comes_from(folder: Path) -> None:
    made = conversion(Session(folder / "once.onnx", threads=1).metadata)
    assert made is not None
    assert (made.format, made.labels_agree, made.tolerance) == ("Sklearn", True, 1e-4)
    shown = runtime("inspect", folder / "once.onnx").stdout
    assert f"source     Sklearn, read by {made.framework}" in shown
    assert made.source_digest in shown


def test_c20_other_answers_than_the_original_ones_are_refused(folder: Path, model: Any) -> None:
    """A tolerance that no 32-bit number can keep stands for a converter that is wrong."""
    target = folder / "refused.onnx"
    done = runtime(
        *("convert", folder / "iris.joblib", "-o", target, "--allow-pickle"),
        *("--tolerance", "1e-15"),
    )
    assert done.returncode == 10
    assert "ConversionMismatch" in done.stderr
    # A pod tells it, too, whose spec has no tolerance.
    assert "on a laptop with `slipway-runtime convert --tolerance` and publish" in done.stderr
    assert not target.exists()


def test_a_pickle_of_something_else_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps({"weights": [1, 2]}))
    done = runtime(
        *("convert", tmp_path / "model.pkl", "-o", tmp_path / "model.onnx", "--allow-pickle")
    )
    assert done.returncode == 10
    assert "holds a builtins.dict, expected a fitted estimator" in done.stderr


def test_an_estimator_that_is_not_converted_is_named(tmp_path: Path) -> None:
    joblib.dump(make_pipeline(StandardScaler(), KernelRidge()).fit(_X, _Y), tmp_path / "m.joblib")
    done = runtime(
        *("convert", tmp_path / "m.joblib", "-o", tmp_path / "model.onnx", "--allow-pickle")
    )
    assert done.returncode == 10
    assert '"Unsupported"' in done.stderr
    assert "holds a 'sklearn.kernel_ridge.KernelRidge', which skl2onnx does not" in done.stderr
    assert "use another estimator in its place" in done.stderr


@pytest.mark.parametrize(
    ("more", "told"),
    [
        pytest.param(("-o", "none/m.onnx"), "-o: folder", id="no folder for the model"),
        pytest.param(
            ("-o", "m.onnx", "--report", "none/r.json"), "--report: folder", id="nor for the report"
        ),
        pytest.param(("-o", "."), "-o: '.' is a folder, expected a file", id="a folder"),
    ],
)
def test_where_nothing_can_be_written_is_told_before_the_model_is_read(
    more: tuple[str, ...], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = runtime("convert", "no-model.pkl", *more)
    assert done.returncode == 2
    assert told in done.stderr
    assert "no-model" not in done.stderr


def test_a_missing_framework_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.txt").write_text("tree\nversion=v4\n")
    done = runtime("convert", tmp_path / "model.txt", "-o", tmp_path / "model.onnx")
    assert done.returncode == 3
    assert "module 'lightgbm' is missing" in done.stderr


def test_an_optimised_model_still_says_where_it_comes_from(folder: Path) -> None:
    done = runtime(
        *("optimize", folder / "once.onnx", "-o", folder / "small.onnx"),
        *("--graph", "Basic", "--samples", folder / "rows.npy"),
    )
    assert done.returncode == 0, done.stderr
    assert "agreement" in done.stdout
    told = {each.key for each in onnx.load(str(folder / "small.onnx")).metadata_props}
    assert told == {"slipway.dev/conversion", "slipway.dev/optimization"}


def test_static_quantisation_asks_for_samples(folder: Path) -> None:
    done = runtime(
        *("optimize", folder / "once.onnx", "-o", folder / "int8.onnx"),
        *("--quantization", "StaticInt8"),
    )
    assert done.returncode == 10
    assert "StaticInt8 calibrates with them" in done.stderr
