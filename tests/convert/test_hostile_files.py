"""Files whose code would run where their library reads them as it likes: C18 beyond plain pickles.

Each is converted with `--allow-pickle`, which is about files that are pickles, and no others. That
the code would run is shown first: each test plants its marker by other means.
"""

from __future__ import annotations

import pickle
import subprocess
import zipfile
from pathlib import Path
from typing import Final

import pytest

from tests.convert.environment import PROGRAMS, environment

_TRACED: Final = ("data.pkl", "constants.pkl", "code/__torch__.py", "version")
_SAVED: Final = ("data.pkl", "version")
_INPUTS: Final = ("--inputs", "x:FP32:-1,4")


class Planter:
    """Its pickle writes a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self._marker,)


def _convert(model: Path, *more: str) -> subprocess.CompletedProcess[str]:
    arguments = ("convert", model, "-o", model.with_name("model.onnx"), "--allow-pickle", *more)
    command = [str(environment() / "bin" / "slipway-runtime"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _held(done: subprocess.CompletedProcess[str], words: str, marker: Path) -> None:
    assert done.returncode == 10, done.stderr[-2000:]
    assert words in done.stderr
    assert not marker.exists()
    assert not marker.with_name("model.onnx").exists()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "ending", [pytest.param("h5", id="C18 HDF5"), pytest.param("keras", id="C18 Keras' archive")]
)
def test_a_lambda_layer_of_keras_runs_nothing(ending: str, tmp_path: Path) -> None:
    model, marker = tmp_path / f"model.{ending}", tmp_path / "marker"
    python = environment() / "bin" / "python"
    subprocess.run([python, PROGRAMS / "lambda_layer.py", model, marker], check=True)
    marker.unlink()  # the layer did plant it when the network was asked
    done = _convert(model)
    _held(done, "holds Python code or classes of your own (Lambda or custom layers)", marker)
    assert '"Unsupported"' in done.stderr


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("names", "format_", "words"),
    [
        pytest.param(_TRACED, "Auto", "PyTorch cannot load", id="C18 as TorchScript"),
        pytest.param(_SAVED, "Auto", "torch.jit.script", id="C18 as of torch.save"),
        pytest.param(_SAVED, "TorchScript", "PyTorch cannot load", id="C18 named TorchScript"),
        pytest.param(_SAVED, "Sklearn", "no item named 'schema.json'", id="C18 named scikit-learn"),
    ],
)
def test_a_pickle_in_an_archive_of_torch_runs_nothing(
    names: tuple[str, ...], format_: str, words: str, tmp_path: Path
) -> None:
    model, marker = tmp_path / "model.pt", tmp_path / "marker"
    planter = pickle.dumps(Planter(marker), protocol=2)
    pickle.loads(planter)  # noqa: S301  # our own
    marker.unlink()  # it would work
    with zipfile.ZipFile(model, "w") as archive:
        for name in names:
            archive.writestr(f"archive/{name}", planter if name.endswith(".pkl") else "3\n")
    done = _convert(model, "--format", format_, *_INPUTS)
    _held(done, words, marker)
