"""Durations and specs are read as documented, and anything else is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from slipway_operator.api.fields import seconds
from slipway_operator.api.v1alpha1 import parse_spec

LAW = settings(max_examples=40, deadline=None)  # machines of CI stutter
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        pytest.param("30s", 30.0, id="seconds"),
        pytest.param("250ms", 0.25, id="milliseconds are not minutes"),
        pytest.param("1h30m", 5400.0, id="two parts"),
        pytest.param("1m30s500ms", 90.5, id="three parts"),
        pytest.param("0s", 0.0, id="nothing"),
    ],
)
def test_seconds(duration: str, expected: float) -> None:
    assert seconds(duration) == expected


@pytest.mark.parametrize("duration", ["", "30", "s", "-1s", "1.5s", "30s ", "30 s", "1d", "123456s",
                                      "1s1s1s1s1s", "30s\n"])  # fmt: skip
def test_other_forms_are_refused(duration: str) -> None:
    with pytest.raises(ValueError, match="expected a form like 30s"):
        seconds(duration)


@LAW
@given(st.lists(st.tuples(st.integers(0, 99_999), st.sampled_from(list(UNITS))), min_size=1,
                max_size=4))  # fmt: skip
def test_a_duration_is_the_sum_of_its_parts(parts: list[tuple[int, str]]) -> None:
    written = "".join(f"{n}{unit}" for n, unit in parts)
    assert math.isclose(seconds(written), sum(n * UNITS[unit] for n, unit in parts))


@pytest.mark.parametrize(
    ("spec", "where"),
    [
        pytest.param({}, ("model",), id="without a model"),
        pytest.param({"model": {}}, ("model", "uri"), id="without a URI"),
        pytest.param(
            {"model": {"uri": "https://m.test/a", "pol": 1}}, ("model", "pol"), id="a misspelling"
        ),
        pytest.param(
            {"model": {"uri": "https://m.test/a"}, "canary": {}}, ("canary",), id="a later block"
        ),
        pytest.param(
            {"model": {"uri": "https://m.test/a"}, "replicas": -1}, ("replicas",), id="minus one"
        ),
        pytest.param(
            {"model": {"uri": "https://m.test/a"}, "replicas": 1001}, ("replicas",), id="too many"
        ),
    ],
)
def test_parse_spec_refuses(spec: dict[str, Any], where: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as refused:
        parse_spec(spec)
    assert refused.value.errors()[0]["loc"] == where


def test_parse_spec_reads_the_shortest_document() -> None:
    spec = parse_spec({"model": {"uri": "https://models.test/a.onnx"}})
    assert (spec.replicas, spec.suspend, spec.runtime) == (1, False, None)
