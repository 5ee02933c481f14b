"""PMML, read by sklearn-pmml-model, then converted as what it became: a scikit-learn estimator."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from slipway_runtime.convert.from_sklearn import estimator
from slipway_runtime.convert.original import Original
from slipway_runtime.convert.task import Task
from slipway_runtime.errors import InvalidModel, Unsupported


def load(source: Path, task: Task) -> Original:
    """Read a document.

    Raises:
        Unsupported: it is a kind of model that is not read.
    """
    _refuse_entities(source)
    model = _read(source)
    target = model.target_field.attrib["name"]
    model.n_features_in_ = len([name for name in model.fields if name != target])
    return replace(
        estimator(model, task, plain=_plain(model)),
        framework=f"PMML, sklearn-pmml-model {version('sklearn-pmml-model')}",
        columns=tuple(name for name in model.fields if name != target),
    )


def _refuse_entities(source: Path) -> None:
    """A model needs no document type, and so no entity that reads a file or grows to gigabytes."""
    text = source.read_bytes()
    if b"\0" in text or b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise InvalidModel(
            "model: the PMML document declares a document type or entities, or is not UTF-8; "
            "expected plain PMML: remove the declaration"
        )


def _read(source: Path) -> Any:
    from sklearn_pmml_model.auto_detect import auto_detect_estimator

    try:
        return auto_detect_estimator(pmml=str(source))
    except Exception as err:
        raise Unsupported(f"model: PMML of this kind is not read ({err})") from err


def _plain(model: Any) -> Any:
    """The estimator of scikit-learn that the reader has made a subclass of."""
    kind: Any = next(k for k in type(model).__mro__ if k.__module__.startswith("sklearn."))
    plain = kind.__new__(kind)
    plain.__dict__.update(model.__dict__)
    return plain
