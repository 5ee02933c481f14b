"""XGBoost's and LightGBM's estimators inside of scikit-learn's.

Lives here: who of them takes part in a model. Stays out: the frameworks themselves, each of which
is imported by its own module (`from_xgboost.py`, `from_lightgbm.py`), and only where it takes part.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, Protocol, cast

from slipway_runtime.convert.original import Array
from slipway_runtime.vocabulary import Format

FRAMEWORKS: Final[Mapping[str, Format]] = {"xgboost": "XGBoost", "lightgbm": "LightGBM"}
"""By the package that a class comes from."""
_MODULES: Final[Mapping[Format, str]] = {"XGBoost": "from_xgboost", "LightGBM": "from_lightgbm"}


class Framework(Protocol):
    """What the module of a framework tells about estimators inside of scikit-learn's."""

    def release(self) -> str:
        """Its name and version."""

    def teach(self) -> None:
        """Let skl2onnx know its classifier and its regressor."""

    def known_values(self, estimator: Any) -> Mapping[int, Array]:
        """Thresholds of the trees, by column."""

    def reads_gaps(self, estimator: Any) -> bool:
        """Whether NaN goes the same way in ONNX."""


def framework(format_: Format) -> Framework:
    """Import the module of a framework that takes part."""
    module = importlib.import_module(f"slipway_runtime.convert.{_MODULES[format_]}")
    return cast("Framework", module)


def format_of(estimator: Any) -> Format | None:
    """The framework that an estimator is of, where it is none of scikit-learn's."""
    return FRAMEWORKS.get(type(estimator).__module__.partition(".")[0])


def taking_part(model: Any, fitted: Iterable[Any]) -> tuple[Format, ...]:
    """The frameworks of all estimators of a model: of its fitted parts, and of its parameters.

    The parameters name what a search or a calibration has fitted copies of.
    """
    found = {format_of(part) for part in (*fitted, *_parameters(model))}
    return tuple(format_ for format_ in FRAMEWORKS.values() if format_ in found)


def _parameters(model: Any) -> Iterator[Any]:
    # Not of a model whose class has got more parameters since it was trained.
    with suppress(AttributeError):
        yield from model.get_params(deep=True).values()
