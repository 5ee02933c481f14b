"""How the weights of an ONNX model are stored: pruned, in 8 bits, in 16 bits.

Lives here: the changes themselves, each from file to file, and what makes their results repeat.
The same model and the same wish give the same bytes on every processor: what a calibration
measures is rounded outwards before it becomes a scale, and weights of 8 bits leave one bit free,
so that processors without VNNI do not saturate where others do not.
Stays out: whether the result is good enough (`optimizing.py`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import numpy_helper

from slipway_runtime.convert.original import Feeds
from slipway_runtime.errors import Unsupported
from slipway_runtime.vocabulary import Quantization

_STEPS_OF_AN_OCTAVE: Final = 8
_CLEARANCE: Final = 1.01
_PRUNED: Final = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose", "LSTM", "GRU", "RNN"})
_WEIGHT_AXES: Final = 2
"""Biases have one axis, and are too few to matter."""


def pruned(source: Path, target: Path, sparsity_percent: int) -> None:
    """Set the smallest weights of every matrix and kernel to zero.

    Raises:
        Unsupported: it has none.
    """
    model = onnx.load(str(source))
    found = 0
    for tensor in _weights(model.graph):
        tensor.CopyFrom(_without_smallest(tensor, sparsity_percent))
        found += 1
    if not found:
        raise Unsupported(
            "model: it has no matrices or kernels to prune (trees have none), expected some; "
            "remove model.optimization.pruning (--pruning)"
        )
    onnx.save(model, str(target))


def quantized(kind: Quantization, source: Path, target: Path, samples: Sequence[Feeds]) -> None:
    """Store the weights in fewer bits.

    Raises:
        Unsupported: nothing of the model can be stored so.
    """
    # ONNX Runtime's quantiser writes beside what it reads, and a pod's original is read-only.
    own = target.with_name("whole.onnx")
    onnx.save(onnx.load(str(source)), str(own))
    steps: dict[Quantization, Callable[[], None]] = {
        "DynamicInt8": lambda: _dynamic_int8(own, target),
        "StaticInt8": lambda: _static_int8(own, target, samples),
        "Float16": lambda: _float16(own, target),
    }
    before_bytes = stored_bytes(source)
    if before_bytes:
        with _without_hints():
            steps[kind]()
    if not before_bytes or stored_bytes(target) >= before_bytes:
        raise Unsupported(
            f"model: it has no weights that {kind} makes smaller (trees have none), expected "
            "some; remove model.optimization.quantization (--quantization)"
        )


class _NoHints(logging.Filter):
    """Drops the advice to run the quantiser's own preparation, which no option of ours does."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep everything else."""
        return "pre-processing" not in record.getMessage()


@contextmanager
def _without_hints() -> Iterator[None]:
    """The quantiser gives them to the root logger."""
    root, no_hints = logging.getLogger(), _NoHints()
    root.addFilter(no_hints)
    try:
        yield
    finally:
        root.removeFilter(no_hints)


def outwards(value: float) -> float:
    """The next number away from zero, by one in a hundred at least, of which an octave has eight.

    What two kinds of processors measure differs by a millionth; rounded so, one pair of measured
    numbers in a hundred thousand still does. The hundredth keeps round numbers, which are what
    inputs and probabilities often are, away from the borders.

    >>> outwards(1.0), outwards(0.9999999), outwards(-5.3), outwards(0.0)
    (1.125, 1.125, -5.5, 0.0)
    """
    fraction, exponent = math.frexp(value * _CLEARANCE)
    steps = 2 * _STEPS_OF_AN_OCTAVE
    return math.copysign(math.ldexp(math.ceil(abs(fraction) * steps) / steps, exponent), value)


def stored_bytes(model: Path) -> int:
    """Of everything that may be a weight; a single number, as trees have it, is none."""
    tensors = onnx.load(str(model)).graph.initializer
    return sum(int(numpy_helper.to_array(each).nbytes) for each in tensors if prod(each.dims) > 1)


def _weights(graph: Any) -> Iterator[Any]:
    used = {name for node in graph.node if node.op_type in _PRUNED for name in node.input[1:3]}
    for tensor in graph.initializer:
        is_number = tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
        if tensor.name in used and is_number and len(tensor.dims) >= _WEIGHT_AXES:
            yield tensor


def _without_smallest(tensor: Any, sparsity_percent: int) -> Any:
    values = numpy_helper.to_array(tensor).copy()
    flat = values.reshape(-1)
    # Stable: of equal weights the first goes, on every machine.
    order = np.argsort(np.abs(flat), kind="stable")
    flat[order[: flat.size * sparsity_percent // 100]] = 0
    return numpy_helper.from_array(flat.reshape(values.shape), tensor.name)


def _dynamic_int8(source: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        source, target, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True
    )


def _static_int8(source: Path, target: Path, samples: Sequence[Feeds]) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # untyped
        """Hands out the samples once."""

        def __init__(self) -> None:
            self._rest = iter(samples)

        def get_next(self) -> Any:
            return next(self._rest, None)

    ranges = target.with_name("ranges.json")

    def quantize(reader: Reader | None) -> None:
        quantize_static(
            source, target, reader,
            quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True,
            calibration_cache_path=ranges,
        )  # fmt: skip

    # The first run measures and keeps what it has measured; the second goes by the rounded ranges.
    quantize(Reader())
    _round_ranges(ranges)
    quantize(None)


def _round_ranges(file: Path) -> None:
    from onnxruntime.quantization.calibrate import (
        TensorData,
        load_tensors_data,
        save_tensors_data,
    )

    found = load_tensors_data(file)
    for name, measured in list(found.items()):
        low, high = measured.range_value
        found[name] = TensorData(lowest=_rounded(low), highest=_rounded(high))
    save_tensors_data(found, file)


def _rounded(measured: Any) -> Any:
    each = [outwards(float(value)) for value in measured.reshape(-1)]
    return np.array(each, measured.dtype).reshape(measured.shape)


def _float16(source: Path, target: Path) -> None:
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import convert_float_to_float16

    # Inputs and outputs stay as they are: clients see no difference in type.
    made = ONNXModel(convert_float_to_float16(onnx.load(str(source)), keep_io_types=True))
    made.topological_sort()  # it appends the casts it needs, wherever they belong
    onnx.save(made.model, str(target))
