"""JSON to tensors and back: laws first, then values, then the request around them."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from slipway_runtime.errors import InvalidRequest, InvalidTensor
from slipway_runtime.inference.datatypes import DTYPES
from slipway_runtime.inference.request import InferenceRequest, InferenceResponse
from slipway_runtime.inference.session import Cancellation, Session
from slipway_runtime.inference.signature import Signature, TensorSpec
from slipway_runtime.protocols import codec_json, json_data
from tests.unit.runtime import models

NUMBERS = sorted(set(DTYPES) - {"BYTES", "BF16"})  # hypothesis cannot draw bfloat16


def taking(*specs: TensorSpec) -> Signature:
    return Signature(specs, (TensorSpec("y", "FP32", (-1,)), TensorSpec("z", "FP32", (-1,))))


def one(datatype: str, shape: tuple[int, ...] = (-1,)) -> Signature:
    return taking(TensorSpec("x", datatype, shape))


def text_of(datatype: str, shape: list[int], data: str) -> bytes:
    head = f'"name": "x", "datatype": "{datatype}", "shape": {json.dumps(shape)}'
    return f'{{"inputs": [{{{head}, "data": {data}}}]}}'.encode()


def decode(body: bytes, signature: Signature) -> InferenceRequest:
    return codec_json.decode(body, signature).request


def encode(response: InferenceResponse, *, model_name: str, model_version: str) -> bytes:
    return codec_json.encode(response, model_name=model_name, model_version=model_version).body


def decoded(datatype: str, shape: list[int], data: str, rank: int | None = None) -> np.ndarray:
    signature = one(datatype, (-1,) * (len(shape) if rank is None else rank))
    return decode(text_of(datatype, shape, data), signature).inputs["x"]


def refusal(body: bytes, signature: Signature | None = None) -> str:
    with pytest.raises(InvalidRequest) as caught:
        decode(body, signature or one("FP32"))
    return str(caught.value)


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    return (
        found.dtype == expected.dtype
        and found.shape == expected.shape
        and np.array_equal(found, expected, equal_nan=expected.dtype.kind == "f")
    )


# --- laws


@given(
    st.sampled_from(NUMBERS).flatmap(
        lambda name: st.tuples(
            st.just(name),
            hnp.arrays(
                DTYPES[name], hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
            ),
        )
    )
)
def test_a_tensor_survives_writing_and_reading(case: tuple[str, np.ndarray]) -> None:
    name, tensor = case
    spec = TensorSpec("x", name, (-1,) * tensor.ndim)
    body = encode(InferenceResponse(((spec, tensor),)), model_name="m", model_version="1")
    written = json.loads(body)["outputs"]
    request = orjson.dumps({"inputs": written})
    assert same(decode(request, Signature((spec,), ())).inputs["x"], tensor)


@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=4), elements=st.floats(-10, 10, width=32)))
def test_nested_and_flat_data_are_the_same_tensor(tensor: np.ndarray) -> None:
    shape = list(tensor.shape)
    nested = decoded("FP32", shape, json.dumps(tensor.tolist()))
    flat = decoded("FP32", shape, json.dumps(tensor.reshape(-1).tolist()))
    assert same(nested, tensor)
    assert same(flat, tensor)


@given(st.lists(st.text(st.characters(codec="utf-8"))))
def test_strings_survive_writing_and_reading(words: list[str]) -> None:
    tensor = np.empty(len(words), object)
    tensor[:] = words
    assert decoded("BYTES", [len(words)], json.dumps(words)).tolist() == words
    spec = TensorSpec("x", "BYTES", (-1,))
    body = encode(InferenceResponse(((spec, tensor),)), model_name="m", model_version="1")
    assert json.loads(body)["outputs"][0]["data"] == words


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.just(4)),
        elements=st.floats(-1e6, 1e6, width=32),
    )
)
def test_json_answers_what_onnxruntime_computes(rows: np.ndarray) -> None:
    import onnxruntime

    model = models.affine().SerializeToString()
    direct = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    [expected] = direct.run(None, {"x": rows})
    session = _session()
    request = decode(
        text_of("FP32", list(rows.shape), json.dumps(rows.tolist())), session.signature
    )
    results = session.run(request.inputs, ["scores"], Cancellation())
    response = InferenceResponse(tuple(zip(request.outputs, results, strict=True)))
    body = json.loads(encode(response, model_name="m", model_version="1"))
    found = np.array(body["outputs"][0]["data"], np.float32).reshape(body["outputs"][0]["shape"])
    assert same(found, expected)


_SESSIONS: list[Session] = []


def _session() -> Session:
    if not _SESSIONS:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            path = models.saved(models.affine(), Path(folder) / "model.onnx")
            _SESSIONS.append(Session(path, threads=1))
    return _SESSIONS[0]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "inputs",
                        "outputs",
                        "id",
                        "parameters",
                        "name",
                        "shape",
                        "datatype",
                        "data",
                        "x",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
    )
)
def test_no_json_document_does_anything_but_decode_or_be_refused(document: Any) -> None:
    body = json.dumps(document).encode()
    with suppress(InvalidRequest):
        assert isinstance(decode(body, one("FP32")), InferenceRequest)


@given(st.binary(max_size=60))
def test_no_bytes_do_anything_but_be_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode(body, one("FP32"))


@given(
    st.lists(
        st.one_of(
            st.floats(allow_nan=False, allow_infinity=False, width=32),
            st.lists(st.floats(0, 1, width=32), max_size=3),
        ),
        max_size=6,
    ),
    st.integers(0, 6),
)
def test_ragged_data_is_never_flattened_in_silence(data: list[Any], size: int) -> None:
    nested = [isinstance(item, list) for item in data]
    regular = not any(nested) or (all(nested) and len({len(item) for item in data}) == 1)
    try:
        tensor = decoded("FP32", [size], json.dumps(data))
    except InvalidTensor:
        return
    assert regular
    assert tensor.tolist() == [
        value for item in data for value in (item if isinstance(item, list) else [item])
    ]


# --- values


@pytest.mark.parametrize(
    ("datatype", "data", "expected"),
    [
        pytest.param(
            "INT64", "[9007199254740993]", [2**53 + 1], id="an integer beyond 2**53 is exact"
        ),
        pytest.param("INT64", "[-9223372036854775808]", [-(2**63)], id="the least INT64"),
        pytest.param("UINT64", "[18446744073709551615]", [2**64 - 1], id="the greatest UINT64"),
        pytest.param("INT32", "[1.0, 2]", [1, 2], id="an integral float is an integer"),
        pytest.param("UINT8", "[0, 255]", [0, 255], id="the ends of a range"),
        pytest.param(
            "BOOL", "[true, 0, 1, false]", [True, False, True, False], id="0 and 1 are booleans"
        ),
        pytest.param("FP64", "[0.1, 1e308]", [0.1, 1e308], id="a double is exact"),
        pytest.param("FP32", "[1, 16777217]", [1.0, 16777216.0], id="an integer is a number"),
        pytest.param("FP16", "[0.5, 65504]", [0.5, 65504.0], id="FP16 is converted"),
        pytest.param(
            "FP32",
            "[1e30000000, 2]".replace("e30000000", "e30"),
            [np.float32(1e30), 2.0],
            id="a large number",
        ),
        pytest.param("FP64", "[1" + "0" * 30 + "]", [1e30], id="an integer beyond 64 bits"),
        pytest.param(
            "BYTES",
            '["", "ä", "a\\u0000b", "[", "\\ud83d\\ude00"]',
            ["", "ä", "a\0b", "[", "😀"],
            id="any text",
        ),
    ],
)
def test_elements_are_read_exactly(datatype: str, data: str, expected: list[Any]) -> None:
    assert decoded(datatype, [len(expected)], data).tolist() == expected


@pytest.mark.parametrize(
    "data", ["[NaN, Infinity, -Infinity, 1]", '["NaN", "Infinity", "-Infinity", 1]']
)
def test_not_a_number_and_infinity_are_read_as_tokens_and_as_words(data: str) -> None:
    expected = np.array([np.nan, np.inf, -np.inf, 1], np.float32)
    assert same(decoded("FP32", [4], data), expected)


@pytest.mark.parametrize(
    ("datatype", "data", "expected"),
    [
        pytest.param(
            "UINT8",
            "[300]",
            "data[0] is 300, expected an integer from 0 to 255 for UINT8",
            id="300 for UINT8",
        ),
        pytest.param(
            "UINT32",
            "[0, -1]",
            "data[1] is -1, expected an integer from 0 to 4294967295 for UINT32",
            id="-1 for UINT32",
        ),
        pytest.param(
            "UINT64",
            "[18446744073709551616]",
            "data[0] is 18446744073709551616",
            id="2**64 for UINT64",
        ),
        pytest.param(
            "INT32", "[1.5]", "data[0] is 1.5, expected an integer", id="a fraction for INT32"
        ),
        pytest.param(
            "INT64", "[true]", "data[0] is True, expected an integer", id="a boolean for INT64"
        ),
        pytest.param(
            "INT64",
            "[1e300]",
            "data[0] is 1e+300, expected an integer",
            id="a huge float for INT64",
        ),
        pytest.param("INT64", "[NaN]", "data[0] is 'NaN', expected an integer", id="NaN for INT64"),
        pytest.param(
            "FP32",
            '["1"]',
            "data[0] is '1', expected a number in the range of FP32",
            id="a string for FP32",
        ),
        pytest.param("FP32", "[null]", "data[0] is None, expected a number", id="null for FP32"),
        pytest.param(
            "FP32", "[true]", "data[0] is True, expected a number", id="a boolean for FP32"
        ),
        pytest.param(
            "FP32",
            "[1, 1e39]",
            "data[1] is 1e+39, expected a number in the range of FP32",
            id="beyond FP32",
        ),
        pytest.param(
            "FP16",
            "[70000]",
            "data[0] is 70000, expected a number in the range of FP16",
            id="beyond FP16",
        ),
        pytest.param(
            "FP64", "[1e999]", "data[0] is inf, expected a number", id="beyond every float"
        ),
        pytest.param(
            "FP64",
            "[" + "1" + "0" * 400 + "]",
            "data[0] is 1000",
            id="an integer beyond every float",
        ),
        pytest.param("BOOL", "[2]", "data[0] is 2, expected true or false", id="2 for BOOL"),
        pytest.param(
            "BOOL", '["true"]', "data[0] is 'true', expected true or false", id="a word for BOOL"
        ),
        pytest.param("BYTES", "[1]", "data[0] is 1, expected a string", id="a number for BYTES"),
        pytest.param(
            "BYTES", "[NaN]", "data[0] is 'NaN', expected a string", id="a bare token for BYTES"
        ),
        pytest.param(
            "BYTES",
            '["\\ud800"]',
            "data[0] is '\\ud800', expected a string of valid Unicode",
            id="a lone surrogate",
        ),
        pytest.param("FP32", "[{}]", "data[0] is {}, expected a number", id="an object"),
    ],
)
def test_elements_that_do_not_fit_are_refused_by_index(
    datatype: str, data: str, expected: str
) -> None:
    size = data.count(",") + 1
    assert f"input 'x': {expected}" in refusal(text_of(datatype, [size], data), one(datatype))


@pytest.mark.parametrize(
    ("shape", "data", "expected"),
    [
        pytest.param([2, 2], "[[1,2,3],[4]]", "data is ragged", id="rows of different lengths"),
        pytest.param([3], "[1,[2],3]", "data is ragged", id="a list between numbers"),
        pytest.param([3], "[[1],2,3]", "data is ragged", id="a list before numbers"),
        pytest.param([2, 2], "[[1,2],[3,[4]]]", "data is ragged", id="a list inside a row"),
        pytest.param(
            [2], "[1]", "element count of data is 1, expected 2 for shape [2]", id="too few"
        ),
        pytest.param([2], "[1,2,3]", "element count of data is 3, expected 2", id="too many"),
        pytest.param([2], "[]", "element count of data is 0, expected 2", id="none"),
        pytest.param([1], "1", "data is 1, expected a list", id="a bare number"),
        pytest.param(
            [1], "[" * 40 + "1" + "]" * 40, "nesting depth of data is above 32", id="too deep"
        ),
    ],
)
def test_data_that_is_no_such_tensor_is_refused(shape: list[int], data: str, expected: str) -> None:
    signature = one("FP32", (-1,) * len(shape))
    assert f"input 'x': {expected}" in refusal(text_of("FP32", shape, data), signature)


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        pytest.param([4], "[[1,2],[3,4]]", id="nested deeper than its shape"),
        pytest.param([2, 2], "[[1],[2],[3],[4]]", id="nested in another shape"),
        pytest.param([1, 2, 2], "[[1,2],[3,4]]", id="nested less than its shape"),
    ],
)
def test_regular_data_of_the_right_count_counts_as_flat(shape: list[int], data: str) -> None:
    assert decoded("FP32", shape, data).reshape(-1).tolist() == list(
        range(1, 1 + data.count(",") + 1)
    )


def test_a_scalar_has_one_element() -> None:
    assert decoded("FP32", [], "[5]", rank=0).tolist() == 5.0


def test_an_empty_tensor_is_a_tensor() -> None:
    assert decoded("FP32", [0, 4], "[]").shape == (0, 4)


# --- the request around them


def request(**changes: Any) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1.0]}
    return json.dumps({"inputs": [tensor], **changes}).encode()


def tensor_with(**changes: Any) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1], "data": [1.0], **changes}
    return request(inputs=[{key: value for key, value in tensor.items() if value != "drop"}])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b"", "body: empty, expected an object with 'inputs'", id="nothing"),
        pytest.param(b"{}", "inputs: missing, expected a list of tensors", id="an empty object"),
        pytest.param(b"[]", "body: got [], expected an object with 'inputs'", id="a list"),
        pytest.param(b"null", "body: got None, expected an object", id="null"),
        pytest.param(b'"x"', "body: got 'x', expected an object", id="a string"),
        pytest.param(b"123", "body: got 123, expected an object", id="a number"),
        pytest.param(request()[:-3], "body: no valid JSON", id="truncated"),
        pytest.param(request() + b"x", "body: no valid JSON", id="garbage behind it"),
        pytest.param(request().decode().encode("utf-16"), "body: no valid", id="UTF-16"),
        pytest.param(b'{"id": "\xff"}', "body: no valid UTF-8", id="invalid UTF-8"),
        pytest.param(b"[" * 100_000, "body: nesting depth is above 100", id="a deep list"),
        pytest.param(b'{"a":' * 1100 + b"1" + b"}" * 1100, "nesting depth", id="a deep object"),
        pytest.param(b"[" + b"[]," * 600_000 + b"[]]", "more than 524288 lists", id="empty lists"),
        pytest.param(b'{"inputs": [], "inputs": []}', "a key occurs twice", id="a key twice"),
        pytest.param(
            b'{"inputs": [NaN], "inputs": []}', "a key occurs twice", id="twice, the slow way"
        ),
        pytest.param(b"{" + b'"' + b'\\"' * 100_000, "body: no valid JSON", id="an endless string"),
        pytest.param(b'{"id": ' + b"1" * 5000 + b"}", "body: no valid JSON", id="5000 digits"),
        pytest.param(
            request(inputs=[]), "inputs: got [], expected a list of tensors", id="no inputs"
        ),
        pytest.param(
            request(inputs={}), "inputs: got {}, expected a list", id="inputs as an object"
        ),
        pytest.param(request(inputs=[1]), "inputs[0]: got 1, expected an object", id="no tensor"),
        pytest.param(
            request(inputs=[{}] * 65),
            "inputs: 65 tensors, expected at most 64",
            id="too many inputs",
        ),
        pytest.param(tensor_with(name="drop"), "inputs[0].name: missing", id="no name"),
        pytest.param(tensor_with(shape="drop"), "inputs[0].shape: missing", id="no shape"),
        pytest.param(tensor_with(datatype="drop"), "inputs[0].datatype: missing", id="no datatype"),
        pytest.param(tensor_with(data="drop"), "inputs[0].data: missing", id="no data"),
        pytest.param(
            tensor_with(name=1), "inputs[0].name: got 1, expected a string", id="a number as name"
        ),
        pytest.param(
            tensor_with(name=[1]), "inputs[0].name: got [1], expected a string", id="a list as name"
        ),
        pytest.param(
            tensor_with(name="y"), "input 'y': unknown, expected 'x'", id="an unknown name"
        ),
        pytest.param(
            tensor_with(data=None), "input 'x': data is None, expected a list", id="null data"
        ),
        pytest.param(
            tensor_with(data={"a": 1}), "input 'x': data is {'a': 1}", id="an object as data"
        ),
        pytest.param(tensor_with(shape=[-1]), "input 'x': shape [-1]", id="a free dimension"),
        pytest.param(
            tensor_with(datatype="FP64"), "datatype 'FP64', expected FP32", id="another datatype"
        ),
        pytest.param(
            tensor_with(parameters={"binary_data_size": 4}),
            "inputs[0]: has both data and binary_data_size",
            id="data in both forms",
        ),
        pytest.param(
            tensor_with(parameters=[1]), "inputs[0].parameters: got [1]", id="parameters as a list"
        ),
        pytest.param(
            request(parameters={"a": {}}), "parameters.a: got {}", id="a nested parameter"
        ),
        pytest.param(
            request(parameters={str(i): 1 for i in range(65)}),
            "an object of at most 64",
            id="too many parameters",
        ),
        pytest.param(
            request(outputs=[{"name": "nope"}]),
            "output 'nope': unknown, expected 'y', 'z'",
            id="an unknown output",
        ),
        pytest.param(
            request(outputs=[{"name": "y"}] * 2),
            "outputs: tensor 'y' occurs twice, expected each once",
            id="an output twice",
        ),
        pytest.param(
            request(outputs=[{"name": "y"}] * 65),
            "expected a list of at most 64",
            id="too many outputs",
        ),
        pytest.param(
            request(outputs=["y"]),
            "outputs[0]: got 'y', expected an object",
            id="an output as a string",
        ),
        pytest.param(
            request(outputs=[{"name": "y", "parameters": {"classification": 0}}]),
            "outputs[0].parameters.classification: got 0, expected the number of classes",
            id="a ranking of nothing",
        ),
        pytest.param(
            request(outputs=[{"name": "y", "parameters": {"binary_data": 1}}]),
            "outputs[0].parameters.binary_data: got 1, expected true or false",
            id="a number for a boolean",
        ),
        pytest.param(
            request(parameters={"binary_data_output": "yes"}),
            "parameters.binary_data_output: got 'yes', expected true or false",
            id="a word for a boolean",
        ),
        pytest.param(
            request(parameters={"timeout": -1}),
            "parameters.timeout: got -1, expected microseconds",
            id="a negative timeout",
        ),
        pytest.param(request(id=5), "id: got 5, expected a string", id="a number as id"),
        pytest.param(request(id="x" * 257), "expected a string of at most 256", id="a long id"),
        pytest.param(
            b'{"id": "\\ud800", "inputs": ' + request()[11:],
            "id: got '\\ud800'",
            id="a lone surrogate as id",
        ),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(body: bytes, expected: str) -> None:
    assert expected in refusal(body)


def test_a_missing_input_and_a_repeated_one_are_named() -> None:
    signature = taking(TensorSpec("x", "FP32", (-1,)), TensorSpec("w", "FP32", (-1,)))
    assert refusal(request(), signature) == "inputs: 'w' missing, expected 'x', 'w'"
    twice = request(inputs=json.loads(request())["inputs"] * 2)
    assert refusal(twice, signature) == "inputs: tensor 'x' occurs twice, expected each once"


def test_inputs_may_come_in_any_order() -> None:
    signature = taking(TensorSpec("a", "FP32", (-1,)), TensorSpec("b", "INT64", (-1,)))
    body = request(
        inputs=[
            {"name": "b", "datatype": "INT64", "shape": [2], "data": [1, 2]},
            {"name": "a", "datatype": "FP32", "shape": [1], "data": [[0.5]][0]},
        ]
    )
    found = decode(body, signature).inputs
    assert {name: tensor.tolist() for name, tensor in found.items()} == {"b": [1, 2], "a": [0.5]}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, ["y", "z"], id="all by default"),
        pytest.param({"outputs": []}, ["y", "z"], id="an empty list is all"),
        pytest.param({"outputs": [{"name": "z"}]}, ["z"], id="those that are named"),
        pytest.param(
            {"outputs": [{"name": "z"}, {"name": "y"}]}, ["z", "y"], id="in the order asked for"
        ),
    ],
)
def test_outputs_are_selected(changes: dict[str, Any], expected: list[str]) -> None:
    found = decode(request(**changes), one("FP32"))
    assert [spec.name for spec in found.outputs] == expected


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(request(model_name="m", extra=[[1], {"deep": []}]), id="unknown keys"),
        pytest.param(
            request(parameters={"binary_data_output": True}), id="tritonclient without outputs"
        ),
        pytest.param(request(id=""), id="perf_analyzer's empty id"),
        pytest.param(b"\xef\xbb\xbf" + request(), id="a byte order mark"),
        pytest.param(request().replace(b"1.0", b"NaN"), id="a bare NaN"),
        pytest.param(tensor_with(unknown="[", parameters={"a": "]"}), id="brackets in strings"),
    ],
)
def test_what_real_clients_send_is_accepted(body: bytes) -> None:
    assert decode(body, one("FP32")).inputs["x"].shape == (1,)


def test_ids_are_echoed() -> None:
    found = decode(request(id="ä\n1"), one("FP32"))
    assert found.id == "ä\n1"
    answer = encode(InferenceResponse((), found.id), model_name="m", model_version="3")
    assert json.loads(answer) == {
        "model_name": "m",
        "model_version": "3",
        "id": "ä\n1",
        "outputs": [],
    }


def test_answers_are_strict_json_whatever_the_model_says() -> None:
    specs = [TensorSpec(name, name, (-1,)) for name in ("FP16", "FP32", "FP64")]
    tensors = [np.array([np.nan, np.inf, -np.inf, 0.5], DTYPES[spec.name]) for spec in specs]
    response = InferenceResponse(tuple(zip(specs, tensors, strict=True)))
    answer = encode(response, model_name="m", model_version="1")

    def refuse(token: str) -> None:
        raise AssertionError(token)

    for output in json.loads(answer, parse_constant=refuse)["outputs"]:
        assert output["data"] == ["NaN", "Infinity", "-Infinity", 0.5]


def test_odd_memory_layouts_are_written_in_row_major_order() -> None:
    spec = TensorSpec("y", "INT32", (-1, -1))
    transposed = np.arange(6, dtype=np.int32).reshape(2, 3).T
    answer = encode(InferenceResponse(((spec, transposed),)), model_name="m", model_version="1")
    assert json.loads(answer)["outputs"][0] == {
        "name": "y",
        "datatype": "INT32",
        "shape": [3, 2],
        "data": [0, 3, 1, 4, 2, 5],
    }


@pytest.fixture(scope="module")
def in_pieces() -> Iterator[None]:
    """Every body counts as long, and is cut every few bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec_json, "_LONG_DATA_BYTES", 0)
        patch.setattr(json_data, "_PIECE_BYTES", 5)
        yield


def outcome(body: bytes, signature: Signature) -> tuple[str, Any]:
    try:
        request = decode(body, signature)
    except InvalidRequest as err:
        return str(err), None
    return "", {name: (t.dtype, t.shape, str(t.tolist())) for name, t in request.inputs.items()}


def whole(body: bytes, signature: Signature) -> tuple[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec_json, "_LONG_DATA_BYTES", 2**40)
        return outcome(body, signature)


VALUES = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.integers(-3, 300),
    st.sampled_from(["NaN", "x", "a,b", "]", True, None, 1e300, [1, 2], {"a": 1}]),
)


@given(
    values=st.lists(VALUES, max_size=12),
    datatype=st.sampled_from(["FP32", "INT64", "UINT8", "FP16"]),
    miscount=st.sampled_from([0, 0, 0, 1]),
)
def test_long_data_is_read_in_pieces_as_it_is_whole(
    in_pieces: None, values: list[Any], datatype: str, miscount: int
) -> None:
    body = text_of(datatype, [len(values) + miscount], json.dumps(values))
    found, expected = outcome(body, one(datatype)), whole(body, one(datatype))
    # Of several things that are wrong, any may be named.
    assert (bool(found[0]), found[1]) == (bool(expected[0]), expected[1])


@pytest.mark.parametrize(
    "data",
    [
        "[1, 2, 3,]", "[1,, 2, 3]", "[,1, 2, 3]", "[1, 2, 3, ,]", "[]", "[[1, 2, 3]]",
        "[[1], [2], [3]]", "[1, 2, 3", "[1 2 3]", "[NaN, 2, 3]", "[1e999, 2, 3]",
        "[1, 2, 3]]", "[1, 2, 3], \"data\": [4]", "[1, [2], 3]", "[1, 2, 0x3]",
    ],
)  # fmt: skip
def test_what_is_no_flat_list_is_refused_in_the_same_words(in_pieces: None, data: str) -> None:
    body = text_of("FP32", [3], data)
    assert outcome(body, one("FP32")) == whole(body, one("FP32"))


def test_the_index_of_a_wrong_element_is_that_of_the_whole_list() -> None:
    body = text_of("FP32", [100_001], json.dumps([0.125] * 100_000 + ["x"]))
    assert "data[100000] is 'x'" in refusal(body)
