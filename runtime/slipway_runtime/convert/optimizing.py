"""Make a model smaller or faster, and measure what that costs.

Lives here: ONNX Runtime's own optimiser and quantiser, and its conversion to 16 bits.
Whatever they make is compared with what came in before anybody gets it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter_ns
from typing import Any, Final, Literal

import numpy as np
import onnx
import onnxruntime as ort

from slipway_runtime.convert.original import Array, Column, Feeds, Original
from slipway_runtime.convert.parity import Difference, difference
from slipway_runtime.convert.samples import generated
from slipway_runtime.errors import (
    ConversionMismatch,
    InferenceFailed,
    InvalidConfig,
    InvalidTensor,
    Unsupported,
)
from slipway_runtime.inference.datatypes import DTYPES
from slipway_runtime.inference.session import Cancellation, Session
from slipway_runtime.provenance import OPTIMIZATION

Graph = Literal["None", "Basic", "Extended", "All"]
Quantization = Literal["None", "DynamicInt8", "StaticInt8", "Float16"]

_LEVELS: Final = {
    "None": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "Basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "Extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "All": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
_ROWS: Final = 256
_TIMED_RUNS: Final = 200
_TIMED_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for."""

    graph: Graph = "All"
    quantization: Quantization = "None"
    min_agreement_percent: float = 99.0


@dataclass(frozen=True, slots=True)
class Measure:
    """A model's size, and how long it takes for the batch that was asked."""

    size_bytes: int
    latency_us: float
    """Median of one run with one thread."""
    rows: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Before and after."""

    before: Measure
    after: Measure
    difference: Difference


def optimised(source: Path, target: Path, wish: Wish, samples: Sequence[Feeds]) -> Outcome:
    """Write an optimised model to `target`, unless it answers otherwise than the original.

    Args:
        source: an ONNX model.
        target: gets the result.
        wish: what to do.
        samples: rows to compare on, and to calibrate static quantisation with; without any,
            generated rows stand in for the comparison.

    Raises:
        InvalidConfig: static quantisation without samples.
        ConversionMismatch: fewer answers agree than was asked for.
        Unsupported: ONNX Runtime cannot do this to the model.
    """
    if wish.quantization == "StaticInt8" and not samples:
        raise InvalidConfig(
            "samples: missing, and StaticInt8 calibrates with them; "
            "give some hundred real rows (--samples rows.npy)"
        )
    with TemporaryDirectory(prefix="slipway-optimise-") as folder:
        draft = _made(source, Path(folder), wish, samples)
        _mark(source, draft, wish)
        outcome = _compared(source, draft, samples)
        _judge(outcome.difference, wish.min_agreement_percent)
        target.write_bytes(draft.read_bytes())
    return outcome


def columns(session: Session) -> tuple[Column, ...]:
    """The inputs of a model, as samples are made for them."""
    return tuple(
        Column(spec.name, DTYPES[spec.datatype], spec.shape) for spec in session.signature.inputs
    )


def lines(outcome: Outcome) -> Iterator[str]:
    """The table of before and after, for people."""
    before, after, found = outcome.before, outcome.after, outcome.difference
    agreement = found.label_agreement_percent
    yield f"{'':12}{'before':>14}{'after':>14}{'change':>10}"
    size = 100.0 * after.size_bytes / before.size_bytes - 100
    yield f"{'size':12}{before.size_bytes:>8} bytes{after.size_bytes:>8} bytes{size:>+8.1f} %"
    time = 100.0 * after.latency_us / before.latency_us - 100
    yield f"{'latency':12}{before.latency_us:>11.1f} us{after.latency_us:>11.1f} us{time:>+8.1f} %"
    shown = "no labels" if agreement is None else f"{agreement:.2f} %"
    yield f"{'agreement':12}{shown:>28} of {found.rows} rows"
    yield f"{'difference':12}{found.max_abs:>28.2e} at most"
    yield f"latency: the median of one run on {before.rows} rows with one thread"


def _made(source: Path, folder: Path, wish: Wish, samples: Sequence[Feeds]) -> Path:
    """Quantise first: the optimiser's fused operators are none that the quantiser knows."""
    steps: dict[Quantization, Callable[[Path, Path], None]] = {
        "DynamicInt8": _dynamic_int8,
        "StaticInt8": lambda before, after: _static_int8(before, after, samples),
        "Float16": _float16,
    }
    made = source
    try:
        if wish.quantization != "None":
            quantised = folder / "quantised.onnx"
            steps[wish.quantization](source, quantised)
            made = quantised
        if wish.graph != "None":
            made = _fused(made, folder / "optimised.onnx", wish.graph)
    except (ImportError, OSError):
        raise
    except Exception as err:  # the quantiser's and the optimiser's kinds share no base
        raise Unsupported(f"model: {wish.quantization} is not possible for it ({err})") from err
    if made == source:
        raise InvalidConfig("optimization: nothing is asked for, expected graph or quantization")
    return made


def _fused(source: Path, target: Path, level: Graph) -> Path:
    """Save what ONNX Runtime would do at every load: folded constants, fused and removed nodes."""
    options = ort.SessionOptions()
    options.graph_optimization_level = _LEVELS[level]
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 4  # it warns that such a model is for this kind of machine
    ort.disable_telemetry_events()
    ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    return target


def _dynamic_int8(source: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(source, target, weight_type=QuantType.QInt8, per_channel=True)


def _static_int8(source: Path, target: Path, samples: Sequence[Feeds]) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # untyped
        """Hands out the samples once."""

        def __init__(self) -> None:
            self._rest = iter(samples)

        def get_next(self) -> Any:
            return next(self._rest, None)

    quantize_static(source, target, Reader(), quant_format=QuantFormat.QDQ, per_channel=True)


def _float16(source: Path, target: Path) -> None:
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import convert_float_to_float16

    # Inputs and outputs stay as they are: clients see no difference in type.
    made = ONNXModel(convert_float_to_float16(onnx.load(str(source)), keep_io_types=True))
    made.topological_sort()  # it appends the casts it needs, wherever they belong
    onnx.save(made.model, str(target))


def _mark(source: Path, draft: Path, wish: Wish) -> None:
    """Keep what the model said of itself, and add what was done; the bytes repeat."""
    proto = onnx.load(str(draft))
    told = {each.key: each.value for each in onnx.load(str(source)).metadata_props}
    told[OPTIMIZATION] = f"graph {wish.graph}, quantization {wish.quantization}"
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, told)
    draft.write_bytes(proto.SerializeToString(deterministic=True))


def _compared(source: Path, draft: Path, samples: Sequence[Feeds]) -> Outcome:
    before, after = Session(source, threads=1), Session(draft, threads=1)
    names = tuple(spec.name for spec in before.signature.outputs)
    asked = list(samples) or list(generated(_as_original(before, names), _ROWS))
    total = Difference()
    for feeds in asked:
        total += difference(names, _run(before, feeds, names), _run(after, feeds, names))
    size = source.stat().st_size, draft.stat().st_size
    first = _measured(size[0], before, asked[0], names)
    return Outcome(first, _measured(size[1], after, asked[0], names), total)


def _as_original(session: Session, names: tuple[str, ...]) -> Original:
    return Original(
        framework="ONNX",
        inputs=columns(session),
        outputs=names,
        predict=lambda feeds: _run(session, feeds, names),
        export=lambda: None,
    )


def _run(session: Session, feeds: Feeds, names: Sequence[str]) -> list[Array]:
    try:
        return session.run(dict(feeds), names, Cancellation())
    except (InferenceFailed, InvalidTensor) as err:
        raise ConversionMismatch(f"model: cannot be run on a sample ({err})") from err


def _measured(size: int, session: Session, feeds: Feeds, names: Sequence[str]) -> Measure:
    times: list[int] = []
    while len(times) < _TIMED_RUNS and sum(times) < _TIMED_S * 1e9:
        start = perf_counter_ns()
        _run(session, feeds, names)
        times.append(perf_counter_ns() - start)
    rows = len(next(iter(feeds.values())))
    return Measure(size, float(np.median(times)) / 1000, rows)


def _judge(found: Difference, min_agreement_percent: float) -> None:
    """Hold labels to the agreement; where there are none, one in a hundred is a difference."""
    agreement = found.label_agreement_percent
    if agreement is None:
        allowed = (100 - min_agreement_percent) / 100
        if found.worst > allowed:
            raise ConversionMismatch(
                f"model: numbers differ by up to {found.worst:.3g} of their size, expected at most "
                f"{allowed:g} (minAgreementPercent {min_agreement_percent:g}); ask for less"
            )
    elif agreement < min_agreement_percent:
        raise ConversionMismatch(
            f"model: {agreement:.2f} % of {found.labels} labels agree, expected at least "
            f"{min_agreement_percent:g} % (minAgreementPercent); calibrate with other samples, "
            "or ask for less"
        )
