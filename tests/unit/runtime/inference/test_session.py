"""Models loaded and run by the real ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from slipway_runtime.errors import InferenceFailed, InvalidModel, InvalidTensor, Unsupported
from slipway_runtime.inference.datatypes import DTYPES
from slipway_runtime.inference.session import Cancellation, Session
from slipway_runtime.inference.signature import Signature, TensorSpec
from slipway_runtime.inference.warmup import warm_up
from tests.unit.runtime import models


def session(model: Any, folder: Path) -> Session:
    return Session(models.saved(model, folder / "model.onnx"), threads=1)


def test_the_signature_has_names_datatypes_and_shapes(tmp_path: Path) -> None:
    assert session(models.affine(), tmp_path).signature == Signature(
        inputs=(TensorSpec("x", "FP32", (-1, 4), ("batch", None)),),
        outputs=(TensorSpec("scores", "FP32", (-1, 3), ("batch", None)),),
    )


def test_every_datatype_of_the_protocol_can_be_served(tmp_path: Path) -> None:
    signature = session(models.identity(*DTYPES), tmp_path).signature
    assert [spec.datatype for spec in signature.inputs] == list(DTYPES)


def test_a_run_computes_what_was_asked_for(tmp_path: Path) -> None:
    model = session(models.affine(), tmp_path)
    [scores] = model.run({"x": np.ones((2, 4), np.float32)}, ["scores"], Cancellation())
    np.testing.assert_allclose(scores, np.tile(np.array([18, 22, 26]) / 7, (2, 1)), rtol=1e-6)


def test_strings_come_back_as_they_went_in(tmp_path: Path) -> None:
    words = np.array(["", "ä\x00b", "😀"], object)
    [result] = session(models.identity("BYTES"), tmp_path).run(
        {"in_BYTES": words}, ["out_BYTES"], Cancellation()
    )
    assert result.tolist() == words.tolist()


def test_a_zipmap_is_refused_with_the_way_to_export_without(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"'output_probability' is seq\(map.*'zipmap': False"):
        session(models.zipmap(), tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="an empty file"),
        pytest.param(b"garbage" * 100, id="garbage"),
        pytest.param(models.affine().SerializeToString()[:-40], id="a truncated model"),
    ],
)
def test_what_cannot_be_loaded_is_an_invalid_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(InvalidModel, match=r"^model: cannot be loaded") as refusal:
        Session(path, threads=1)
    assert str(tmp_path) not in str(refusal.value)


def test_a_run_that_the_inputs_make_impossible_is_the_requests_fault(tmp_path: Path) -> None:
    feeds = {"a": np.zeros((2, 1), np.float32), "b": np.zeros((3, 1), np.float32)}
    with pytest.raises(InvalidTensor, match="dimension 'batch' is 3, expected 2 as in input 'a'"):
        session(models.joined(), tmp_path).run(feeds, ["y"], Cancellation())


def test_a_run_can_be_stopped(tmp_path: Path) -> None:
    cancellation = Cancellation()
    cancellation.stop()
    with pytest.raises(InferenceFailed):
        session(models.counting(), tmp_path).run(
            {"n": np.array([10**9])}, ["total_out"], cancellation
        )


def test_a_model_that_fails_on_zeros_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    shape = helper.make_tensor("shape", 7, [1], [5])
    model = models.model_of(
        [node], [models.tensor("x", "FP32", ["n", 4])], [models.tensor("y", "FP32", [5])], [shape]
    )
    with pytest.raises(InvalidModel, match=r"^model: warm-up on zeros failed"):
        warm_up(session(model, tmp_path), 1)


def test_a_free_dimension_that_cannot_be_one_proves_nothing(tmp_path: Path) -> None:
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    shape = helper.make_tensor("shape", 7, [2], [-1, 8])
    model = models.model_of(
        [node],
        [models.tensor("x", "FP32", ["n", "m"])],
        [models.tensor("y", "FP32", [None, 8])],  # type: ignore[list-item]  # unnamed
        [shape],
    )
    warm_up(session(model, tmp_path), 3)
