"""The termination message always fits, and is always JSON."""

import json
from collections.abc import Iterator
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway_runtime.errors import Foreign, InvalidModel, SupplyError, Unavailable
from slipway_runtime.supply.termination import (
    MAX_BYTES,
    Reason,
    SignatureSummary,
    SignatureTensor,
    SupplyResult,
    exit_code,
    failure_text,
    success_text,
)

DIGEST = "sha256:" + "a" * 64


def kinds() -> Iterator[type[SupplyError]]:
    """What the supply step can end with."""
    yield from SupplyError.__subclasses__()


def signature(count: int, name: str = "tensor") -> SignatureSummary:
    tensors = tuple(
        SignatureTensor(name=f"{name}{i}", datatype="FP32", shape=(-1, 3)) for i in range(count)
    )
    return SignatureSummary(inputs=tensors, outputs=tensors)


def test_a_result_is_written_in_the_contracts_words() -> None:
    result = SupplyResult(
        digest=DIGEST, size_bytes=9, signature=signature(1, "x"), framework="skl2onnx"
    )
    tensor = {"name": "x0", "datatype": "FP32", "shape": [-1, 3]}
    assert json.loads(success_text(result)) == {
        "result": {
            "digest": DIGEST,
            "format": "ONNX",
            "sizeBytes": 9,
            "signature": {"inputs": [tensor], "outputs": [tensor]},
            "framework": "skl2onnx",
        }
    }


@pytest.mark.parametrize("kind", list(kinds()))
def test_every_supply_error_has_a_reason_of_the_contract(kind: type[SupplyError]) -> None:
    assert kind.__name__ == kind.reason
    assert json.loads(failure_text(kind("why"))) == {
        "failure": {"reason": kind.reason, "terminal": kind.terminal, "message": "why"}
    }


def test_a_model_that_could_be_converted_is_told_with_its_format() -> None:
    told = json.loads(failure_text(Foreign("Sklearn")))["failure"]
    assert (told["reason"], told["terminal"], told["format"]) == ("Unsupported", True, "Sklearn")


def test_the_contract_has_no_reason_that_nothing_raises() -> None:
    assert set(get_args(Reason)) == {kind.reason for kind in kinds()}


def test_exit_codes_tell_whether_another_attempt_can_help() -> None:
    assert (exit_code(InvalidModel("x")), exit_code(Unavailable("x"))) == (10, 11)


@given(st.text(max_size=9000))
def test_a_failure_always_fits_and_is_json(message: str) -> None:
    text = failure_text(InvalidModel(message))
    assert len(text.encode()) <= MAX_BYTES
    assert json.loads(text)["failure"]["reason"] == "InvalidModel"


@pytest.mark.parametrize("message", ["\x00" * 9000, '"' * 9000, "😀" * 9000, "\ud800" * 9000])
def test_letters_that_grow_in_json_fit_too(message: str) -> None:
    assert len(failure_text(InvalidModel(message)).encode()) <= MAX_BYTES


@given(st.integers(0, 200), st.text(max_size=300))
def test_a_result_always_fits_and_says_when_it_is_cut(count: int, name: str) -> None:
    found = signature(count, name.encode("utf-8", "replace").decode())
    text = success_text(SupplyResult(digest=DIGEST, size_bytes=1, signature=found))
    assert len(text.encode()) <= MAX_BYTES
    written = json.loads(text)["result"].get("signature")
    whole = written is not None and len(written["outputs"]) == len(written["inputs"]) == count
    assert whole or written is None or written["truncated"] is True
