"""The models as every rival loads them: one ONNX Runtime thread, on the CPU."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import onnxruntime


def names() -> list[str]:
    """The models that this process is to load."""
    return os.environ["BENCHMARK_MODELS"].split(",")


def session(name: str) -> Any:
    """Load a model; the session is ONNX Runtime's own."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    path = Path(os.environ["BENCHMARK_MODEL_FOLDER"]) / f"{name}.onnx"
    return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
