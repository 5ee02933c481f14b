"""TensorFlow's SavedModel: a folder, whose signature `serving_default` is converted."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx

from slipway_runtime.convert.original import Array, Column, Feeds, Original
from slipway_runtime.convert.task import Task
from slipway_runtime.errors import Unsupported, clipped

OPSET: Final = 18
_SIGNATURE: Final = "serving_default"


def load(source: Path, task: Task) -> Original:
    """Load a SavedModel.

    Raises:
        Unsupported: it has no signature to serve.
    """
    import tensorflow as tf

    saved = tf.saved_model.load(str(source))
    if _SIGNATURE not in saved.signatures:
        names = ", ".join(sorted(saved.signatures)) or "none"
        raise Unsupported(f"model: signatures are {names}, expected {_SIGNATURE!r}; export one")
    function = saved.signatures[_SIGNATURE]
    _, keywords = function.structured_input_signature
    inputs = tuple(_column(name, spec) for name, spec in sorted(keywords.items()))
    outputs = tuple(sorted(function.structured_outputs))
    return Original(
        framework=f"TensorFlow {tf.__version__}",
        inputs=inputs,
        outputs=outputs,
        predict=lambda feeds: _predicted(function, feeds, outputs),
        export=lambda: tf2onnx_export("--saved-model", source, "--signature_def", _SIGNATURE),
    )


def tf2onnx_export(kind: str, source: Path, *more: str) -> Any:
    """Run tf2onnx as its command, which alone gives tensors the names of the signature.

    Raises:
        Unsupported: it does not convert this graph; the end of what it says tells why.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model.onnx"
        command = [sys.executable, "-P", "-m", "tf2onnx.convert", kind, str(source), *more]
        done = subprocess.run(  # noqa: S603  # a command of our own making
            [*command, "--opset", str(OPSET), "--output", str(target)],
            capture_output=True, check=False, text=True,
        )  # fmt: skip
        if done.returncode or not target.is_file():
            last = clipped(" ".join(done.stderr.splitlines()[-3:]), 500)
            raise Unsupported(f"model: tf2onnx does not convert this graph ({last})")
        return onnx.load(str(target))


def _column(name: str, spec: Any) -> Column:
    shape = tuple(-1 if size is None else int(size) for size in spec.shape)
    return Column(name, np.dtype(spec.dtype.as_numpy_dtype), shape)


def _predicted(function: Any, feeds: Feeds, outputs: Sequence[str]) -> list[Array]:
    import tensorflow as tf

    answers = function(**{name: tf.constant(value) for name, value in feeds.items()})
    return [answers[name].numpy() for name in outputs]
