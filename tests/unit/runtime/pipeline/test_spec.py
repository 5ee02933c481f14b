"""What can be written as a pipeline, and what is said of the rest."""

from __future__ import annotations

from typing import Any

import pytest

from slipway_runtime.config import parse_config
from slipway_runtime.errors import ConfigError
from slipway_runtime.pipeline.spec import number

CONFIG = {
    "name": "m",
    "namespace": "n",
    "revision": "0123456789",
    "revisionNumber": 1,
    "model": {"uri": "https://models.example.com/m.onnx"},
}


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1/255", 1 / 255), ("0.229", 0.229), (-3, -3.0), ("1e-3", 0.001), ("-2", -2.0)],
)
def test_a_number_can_be_written_in_several_ways(value: object, expected: float) -> None:
    assert number(value) == expected


@pytest.mark.parametrize(
    "value", ["nan", "inf", "1/0", "1e999", "", "x", "1/2/3", True, None, "9" * 50]
)
def test_what_is_no_finite_number_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        number(value)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([{"resize": {"width": 3}}], "pipeline.preprocess.0.resize: got"),
        ([{"resize": {"width": 3, "height": 3, "shortestSide": 2}}], "or shortestSide"),
        ([{}], "expected an object with exactly one of decodeImage"),
        ([{"scale": {"factor": 1}, "cast": {"to": "FP32"}}], "exactly one of"),
        ([{"scale": None}], "exactly one of"),
        ([{"blur": {}}], "pipeline.preprocess.0.blur: unknown key, expected one of decodeImage"),
        ([{"resize": {"widht": 3}}], "unknown key, expected one of width, height"),
        ([{"normalize": {"mean": [0], "std": [0]}}], "expected no std of 0"),
        ([{"normalize": {"mean": [0, 1], "std": [1]}}], "as many of std as of mean"),
        ([{"oneHot": {"columns": ["a"], "categories": ["x", "x"]}}], "each category once"),
        ([{"oneHot": {"columns": ["a"], "categories": ["x", 1]}}], "only texts or only integers"),
        ([{"impute": {"columns": ["a"]}}], "expected either value or text"),
        ([{"scale": {"factor": 1}}] * 33, "at most 32"),
    ],
)
def test_what_is_written_wrongly_is_named(steps: Any, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({**CONFIG, "pipeline": {"preprocess": steps}})
    assert expected in str(caught.value)
