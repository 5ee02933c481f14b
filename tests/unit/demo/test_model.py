"""The models that are shown, and their pictures."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from demo.model import HeldOut, train
from demo.picture import gallery, rows


@pytest.fixture(scope="module")
def trained() -> tuple[bytes, bytes, HeldOut]:
    """Both versions and the digits they have not seen."""
    return train()


def test_both_versions_read_digits_that_they_have_not_seen(
    trained: tuple[bytes, bytes, HeldOut],
) -> None:
    *models, held_out = trained
    for model in models:
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        labels = session.run(["label"], {"X": held_out.pixels})[0]
        assert np.mean(labels == held_out.labels) >= 0.95


def test_both_versions_fit_into_a_configmap(trained: tuple[bytes, bytes, HeldOut]) -> None:
    assert all(len(model) < 1024 * 1024 * 3 // 4 for model in trained[:2])  # base64 adds a third


def test_a_digit_is_drawn_in_eight_lines() -> None:
    drawn = rows(np.repeat(np.array([0, 4, 8, 16], np.float32), 16))
    assert drawn == [s * 16 for s in (" ", " ", "░", "░", "▒", "▒", "█", "█")]


def test_captions_stand_below_their_digits() -> None:
    blank = np.zeros(64, np.float32)
    lines = gallery([blank, blank], ["is 1", "is 2"]).splitlines()
    assert len(lines) == 9
    assert lines[-1].split() == ["is", "1", "is", "2"]
