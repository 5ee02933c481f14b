"""Whether a model is batched, asked of real models."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from onnx import helper, numpy_helper

from slipway_runtime.config import BatchingBlock
from slipway_runtime.inference import probe
from slipway_runtime.inference.batching import OFF, BatchPolicy
from slipway_runtime.inference.probe import Verdict, decide, quick_rows
from slipway_runtime.inference.session import Session
from slipway_runtime.inference.warmup import warm_up
from tests.unit.runtime import models

Mode = Literal["Auto", "Off", "On"]


def unary(op: str, **attributes: Any) -> Any:
    return models.model_of(
        [helper.make_node(op, ["x"], ["y"], **attributes)],
        [models.tensor("x", "FP32", ["n", 4])],
        [models.tensor("y", "FP32", ["n", 4])],
    )


def quantized() -> Any:
    """Its scale is that of the whole batch, as in dynamic quantization."""
    return models.model_of(
        [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
        ],
        [models.tensor("x", "FP32", ["n", 4])],
        [models.tensor("y", "FP32", ["n", 4])],
    )


def wide() -> Any:
    """Reading the weights is the work, once a batch."""
    random = np.random.default_rng(1)
    weights = random.standard_normal((1024, 1024)).astype(np.float32) / 32
    return models.model_of(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [models.tensor("x", "FP32", ["n", 1024])],
        [models.tensor("y", "FP32", ["n", 1024])],
        [numpy_helper.from_array(weights, "w")],
    )


def picky() -> Any:
    """Takes columns in fives only."""
    return models.model_of(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        [models.tensor("x", "FP32", ["n", "m"])],
        [models.tensor("y", "FP32", ["n", 5, "k"])],
        [numpy_helper.from_array(np.array([0, 5, -1], np.int64), "shape")],
    )


def verdict(folder: Path, model: Any, mode: Mode = "Auto") -> Verdict:
    session = Session(models.saved(model, folder / "model.onnx"), threads=1)
    return decide(session, BatchingBlock(mode=mode))


def test_a_model_that_gains_is_batched(tmp_path: Path) -> None:
    found = verdict(tmp_path, wide())
    assert (found.policy, found.reason) == (BatchPolicy(32), "measured")
    assert found.gain is not None
    assert found.gain > 1.3


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        pytest.param(models.counting(), "the model has no batch dimension", id="fixed shape"),
        pytest.param(unary("Softmax", axis=0), "rows are not independent", id="over the rows"),
        pytest.param(quantized(), "rows are not independent", id="quantized at run time"),
        pytest.param(
            picky(), "the model refuses a made-up batch", id="columns that nobody guesses"
        ),
    ],
)
def test_a_model_that_may_not_be_batched_is_not(tmp_path: Path, model: Any, reason: str) -> None:
    assert verdict(tmp_path, model) == Verdict(OFF, reason)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(models.identity("BYTES"), id="words"),
        pytest.param(models.identity("INT64", "FP16", "BOOL", shape=("n", "m")), id="mixed"),
        pytest.param(models.affine(), id="floats"),
    ],
)
def test_on_asks_for_no_measurement(tmp_path: Path, model: Any) -> None:
    assert verdict(tmp_path, model, "On") == Verdict(BatchPolicy(32), "asked for")


def test_on_without_a_batch_dimension_is_off(tmp_path: Path) -> None:
    assert verdict(tmp_path, models.counting(), "On").policy is OFF


def test_on_is_obeyed_where_rows_are_not_independent(tmp_path: Path) -> None:
    found = verdict(tmp_path, quantized(), "On")
    assert found == Verdict(BatchPolicy(32), "rows are not independent")


def test_off_is_off(tmp_path: Path) -> None:
    assert verdict(tmp_path, wide(), "Off") == Verdict(OFF, "asked for")


@pytest.mark.parametrize(
    ("mode", "policy"),
    [pytest.param("Auto", OFF, id="Auto"), pytest.param("On", BatchPolicy(32), id="On")],
)
def test_a_probe_that_takes_too_long_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode, policy: BatchPolicy
) -> None:
    monkeypatch.setattr(probe, "_BUDGET_S", 0.0)
    session = Session(models.saved(slow(), tmp_path / "model.onnx"), threads=1)
    assert decide(session, BatchingBlock(mode=mode)) == Verdict(policy, "not decided within 0s")


def test_what_takes_milliseconds_is_computed_in_a_thread(tmp_path: Path) -> None:
    session = Session(models.saved(wide(), tmp_path / "model.onnx"), threads=1)
    assert quick_rows(session, 0.005) == 0
    assert quick_rows(Session(models.saved(slow(), tmp_path / "slow.onnx"), threads=1)) == 0


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model counts as slow, and is asked with a few rows."""
    monkeypatch.setattr(probe, "_SLOW_ROW_S", 0.0)
    monkeypatch.setattr(probe, "_accepted", pytest.fail)


@pytest.mark.usefixtures("few_rows")
def test_a_slow_model_that_gains_nothing_is_not_asked_with_eight_rows(tmp_path: Path) -> None:
    model = models.saved(slow(layers=10, columns=300_000), tmp_path / "model.onnx")
    session = Session(model, threads=1)
    warm_up(session, 3)  # as every model is; its first run is the slow one
    found = decide(session, BatchingBlock())
    assert (found.policy, found.reason) == (OFF, "measured")


@pytest.mark.usefixtures("few_rows")
def test_a_slow_model_that_gains_is_batched(tmp_path: Path) -> None:
    found = verdict(tmp_path, wide())
    assert (found.policy, found.reason) == (BatchPolicy(32), "measured")
    assert found.gain is not None
    assert found.gain >= 1.1


@pytest.mark.usefixtures("few_rows")
def test_a_slow_model_whose_rows_depend_on_each_other_is_not(tmp_path: Path) -> None:
    model = wide()
    model.graph.node[0].output[0] = "h"
    model.graph.node.append(helper.make_node("Softmax", ["h"], ["y"], axis=0))
    assert verdict(tmp_path, model) == Verdict(OFF, "rows are not independent")


def slow(layers: int = 100, columns: int = 10_000) -> Any:
    """Many layers: there is always a next operator to stop at."""
    nodes = [helper.make_node("Softmax", [f"h{n}"], [f"h{n + 1}"], axis=1) for n in range(layers)]
    return models.model_of(
        nodes,
        [models.tensor("h0", "FP32", ["n", columns])],
        [models.tensor(f"h{layers}", "FP32", ["n", columns])],
    )
