"""Two versions of a real digit classifier, trained on scikit-learn's scanned digits."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

Pixels = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Digits that no model has seen: 8 x 8 pixels from 0 to 16, row-major, and what they are."""

    pixels: Pixels
    labels: npt.NDArray[np.int64]


def train() -> tuple[bytes, bytes, HeldOut]:
    """Train both versions; the files are ONNX.

    Returns:
        A linear model, a support vector machine, and a quarter of the data for judging them.
    """
    pixels, labels = load_digits(return_X_y=True)
    pixels = pixels.astype(np.float32)
    train_x, test_x, train_y, test_y = _split(pixels, labels)
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    vectors = make_pipeline(StandardScaler(), SVC(C=10, random_state=0))
    linear.fit(train_x, train_y)
    vectors.fit(train_x, train_y)
    held_out = HeldOut(test_x, test_y.astype(np.int64))
    return _export(linear, train_x), _export(vectors, train_x), held_out


def retrain() -> bytes:
    """Train the support vector machine once more, with softer margins: a third good version."""
    pixels, labels = load_digits(return_X_y=True)
    pixels = pixels.astype(np.float32)
    train_x, _, train_y, _ = _split(pixels, labels)
    vectors = make_pipeline(StandardScaler(), SVC(C=3, random_state=0))
    return _export(vectors.fit(train_x, train_y), train_x)


def _split(pixels: Pixels, labels: Any) -> Any:
    return train_test_split(pixels, labels, test_size=0.25, random_state=0, stratify=labels)


def _export(model: Any, sample: Pixels) -> bytes:
    # zipmap=False: probabilities as a tensor, not as a list of dictionaries, which no protocol has
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # skl2onnx's own
        exported = to_onnx(
            model, sample[:1], options={id(model): {"zipmap": False}}, target_opset=18
        )
    data: bytes = exported.SerializeToString()
    return data
