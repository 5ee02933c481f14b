"""The table of tried conversions is written from whatever records there are."""

from __future__ import annotations

from typing import Any, Final

from tests.convert.page import told

_ROW: Final[dict[str, Any]] = {
    "format": "XGBoost", "file": "cancer.json", "framework": "XGBoost 3.2.0", "rows": 143,
    "labels": 100.0, "difference": 1.2e-07, "seconds": 3.59,
}  # fmt: skip
_ONNX: Final = {**_ROW, "format": "ONNX", "file": "digits-onnx", "labels": None, "seconds": None}


def _last(row: dict[str, Any], served: dict[str, Any]) -> list[str]:
    text = told({"date": "2026-11-22", "where": "here", "rows": [row]}, served)
    head, *_, last = (line for line in text.splitlines() if line.startswith("|"))
    assert head.count("|") == last.count("|")
    return [cell.strip() for cell in last.strip("|").split("|")]


def test_a_pod_tells_its_image_and_how_long_it_took() -> None:
    pod = {"difference": 1.4e-07, "seconds": 21.4, "image": "converter-torch"}
    assert _last(_ROW, {"cancer.json": pod}) == [
        "XGBoost", "cancer.json", "XGBoost 3.2.0", "143", "100 %", "1.2e-07", "3.6 s",
        "1.4e-07", "21 s", "converter-torch",
    ]  # fmt: skip


def test_a_record_of_an_earlier_run_has_the_difference_alone() -> None:
    assert _last(_ROW, {"cancer.json": 1.4e-07})[-3:] == ["1.4e-07", "-", "-"]


def test_what_no_pod_has_served_and_nobody_converted_has_dashes() -> None:
    assert _last(_ONNX, {})[4:] == ["-", "1.2e-07", "-", "-", "-", "-"]
