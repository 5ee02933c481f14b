"""Models loaded and run by the real ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import helper

from slipway_runtime.config import ExecutionProvider
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


@pytest.mark.parametrize("other", ["BF16", "BYTES"])
def test_every_datatype_of_the_protocol_can_be_served(tmp_path: Path, other: str) -> None:
    """Numpy carries no BF16 into ONNX Runtime, and nothing else carries text: not both at once."""
    datatypes = [name for name in DTYPES if name != other]
    signature = session(models.identity(*datatypes), tmp_path).signature
    assert [spec.datatype for spec in signature.inputs] == datatypes


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


def test_b70_tensors_may_lie_in_memory_as_they_like(tmp_path: Path) -> None:
    """ONNX Runtime misreads what is not native; all decoders make native tensors, in any order."""
    whole = np.arange(24, dtype=np.float32).reshape(4, 6)
    model = session(models.identity("FP32", shape=("n", "m")), tmp_path)
    for tensor in (whole.T, whole[::-1], whole[:, ::2], np.asfortranarray(whole)):
        [found] = model.run({"in_FP32": tensor}, ["out_FP32"], Cancellation())
        np.testing.assert_array_equal(found, tensor)
    assert all(dtype.isnative for dtype in DTYPES.values())


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


@pytest.mark.parametrize("provider", ["CUDA", "OpenVINO"])
def test_a_provider_that_the_image_lacks_is_refused(
    tmp_path: Path, provider: ExecutionProvider
) -> None:
    path = models.saved(models.affine(), tmp_path / "model.onnx")
    expected = f"^serving.executionProvider: {provider} is not in this image, expected one of CPU;"
    with pytest.raises(Unsupported, match=expected):
        Session(path, threads=1, provider=provider)


def test_a_provider_that_falls_back_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image with CUDA on a node without: ONNX Runtime prints a warning and takes the CPU."""
    path = models.saved(models.affine(), tmp_path / "model.onnx")
    available = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: available)
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(Unsupported, match=r"CUDA gave \['CPUExecutionProvider'\], expected"),
    ):
        Session(path, threads=1, provider="CUDA")


@pytest.mark.parametrize("threads", [1, 3])
def test_a_session_has_the_threads_it_was_given(tmp_path: Path, threads: int) -> None:
    before = _threads()
    kept = Session(models.saved(models.affine(), tmp_path / "model.onnx"), threads=threads)
    # The caller's own thread computes too.
    assert _threads() - before == threads - 1
    del kept


def _threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def test_changing_shapes_leave_the_memory_bounded(tmp_path: Path) -> None:
    """Every request has another size; what the arena keeps follows the largest, not the number."""
    model = session(models.identity("FP32", shape=("n", "m")), tmp_path)
    random = np.random.default_rng(3)

    def run(times: int) -> int:
        for _ in range(times):
            rows, columns = random.integers(1, 1000, 2)
            feeds = {"in_FP32": np.zeros((rows, columns), np.float32)}
            model.run(feeds, ["out_FP32"], Cancellation())
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    before = run(100)
    assert run(300) - before < 32 * 2**20
