"""scikit-learn: pickles (plain, joblib, compressed), and skops files, which run nothing."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np

from slipway_runtime.convert import boosted
from slipway_runtime.convert.original import LABEL, SCORES, VALUE, Array, Column, Feeds, Original
from slipway_runtime.convert.tabular import declared, initial_types
from slipway_runtime.convert.task import Task
from slipway_runtime.convert.thresholds import rounded_down
from slipway_runtime.errors import InvalidConfig, InvalidModel, Unsupported, clipped, shown
from slipway_runtime.formats import refuse_pickle
from slipway_runtime.vocabulary import Format

OPSET: Final = 18
_TREES_OPSET: Final = 3
_THRESHOLD: Final = 7
"""Place of the threshold among the arguments of skl2onnx' `add_node`."""
_TRUST: Final = "types that skops does not trust"
_CLASS: Final = re.compile(r"<class '([^']+)'>")
_NAMELESS: Final = re.compile(r"Column_\d+")
"""What LightGBM calls the columns of a table without names."""


def load(source: Path, task: Task) -> Original:
    """Load an estimator or a pipeline.

    Raises:
        InvalidConfig: it is a pickle, and pickles are not allowed.
        Unsupported: it holds types that are not trusted.
        InvalidModel: what was loaded is no fitted estimator.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = _skops(source) if zipfile.is_zipfile(source) else _pickle(source, task)
    return estimator(model, task, _notes(caught))


def estimator(
    model: Any, task: Task, notes: tuple[str, ...] = (), *, plain: Any = None
) -> Original:
    """Describe a fitted estimator, whoever made it.

    Args:
        model: answers as the original.
        task: what is asked.
        notes: warnings to pass on.
        plain: what to export in its place, where `model` is of a class that skl2onnx does not know.
    """
    import sklearn

    inputs, columns = _inputs(model, task)
    also = boosted.taking_part(model, _parts(model))
    others = (boosted.framework(format_).release() for format_ in also)
    return Original(
        framework=", ".join((f"scikit-learn {sklearn.__version__}", *others)),
        inputs=inputs,
        outputs=_outputs(model),
        predict=lambda feeds: _predicted(model, _table(feeds, inputs, columns)),
        export=lambda: _exported(model if plain is None else plain, inputs, also),
        columns=columns,
        landmarks=_landmarks(model),
        takes_missing=any(hasattr(part, "_predictors") for part in _parts(model))
        or (bool(also) and _passes_gaps_on(model)),
        also=also,
        warnings=notes,
    )


def _pickle(source: Path, task: Task) -> Any:
    refuse_pickle(source, "Sklearn", allowed=task.allow_pickle)
    import joblib

    return joblib.load(source)


def _skops(source: Path) -> Any:
    import skops.io

    unknown = skops.io.get_untrusted_types(file=source)
    if unknown:
        raise Unsupported(
            f"model: {shown(source.name)} holds {_TRUST} ({clipped(', '.join(unknown), 300)}), "
            "expected those of scikit-learn, numpy and scipy; export it to ONNX where it is trained"
        )
    return skops.io.load(source, trusted=[])


def _notes(caught: list[warnings.WarningMessage]) -> tuple[str, ...]:
    """Keep the warning that a model was trained with another release, once."""
    for each in caught:
        original = getattr(each.message, "original_sklearn_version", None)
        current = getattr(each.message, "current_sklearn_version", None)
        if original is not None:
            return (
                f"trained with scikit-learn {original}, read with {current}: what the two releases "
                "answer differently cannot be seen here",
            )
    return ()


def _inputs(model: Any, task: Task) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    if not hasattr(model, "predict") and not hasattr(model, "transform"):
        kind = f"{type(model).__module__}.{type(model).__qualname__}"
        raise InvalidModel(f"model: the file holds a {kind}, expected a fitted estimator")
    if task.inputs:
        return declared(task.inputs), ()
    names = _names(model)
    texts = _text_columns(model)
    if texts:
        return tuple(_column(name, texts) for name in names), ()
    count = getattr(model, "n_features_in_", None)
    if count is None:
        raise InvalidConfig(
            "model.inputs: missing, and the model does not know how many features it takes; "
            "give model.inputs (--inputs X:FP32:-1,4)"
        )
    return (Column("X", np.dtype(np.float32), (-1, int(count))),), names


def _names(model: Any) -> tuple[str, ...]:
    """Names of the columns that it was trained with."""
    names = tuple(str(name) for name in getattr(model, "feature_names_in_", ()))
    is_nameless = boosted.format_of(_first(model)) and all(map(_NAMELESS.fullmatch, names))
    return () if is_nameless else names


def _first(model: Any) -> Any:
    """What gets the table."""
    return model.steps[0][1] if getattr(model, "steps", None) else model


def _column(name: str, texts: dict[str, tuple[str, ...]]) -> Column:
    kind = np.dtype(object) if name in texts else np.dtype(np.float32)
    return Column(name, kind, (-1, 1), texts.get(name, ()))


def _text_columns(model: Any) -> dict[str, tuple[str, ...]]:
    """Columns of a ColumnTransformer whose encoder has learnt words, and the words."""
    found: dict[str, tuple[str, ...]] = {}
    for part in _parts(model):
        for _, transformer, columns in getattr(part, "transformers_", ()):
            for encoder in _parts(transformer):
                categories = getattr(encoder, "categories_", ())
                for column, known in zip(columns, categories, strict=False):
                    if isinstance(column, str) and np.asarray(known).dtype.kind in "OU":
                        found[column] = tuple(str(word) for word in known)
    return found


def _parts(model: Any) -> Iterator[Any]:
    yield model
    for _, step in getattr(model, "steps", None) or ():
        yield from _parts(step)
    for each in getattr(model, "transformers_", None) or ():
        yield from _parts(each[1])
    ensemble = getattr(model, "estimators_", None)
    for each in np.ravel(ensemble) if ensemble is not None else ():
        yield from _parts(each)


def _passes_gaps_on(model: Any) -> bool:
    """Whether trees of another framework get NaN, and answer it as ONNX does."""
    from sklearn.utils import get_tags

    steps = [step for _, step in getattr(model, "steps", None) or [("", model)]]
    if not all(hasattr(step, "fit") and get_tags(step).input_tags.allow_nan for step in steps):
        return False
    formats = ((part, boosted.format_of(part)) for part in _parts(model))
    return all(boosted.framework(found).reads_gaps(part) for part, found in formats if found)


def _landmarks(model: Any) -> Mapping[int, Array]:
    """Thresholds of trees and means of scalers, by column of the table that comes in."""
    first = _first(model)
    format_ = boosted.format_of(first)
    if format_ is not None:
        return boosted.framework(format_).known_values(first)
    if hasattr(first, "mean_") and hasattr(first, "scale_") and first.scale_ is not None:
        mean = first.mean_ if first.mean_ is not None else np.zeros_like(first.scale_)
        spread = first.scale_
        return {
            i: m + s * np.arange(-2, 3) for i, (m, s) in enumerate(zip(mean, spread, strict=True))
        }
    found: dict[int, list[float]] = {}
    for part in _parts(first):
        tree = getattr(part, "tree_", None)
        if tree is not None:
            for feature, threshold in zip(tree.feature, tree.threshold, strict=True):
                if feature >= 0:
                    found.setdefault(int(feature), []).append(float(threshold))
        for predictor in chain.from_iterable(getattr(part, "_predictors", ())):
            for node in predictor.nodes[predictor.nodes["is_leaf"] == 0]:
                found.setdefault(int(node["feature_idx"]), []).append(float(node["num_threshold"]))
    return {feature: np.asarray(values) for feature, values in found.items()}


def _is_classifier(model: Any) -> bool:
    from sklearn.base import is_classifier

    return bool(is_classifier(model))


def _is_clusterer(model: Any) -> bool:
    from sklearn.base import is_clusterer

    return bool(is_clusterer(model))


def _outputs(model: Any) -> tuple[str, ...]:
    if _is_classifier(model):
        return (LABEL, SCORES if hasattr(model, "predict_proba") else "scores")
    if _is_clusterer(model):
        return (LABEL, "scores")
    return (VALUE,) if hasattr(model, "predict") else ("features",)


def _predicted(model: Any, table: Any) -> list[Array]:
    if _is_classifier(model):
        proba = getattr(model, "predict_proba", None) or model.decision_function
        return [np.asarray(model.predict(table)), np.asarray(proba(table))]
    if _is_clusterer(model):
        return [np.asarray(model.predict(table)), np.asarray(model.transform(table))]
    answer = model.predict if hasattr(model, "predict") else model.transform
    result = answer(table)
    return [np.asarray(result.todense() if hasattr(result, "todense") else result)]


def _table(feeds: Feeds, inputs: tuple[Column, ...], columns: tuple[str, ...]) -> Any:
    """What the estimator was trained with: an array, or a frame with names."""
    if len(inputs) == 1 and not columns:
        return feeds[inputs[0].name]
    import pandas as pd

    if columns:
        return pd.DataFrame(feeds[inputs[0].name], columns=list(columns))
    return pd.DataFrame({column.name: feeds[column.name].reshape(-1) for column in inputs})


def _exported(model: Any, inputs: tuple[Column, ...], also: Sequence[Format] = ()) -> Any:
    from skl2onnx import to_onnx
    from skl2onnx.common import data_types
    from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator

    if any(hasattr(part, "_predictors") for part in _parts(model)):
        _mend_trees()
    for format_ in also:
        boosted.framework(format_).teach()
    options = _options(model) | (_exact_scalers(model) if also else {})
    types = initial_types(inputs, data_types)
    try:
        return to_onnx(
            model, initial_types=types, options=options or None, target_opset=_opset(also)
        )
    except (MissingConverter, MissingShapeCalculator) as err:
        raise _unknown(str(err)) from err


def _options(model: Any) -> dict[int, Any]:
    if not _is_classifier(model):
        return {}
    raw = {} if hasattr(model, "predict_proba") else {"raw_scores": True}
    return {id(model): {"zipmap": False, **raw}}


def _exact_scalers(model: Any) -> dict[int, Any]:
    """Divide, as scikit-learn does: XGBoost's thresholds are numbers that a scaler has given.

    ONNX' own scaler multiplies with the inverse, whose last digit is another, and a row that lies
    on a threshold then goes the other way.
    """
    from sklearn.preprocessing import StandardScaler

    found = (part for part in _parts(model) if isinstance(part, StandardScaler))
    return {id(scaler): {"div": "div"} for scaler in found}


def _opset(also: Sequence[Format]) -> int | dict[str, int]:
    """The exporters of other frameworks write trees as an earlier operator set has them."""
    return {"": OPSET, "ai.onnx.ml": _TREES_OPSET} if also else OPSET


def _unknown(told: str) -> Unsupported:
    """What skl2onnx tells of a class that it does not know, in our words."""
    named = _CLASS.search(told)
    kind = named[1] if named else clipped(" ".join(told.split()), 200)
    return Unsupported(
        f"model: it holds a {shown(kind)}, which skl2onnx does not convert, expected estimators of "
        "scikit-learn that it knows, or XGBoost's or LightGBM's classifier or regressor; use "
        "another estimator in its place, or export the model to ONNX where it is trained"
    )


def _mend_trees() -> None:
    """Mend what skl2onnx 1.20 does to histogram trees.

    It gives their leaves a flag that ONNX refuses, and rounds their thresholds to nearest. This
    process converts one model and ends, so what is replaced here stays replaced.
    """
    from skl2onnx.common import tree_ensemble

    add_node = tree_ensemble.add_node

    def add(*args: Any, nodes_missing_value_tracks_true: Any = 0, **more: Any) -> None:
        mended = list(args)
        mended[_THRESHOLD] = rounded_down(float(args[_THRESHOLD]))
        flag = int(nodes_missing_value_tracks_true)
        add_node(*mended, nodes_missing_value_tracks_true=flag, **more)

    tree_ensemble.add_node = add
