"""What counts as the same answer, and which questions are asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from slipway_runtime.convert.original import Array, Column, Original
from slipway_runtime.convert.parity import Difference, Incomparable, difference
from slipway_runtime.convert.samples import generated, given
from slipway_runtime.errors import InvalidConfig

_X = (Column("x", np.dtype(np.float32), (-1, 3)),)


def numbers(*values: float) -> Array:
    return np.asarray(values, np.float64)


def original(*columns: Column, landmarks: dict[int, Array] | None = None) -> Original:
    return Original("", columns, ("y",), lambda feeds: [], lambda: None, landmarks=landmarks or {})


@pytest.mark.parametrize(
    ("want", "got", "worst"),
    [
        pytest.param(0.5, 0.50005, 5e-5, id="absolute below one"),
        pytest.param(2000.0, 2000.1, 5e-5, id="relative above one"),
        pytest.param(np.nan, np.nan, 0.0, id="not a number is equal to itself"),
        pytest.param(np.inf, np.inf, 0.0, id="infinite"),
        pytest.param(1.0, np.nan, np.inf, id="no number where there was one"),
    ],
)
def test_numbers_differ_by_their_size(want: float, got: float, worst: float) -> None:
    found = difference(["y"], [numbers(want)], [numbers(got)])
    assert found.worst == pytest.approx(worst, rel=1e-6)


def test_labels_are_counted() -> None:
    found = difference(["label"], [np.array(["a", "b", "c"])], [np.array(["a", "x", "c"])])
    assert (found.labels, found.equal_labels) == (3, 2)
    assert found.label_agreement_percent == pytest.approx(200 / 3)


def test_the_largest_score_is_a_label_where_there_is_no_other() -> None:
    want, got = np.array([[0.4, 0.6], [0.5, 0.5]]), np.array([[0.6, 0.4], [0.5, 0.5]])
    found = difference(["scores"], [want], [got])
    assert (found.labels, found.equal_labels) == (2, 1)


@pytest.mark.parametrize(
    ("want", "got", "equal", "ties"),
    [
        pytest.param((0.5, 0.5), (0.4999999, 0.5000001), 1, 1, id="as good as equal"),
        pytest.param((0.6, 0.4), (0.4, 0.6), 0, 0, id="another opinion"),
        pytest.param((0.6, 0.4), (0.61, 0.39), 1, 0, id="the same label"),
    ],
)
def test_a_tie_of_the_original_is_no_disagreement(
    want: tuple[float, float], got: tuple[float, float], equal: int, ties: int
) -> None:
    label = [np.argmax([scores], axis=1) for scores in (want, got)]
    names = ["label", "probabilities"]
    found = difference(names, [label[0], np.array([want])], [label[1], np.array([got])], tie=1e-4)
    assert (found.labels, found.equal_labels, found.ties) == (1, equal, ties)


def test_a_column_of_answers_is_a_list_of_them() -> None:
    assert difference(["y"], [np.ones(3)], [np.ones((3, 1))]) == Difference(rows=3)


@pytest.mark.parametrize(
    ("got", "words"),
    [
        pytest.param([np.ones(4)], r"output 'y' has shape \[4\], expected \[3\]", id="shape"),
        pytest.param([np.ones(3)] * 2, "2 outputs, expected 1", id="count"),
    ],
)
def test_answers_of_another_form_are_no_answers(got: list[Array], words: str) -> None:
    with pytest.raises(Incomparable, match=words):
        difference(["y"], [np.ones(3)], got)


def test_the_same_rows_are_asked_every_time() -> None:
    first, second = (list(generated(original(*_X), 16)) for _ in range(2))
    assert len(first) == 4
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one["x"], other["x"])


def test_rows_lie_on_and_around_what_the_model_knows() -> None:
    *_, around = generated(original(*_X, landmarks={0: numbers(100, 101)}), 400)
    first = around["x"][:, 0]
    assert {100.0, 101.0} <= set(first.tolist())
    assert ((first > 100) & (first < 101)).any()


def test_words_are_drawn_from_what_an_encoder_knows() -> None:
    column = Column("c", np.dtype(object), (-1, 1), ("red", "green"))
    (feeds, *_) = generated(original(column), 50)
    assert set(feeds["c"].reshape(-1)) == {"red", "green"}


_REQUEST = '{"inputs": [{"name": "x", "shape": [1, 3], "data": [1, 2, 3]}]}'


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(_REQUEST, id="one"),
        pytest.param(f"[{_REQUEST}]", id="list"),
        pytest.param(f"{_REQUEST}\n{_REQUEST}\n", id="lines"),
    ],
)
def test_requests_are_samples(content: str, tmp_path: Path) -> None:
    file = tmp_path / "samples.json"
    file.write_text(content)
    np.testing.assert_array_equal(given(file, _X)[0]["x"], np.array([[1, 2, 3]], np.float32))


def test_arrays_are_samples(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.ones((5, 3)))
    (feeds,) = given(tmp_path / "rows.npy", _X)
    assert (feeds["x"].dtype, feeds["x"].shape) == (np.dtype(np.float32), (5, 3))


def test_pickled_arrays_are_no_samples(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.array([{}], object))
    with pytest.raises(InvalidConfig, match="allow_pickle=False"):
        given(tmp_path / "rows.npy", _X)


def test_samples_of_another_shape_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.ones((5, 4)))
    with pytest.raises(InvalidConfig, match=r"shape \[5, 4\], expected \[-1, 3\]"):
        given(tmp_path / "rows.npy", _X)
