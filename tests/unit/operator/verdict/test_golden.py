"""Golden requests: what is compared, what is forgiven, and what never is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slipway_operator.verdict.golden import (
    Comparison,
    Tolerance,
    answer_of,
    outputs_of,
    samples_of,
)
from slipway_operator.verdict.outcome import Verdict

NAN, INFINITY = float("nan"), float("inf")


def output(data: list[Any], shape: list[int], datatype: str = "FP32", name: str = "y") -> Any:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


USUAL = Tolerance()


def judged(
    got: list[Any], expected: list[Any] | None, tolerance: Tolerance = USUAL
) -> tuple[Verdict, str]:
    wanted = None if expected is None else outputs_of({"outputs": expected})
    known = Comparison().answered(1, outputs_of({"outputs": got}), wanted)
    found = known.finding(tolerance)
    return found.verdict, found.message


BESIDE = Tolerance(atol=None, agreement=0.5)


@pytest.mark.parametrize(
    ("got", "expected", "tolerance", "verdict", "text"),
    [
        pytest.param(
            output([0.1, 0.9], [1, 2]), output([0.1005, 0.8995], [1, 2]), Tolerance(),
            Verdict.PASS, "1 of 1 answers compared, largest difference 0.0005, 100 % of the labels",
            id="within the tolerance",
        ),
        pytest.param(
            output([0.1, 0.9], [1, 2]), output([0.2, 0.8], [1, 2]), Tolerance(), Verdict.FAIL,
            "sample 1: output 'y': got 0.1 at element 0, expected 0.2; it differs by 0.1, 0.001 al",
            id="beyond it",
        ),
        pytest.param(
            output([0.1, 0.9], [1, 2]), output([0.2, 0.8], [1, 2]), BESIDE, Verdict.PASS,
            "100 % of the labels agree", id="another number, the same label",
        ),
        pytest.param(
            output([0.4, 0.6], [1, 2]), output([0.6, 0.4], [1, 2]), BESIDE, Verdict.FAIL,
            "0 of 1 labels of output 'y' agree (0.0 %), 50 % are needed", id="another label",
        ),
        pytest.param(
            output([1, 2, 3, 3], [4], "INT64"), output([1, 2, 3, 4], [4], "INT64"), BESIDE,
            Verdict.PASS, "75 % of the labels agree", id="integers are labels",
        ),
        pytest.param(
            output(["cat"], [1], "BYTES"), output(["dog"], [1], "BYTES"), Tolerance(),
            Verdict.FAIL, "0 of 1 labels", id="so is text",
        ),
        pytest.param(
            output([True], [1], "BOOL"), output([False], [1], "BOOL"), Tolerance(),
            Verdict.FAIL, "0 of 1 labels", id="and truth",
        ),
        pytest.param(
            output([0.5], [1]), output([0.7], [1]), BESIDE, Verdict.NO_DATA,
            "no output has labels to compare; set golden.atol", id="a regression has no labels",
        ),
        pytest.param(
            output([0.5], [1], "FP64"), output([0.5], [1]), Tolerance(), Verdict.FAIL,
            "sample 1: output 'y': got FP64 [1], expected FP32 [1]", id="another type",
        ),
        pytest.param(
            output([0.5, 0.5], [2, 1]), output([0.5, 0.5], [1, 2]), Tolerance(), Verdict.FAIL,
            "got FP32 [2, 1], expected FP32 [1, 2]", id="another shape",
        ),
        pytest.param(
            output([0.5], [1], name="z"), output([0.5], [1]), Tolerance(), Verdict.FAIL,
            "output 'y' is missing", id="another name",
        ),
        pytest.param(
            output([NAN], [1]), output([0.5], [1]), Tolerance(atol=1e9), Verdict.FAIL,
            "got nan at element 0, expected 0.5", id="NaN is forgiven nobody",
        ),
        pytest.param(
            output([INFINITY], [1]), output([0.5], [1]), Tolerance(atol=1e9), Verdict.FAIL,
            "got inf at element 0", id="nor is an infinity",
        ),
        pytest.param(
            output([NAN, INFINITY], [2]), output([NAN, INFINITY], [2]), Tolerance(), Verdict.PASS,
            "largest difference 0", id="unless it is expected",
        ),
        pytest.param(
            output([0.5], [1]), output([NAN], [1]), Tolerance(), Verdict.FAIL,
            "got 0.5 at element 0, expected nan", id="a number in place of NaN",
        ),
    ],
)  # fmt: skip
def test_an_answer_is_compared(
    got: Any, expected: Any, tolerance: Tolerance, verdict: Verdict, text: str
) -> None:
    found = judged([got], [expected], tolerance)
    assert found[0] is verdict
    assert text in found[1]


def test_an_answer_without_anything_to_compare_with_has_to_be_finite() -> None:
    assert judged([output([0.5], [1])], None) == (
        Verdict.NO_DATA, "no sample has outputs to compare with",
    )  # fmt: skip
    assert judged([output([NAN], [1])], None) == (
        Verdict.FAIL, "sample 1: output 'y' has NaN or an infinity",
    )  # fmt: skip


def test_the_output_that_agrees_least_decides() -> None:
    good, bad = output([1] * 100, [100], "INT64", "a"), output([1] * 10, [10], "INT64", "b")
    other = output([2] * 9 + [1], [10], "INT64", "b")
    verdict, text = judged([good, bad], [good, other])
    assert (verdict, text[:30]) == (Verdict.FAIL, "1 of 10 labels of output 'b' a")


def test_all_answers_are_judged_together_and_the_first_defect_is_told() -> None:
    right, wrong = ({"outputs": [output([n], [1], "INT64")]} for n in (1, 2))
    known = Comparison()
    for number in range(1, 101):
        got = right if number > 2 else wrong
        known = known.answered(number, outputs_of(got), outputs_of(right))
    assert known.finding(Tolerance()).verdict is Verdict.PASS
    assert known.finding(Tolerance(agreement=0.99)).verdict is Verdict.FAIL
    again = known.refused("one").refused("two")
    assert again.finding(Tolerance()).message == "one"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("<html>", "got no JSON", id="no JSON"),
        pytest.param("[" * 100_000, "got no JSON", id="too deep"),
        pytest.param("{}", "expected a list of 1 to 1000 requests", id="no list"),
        pytest.param("[]", "expected a list of 1 to 1000", id="none"),
        pytest.param(json.dumps([{"inputs": []}] * 1001), "1 to 1000", id="too many"),
        pytest.param('[{"inputs": []}, 7]', "sample 2: expected an object", id="no object"),
        pytest.param(
            '[{"inputs": [], "outputs": [{"name": "y"}]}]',
            "sample 1: expected outputs with name, datatype, shape and data", id="half an output",
        ),
        pytest.param(
            json.dumps([{"inputs": [], "outputs": [output([1], [2])]}]),
            "sample 1: output 'y': got 1 elements for shape [2]", id="too few elements",
        ),
        pytest.param(
            json.dumps([{"inputs": [], "outputs": [output(["a"], [1])]}]),
            "sample 1: output 'y': expected numbers for FP32", id="text for numbers",
        ),
    ],
)  # fmt: skip
def test_what_are_no_samples(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=r"^") as told:
        samples_of(text)
    assert expected in str(told.value)


def test_samples_are_requests_and_what_is_expected_of_them() -> None:
    inputs = [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1.0]}]
    expected = output([[0.1, 0.9]], [1, 2])
    first, second = samples_of(
        json.dumps([{"inputs": inputs, "outputs": [expected], "id": "1"}, {"inputs": inputs}])
    )
    assert first.request == second.request == {"inputs": inputs}
    assert first.expected is not None
    assert first.expected["y"].data == (0.1, 0.9)
    assert second.expected is None


@pytest.mark.parametrize("body", [b"", b"\xff", b"[]", b'{"outputs": 7}', b"[" * 100_000])
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"^"):
        answer_of(body)
