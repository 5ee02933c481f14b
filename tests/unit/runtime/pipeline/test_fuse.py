"""A model with a pipeline answers what the reference libraries answer.

The references are Pillow, numpy and scikit-learn; the models are run by ONNX Runtime.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from PIL import Image
from skl2onnx import to_onnx
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from slipway_runtime.errors import InvalidConfig
from slipway_runtime.pipeline.fuse import fused
from slipway_runtime.pipeline.spec import Pipeline

RANDOM = np.random.default_rng(7)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PIXELS = RANDOM.integers(0, 256, (2, 97, 131, 3), dtype=np.uint8)


def identity(datatype: int, shape: list[Any], *, opset: int = 13) -> Any:
    """A model that gives what it gets."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "identity",
        [helper.make_tensor_value_info("x", datatype, shape)],
        [helper.make_tensor_value_info("y", datatype, shape)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def pipeline(*before: Any, after: tuple[Any, ...] = ()) -> Pipeline:
    return Pipeline.model_validate({"preprocess": before, "postprocess": after})


def run(model: Any, steps: Pipeline, **feeds: Any) -> dict[str, Any]:
    """Fuse, check by ONNX' own rules, and run."""
    joined = fused(model, steps)
    onnx.checker.check_model(joined, full_check=True)
    session = ort.InferenceSession(joined.SerializeToString())
    assert {value.name for value in session.get_inputs()} == set(feeds)
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


@pytest.mark.parametrize(
    ("method", "reference", "off"),
    [
        ("Nearest", Image.Resampling.NEAREST, 0),
        ("Bilinear", Image.Resampling.BILINEAR, 1),
        ("Bicubic", Image.Resampling.BICUBIC, 1),
    ],
)
@pytest.mark.parametrize("opset", [11, 18])
def test_resize_is_that_of_pillow(method: str, reference: Any, off: int, opset: int) -> None:
    model = identity(TensorProto.UINT8, ["n", 20, 30, 3], opset=opset)
    steps = pipeline({"resize": {"width": 30, "height": 20, "method": method}})
    found = run(model, steps, image=PIXELS)["y"]
    wanted = [np.asarray(Image.fromarray(one).resize((30, 20), reference)) for one in PIXELS]
    assert np.abs(found.astype(int) - np.stack(wanted).astype(int)).max() <= off


def test_an_image_is_prepared_as_numpy_would() -> None:
    steps = pipeline(
        {"centerCrop": {"width": 64, "height": 32}},
        {"channelOrder": {"to": "BGR"}},
        {"scale": {"factor": "1/255"}},
        {"normalize": {"mean": list(map(str, MEAN)), "std": list(map(str, STD))}},
        {"transpose": {"to": "NCHW"}},
    )
    model = identity(TensorProto.FLOAT, ["n", 3, 32, 64])
    found = run(model, steps, image=PIXELS)["y"]
    top, left = (97 - 32) // 2, (131 - 64) // 2
    cut = PIXELS[:, top : top + 32, left : left + 64, ::-1].astype(np.float32) / 255
    wanted = ((cut - MEAN) / STD).transpose(0, 3, 1, 2)
    assert np.abs(found - wanted).max() < 1e-5


def test_normalize_before_and_after_transpose_is_the_same() -> None:
    normal = {"normalize": {"mean": [1, 2, 3], "std": [4, 5, 6]}}
    turn = {"transpose": {"to": "NCHW"}}
    model = identity(TensorProto.FLOAT, ["n", 3, "h", "w"])
    before = run(model, pipeline(normal, turn), image=PIXELS)["y"]
    model = identity(TensorProto.FLOAT, ["n", 3, "h", "w"])
    after = run(model, pipeline(turn, normal), image=PIXELS)["y"]
    assert np.abs(before - after).max() < 1e-6


@pytest.fixture(scope="module")
def table() -> tuple[Any, Any, Any, Any]:
    """Passengers with missing ages, and what scikit-learn makes of them."""
    count = 300
    ages = RANDOM.normal(40, 12, count)
    ages[RANDOM.random(count) < 0.2] = np.nan
    ports = RANDOM.choice(["C", "Q", "S"], count).astype(object)
    ports[:3] = ""
    rows = np.empty((count, 2), object)
    rows[:, 0], rows[:, 1] = ages, np.where(ports == "", "S", ports)
    prepare = ColumnTransformer(
        [
            ("age", make_pipeline(SimpleImputer(), StandardScaler()), [0]),
            ("port", OneHotEncoder(categories=[["C", "Q", "S"]], handle_unknown="ignore"), [1]),
        ],
        sparse_threshold=0,
    )
    features = np.asarray(prepare.fit_transform(rows), float)
    target = (np.nan_to_num(ages, nan=40) + 15 * (ports == "C") > 44).astype(int)
    classifier = LogisticRegression().fit(features, target)
    ports[5], rows[5, 1] = "Z", "Z"  # a port that nobody has seen
    return ages, ports, prepare, (classifier, np.asarray(prepare.transform(rows), float))


def test_a_table_with_gaps_and_categories_is_that_of_scikit_learn(table: Any) -> None:
    ages, ports, prepare, (classifier, features) = table
    imputer, scaler = prepare.named_transformers_["age"]
    steps = pipeline(
        {"columns": {"features": [{"name": "label"}, {"name": "port", "datatype": "BYTES"}]}},
        {"impute": {"columns": ["label"], "value": str(imputer.statistics_[0])}},
        {"impute": {"columns": ["port"], "text": "S"}},
        {
            "standardize": {
                "columns": ["label"],
                "mean": [str(scaler.mean_[0])],
                "std": [str(scaler.scale_[0])],
            }
        },
        {"oneHot": {"columns": ["port"], "categories": ["C", "Q", "S"]}},
        after=({"topK": {"k": 2, "output": "probabilities"}},),
    )
    model = to_onnx(
        classifier,
        features[:1].astype(np.float32),
        options={"zipmap": False},
        target_opset={"": 12, "ai.onnx.ml": 1},
    )
    # A column may have the name of an output, unless the output is still there.
    with pytest.raises(InvalidConfig, match="'label' is an input and an output"):
        fused(onnx.ModelProto.FromString(model.SerializeToString()), steps)
    document = steps.model_dump(by_alias=True, exclude_unset=True)
    document["preprocess"][0]["columns"]["features"][0]["name"] = "age"
    document["preprocess"][1]["impute"]["columns"] = ["age"]
    document["preprocess"][3]["standardize"]["columns"] = ["age"]
    found = run(model, Pipeline.model_validate(document), age=ages.astype(np.float32), port=ports)
    wanted = classifier.predict_proba(features)
    assert np.abs(found["probability"] - np.sort(wanted, 1)[:, ::-1]).max() < 1e-6
    assert (found["index"][:, 0] == wanted.argmax(1)).all()


SCORES = np.array([[0.5, 3.0, -1.0, 2.0], [9.0, 1.0, 1.5, 0.0]], np.float32)
NAMES = ["ant", "bee", "cat", "dog"]


def scored(*after: Any) -> dict[str, Any]:
    model = identity(TensorProto.FLOAT, ["n", 4])
    return run(model, pipeline(after=after), x=SCORES)


def softmax(scores: Any) -> Any:
    grown = np.exp(scores - scores.max(1, keepdims=True))
    return grown / grown.sum(1, keepdims=True)


def test_labels_name_the_largest_scores_and_tell_them() -> None:
    found = scored({"softmax": {}}, {"labels": {"names": NAMES, "topK": 2}})
    assert found["label"].tolist() == [["bee", "dog"], ["ant", "cat"]]
    assert np.allclose(found["probability"], np.sort(softmax(SCORES), 1)[:, :1:-1], atol=1e-6)


def test_labels_name_what_argmax_has_found() -> None:
    assert scored({"argmax": {}}, {"labels": {"names": NAMES}})["label"].tolist() == ["bee", "ant"]


def test_a_threshold_gives_one_and_zero() -> None:
    found = scored({"sigmoid": {}}, {"threshold": {"value": "0.9"}})["y"]
    assert found.tolist() == (1 / (1 + np.exp(-SCORES)) >= 0.9).astype(int).tolist()


def test_a_column_step_that_scales_everything_follows_the_table() -> None:
    steps = pipeline(
        {"columns": {"features": [{"name": "a"}, {"name": "b", "datatype": "INT64"}]}},
        {"scale": {"factor": 2, "offset": 1}},
    )
    model = identity(TensorProto.FLOAT, ["n", 2])
    feeds = {"a": np.array([1, 2], np.float32), "b": np.array([3, 4], np.int64)}
    assert run(model, steps, **feeds)["y"].tolist() == [[3, 7], [5, 9]]


COLUMNS = {"columns": {"features": [{"name": "a"}, {"name": "t", "datatype": "BYTES"}]}}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([{"impute": {"columns": ["a"], "value": 0}}], [], "expected the step columns before it"),
        ([COLUMNS, {"impute": {"columns": ["z"], "value": 0}}], [], "column 'z': unknown"),
        ([COLUMNS, {"impute": {"columns": ["t"], "value": 0}}], [], "is BYTES, expected text"),
        ([COLUMNS], [], "texts beside numbers"),
        ([COLUMNS, {"oneHot": {"columns": ["t"], "categories": [1]}}], [], "expected texts"),
        ([{"scale": {"factor": 1}}, COLUMNS], [], "expected them first"),
        ([{"cast": {"to": "BYTES"}}], [], "expected numbers on both sides"),
        ([{"cast": {"to": "INT64"}}], [], "cast: {to: FP32}"),
        ([{"transpose": {"to": "NCHW"}}], [], "ends with UINT8"),
        ([{"normalize": {"mean": [1], "std": [1]}}, {"decodeImage": {}}], [], "expected it first"),
        ([{"normalize": {"mean": [1, 2], "std": [1, 2]}}], [], "expected 4, one for each"),
        ([], [{"labels": {"names": ["a"]}}], "got 1 names, expected 4"),
        ([], [{"topK": {"k": 9}}], "expected no more than there are"),
        ([], [{"softmax": {"output": "nope"}}], "output 'nope': unknown"),
        ([], [{"argmax": {}}, {"softmax": {}}], "expected scores"),
    ],
)
def test_a_step_that_does_not_fit_is_named(before: Any, after: Any, expected: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        fused(identity(TensorProto.FLOAT, ["n", 4]), pipeline(*before, after=tuple(after)))
    assert expected in str(caught.value)
    assert str(caught.value).startswith("pipeline.")


def test_a_model_of_two_inputs_has_no_preprocessing() -> None:
    model = identity(TensorProto.FLOAT, ["n", 4])
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n"]))
    with pytest.raises(InvalidConfig, match="the model has 2 inputs, expected one"):
        fused(model, pipeline({"scale": {"factor": 2}}))
