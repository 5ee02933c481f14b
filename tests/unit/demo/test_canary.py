"""The demonstration's canaries: what is applied, what is counted, what is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import yaml

from demo.canary import BY_GATEWAY, CANARIES, DOCUMENT, Course, lost, models, table
from demo.model import HeldOut, train
from slipway_operator.api.v1alpha1 import Spec

COUNTED = {
    "sent": 1000, "failed": 41, "version v2": 600, "ms v2": 1800, "version v3": 300, "ms v3": 900,
    "version v4": 30, "failed v4": 40, "ms v4": 210, "status 500": 40, "error ReadError": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def trained() -> tuple[bytes, HeldOut]:
    """The second version, and digits that it has not seen."""
    _, second, held_out = train()
    return second, held_out


@pytest.mark.parametrize("written", [DOCUMENT, BY_GATEWAY])
def test_the_document_is_one_of_the_third_version(written: Path) -> None:
    document = yaml.safe_load(written.read_text())
    spec = Spec.model_validate(document["spec"])
    assert spec.model.uri == "configmap://digits-v3/model.onnx"
    assert spec.rollout is not None


def test_each_canary_has_a_file_that_fits_into_a_configmap(trained: tuple[bytes, HeldOut]) -> None:
    files = models(trained[0], trained[1].pixels)
    assert set(files) == {version.name for version in CANARIES}
    assert all(len(data) < 1024 * 1024 * 3 // 4 for data in files.values())


def test_the_good_one_reads_digits_and_the_failing_one_half_of_them(
    trained: tuple[bytes, HeldOut],
) -> None:
    second, held_out = trained
    files = models(second, held_out.pixels)
    labels = _session(files["v3"]).run(["label"], {"X": held_out.pixels})[0]
    assert np.mean(labels == held_out.labels) >= 0.95
    failing, failed = _session(files["v4"]), 0
    for row in held_out.pixels:
        try:
            failing.run(None, {"X": row[None]})
        except Exception:  # noqa: BLE001 - ONNX Runtime's kinds share no base class
            failed += 1
    assert 0.4 <= failed / len(held_out.pixels) <= 0.6


def _session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def test_what_a_bad_version_answered_is_not_lost_and_the_rest_is() -> None:
    assert lost(COUNTED) == 1
    assert lost({**COUNTED, "failed v3": 1}) == 1, "a good version has no right to fail"


def test_the_table_has_a_row_for_each_version() -> None:
    good, bad, _ = CANARIES
    told = table([Course(good, "Idle", 40.2, ""), Course(bad, "Failed", 22.0, "errors")], COUNTED)
    assert [" ".join(line.split()) for line in told.splitlines()] == [
        "version end after requests failed by it mean",
        "v2 serves when it begins 600 0 3 ms",
        "v3 retrained promoted 40 s 300 0 3 ms",
        "v4 fails half of the requests sent back: errors 22 s 70 40 3 ms",
    ]
