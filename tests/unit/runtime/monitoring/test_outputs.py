"""Answers counted by class, in at most 20 series."""

import numpy as np
import pytest

from slipway_runtime.inference.datatypes import DTYPES
from slipway_runtime.inference.signature import Signature, TensorSpec
from slipway_runtime.monitoring.metrics import Metrics
from slipway_runtime.monitoring.outputs import OutputCounter

LABEL = TensorSpec("label", "INT64", (-1,))
SCORES = TensorSpec("scores", "FP32", (-1, 3))


def counted(specs: list[TensorSpec], answers: list[tuple[TensorSpec, object]]) -> dict[str, float]:
    metrics = Metrics(model="m", version="", revision="r")
    counter = OutputCounter.for_signature(Signature((), tuple(specs)), metrics)
    if counter is None:
        return {}
    for spec, values in answers:
        counter.observe([(spec, np.array(values, DTYPES[spec.datatype]))])
    samples = [s for family in metrics.registry.collect() for s in family.samples]
    found = {s.labels["bucket"]: s.value for s in samples if s.name == "slipway_output_total"}
    assert len(found) <= 20
    return {bucket: value for bucket, value in found.items() if value}


@pytest.mark.parametrize(
    ("specs", "answers", "expected"),
    [
        pytest.param(
            [LABEL, SCORES],
            [(SCORES, [[0, 1, 0], [0.5, 0.2, 0.3], [0, 2, 1]])],
            {"0": 1, "1": 2},
            id="scores are counted by their largest",
        ),
        pytest.param(
            [LABEL], [(LABEL, [0, 18, 19, -1, 18])], {"0": 1, "18": 2, "other": 2}, id="labels"
        ),
        pytest.param(
            [TensorSpec("is_spam", "BOOL", (-1, 1))],
            [(TensorSpec("is_spam", "BOOL", (-1, 1)), [[True], [False], [True]])],
            {"0": 1, "1": 2},
            id="booleans",
        ),
        pytest.param([SCORES], [(LABEL, [1])], {}, id="an output that is not the counted one"),
        pytest.param([SCORES], [(SCORES, np.zeros((0, 3)))], {}, id="no rows"),
        pytest.param([SCORES], [(SCORES, [[1, 2, 3, 4]])], {}, id="another shape than declared"),
        pytest.param([SCORES], [(SCORES, [[np.nan, 0, 1]])], {"0": 1}, id="not a number"),
        pytest.param([TensorSpec("y", "FP32", (-1, 1))], [], {}, id="a regression"),
        pytest.param([TensorSpec("y", "FP32", (-1, 1000))], [], {}, id="too many classes"),
        pytest.param([TensorSpec("y", "BYTES", (-1,))], [], {}, id="words"),
    ],
)
def test_answers_are_counted_by_class(
    specs: list[TensorSpec], answers: list[tuple[TensorSpec, object]], expected: dict[str, float]
) -> None:
    assert counted(specs, answers) == expected
