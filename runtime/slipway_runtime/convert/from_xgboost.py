"""XGBoost's own files: JSON and UBJSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from slipway_runtime.convert.original import LABEL, SCORES, VALUE, Array, Column, Original
from slipway_runtime.convert.tabular import initial_types
from slipway_runtime.convert.task import Task
from slipway_runtime.errors import Unsupported, shown

_OPSET: Final = 15
_CLASSIFIERS: Final = ("binary:logistic", "multi:softprob", "multi:softmax")


def load(source: Path, task: Task) -> Original:
    """Load a booster as the estimator that its objective makes it.

    Raises:
        Unsupported: its trees are not those of a `gbtree`.
    """
    import xgboost

    suffix = ".json" if source.read_bytes()[:64].lstrip()[:2] in (b'{"', b"{\n", b"{ ") else ".ubj"
    booster = xgboost.Booster()
    booster.load_model(bytearray(source.read_bytes()))
    learner = json.loads(booster.save_config())["learner"]
    kind = learner["gradient_booster"]["name"]
    if kind != "gbtree":
        raise Unsupported(f"model: booster {shown(kind)} in a {suffix} file, expected 'gbtree'")
    objective = str(learner["objective"]["name"])
    model = _estimator(objective)
    model.load_model(bytearray(source.read_bytes()))
    inputs = (Column("X", np.dtype(np.float32), (-1, booster.num_features())),)
    return Original(
        framework=f"XGBoost {xgboost.__version__}",
        inputs=inputs,
        outputs=(LABEL, SCORES) if objective in _CLASSIFIERS else (VALUE,),
        predict=lambda feeds: _predicted(model, feeds["X"], objective),
        export=lambda: _exported(model, inputs),
        columns=tuple(booster.feature_names or ()),
        landmarks=_landmarks(booster),
        takes_missing=True,
    )


def release() -> str:
    """Name and version."""
    import xgboost

    return f"XGBoost {xgboost.__version__}"


def teach() -> None:
    """Let skl2onnx convert XGBoost's estimators where they are parts of scikit-learn's."""
    import xgboost
    from skl2onnx import update_registered_converter
    from skl2onnx.common import shape_calculator as shapes

    update_registered_converter(
        xgboost.XGBClassifier,
        "XGBoostXGBClassifier",
        shapes.calculate_linear_classifier_output_shapes,
        _part_exported,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"]},
    )
    update_registered_converter(
        xgboost.XGBRegressor,
        "XGBoostXGBRegressor",
        shapes.calculate_linear_regressor_output_shapes,
        _part_exported,
    )


def known_values(estimator: Any) -> dict[int, Array]:
    """Thresholds of a fitted estimator's trees, by column."""
    return _landmarks(estimator.get_booster())


def reads_gaps(estimator: Any) -> bool:
    """Its trees always know where NaN goes; another mark of a gap is not converted."""
    return bool(np.isnan(estimator.missing))


def _part_exported(scope: Any, operator: Any, container: Any) -> None:
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost

    booster = operator.raw_operator.get_booster()
    names = booster.feature_names
    booster.feature_names = None  # onnxmltools takes only f0, f1, ...
    try:
        convert_xgboost(scope, operator, container)
    finally:
        booster.feature_names = names


def _estimator(objective: str) -> Any:
    import xgboost

    if objective in _CLASSIFIERS:
        return xgboost.XGBClassifier()
    return xgboost.XGBRegressor()


def _predicted(model: Any, table: Array, objective: str) -> list[Array]:
    model.get_booster().feature_names = None
    if objective in _CLASSIFIERS:
        return [np.asarray(model.predict(table)), np.asarray(model.predict_proba(table))]
    return [np.asarray(model.predict(table))]


def _exported(model: Any, inputs: tuple[Column, ...]) -> Any:
    import onnxmltools
    from onnxmltools.convert.common import data_types

    model.get_booster().feature_names = None  # onnxmltools takes only f0, f1, ...
    types = initial_types(inputs, data_types)
    return onnxmltools.convert_xgboost(model, initial_types=types, target_opset=_OPSET)


def _landmarks(booster: Any) -> dict[int, Array]:
    found: dict[int, list[float]] = {}
    names = {name: i for i, name in enumerate(booster.feature_names or ())}
    for tree in booster.get_dump(dump_format="json"):
        _collect(json.loads(tree), names, found)
    return {feature: np.asarray(values) for feature, values in found.items()}


def _collect(node: dict[str, Any], names: dict[str, int], found: dict[int, list[float]]) -> None:
    if "split_condition" in node and isinstance(node["split_condition"], int | float):
        split = str(node["split"])
        feature = names.get(split, int(split[1:]) if split[1:].isdecimal() else -1)
        found.setdefault(feature, []).append(float(node["split_condition"]))
    for child in node.get("children", ()):
        _collect(child, names, found)
