"""A request read by its template is what it would be, read whole."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway_runtime.errors import ServingError
from slipway_runtime.inference.signature import Signature, TensorSpec
from slipway_runtime.protocols import codec_json, templates
from slipway_runtime.protocols.asked import Asked

X = TensorSpec("x", "FP32", (-1, 4))
N = TensorSpec("n", "INT64", (-1,))
Y = TensorSpec("y", "FP32", (-1, 3))


def signature(*inputs: TensorSpec) -> Signature:
    return Signature(inputs or (X,), (Y,))


def text(values: Any, *, shape: Any = (1, 4), **more: Any) -> bytes:
    entry = {"name": "x", "shape": list(shape), "datatype": "FP32", "data": values}
    return json.dumps({"inputs": [entry], **more}).encode()


def same(one: Asked, other: Asked) -> bool:
    left, right = one.request, other.request
    return (
        (left.outputs, left.id, one.forms, one.timeout_s)
        == (right.outputs, right.id, other.forms, other.timeout_s)
        and left.inputs.keys() == right.inputs.keys()
        and all(
            left.inputs[name].dtype == right.inputs[name].dtype
            and np.array_equal(left.inputs[name], right.inputs[name])
            for name in left.inputs
        )
    )


numbers = st.lists(
    st.one_of(st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(-99, 99)),
    min_size=4,
    max_size=4,
)


@given(first=numbers, second=numbers, more=st.sampled_from([{}, {"outputs": [{"name": "y"}]}]))
def test_only_the_numbers_are_read_again(
    first: list[float], second: list[float], more: dict[str, Any]
) -> None:
    learned = signature()
    codec_json.decode(text(first, **more), learned)
    seen = templates.known(text(second, **more), learned)
    assert seen is not None
    assert same(seen, codec_json.decode(text(second, **more), signature()))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param([1, 2, 3], id="few"),
        pytest.param([1, 2, 3, 4, 5], id="many"),
        pytest.param([[1, 2, 3, 4]], id="nested"),
        pytest.param([[1, 2], [3, 4]], id="nested otherwise"),
        pytest.param([1, 2, 3, "4"], id="a word"),
        pytest.param([1, 2, 3, "NaN"], id="NaN as a word"),
        pytest.param([1, 2, 3, float("nan")], id="NaN as a token"),
        pytest.param([1, 2, 3, None], id="null"),
        pytest.param([1, 2, 3, True], id="a boolean"),
        pytest.param([1, 2, 3, 1e300], id="too large"),
        pytest.param([1, 2, 3, {"data": [4]}], id="an object"),
        pytest.param([], id="none"),
    ],
)
def test_what_is_not_plain_numbers_is_read_whole(data: list[Any]) -> None:
    learned = signature()
    codec_json.decode(text([1, 2, 3, 4]), learned)
    assert learned.memo
    assert outcome(text(data), learned) == outcome(text(data), signature())


def outcome(body: bytes, of: Signature) -> str:
    """The tensors of a request, or the words of its refusal."""
    try:
        asked = codec_json.decode(body, of)
    except ServingError as err:
        return f"{type(err).__name__}: {err}"
    return str({name: tensor.tolist() for name, tensor in asked.request.inputs.items()})


DATA = {"name": "data", "shape": [2], "datatype": "INT64", "data": [1, 2]}


@pytest.mark.parametrize(
    ("body", "of"),
    [
        pytest.param(text([1, 2, 3, 4], data=[1, 2, 3, 4]), signature(), id="another after it"),
        pytest.param(
            b'{"data": [1, 2, 3, 4], ' + text([1, 2, 3, 4])[1:], signature(), id="another before it"
        ),
        pytest.param(
            text([1, 2, 3, 4]).replace(b'"data"', rb'"d\u0061ta"'), signature(), id="escaped"
        ),
        pytest.param(
            b'{"data": [1, 2, 3, 4], ' + text([1, 2, 3, 4])[1:].replace(b'"data"', rb'"d\u0061ta"'),
            signature(),
            id="another, and escaped",
        ),
        pytest.param(
            json.dumps({"inputs": [DATA]}).encode(),
            signature(TensorSpec("data", "INT64", (-1,))),
            id="a tensor called so",
        ),
        pytest.param(text([1, 2, 3, 4], id="a"), signature(), id="an id"),
        pytest.param(text([1, 2, 3, 4], note="x" * 3000), signature(), id="much around it"),
        pytest.param(
            json.dumps(
                {
                    "inputs": [
                        {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]},
                        {"name": "n", "shape": [1], "datatype": "INT64", "data": [1]},
                    ]
                }
            ).encode(),
            signature(X, N),
            id="two tensors",
        ),
    ],
)
def test_a_text_that_leaves_doubt_is_not_kept(body: bytes, of: Signature) -> None:
    codec_json.decode(body, of)
    assert not of.memo


def test_what_is_kept_is_bounded() -> None:
    learned = signature()
    for count in range(200):
        codec_json.decode(text([1, 2, 3, 4], note=count), learned)
    assert len(learned.memo) <= 64


def test_a_shape_is_part_of_the_text() -> None:
    learned = signature()
    codec_json.decode(text([1, 2, 3, 4]), learned)
    two = codec_json.decode(text(list(range(8)), shape=(2, 4)), learned)
    assert two.request.inputs["x"].shape == (2, 4)


def binary(values: list[float], **more: Any) -> tuple[bytes, bytes]:
    entry = {
        "name": "x",
        "shape": [1, 4],
        "datatype": "FP32",
        "parameters": {"binary_data_size": 16},
    }
    return json.dumps({"inputs": [entry], **more}).encode(), np.array(values, "<f4").tobytes()


@given(
    first=numbers,
    second=numbers,
    more=st.sampled_from([{}, {"parameters": {"binary_data_output": True, "timeout": 9}}]),
)
def test_a_text_before_binary_tensors_is_read_once(
    first: list[float], second: list[float], more: dict[str, Any]
) -> None:
    learned = signature()
    before, tail = binary(first, **more)
    codec_json.decode(before + tail, learned, len(before))
    _, tail = binary(second)
    seen = templates.known_layout(before, memoryview(tail), learned)
    assert seen is not None
    assert same(seen, codec_json.decode(before + tail, signature(), len(before)))


@pytest.mark.parametrize(
    ("before", "tail"),
    [
        pytest.param(binary([1, 2, 3, 4])[0], b"x" * 15, id="a byte too few"),
        pytest.param(binary([1, 2, 3, 4])[0], b"x" * 17, id="a byte too many"),
        pytest.param(binary([1, 2, 3, 4], id="a")[0], b"x" * 16, id="another text"),
    ],
)
def test_other_bytes_than_were_seen_are_read_whole(before: bytes, tail: bytes) -> None:
    learned = signature()
    known, numbers_ = binary([1, 2, 3, 4])
    codec_json.decode(known + numbers_, learned, len(known))
    assert templates.known_layout(before, memoryview(tail), learned) is None


def test_words_and_named_requests_are_not_remembered() -> None:
    words = signature(TensorSpec("w", "BYTES", (1,)))
    entry = {"name": "w", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 5}}
    text_ = json.dumps({"inputs": [entry]}).encode()
    codec_json.decode(text_ + b"\x01\0\0\0a", words, len(text_))
    named = signature()
    before, tail = binary([1, 2, 3, 4], id="mine")
    codec_json.decode(before + tail, named, len(before))
    assert not words.memo
    assert not named.memo
