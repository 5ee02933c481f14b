"""The models on disk, built once into the cache, and what ONNX Runtime answers for them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

import onnxruntime

from benchmarks.runtime.environments import REQUIREMENTS, installed
from benchmarks.runtime.errors import BenchmarkError
from benchmarks.runtime.workloads import MODELS, Array, inputs
from devcluster.cache import content_key, folder

_BUILDER: Final = Path(__file__).resolve().parent / "build_models.py"
_BUILD_TIMEOUT_S: Final = 300.0


def built() -> Path:
    """Build the models unless they are there; their folder.

    Raises:
        BenchmarkError: they cannot be built.
    """
    sources = (_BUILDER, REQUIREMENTS / "models.txt", REQUIREMENTS / "wheels.txt")
    target = folder("benchmarks", "models", content_key(each.read_bytes() for each in sources))
    if all((target / f"{model}.onnx").exists() for model in MODELS):
        return target
    python = installed("models") / "bin" / "python"
    done = subprocess.run(
        [str(python), str(_BUILDER), str(target)],
        capture_output=True, text=True, check=False, timeout=_BUILD_TIMEOUT_S,
    )  # fmt: skip
    if done.returncode:
        raise BenchmarkError(f"models: cannot be built: {done.stderr[-500:]}")
    return target


def expected(model_folder: Path, model: str) -> dict[str, Array]:
    """What ONNX Runtime itself answers to the request of a model, by output."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    path = str(model_folder / f"{model}.onnx")
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs(model)), strict=True))
