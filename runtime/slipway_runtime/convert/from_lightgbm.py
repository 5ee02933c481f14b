"""LightGBM's own text files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import numpy as np

from slipway_runtime.convert.original import LABEL, SCORES, VALUE, Array, Column, Original
from slipway_runtime.convert.tabular import initial_types
from slipway_runtime.convert.task import Task
from slipway_runtime.convert.thresholds import rounded_down

_OPSET: Final = 15
_SIZES: Final = re.compile(r"^tree_sizes=.*\n", re.MULTILINE)
"""How long the text of each tree is; the reader goes by it where it is there."""
_THRESHOLDS: Final = re.compile(r"^threshold=(.*)$", re.MULTILINE)


def load(source: Path, task: Task) -> Original:
    """Load a booster."""
    import lightgbm

    text = source.read_text("utf-8")
    booster = lightgbm.Booster(model_str=text)
    described = booster.dump_model()
    objective = str(described.get("objective", "")).split(" ")[0]
    inputs = (Column("X", np.dtype(np.float32), (-1, booster.num_feature())),)
    is_classifier = objective in ("binary", "multiclass", "multiclassova")
    names = tuple(booster.feature_name())
    return Original(
        framework=f"LightGBM {lightgbm.__version__}",
        inputs=inputs,
        outputs=(LABEL, SCORES) if is_classifier else (VALUE,),
        predict=lambda feeds: _predicted(booster, feeds["X"], is_classifier),
        export=lambda: _exported(text, inputs),
        columns=() if all(re.fullmatch(r"Column_\d+", name) for name in names) else names,
        landmarks=_landmarks(text),
        takes_missing=_takes_missing(json.dumps(described["tree_info"])),
    )


def release() -> str:
    """Name and version."""
    import lightgbm

    return f"LightGBM {lightgbm.__version__}"


def teach() -> None:
    """Let skl2onnx convert LightGBM's estimators where they are parts of scikit-learn's."""
    import lightgbm
    from skl2onnx import update_registered_converter
    from skl2onnx.common import shape_calculator as shapes

    update_registered_converter(
        lightgbm.LGBMClassifier,
        "LightGbmLGBMClassifier",
        shapes.calculate_linear_classifier_output_shapes,
        _part_exported,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"]},
    )
    update_registered_converter(
        lightgbm.LGBMRegressor,
        "LightGbmLGBMRegressor",
        shapes.calculate_linear_regressor_output_shapes,
        _part_exported,
    )


def known_values(estimator: Any) -> dict[int, Array]:
    """Thresholds of a fitted estimator's trees, by column."""
    return _landmarks(estimator.booster_.model_to_string())


def reads_gaps(estimator: Any) -> bool:
    """Whether it was trained with gaps."""
    return _takes_missing(json.dumps(estimator.booster_.dump_model()["tree_info"]))


class _Exact:
    """A fitted estimator, but for its thresholds, which are those that ONNX can hold."""

    def __init__(self, estimator: Any) -> None:
        self._estimator = estimator
        self.booster_ = _exact(estimator.booster_.model_to_string())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._estimator, name)


def _part_exported(scope: Any, operator: Any, container: Any) -> None:
    from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm

    original = operator.raw_operator
    operator.raw_operator = _Exact(original)
    try:
        convert_lightgbm(scope, operator, container)
    finally:
        operator.raw_operator = original


def _predicted(booster: Any, table: Array, is_classifier: bool) -> list[Array]:
    answers = np.asarray(booster.predict(table))
    if not is_classifier:
        return [answers]
    scores = answers if answers.ndim == 2 else np.stack([1 - answers, answers], axis=1)
    return [np.argmax(scores, axis=1), scores]


def _exported(text: str, inputs: tuple[Column, ...]) -> Any:
    import onnxmltools
    from onnxmltools.convert.common import data_types

    types = initial_types(inputs, data_types)
    return onnxmltools.convert_lightgbm(
        _exact(text), initial_types=types, target_opset=_OPSET, zipmap=False
    )


def _exact(text: str) -> Any:
    """The booster with thresholds that 32 bits hold."""
    import lightgbm

    return lightgbm.Booster(model_str=_THRESHOLDS.sub(_line, _SIZES.sub("", text)))


def _line(found: re.Match[str]) -> str:
    return "threshold=" + " ".join(repr(rounded_down(float(v))) for v in found[1].split())


def _landmarks(text: str) -> dict[int, Array]:
    found: dict[int, list[float]] = {}
    features = re.findall(r"^split_feature=(.*)$", text, re.MULTILINE)
    for columns, line in zip(features, _THRESHOLDS.findall(text), strict=True):
        for column, threshold in zip(columns.split(), line.split(), strict=True):
            found.setdefault(int(column), []).append(float(threshold))
    return {feature: np.asarray(values) for feature, values in found.items()}


def _takes_missing(trees: str) -> bool:
    """Whether it was trained with gaps; without, it reads NaN as 0, which ONNX cannot."""
    return '"missing_type": "NaN"' in trees
