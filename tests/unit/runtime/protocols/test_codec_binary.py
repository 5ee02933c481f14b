"""Tensors as bytes: laws per datatype, then every way to get the lengths wrong."""

import json
import struct
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from slipway_runtime.errors import InvalidRequest
from slipway_runtime.inference.datatypes import DTYPES
from slipway_runtime.inference.request import InferenceResponse
from slipway_runtime.inference.signature import Signature, TensorSpec
from slipway_runtime.protocols import codec_json
from slipway_runtime.protocols.asked import OutputForm, ranked
from slipway_runtime.protocols.codec_binary import read_tensor, write_tensor

SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
TWO = Signature(
    (TensorSpec("a", "FP32", (-1,)), TensorSpec("b", "BYTES", (-1,))),
    (TensorSpec("y", "FP32", (-1,)), TensorSpec("z", "FP32", (-1,))),
)


def words(*items: str) -> np.ndarray:
    tensor = np.empty(len(items), object)
    tensor[:] = items
    return tensor


def body(inputs: list[dict[str, Any]], tail: bytes, **more: Any) -> tuple[bytes, int]:
    text = json.dumps({"inputs": inputs, **more}).encode()
    return text + tail, len(text)


def input_of(
    name: str, datatype: str, shape: list[int], size: Any = None, **more: Any
) -> dict[str, Any]:
    parameters = {} if size is None else {"parameters": {"binary_data_size": size}}
    return {"name": name, "datatype": datatype, "shape": shape, **parameters, **more}


def named(datatype: str, **more: Any) -> TensorSpec:
    return TensorSpec("x", datatype, (), **more)


def test_bytes_that_are_no_text_come_through_where_files_are_expected() -> None:
    raw = write_tensor(words("é"))[:4] + b"\xff\xfe"
    found = read_tensor(named("BYTES", is_binary=True), raw, (1,))
    assert found.tolist() == [b"\xff\xfe"]
    with pytest.raises(InvalidRequest, match="no valid UTF-8"):
        read_tensor(named("BYTES"), raw, (1,))


@given(st.sampled_from(sorted(set(DTYPES) - {"BYTES", "BF16"})), st.data())
def test_numbers_survive_as_bytes(datatype: str, data: st.DataObject) -> None:
    tensor = data.draw(hnp.arrays(DTYPES[datatype], SHAPES))
    found = read_tensor(named(datatype), write_tensor(tensor), tensor.shape)
    assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
    assert found.tobytes() == tensor.tobytes()


@given(hnp.arrays(np.uint16, SHAPES))
def test_bfloat16_survives_bit_for_bit(bits: np.ndarray) -> None:
    tensor = bits.view(ml_dtypes.bfloat16)
    found = read_tensor(named("BF16"), write_tensor(tensor), tensor.shape)
    assert found.dtype == DTYPES["BF16"]
    assert found.view(np.uint16).tolist() == bits.tolist()


@given(st.lists(st.text(st.characters(codec="utf-8"))))
def test_words_survive_as_bytes(items: list[str]) -> None:
    raw = write_tensor(words(*items))
    assert read_tensor(named("BYTES"), raw, (len(items),)).tolist() == items


@given(st.binary(max_size=40), st.integers(0, 6))
def test_no_bytes_do_anything_but_read_or_be_refused(raw: bytes, count: int) -> None:
    try:
        found = read_tensor(named("BYTES"), raw, (count,))
    except InvalidRequest:
        return
    assert write_tensor(found) == raw


def test_an_aligned_tensor_is_a_view_and_others_are_copied() -> None:
    raw = bytes(bytearray(8))
    aligned = read_tensor(named("FP32"), raw, (2,))
    assert aligned.base is not None
    odd = read_tensor(named("FP32"), memoryview(b"\0" + raw)[1:], (2,))
    assert odd.flags.aligned


@pytest.mark.parametrize(
    ("raw", "datatype", "shape", "expected"),
    [
        pytest.param(b"\0" * 7, "FP32", (2,), "7 bytes of data, expected 8", id="too few"),
        pytest.param(b"\0" * 9, "FP32", (2,), "9 bytes of data, expected 8", id="too many"),
        pytest.param(b"\0\1\2", "BOOL", (3,), "byte 2 is above 1", id="neither true nor false"),
        pytest.param(b"", "BYTES", (1,), "expected 1 elements of BYTES", id="no element"),
        pytest.param(
            b"\xff\xff\xff\xff", "BYTES", (1,), "data[0] runs past the end", id="a huge length"
        ),
        pytest.param(
            struct.pack("<I", 5) + b"ab", "BYTES", (1,), "data[0] runs past the end", id="cut"
        ),
        pytest.param(
            struct.pack("<I", 1) + b"ab\0\0\0",
            "BYTES",
            (1,),
            "4 bytes after the last element",
            id="surplus",
        ),
        pytest.param(
            struct.pack("<I", 1) + b"\xff",
            "BYTES",
            (1,),
            "data[0] is no valid UTF-8",
            id="no UTF-8",
        ),
        pytest.param(b"", "BYTES", (2**30,), "0 bytes of data", id="a shape of a billion"),
    ],
)
def test_wrong_bytes_are_refused(
    raw: bytes, datatype: str, shape: tuple[int, ...], expected: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_tensor(named(datatype), raw, shape)
    assert expected in str(caught.value)


A_BYTES = np.array([1, 2], np.float32).tobytes()
B_BYTES = write_tensor(words("é", ""))


@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param(
            ([input_of("a", "FP32", [2], 8), input_of("b", "BYTES", [2], 10)], A_BYTES + B_BYTES),
            id="both in binary",
        ),
        pytest.param(
            ([input_of("b", "BYTES", [2], 10), input_of("a", "FP32", [2], 8)], B_BYTES + A_BYTES),
            id="in the order of the request",
        ),
        pytest.param(
            ([input_of("a", "FP32", [2], 8), input_of("b", "BYTES", [2], data=["é", ""])], A_BYTES),
            id="one in JSON",
        ),
        pytest.param(
            (
                [input_of("a", "FP32", [2], data=[[1], [2]]), input_of("b", "BYTES", [2], 10)],
                B_BYTES,
            ),
            id="the other in JSON, nested",
        ),
    ],
)
def test_binary_and_json_inputs_mix(inputs: tuple[list[dict[str, Any]], bytes]) -> None:
    text, length = body(*inputs)
    found = codec_json.decode(text, TWO, length).request.inputs
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        "a": [1, 2],
        "b": ["é", ""],
    }


ONE = Signature((TensorSpec("a", "FP32", (-1,)),), TWO.outputs)


@pytest.mark.parametrize(
    ("inputs", "tail", "shift", "expected"),
    [
        pytest.param([input_of("a", "FP32", [2], 8)], A_BYTES[:7], 0, "got 8", id="tail too short"),
        pytest.param(
            [input_of("a", "FP32", [2], 8)], A_BYTES + b"x", 0, "1 bytes after", id="tail too long"
        ),
        pytest.param(
            [input_of("a", "FP32", [3], 8)], A_BYTES, 0, "expected 12", id="size is not the shape's"
        ),
        pytest.param([input_of("a", "FP32", [2], -8)], A_BYTES, 0, "got -8", id="negative"),
        pytest.param([input_of("a", "FP32", [2], 2**63)], A_BYTES, 0, "got 9223", id="huge"),
        pytest.param([input_of("a", "FP32", [2], "8")], A_BYTES, 0, "got '8'", id="a word"),
        pytest.param([input_of("a", "FP32", [2], True)], b"x", 0, "got True", id="a boolean"),
        pytest.param([input_of("a", "FP32", [2])], A_BYTES, 0, "data: missing", id="no size"),
        pytest.param(
            [input_of("a", "FP32", [2], 8, data=[1, 2])], A_BYTES, 0, "has both", id="both forms"
        ),
        pytest.param(
            [input_of("a", "FP32", [2], 8)], A_BYTES, 99, "expected at most the", id="head too long"
        ),
    ],
)
def test_wrong_lengths_are_refused(
    inputs: list[dict[str, Any]], tail: bytes, shift: int, expected: str
) -> None:
    text, length = body(inputs, tail)
    with pytest.raises(InvalidRequest) as caught:
        codec_json.decode(text, ONE, length + shift)
    assert expected in str(caught.value)


def test_a_binary_size_needs_the_header() -> None:
    text, _ = body([input_of("a", "FP32", [2], 8)], b"")
    with pytest.raises(InvalidRequest, match="need the header inference-header-content-length"):
        codec_json.decode(text, ONE)


def test_an_empty_tensor_has_no_bytes() -> None:
    text, length = body([input_of("a", "FP32", [0], 0)], b"")
    assert codec_json.decode(text, ONE, length).request.inputs["a"].shape == (0,)


def test_an_empty_tensor_of_kserves_client_is_read() -> None:
    """It says a size, and null for the data; nothing is in binary, so it sends no header."""
    text, _ = body([input_of("a", "FP32", [0], 0, data=None)], b"")
    assert codec_json.decode(text, ONE).request.inputs["a"].shape == (0,)


@pytest.mark.parametrize(
    ("spec", "raw", "shape"),
    [
        pytest.param(TensorSpec("x", "FP32", (-1, 4)), b"\0" * 32, (2, 4), id="rows from the size"),
        pytest.param(TensorSpec("x", "FP32", (-1, -1)), b"\0" * 12, (1, 3), id="the batch is 1"),
        pytest.param(TensorSpec("x", "FP32", (2,)), b"\0" * 8, (2,), id="a fixed shape"),
        pytest.param(TensorSpec("x", "BYTES", (-1,)), b"an image", (1,), id="one word, unprefixed"),
        pytest.param(TensorSpec("x", "BYTES", (-1, 1)), b"", (1, 1), id="an empty word"),
    ],
)
def test_a_raw_body_is_one_tensor(spec: TensorSpec, raw: bytes, shape: tuple[int, ...]) -> None:
    asked = codec_json.decode(raw, Signature((spec,), TWO.outputs), 0)
    assert asked.request.inputs["x"].shape == shape
    assert asked.forms == (OutputForm(is_binary=True),) * 2


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        pytest.param(TWO, "needs a model of 1 input, this one has 2", id="two inputs"),
        pytest.param(
            Signature((TensorSpec("x", "FP32", (-1, -1, -1)),), ()),
            "cannot be deduced",
            id="two free dimensions",
        ),
        pytest.param(
            Signature((TensorSpec("x", "FP32", (4,)),), ()), "expected 16", id="another size"
        ),
        pytest.param(
            Signature((TensorSpec("x", "BYTES", (2,)),), ()), "expected one element", id="two words"
        ),
    ],
)
def test_a_raw_body_needs_a_shape_to_deduce(signature: Signature, expected: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        codec_json.decode(b"\0" * 8, signature, 0)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        pytest.param({}, [False, False], id="JSON by default"),
        pytest.param({"parameters": {"binary_data_output": True}}, [True, True], id="all"),
        pytest.param(
            {
                "parameters": {"binary_data_output": True},
                "outputs": [{"name": "z", "parameters": {"binary_data": False}}, {"name": "y"}],
            },
            [False, True],
            id="all but one",
        ),
        pytest.param(
            {"outputs": [{"name": "z", "parameters": {"binary_data": True}}, {"name": "y"}]},
            [True, False],
            id="one",
        ),
    ],
)
def test_each_output_has_its_form(more: dict[str, Any], expected: list[bool]) -> None:
    text, _ = body([input_of("a", "FP32", [1], data=[1])], b"", **more)
    assert [form.is_binary for form in codec_json.decode(text, ONE).forms] == expected


def test_a_mixed_answer_has_its_tensors_behind_the_json() -> None:
    outputs = (
        (TWO.outputs[0], np.array([1, 2], np.float32)),
        (TensorSpec("w", "BYTES", (-1,)), words("ab")),
    )
    forms = (OutputForm(), OutputForm(is_binary=True))
    written = codec_json.encode(
        InferenceResponse(outputs, "7"), forms, model_name="m", model_version="1"
    )
    assert written.json_bytes is not None
    assert json.loads(written.body[: written.json_bytes]) == {
        "model_name": "m",
        "model_version": "1",
        "id": "7",
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [2], "data": [1, 2]},
            {
                "name": "w",
                "datatype": "BYTES",
                "shape": [1],
                "parameters": {"binary_data_size": 6},
            },
        ],
    }
    assert written.body[written.json_bytes :] == b"\2\0\0\0ab"


@pytest.mark.parametrize(
    ("tensor", "shape", "classes", "expected"),
    [
        pytest.param(
            np.array([[0.5, 2.0, -1.0]], np.float32),
            (-1, 3),
            2,
            [["2.000000:1", "0.500000:0"]],
            id="the two highest of a row",
        ),
        pytest.param(
            np.array([[3, 3], [1, 2]], np.int64),
            (-1, 2),
            1,
            [["3:0"], ["2:1"]],
            id="equal ones by index",
        ),
        pytest.param(
            np.array([0, 255, 7], np.uint8), (3,), 9, ["255:1", "7:2", "0:0"], id="without a batch"
        ),
        pytest.param(
            np.array([[-(2**63), 2**63 - 1]], np.int64),
            (-1, 2),
            2,
            [["9223372036854775807:1", "-9223372036854775808:0"]],
            id="the ends of INT64",
        ),
        pytest.param(
            np.array([[True, False]]), (-1, 2), 2, [["1:0", "0:1"]], id="true before false"
        ),
        pytest.param(np.empty((0, 3), np.float32), (-1, 3), 2, [], id="no rows"),
    ],
)
def test_classes_are_ranked(
    tensor: np.ndarray, shape: tuple[int, ...], classes: int, expected: list[Any]
) -> None:
    found = ranked(TensorSpec("y", "FP32", shape), tensor, OutputForm(classes=classes))
    assert (found.datatype, found.tensor.tolist()) == ("BYTES", expected)


@pytest.mark.parametrize(
    "tensor", [pytest.param(words("a"), id="words"), pytest.param(np.zeros(1_000_001), id="many")]
)
def test_not_everything_can_be_ranked(tensor: np.ndarray) -> None:
    with pytest.raises(InvalidRequest):
        ranked(TensorSpec("y", "FP32", (-1,)), tensor, OutputForm(classes=1))


def test_b70_what_is_written_is_little_endian_and_row_by_row() -> None:
    whole = np.arange(6, dtype=np.float32).reshape(2, 3)
    expected = np.ascontiguousarray(whole.T).tobytes()
    assert bytes(write_tensor(whole.T)) == expected
    assert bytes(write_tensor(np.asfortranarray(whole.T))) == expected
