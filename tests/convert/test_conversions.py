"""Real trained models of every format: what the framework predicts, the ONNX model predicts.

The frameworks answer in a process of their own (`programs/train.py`), on rows that no model has
seen. The conversion runs as a user runs it, in the converter's environment.
"""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from slipway_runtime.inference.session import Cancellation, Session
from slipway_runtime.supply.digest import file_digest
from slipway_runtime.supply.tree import folder_digest
from tests.convert.environment import environment, trained_models
from tests.convert.page import publish

_TOLERANCE: Final = 1e-4
_TORCH_INPUT: Final = ("--inputs", "x:FP32:-1,64")
_CASES: Final = (
    ("Sklearn", "digits.joblib"), ("Sklearn", "cancer.pkl"), ("Sklearn", "diabetes.pkl.gz"),
    ("Sklearn", "wine.skops"), ("Sklearn", "cancer-xgboost.joblib"),
    ("Sklearn", "digits-xgboost.joblib"), ("Sklearn", "wine-lightgbm.joblib"),
    ("XGBoost", "cancer.json"), ("XGBoost", "digits.ubj"), ("XGBoost", "diabetes.ubj"),
    ("LightGBM", "cancer.txt"), ("LightGBM", "wine.txt"), ("LightGBM", "diabetes.txt"),
    ("Keras", "digits.keras"), ("Keras", "digits.h5"),
    ("TensorFlow", "digits-saved"), ("TFLite", "digits.tflite"),
    ("TorchScript", "digits.pt"), ("PMML", "iris.pmml"),
)  # fmt: skip
_BESIDE: Final = "digits-onnx"
"""A folder: ONNX is served as it is."""
_PICKLES: Final = (".joblib", ".pkl", ".gz")


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where models lie, what converts them, and what came of it."""

    models: Path
    command: Path
    out: Path
    rows: dict[str, dict[str, Any]]

    def convert(self, name: str, target: str, *more: str) -> subprocess.CompletedProcess[str]:
        """Run the command as a user does."""
        arguments = [str(self.models / name), "-o", str(self.out / target), *more]
        if name.endswith(_PICKLES):
            arguments.append("--allow-pickle")
        if name.endswith(".pt"):
            arguments.extend(_TORCH_INPUT)
        return subprocess.run(
            [str(self.command), "convert", *arguments], capture_output=True, text=True, check=False
        )


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    rows: dict[str, dict[str, Any]] = {}
    command = environment() / "bin" / "slipway-runtime"
    yield Workshop(trained_models(), command, tmp_path_factory.mktemp("out"), rows)
    names = [name for _, name in _CASES] + [_BESIDE]
    if len(rows) == len(names):
        where = f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}"
        facts = {"date": datetime.now(UTC).date().isoformat(), "where": where}
        publish([rows[name] for name in names], facts)


@pytest.mark.parametrize(("format_", "name"), _CASES, ids=[f"{f} {n}" for f, n in _CASES])
@pytest.mark.timeout(900)
def test_the_converted_model_predicts_what_its_framework_predicts(
    format_: str, name: str, workshop: Workshop
) -> None:
    target = f"{name}.onnx"
    done = workshop.convert(name, target, "--report", str(workshop.out / f"{name}.json"))
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads((workshop.out / f"{name}.json").read_text())
    answers = np.load(workshop.models / f"{name}.npz", allow_pickle=False)
    labels, difference = _compared(Session(workshop.out / target, threads=1), answers)
    assert report["format"] == format_
    source = workshop.models / name
    assert report["sourceDigest"] == (folder_digest if source.is_dir() else file_digest)(source)
    assert labels in (None, 100.0)
    assert difference <= _TOLERANCE
    workshop.rows[name] = {
        "format": format_,
        "file": name,
        "framework": report["framework"],
        "rows": len(answers["x"]),
        "labels": labels,
        "difference": difference,
        "seconds": report["loadS"] + report["convertS"],
    }


def test_onnx_with_its_data_beside_it_predicts_what_its_framework_predicts(
    workshop: Workshop,
) -> None:
    answers = np.load(workshop.models / f"{_BESIDE}.npz", allow_pickle=False)
    model = workshop.models / _BESIDE / "model.onnx"
    assert model.with_name("weights.bin").stat().st_size > model.stat().st_size
    labels, difference = _compared(Session(model, threads=1), answers)
    assert labels == 100.0
    assert difference <= _TOLERANCE
    workshop.rows[_BESIDE] = {
        "format": "ONNX",
        "file": _BESIDE,
        "framework": f"ONNX Runtime {version('onnxruntime')}",
        "rows": len(answers["x"]),
        "labels": labels,
        "difference": difference,
        "seconds": None,
    }


@pytest.mark.parametrize(
    "name",
    [
        *("cancer.pkl", "wine-lightgbm.joblib", "digits.ubj", "wine.txt", "digits.keras"),
        *("digits-saved", "digits.pt"),
    ],
)
@pytest.mark.timeout(900)
def test_the_same_model_is_converted_into_the_same_bytes(name: str, workshop: Workshop) -> None:
    for target in ("one.onnx", "two.onnx"):
        done = workshop.convert(name, target)
        assert done.returncode == 0, done.stderr[-2000:]
    one, two = (workshop.out / target for target in ("one.onnx", "two.onnx"))
    assert one.read_bytes() == two.read_bytes()


def _compared(session: Session, answers: Any) -> tuple[float | None, float]:
    """Agreement of labels in percent, and the largest difference, relative above 1."""
    (spec,) = session.signature.inputs
    names = [output.name for output in session.signature.outputs]
    got = dict(
        zip(names, session.run({spec.name: answers["x"]}, names, Cancellation()), strict=True)
    )
    scores = next(value for name, value in got.items() if name != "label")
    want = answers["scores"].reshape(scores.shape)
    gap = np.abs(want - scores) / np.maximum(1.0, np.abs(want))
    labels = None
    if "label" in answers:
        labels = 100.0 * float(np.mean(got["label"].astype(str) == answers["label"].astype(str)))
    elif scores.ndim == 2 and scores.shape[1] > 1:
        labels = 100.0 * float(np.mean(np.argmax(scores, axis=1) == np.argmax(want, axis=1)))
    return labels, float(gap.max())
