"""TFLite: one flat file, run by TensorFlow's own interpreter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slipway_runtime.convert.from_tensorflow import tf2onnx_export
from slipway_runtime.convert.original import Array, Column, Feeds, Original
from slipway_runtime.convert.task import Task


def load(source: Path, task: Task) -> Original:
    """Load a model."""
    import tensorflow as tf

    # The reference kernels: the optimised ones round otherwise on other machines.
    interpreter = tf.lite.Interpreter(
        model_path=str(source),
        experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_REF,
    )
    given, answered = interpreter.get_input_details(), interpreter.get_output_details()
    inputs = tuple(_column(detail) for detail in given)
    return Original(
        framework=f"TFLite {tf.__version__}",
        inputs=inputs,
        outputs=_names(answered, "output"),
        predict=lambda feeds: _predicted(interpreter, inputs, feeds),
        export=lambda: _exported(source, given, answered),
    )


def _column(detail: dict[str, Any]) -> Column:
    shape = detail.get("shape_signature", detail["shape"])
    return Column(_name(detail), np.dtype(detail["dtype"]), tuple(int(size) for size in shape))


def _names(details: Sequence[dict[str, Any]], default: str) -> tuple[str, ...]:
    """Names of the signature where they are in the file, numbers where they are the converter's."""
    return tuple(
        f"{default}_{i}" if "PartitionedCall" in detail["name"] else _name(detail)
        for i, detail in enumerate(details)
    )


def _name(detail: dict[str, Any]) -> str:
    return re.sub(r"^serving_default_|:\d+$", "", str(detail["name"]))


def _predicted(interpreter: Any, inputs: Sequence[Column], feeds: Feeds) -> list[Array]:
    details = interpreter.get_input_details()
    for detail, column in zip(details, inputs, strict=True):
        interpreter.resize_tensor_input(detail["index"], feeds[column.name].shape)
    interpreter.allocate_tensors()
    for detail, column in zip(details, inputs, strict=True):
        interpreter.set_tensor(detail["index"], feeds[column.name])
    interpreter.invoke()
    return [np.array(interpreter.get_tensor(d["index"])) for d in interpreter.get_output_details()]


def _exported(
    source: Path, given: Sequence[dict[str, Any]], answered: Sequence[dict[str, Any]]
) -> Any:
    """Convert, with inputs and outputs in the interpreter's order."""
    proto = tf2onnx_export("--tflite", source)
    for tensors, details in ((proto.graph.input, given), (proto.graph.output, answered)):
        by_name = {tensor.name: tensor for tensor in tensors}
        names = [str(detail["name"]) for detail in details]
        if set(names) == set(by_name):
            ordered = [by_name[name] for name in names]
            del tensors[:]
            tensors.extend(ordered)
    return proto
