"""Make a model smaller or faster, and measure what that costs.

Lives here: what is done in which order, and the comparison. Whatever comes out is compared with
what came in before anybody gets it.
Stays out: how weights are stored (`weights.py`).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite, prod
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter_ns
from typing import Final

import numpy as np
import onnx
import onnxruntime as ort

from slipway_runtime.convert.original import LABEL, Array, Column, Feeds, Original
from slipway_runtime.convert.parity import Difference, difference
from slipway_runtime.convert.samples import generated
from slipway_runtime.convert.weights import pruned, quantized, stored_bytes
from slipway_runtime.errors import (
    ConversionMismatch,
    InferenceFailed,
    InvalidConfig,
    InvalidTensor,
    SupplyError,
    Unsupported,
    clipped,
    shown,
)
from slipway_runtime.inference.datatypes import DTYPES
from slipway_runtime.inference.session import LEVELS, Cancellation, Session
from slipway_runtime.inference.signature import TensorSpec
from slipway_runtime.onnx_scan import has_hard_swish
from slipway_runtime.pipeline.hardswish import join
from slipway_runtime.provenance import OPTIMIZATION
from slipway_runtime.supply.validate import MAX_PROTOBUF_BYTES, data_files
from slipway_runtime.vocabulary import FUSING, GraphOptimization, Pruning, Quantization

_ROWS: Final = 256
_MAX_ELEMENTS: Final = 2**22
"""Of one generated batch: pictures have a hundred thousand in each row."""
_WORTH: Final = 0.97
"""Of size or time: what remains above it is no gain."""
_TIMED_RUNS: Final = 200
_TIMED_S: Final = 2.0
_REMEDY: Final = (
    "ask for less (Float16, or a lower sparsityPercent), give more or other model.samples, or "
    "lower minAgreementPercent"
)


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for."""

    graph: GraphOptimization = "All"
    quantization: Quantization = "None"
    pruning: Pruning = "None"
    sparsity_percent: int = 0
    """Weights that pruning sets to zero."""
    min_agreement_percent: float = 99.0

    @property
    def level(self) -> GraphOptimization:
        """What is saved of the graph; beyond, ONNX Runtime turns weights of 16 bits back into 32.

        Its CPU kernels take no others, and each load does it anyway.
        """
        is_beyond = self.graph == "All" and self.quantization == "Float16"
        return "Extended" if is_beyond else self.graph

    @property
    def told(self) -> str:
        """What the result says of itself: nothing that was measured, so that its bytes repeat."""
        pruning = "" if self.pruning == "None" else f", pruning {self.pruning} "
        sparsity = f"{self.sparsity_percent} %" if pruning else ""
        return (
            f"graph {self.level}, quantization {self.quantization}{pruning}{sparsity}, "
            f"agreement at least {self.min_agreement_percent:g} %"
        )


@dataclass(frozen=True, slots=True)
class Measure:
    """A model's size, and how long it takes for the batch that was asked."""

    size_bytes: int
    """Of all its files."""
    latency_us: float
    """Median of one run with one thread."""
    rows: int
    packed_bytes: int | None = None
    """Of the compressed files, where weights were pruned."""
    data: tuple[str, ...] = ()
    """Names of the files beside the model that keep its weights."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Before and after."""

    before: Measure
    after: Measure
    difference: Difference


def optimised(
    source: Path,
    target: Path,
    wish: Wish,
    samples: Sequence[Feeds],
    *,
    progress: Callable[[str], object] = lambda step: None,
    compared: Callable[[Outcome], object] = lambda outcome: None,
) -> Outcome:
    """Write an optimised model to `target`, unless it answers otherwise than the original.

    Args:
        source: an ONNX model.
        target: gets the result.
        wish: what to do.
        samples: rows to compare on, and to calibrate static quantisation with; without any,
            generated rows stand in for the comparison.
        progress: is told of each step.
        compared: is told what the comparison has found, whether it is good enough or not.

    Raises:
        InvalidConfig: static quantisation without samples.
        ConversionMismatch: fewer answers agree than was asked for.
        Unsupported: ONNX Runtime cannot do this to the model.
    """
    progress(f"optimising: {wish.told}")
    with TemporaryDirectory(prefix="slipway-optimise-") as folder:
        draft = _made(_whole(source, Path(folder)), Path(folder), wish, samples)
        progress("comparing with what came in")
        outcome = _compared(source, draft, wish, samples)
        compared(outcome)
        _judge(outcome.difference, wish.min_agreement_percent)
        target.write_bytes(draft.read_bytes())
    return outcome


def repeated(source: Path, target: Path, wish: Wish, samples: Sequence[Feeds]) -> None:
    """Do it once more, where the digest of the result is known: nothing is to be compared.

    Raises:
        SupplyError: as `optimised` does, beside what its comparison finds.
    """
    with TemporaryDirectory(prefix="slipway-optimise-") as folder:
        whole = _whole(source, Path(folder))
        target.write_bytes(_made(whole, Path(folder), wish, samples).read_bytes())


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
    if before.data:
        yield f"{'':12}before, {', '.join(map(shown, before.data))} included; after, one file"
    time = 100.0 * after.latency_us / before.latency_us - 100
    yield f"{'latency':12}{before.latency_us:>11.1f} us{after.latency_us:>11.1f} us{time:>+8.1f} %"
    labels = "no labels" if agreement is None else f"{agreement:.2f} %"
    yield f"{'agreement':12}{labels:>28} of {found.rows} rows"
    yield f"{'difference':12}{found.max_abs:>28.2e} at most"
    if before.packed_bytes and after.packed_bytes:
        packed = 100.0 * after.packed_bytes / before.packed_bytes - 100
        yield (
            f"{'compressed':12}{before.packed_bytes:>8} bytes{after.packed_bytes:>8} bytes"
            f"{packed:>+8.1f} %"
        )
    yield f"latency: the median of one run on {before.rows} rows with one thread"
    yield from remarks(outcome)


def remarks(outcome: Outcome) -> Iterator[str]:
    """Say so where it does not pay."""
    before, after = outcome.before, outcome.after
    is_smaller = after.size_bytes <= before.size_bytes * _WORTH
    is_faster = after.latency_us <= before.latency_us * _WORTH
    if after.packed_bytes is not None:
        yield (
            "pruning: a zero takes as many bytes and as much time as any weight; it pays where "
            "the file is compressed on its way, and nowhere else"
        )
    if not is_smaller and not is_faster:
        yield "it does not pay: the result is neither smaller nor faster"


def _whole(source: Path, folder: Path) -> Path:
    """The model with its weights in its own file: what is optimised does not lie beside them.

    Raises:
        Unsupported: that would be a file of 2 GiB or more, which ONNX has not.
    """
    beside = data_files(source)
    if not beside:
        return source
    total_bytes = sum(file.stat().st_size for file in (source, *beside))
    if total_bytes > MAX_PROTOBUF_BYTES:
        raise Unsupported(
            f"model: {total_bytes} bytes with its files of data, expected less than 2 GiB, which "
            "is what the one file that comes out can hold; optimise it where it is exported"
        )
    whole = folder / "with-data.onnx"
    onnx.save(onnx.load(str(source)), str(whole))
    return whole


def _made(source: Path, folder: Path, wish: Wish, samples: Sequence[Feeds]) -> Path:
    """Quantise first: the optimiser's fused operators are none that the quantiser knows."""
    if wish.quantization == "StaticInt8" and not samples:
        raise InvalidConfig(
            "model.samples: missing, and StaticInt8 calibrates with them; "
            "give some hundred real rows (--samples rows.npy)"
        )
    made = source
    try:
        if wish.pruning != "None":
            pruned(made, folder / "pruned.onnx", wish.sparsity_percent)
            made = folder / "pruned.onnx"
        if wish.quantization != "None":
            quantized(wish.quantization, made, folder / "quantized.onnx", samples)
            made = folder / "quantized.onnx"
        if wish.graph != "None":
            made = _fused(made, folder / "optimised.onnx", wish.level)
            _refuse_growth(source, made, wish)
    except (ImportError, OSError, SupplyError):
        raise
    except Exception as err:  # the quantiser's and the optimiser's kinds share no base
        cause = clipped(" ".join(str(err).split()), 400)
        raise Unsupported(f"model: {wish.told} is not possible for it ({cause})") from err
    if made == source:
        raise InvalidConfig(
            "optimization: nothing is asked for, expected graph, quantization or pruning"
        )
    _mark(source, made, wish)
    return made


def _fused(source: Path, target: Path, level: GraphOptimization) -> Path:
    """Save what would be done at every load: folded constants, fused and removed nodes."""
    if level in FUSING and has_hard_swish(source):
        proto = onnx.load(str(source))
        join(proto)
        source = target.with_name("joined.onnx")
        onnx.save(proto, str(source))
    options = ort.SessionOptions()
    options.graph_optimization_level = LEVELS[level]
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 4  # it warns that such a model is for this kind of machine
    ort.disable_telemetry_events()
    ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    return target


def _refuse_growth(source: Path, fused: Path, wish: Wish) -> None:
    """What was quantised has to be so after the graph was optimised.

    Raises:
        Unsupported: the weights take as much as before.
    """
    if wish.quantization == "None":
        return
    before_bytes, after_bytes = stored_bytes(source), stored_bytes(fused)
    if after_bytes >= before_bytes:
        raise Unsupported(
            f"model: with --graph {wish.level} its weights take {after_bytes} bytes as "
            f"{wish.quantization}, expected less than the {before_bytes} before; "
            "use --graph None"
        )


def _mark(source: Path, draft: Path, wish: Wish) -> None:
    """Keep what the model said of itself, and add what was done; the bytes repeat."""
    proto = onnx.load(str(draft))
    told = {each.key: each.value for each in onnx.load(str(source)).metadata_props}
    told[OPTIMIZATION] = wish.told
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, told)
    draft.write_bytes(proto.SerializeToString(deterministic=True))


def _compared(source: Path, draft: Path, wish: Wish, samples: Sequence[Feeds]) -> Outcome:
    before, after = Session(source, threads=1), Session(draft, threads=1)
    names = tuple(spec.name for spec in before.signature.outputs)
    asked = list(samples) or list(generated(_as_original(before, names), _rows(before)))
    known = _roles(before.signature.outputs)
    total = Difference()
    for feeds in asked:
        total += difference(known, _run(before, feeds, names), _run(after, feeds, names))
    first = _measured(source, before, asked[0], names, packed=wish.pruning != "None")
    then = _measured(draft, after, asked[0], names, packed=wish.pruning != "None")
    return Outcome(first, then, total)


def _rows(session: Session) -> int:
    """As many rows as fit into a batch."""
    of_a_row = [prod(abs(size) for size in spec.shape[1:]) for spec in session.signature.inputs]
    return max(1, min(_ROWS, _MAX_ELEMENTS // max(1, *of_a_row, 1)))


def _roles(outputs: Sequence[TensorSpec]) -> list[str]:
    """Names of outputs, for the comparison: the only one of whole numbers is the label."""
    names = [spec.name for spec in outputs]
    whole = [spec.name for spec in outputs if DTYPES[spec.datatype].kind in "iuO"]
    if LABEL in names or len(whole) != 1:
        return names
    return [LABEL if name == whole[0] else name for name in names]


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


def _measured(
    model: Path, session: Session, feeds: Feeds, names: Sequence[str], *, packed: bool
) -> Measure:
    times: list[int] = []
    while len(times) < _TIMED_RUNS and sum(times) < _TIMED_S * 1e9:
        start = perf_counter_ns()
        _run(session, feeds, names)
        times.append(perf_counter_ns() - start)
    beside = data_files(model)
    files = (model, *beside)
    return Measure(
        size_bytes=sum(file.stat().st_size for file in files),
        latency_us=float(np.median(times)) / 1000,
        rows=len(next(iter(feeds.values()))),
        packed_bytes=sum(map(_packed, files)) if packed else None,
        data=tuple(file.relative_to(model.parent).as_posix() for file in beside),
    )


def _packed(path: Path) -> int:
    """Bytes of a file when it is compressed, as registries and archives do."""
    packer, total = zlib.compressobj(), 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            total += len(packer.compress(block))
    return total + len(packer.flush())


def _judge(found: Difference, min_agreement_percent: float) -> None:
    """Hold labels to the agreement; where there are none, one in a hundred is a difference."""
    agreement = found.label_agreement_percent
    if not isfinite(found.max_abs):
        raise ConversionMismatch(
            "model.optimization: numbers become infinite or NaN that were not, expected finite "
            f"ones; {_REMEDY}"
        )
    if agreement is None:
        allowed = (100 - min_agreement_percent) / 100
        if found.worst > allowed:
            raise ConversionMismatch(
                f"model.optimization: numbers differ by up to {found.worst:.3g} of their size on "
                f"{found.rows} rows, expected at most {allowed:g} (minAgreementPercent "
                f"{min_agreement_percent:g}); {_REMEDY}"
            )
    elif agreement < min_agreement_percent:
        raise ConversionMismatch(
            f"model.optimization: {agreement:.2f} % of {found.labels} labels agree with the "
            f"original's, expected at least {min_agreement_percent:g} % (minAgreementPercent); "
            f"{_REMEDY}"
        )
