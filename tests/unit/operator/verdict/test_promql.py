"""One finite number passes or fails; everything else says nothing."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway_operator.verdict.outcome import Verdict
from slipway_operator.verdict.promql import Reading, promql, reading


def answer(kind: str, result: Any) -> bytes:
    data = {"resultType": kind, "result": result}
    return json.dumps({"status": "success", "data": data}).encode()


def sample(text: Any) -> dict[str, Any]:
    return {"metric": {}, "value": [1763600000.0, text]}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(answer("vector", [sample("0.25")]), 0.25, id="one sample"),
        pytest.param(answer("vector", [sample("-1e3")]), -1000.0, id="an exponent"),
        pytest.param(answer("scalar", [1763600000.0, "3"]), 3.0, id="a scalar"),
    ],
)
def test_a_number_is_read(body: bytes, expected: float) -> None:
    assert reading(200, body) == Reading(expected)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        pytest.param(200, answer("vector", [sample("NaN")]), "the answer is NaN", id="NaN"),
        pytest.param(200, answer("vector", [sample("+Inf")]), "the answer is +Inf", id="infinity"),
        pytest.param(200, answer("vector", []), "no series", id="an empty vector"),
        pytest.param(200, answer("vector", [sample("1")] * 3), "3 series", id="several samples"),
        pytest.param(200, answer("vector", [sample(1)]), "not one of", id="a number of JSON"),
        pytest.param(200, answer("vector", [sample("many")]), "'many'", id="a word"),
        pytest.param(200, answer("vector", [{"histogram": [1, {}]}]), "not one of",
                     id="a native histogram"),
        pytest.param(200, answer("matrix", []), "a matrix", id="a range"),
        pytest.param(200, answer("string", [1, "x"]), "a string", id="a text"),
        pytest.param(200, b"<html><body>Sign in</body></html>", "not JSON: '<html>", id="HTML"),
        pytest.param(200, b"", "not JSON", id="nothing"),
        pytest.param(200, b"[" * 100_000, "not JSON", id="too deep"),
        pytest.param(200, b"[]", "not an object", id="a list"),
        pytest.param(200, b"{}", "does not say why", id="no status"),
        pytest.param(200, b'{"status": "success"}', "not one of", id="no data"),
        pytest.param(400, b'{"status":"error","error":"parse error"}', "'parse error'",
                     id="a query that is not understood"),
        pytest.param(503, b'{"status":"error"}', "status 503", id="not ready"),
        pytest.param(502, b"<html>", "status 502", id="a proxy's page"),
        pytest.param(503, answer("vector", [sample("1")]), "status 503", id="a number, and a 5xx"),
    ],
)  # fmt: skip
def test_a65_what_is_no_number_is_no_data(status: int, body: bytes, expected: str) -> None:
    found = reading(status, body)
    assert found.value is None
    assert expected in found.reason
    assert promql(found, 1.0, "q").verdict is Verdict.NO_DATA


@given(body=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_is_answered_it_is_a_reading(body: bytes) -> None:
    reading(200, body)


@given(
    data=st.recursive(
        st.none() | st.floats() | st.text(max_size=5),
        lambda x: (
            st.lists(x, max_size=3)
            | st.dictionaries(st.sampled_from(["resultType", "result", "value"]), x)
        ),
    )
)
def test_whatever_the_data_are_it_is_a_reading(data: Any) -> None:  # fmt: skip
    body = json.dumps({"status": "success", "data": data})
    with contextlib.suppress(AssertionError):
        assert reading(200, body.encode()).reason


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, Verdict.PASS), (0.05, Verdict.PASS), (0.0501, Verdict.FAIL), (-1.0, Verdict.PASS)],
)
def test_more_than_the_maximum_fails(value: float, expected: Verdict) -> None:
    found = promql(Reading(value), 0.05, "q")
    assert found.verdict is expected
    assert found.message == f"{value:.6g}, 0.05 allowed"
