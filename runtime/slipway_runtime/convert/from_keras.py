"""Keras 3: `.keras` and `.h5`, exported by Keras itself."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from slipway_runtime.convert.original import Array, Column, Feeds, Original
from slipway_runtime.convert.task import Task
from slipway_runtime.errors import Unsupported


def load(source: Path, task: Task) -> Original:
    """Load a model; code inside it (Lambda layers) is refused, not run."""
    import keras

    model = _loaded(source)
    inputs = tuple(_column(tensor, i) for i, tensor in enumerate(model.inputs))
    _predicted(model, {c.name: _zeros(c) for c in inputs}, inputs)  # exported is what was called
    return Original(
        framework=f"Keras {keras.__version__}",
        inputs=inputs,
        outputs=tuple(_name(t.name, f"output_{i}") for i, t in enumerate(model.outputs)),
        predict=lambda feeds: _predicted(model, feeds, inputs),
        export=lambda: _exported(model),
    )


def _loaded(source: Path) -> Any:
    """Keras chooses its reader by the file's ending, which a fetched model has not."""
    import keras

    suffix = ".h5" if source.read_bytes()[:4] == b"\x89HDF" else ".keras"
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder) / f"model{suffix}"
        shutil.copyfile(source, named)
        try:
            return keras.saving.load_model(named, compile=False, safe_mode=True)
        except (ValueError, TypeError) as err:
            if "safe_mode" in str(err) or "Lambda" in str(err) or "deserializ" in str(err).lower():
                raise Unsupported(
                    "model: it holds Python code or classes of your own (Lambda or custom layers), "
                    "expected Keras' own layers; export it to ONNX where it is trained"
                ) from err
            raise


def _column(tensor: Any, index: int) -> Column:
    shape = tuple(-1 if size is None else int(size) for size in tensor.shape)
    return Column(_name(tensor.name, f"input_{index}"), np.dtype(tensor.dtype), shape)


def _zeros(column: Column) -> Array:
    return np.zeros([1 if size == -1 else size for size in column.shape], column.dtype)


def _name(name: str, default: str) -> str:
    """Keep names that people gave; Keras' own are numbered anew in each process."""
    return default if name.startswith("keras_tensor") else name.replace(":0", "")


def _predicted(model: Any, feeds: Feeds, inputs: tuple[Column, ...]) -> list[Array]:
    answers = model([feeds[column.name] for column in inputs], training=False)
    many = answers if isinstance(answers, list | tuple) else [answers]
    return [np.asarray(answer) for answer in many]


def _exported(model: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model.onnx"
        model.export(target, format="onnx", verbose=False)
        return onnx.load(str(target))
