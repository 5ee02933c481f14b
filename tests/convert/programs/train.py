"""Train a real model for each format, and keep what the framework itself predicts on unseen rows.

Runs in the converter's environment: `train.py FOLDER`. Beside each model lies `NAME.npz`, with the
inputs (`x`) and the native answers (`label`, `scores`); data are scikit-learn's own data sets.
"""

from __future__ import annotations

import os

os.environ.update({"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""})

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import joblib
import numpy as np
from sklearn import datasets
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

_SEED: Final = 7


class Data:
    """One of scikit-learn's data sets, split into rows to learn from and rows to be asked."""

    def __init__(self, name: str) -> None:
        x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        rows = x.astype(np.float32), y
        self.x, self.asked, self.y, _ = train_test_split(*rows, random_state=_SEED)


def _keep(target: Path, asked: Any, scores: Any, label: Any = None) -> None:
    answers = {"scores": np.asarray(scores)} | ({} if label is None else {"label": label})
    np.savez(target.with_name(f"{target.name}.npz"), x=asked, **answers)


def _sklearn(target: Path, model: Any, data: Data, write: Callable[[Any, Path], Any]) -> None:
    model.fit(data.x, data.y)
    write(model, target)
    if hasattr(model, "predict_proba"):
        _keep(target, data.asked, model.predict_proba(data.asked), model.predict(data.asked))
    elif hasattr(model, "decision_function"):
        _keep(target, data.asked, model.decision_function(data.asked), model.predict(data.asked))
    else:
        _keep(target, data.asked, model.predict(data.asked))


def _pickle(model: Any, target: Path) -> None:
    target.write_bytes(pickle.dumps(model))


def sklearn_models(folder: Path) -> None:
    """Joblib, pickle and skops."""
    import skops.io

    digits = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    _sklearn(folder / "digits.joblib", digits, Data("digits"), joblib.dump)
    # An odd number: where 30 trees of 60 are for each class, scikit-learn itself has no opinion.
    forest = RandomForestClassifier(61, random_state=_SEED)
    _sklearn(folder / "cancer.pkl", forest, Data("breast_cancer"), _pickle)
    regressor = HistGradientBoostingRegressor(random_state=_SEED)
    _sklearn(folder / "diabetes.pkl.gz", regressor, Data("diabetes"), joblib.dump)
    vectors = make_pipeline(StandardScaler(), SVC())
    _sklearn(folder / "wine.skops", vectors, Data("wine"), skops.io.dump)


def boosted_models(folder: Path) -> None:
    """XGBoost as JSON and UBJSON, LightGBM as text, and both inside of scikit-learn's pickles."""
    import lightgbm
    import xgboost

    for name, data, model in (
        ("cancer.json", "breast_cancer", xgboost.XGBClassifier(n_estimators=40)),
        ("digits.ubj", "digits", xgboost.XGBClassifier(n_estimators=20)),
        ("diabetes.ubj", "diabetes", xgboost.XGBRegressor(n_estimators=40)),
        ("wine.txt", "wine", lightgbm.LGBMClassifier(n_estimators=40, verbose=-1)),
        ("diabetes.txt", "diabetes", lightgbm.LGBMRegressor(n_estimators=40, verbose=-1)),
        ("cancer.txt", "breast_cancer", lightgbm.LGBMClassifier(n_estimators=40, verbose=-1)),
    ):
        _sklearn(folder / name, model, Data(data), _write_booster)
    alone = xgboost.XGBClassifier(n_estimators=40)
    _sklearn(folder / "cancer-xgboost.joblib", alone, Data("breast_cancer"), joblib.dump)
    # Its thresholds are scaled numbers, and rows of whole numbers lie on them.
    scaled = make_pipeline(StandardScaler(), xgboost.XGBClassifier(n_estimators=20))
    _sklearn(folder / "digits-xgboost.joblib", scaled, Data("digits"), joblib.dump)
    last = make_pipeline(StandardScaler(), lightgbm.LGBMClassifier(n_estimators=40, verbose=-1))
    _sklearn(folder / "wine-lightgbm.joblib", last, Data("wine"), joblib.dump)


def _write_booster(model: Any, target: Path) -> None:
    if hasattr(model, "booster_"):
        model.booster_.save_model(target)
    else:
        model.save_model(target)


def tensorflow_models(folder: Path) -> None:
    """Keras in both of its files, a SavedModel, TFLite."""
    import keras
    import tensorflow as tf

    data = Data("digits")
    keras.utils.set_random_seed(_SEED)
    network = keras.Sequential(
        [
            keras.layers.Input((64,), name="pixels"),
            keras.layers.Rescaling(1 / 16),
            keras.layers.Reshape((8, 8, 1)),
            keras.layers.Conv2D(12, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    network.compile("adam", "sparse_categorical_crossentropy")
    network.fit(data.x, data.y, epochs=6, verbose=0)
    scores = network.predict(data.asked, verbose=0)
    for name in ("digits.keras", "digits.h5"):
        network.save(folder / name)
        _keep(folder / name, data.asked, scores)
    network.export(folder / "digits-saved", verbose=False)
    _keep(folder / "digits-saved", data.asked, scores)
    lite = tf.lite.TFLiteConverter.from_saved_model(str(folder / "digits-saved")).convert()
    (folder / "digits.tflite").write_bytes(lite)
    _keep(folder / "digits.tflite", data.asked, scores)


def onnx_model(folder: Path) -> None:
    """A network as ONNX, whose weights lie in a file beside it."""
    import onnx
    from onnx import numpy_helper
    from skl2onnx import to_onnx

    data = Data("digits")
    network = MLPClassifier((64,), max_iter=200, random_state=_SEED).fit(data.x, data.y)
    proto = to_onnx(network, data.x[:1], options={"zipmap": False})
    for tensor in proto.graph.initializer:  # only what is kept as bytes can lie elsewhere
        if tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
    place = folder / "digits-onnx"
    place.mkdir()
    onnx.save(
        proto, str(place / "model.onnx"),
        save_as_external_data=True, location="weights.bin", size_threshold=64,
    )  # fmt: skip
    _keep(place, data.asked, network.predict_proba(data.asked), network.predict(data.asked))


_PMML: Final = "http://www.dmg.org/PMML-4_4"


def pmml_model(folder: Path) -> None:
    """A multinomial regression, written as PMML from the coefficients that scikit-learn learnt."""
    data = Data("iris")
    model = LogisticRegression(max_iter=1000).fit(data.x, data.y)
    names = [f"f{i}" for i in range(data.x.shape[1])]
    root = ElementTree.Element("PMML", {"version": "4.4", "xmlns": _PMML})
    ElementTree.SubElement(root, "Header")
    dictionary = ElementTree.SubElement(root, "DataDictionary")
    for name in names:
        field = {"name": name, "optype": "continuous", "dataType": "double"}
        ElementTree.SubElement(dictionary, "DataField", field)
    answer = {"name": "species", "optype": "categorical", "dataType": "integer"}
    target = ElementTree.SubElement(dictionary, "DataField", answer)
    regression = ElementTree.SubElement(
        root,
        "RegressionModel",
        {"functionName": "classification", "normalizationMethod": "softmax"},
    )
    schema = ElementTree.SubElement(regression, "MiningSchema")
    for name in names:
        ElementTree.SubElement(schema, "MiningField", {"name": name})
    ElementTree.SubElement(schema, "MiningField", {"name": "species", "usageType": "target"})
    for label, weights, intercept in zip(
        model.classes_, model.coef_, model.intercept_, strict=True
    ):
        ElementTree.SubElement(target, "Value", {"value": str(label)})
        table = {"intercept": repr(float(intercept)), "targetCategory": str(label)}
        rows = ElementTree.SubElement(regression, "RegressionTable", table)
        for name, weight in zip(names, weights, strict=True):
            predictor = {"name": name, "coefficient": repr(float(weight))}
            ElementTree.SubElement(rows, "NumericPredictor", predictor)
    file = folder / "iris.pmml"
    ElementTree.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)
    _keep(file, data.asked, model.predict_proba(data.asked), model.predict(data.asked))


def main() -> None:
    """Train them all."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    sklearn_models(folder)
    boosted_models(folder)
    pmml_model(folder)
    onnx_model(folder)
    tensorflow_models(folder)
    data = Data("digits")  # for the program that has PyTorch, and nothing else
    np.savez(folder / "torch-data.npz", x=data.x, y=data.y, asked=data.asked)


if __name__ == "__main__":
    main()
