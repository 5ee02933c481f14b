"""Which tensors fit a model, and how the others are refused."""

import numpy as np
import pytest

from slipway_runtime.errors import InvalidTensor
from slipway_runtime.inference.signature import Signature, TensorSpec, rows

IMAGE = TensorSpec("pixels", "FP32", (-1, 3, 224, 224))


def test_a_tensor_that_fits_is_accepted() -> None:
    assert IMAGE.check("FP32", [2, 3, 224, 224]) == (2, 3, 224, 224)


@pytest.mark.parametrize(
    ("datatype", "shape", "expected"),
    [
        pytest.param(
            "FP64",
            [1, 3, 224, 224],
            "input 'pixels': datatype 'FP64', expected FP32",
            id="another datatype is never cast",
        ),
        pytest.param(
            "FP32",
            [1, 3, 224],
            "input 'pixels': shape [1, 3, 224] has rank 3, expected [-1, 3, 224, 224] of rank 4",
            id="another rank",
        ),
        pytest.param(
            "FP32",
            [1, 4, 224, 224],
            "input 'pixels': shape [1, 4, 224, 224], expected [-1, 3, 224, 224]",
            id="another dimension",
        ),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(
    datatype: object, shape: object, expected: str
) -> None:
    with pytest.raises(InvalidTensor) as refusal:
        IMAGE.check(datatype, shape)
    assert str(refusal.value) == expected


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param([-1, 3, 224, 224], id="-1 is for models"),
        pytest.param([1.0, 3, 224, 224], id="a float"),
        pytest.param(["1", 3, 224, 224], id="a string"),
        pytest.param([True, 3, 224, 224], id="a boolean"),
        pytest.param(None, id="null"),
        pytest.param(4, id="a number"),
        pytest.param([2**62, 4], id="a product that overflows"),
        pytest.param([2**60 + 2, 2**4], id="a product that wraps to 32"),
        pytest.param([1] * 1000, id="a thousand dimensions"),
        pytest.param([0, 2**63], id="zero times everything"),
        pytest.param([0, 2**31 - 1, 2**31 - 1], id="zero times too much"),
    ],
)
def test_a_shape_that_is_none_is_refused(shape: object) -> None:
    with pytest.raises(InvalidTensor, match=r"^input 'pixels': shape "):
        TensorSpec("pixels", "FP32", ()).check("FP32", shape)


@pytest.mark.parametrize("datatype", ["FLOAT", "fp32", "", None, 1, "x" * 1_000_000, ["FP32"]])
def test_an_unknown_datatype_is_refused_with_the_known_ones(datatype: object) -> None:
    with pytest.raises(InvalidTensor, match=r"expected FP32 \(known are BOOL, UINT8") as refusal:
        IMAGE.check(datatype, [1, 3, 224, 224])
    assert len(str(refusal.value)) < 500


def test_names_that_are_unknown_or_missing_are_said() -> None:
    signature = Signature((TensorSpec("a", "FP32", (1,)), TensorSpec("b", "FP32", (1,))), ())
    with pytest.raises(InvalidTensor, match="input 'c': unknown, expected 'a', 'b'"):
        signature.input("c")
    with pytest.raises(InvalidTensor, match="output 'c': unknown, expected none"):
        signature.output("c")
    with pytest.raises(InvalidTensor, match="inputs: 'b' missing, expected 'a', 'b'"):
        signature.check_complete({"a": None})


def test_one_free_dimension_with_two_sizes_is_found() -> None:
    signature = Signature(
        (
            TensorSpec("a", "FP32", (-1, 1), ("batch", None)),
            TensorSpec("b", "FP32", (-1, 1), ("batch", None)),
        ),
        (),
    )
    same = {"a": np.zeros((2, 1)), "b": np.zeros((2, 1))}
    assert signature.conflict(same) is None
    assert signature.conflict({**same, "b": np.zeros((3, 1))}) == (
        "input 'b': dimension 'batch' is 3, expected 2 as in input 'a'"
    )


@pytest.mark.parametrize(
    ("expected_shape", "shape", "expected"),
    [
        pytest.param((-1, 4), (7, 4), 7, id="a free first dimension is the batch"),
        pytest.param((1, 4), (1, 4), 1, id="a fixed one is not"),
        pytest.param((), (5,), 1, id="an unknown shape is one row"),
    ],
)
def test_rows_are_counted(
    expected_shape: tuple[int, ...], shape: tuple[int, ...], expected: int
) -> None:
    assert rows(TensorSpec("x", "FP32", expected_shape), shape) == expected
