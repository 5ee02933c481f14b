"""One conversion from end to end, inside the converting process: load, export, check, compare."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any, Final

from slipway_runtime.convert.finishing import finished, versions, write
from slipway_runtime.convert.original import Feeds, Original
from slipway_runtime.convert.parity import Difference, Incomparable, difference
from slipway_runtime.convert.samples import generated, given
from slipway_runtime.convert.task import Parity, Report, Task
from slipway_runtime.errors import ConversionMismatch, InferenceFailed, InvalidModel, InvalidTensor
from slipway_runtime.inference.session import Cancellation, Session
from slipway_runtime.provenance import Conversion
from slipway_runtime.supply.digest import file_digest
from slipway_runtime.supply.tree import folder_digest, walked
from slipway_runtime.vocabulary import Format

Progress = Callable[[str], object]

_LOADERS: Final[Mapping[Format, str]] = {
    "Sklearn": "from_sklearn",
    "XGBoost": "from_xgboost",
    "LightGBM": "from_lightgbm",
    "Keras": "from_keras",
    "TensorFlow": "from_tensorflow",
    "TFLite": "from_tflite",
    "TorchScript": "from_torch",
    "PMML": "from_pmml",
}
_REMEDY: Final = (
    "the format's converter does not reproduce this model; export it to ONNX with other settings, "
    "or, where it is near enough, convert it on a laptop with `slipway-runtime convert "
    "--tolerance` and publish the ONNX model"
)


def convert(task: Task, progress: Progress) -> Report:
    """Convert, check and compare; the model lies at `task.target` when all of it went well.

    Raises:
        SupplyError: it cannot be converted, or its answers are not the original's.
    """
    source, target = Path(task.source), Path(task.target)
    progress(f"loading {source.name} as {task.format}")
    times = [monotonic()]
    original = _load(source, task)
    times.append(monotonic())
    progress(f"converting, read by {original.framework}")
    proto = finished(original.export(), original)
    times.append(monotonic())
    progress("comparing with the original's own answers")
    parity = _compared(proto, original, target, task)
    digest = folder_digest(source) if source.is_dir() else file_digest(source)
    claim = _claim(original, task, digest, parity)
    write(proto, claim, target)
    times.append(monotonic())
    return Report(
        format=task.format,
        framework=original.framework,
        source_digest=claim.source_digest,
        source_bytes=_size(source),
        digest=file_digest(target),
        size_bytes=target.stat().st_size,
        parity=parity,
        load_s=times[1] - times[0],
        convert_s=times[2] - times[1],
        compare_s=times[3] - times[2],
        warnings=original.warnings,
    )


def _size(source: Path) -> int:
    paths = [source / name for name in walked(source)] if source.is_dir() else [source]
    return sum(path.stat().st_size for path in paths)


def _load(source: Path, task: Task) -> Original:
    module = importlib.import_module(f"slipway_runtime.convert.{_LOADERS[task.format]}")
    original: Original = module.load(source, task)
    return original


def _claim(original: Original, task: Task, digest: str, parity: Parity) -> Conversion:
    return Conversion(
        format=task.format,
        framework=original.framework,
        source_digest=digest,
        converter=versions(task.format, *original.also),
        # Without those that were given: other samples make no other file.
        rows=parity.rows - parity.given_rows,
        tolerance=task.tolerance,
        labels_agree=None if parity.label_agreement_percent is None else True,
        columns=original.columns,
    )


def _compared(proto: Any, original: Original, target: Path, task: Task) -> Parity:
    """Ask both models the same questions, the user's first.

    Raises:
        ConversionMismatch: a label differs, or a number by more than the tolerance.
        InvalidModel: ONNX Runtime does not load or run what was exported.
    """
    with TemporaryDirectory(prefix="slipway-compare-") as folder:
        draft = Path(folder) / "model.onnx"
        write(proto, None, draft)
        session = Session(draft, threads=1)
    own = given(Path(task.samples), original.inputs) if task.samples else []
    total = Difference()
    for feeds in (*own, *generated(original, task.rows)):
        total += _answered(session, original, feeds, task.tolerance)
    _judge(total, task.tolerance)
    return Parity(
        rows=total.rows,
        given_rows=sum(len(next(iter(feeds.values()))) for feeds in own),
        max_abs_diff=total.max_abs,
        max_rel_diff=total.max_rel,
        label_agreement_percent=total.label_agreement_percent,
        ties=total.ties,
    )


def _answered(session: Session, original: Original, feeds: Feeds, tolerance: float) -> Difference:
    names = list(original.outputs)
    try:
        got = session.run(dict(feeds), names, Cancellation())
        return difference(names, original.predict(feeds), got, tie=tolerance)
    except (InferenceFailed, InvalidTensor) as err:
        raise InvalidModel(f"model: the converted model cannot be run ({err})") from err
    except Incomparable as err:
        raise ConversionMismatch(f"model: the converted model gives {err}") from err


def _judge(total: Difference, tolerance: float) -> None:
    agreement = total.label_agreement_percent
    if agreement is not None and total.equal_labels != total.labels:
        raise ConversionMismatch(
            f"model: {total.labels - total.equal_labels} of {total.labels} labels of the converted "
            f"model differ from the original's on {total.rows} rows (largest difference "
            f"{total.max_abs:.3g}), expected none; {_REMEDY}"
        )
    if not total.worst <= tolerance:
        raise ConversionMismatch(
            f"model: the converted model's numbers differ from the original's by up to "
            f"{total.max_abs:.3g} ({total.worst:.3g} of their size) on {total.rows} rows, "
            f"expected at most {tolerance:g}; {_REMEDY}"
        )
