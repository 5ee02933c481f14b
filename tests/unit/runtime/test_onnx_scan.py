"""What is known of an ONNX file without parsing it."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from slipway_runtime import onnx_scan
from slipway_runtime.onnx_scan import answers_in_maps
from tests.unit.runtime import models


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        pytest.param(models.affine(), False, id="tensors"),
        pytest.param(models.mapped(), False, id="a map that goes in"),
        pytest.param(models.zipmap(), True, id="a ZipMap at the end"),
        pytest.param(models.sequence(), True, id="a list of tensors"),
    ],
)
def test_only_outputs_that_are_no_tensors_count(tmp_path: Path, model: Any, expected: bool) -> None:
    assert answers_in_maps(models.saved(model, tmp_path / "m.onnx")) is expected


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"\x80\x04\x95" + b"x" * 99, b"\xff" * 64, bytes(64)]
)
def test_what_is_no_model_has_no_maps(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m"
    path.write_bytes(content)
    assert not answers_in_maps(path)


def test_what_takes_long_to_find_out_counts_as_yes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process with a time limit looks then: two bytes a field make a billion of them."""
    path = models.saved(models.affine(), tmp_path / "m.onnx")
    monkeypatch.setattr(onnx_scan, "_MAX_FIELDS", 2)
    assert answers_in_maps(path)
    path.write_bytes(b"\x08\x01" * 3)  # of the model alone
    assert answers_in_maps(path)
    wide = models.affine()
    wide.graph.output[0].doc_string = "x" * 5000
    monkeypatch.undo()
    assert answers_in_maps(models.saved(wide, path))


WHOLE = models.zipmap().SerializeToString()


@given(cut=st.integers(0, len(WHOLE)), at=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255))
def test_any_change_of_a_file_ends_in_an_answer(
    tmp_path_factory: pytest.TempPathFactory, cut: int, at: int, byte: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.onnx"
    path.write_bytes((WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :])[:cut])
    assert answers_in_maps(path) in (True, False)


def test_weights_are_stepped_over(tmp_path: Path) -> None:
    """The output comes after the weights, whatever they hold."""
    model = models.zipmap()
    junk = helper.make_tensor("w", models.ONNX_TYPES["UINT8"], [4096], b"\xff" * 4096, raw=True)
    model.graph.initializer.append(junk)
    assert answers_in_maps(models.saved(model, tmp_path / "m.onnx"))
