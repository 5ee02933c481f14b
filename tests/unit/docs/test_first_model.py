"""The first guide, run as far as it needs no cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import yaml

from tests.unit.docs.pages import saved_text
from tests.unit.repository.files import REPOSITORY

GUIDE = (REPOSITORY / "docs" / "guides" / "first-model.md").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the reader's folder holds after the training."""
    made = tmp_path_factory.mktemp("reader")
    for name in ("train.py", "digits.yaml", "request.json"):
        (made / name).write_text(saved_text(GUIDE, name))
    subprocess.run([sys.executable, "train.py"], cwd=made, check=True, capture_output=True)
    return made


def test_the_trained_model_is_what_the_guide_shows(folder: Path) -> None:
    command = [sys.executable, "-m", "slipway_runtime", "inspect", "model.onnx"]
    shown = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    told = [
        line for line in shown.splitlines() if line.startswith(("framework", "input", "output"))
    ]
    assert told
    assert [line for line in told if line not in GUIDE] == []


def test_the_request_of_the_guide_is_answered_as_it_says(folder: Path) -> None:
    (tensor,) = json.loads((folder / "request.json").read_text())["inputs"]
    pixels = np.array(tensor["data"], np.float32).reshape(tensor["shape"])
    session = onnxruntime.InferenceSession(
        folder / "model.onnx", providers=["CPUExecutionProvider"]
    )
    label, _ = session.run(None, {tensor["name"]: pixels})
    assert label.tolist() == [0]


def test_the_document_of_the_guide_asks_for_the_published_model(folder: Path) -> None:
    spec = yaml.safe_load((folder / "digits.yaml").read_text())["spec"]
    assert f"URI: `{spec['model']['uri']}`" in GUIDE
