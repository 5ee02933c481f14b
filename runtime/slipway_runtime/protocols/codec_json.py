"""V2 requests and answers as JSON.

Pure: bytes and a signature in, values out, and back. Two readings of one grammar:

- quick: pysimdjson hands a data array over as a buffer, without a Python object per number. It
  flattens nested lists without a word, so its result counts only where the lists' lengths and the
  number of brackets in the body prove that nothing was ragged;
- exact: Python objects, checked one by one. It reads what the quick way cannot (strings, booleans,
  NaN, integral floats), and finds the words for what is wrong.

Numbers beyond a datatype's range are refused, never wrapped. `NaN`, `Infinity` and `-Infinity` are
read as tokens and as strings, and written as strings (proto3's JSON): no other form works with
every client. A key that occurs twice in an object is refused. Unknown keys are ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import orjson
import simdjson

from slipway_runtime.errors import InvalidRequest, shown
from slipway_runtime.inference.datatypes import Tensor
from slipway_runtime.inference.request import InferenceRequest, InferenceResponse
from slipway_runtime.inference.signature import Signature, TensorSpec
from slipway_runtime.protocols.json_data import Token, exact_tensor, quick_tensor

MAX_DEPTH: Final = 100
MAX_CONTAINERS: Final = 2**19
"""Lists and objects of one body; an empty one costs 3 bytes to send and 56 to hold."""
MAX_TENSORS: Final = 64
MAX_PARAMETERS: Final = 64
MAX_ID_CHARACTERS: Final = 256

# Possessive, and an open string runs to the end: hostile text costs linear time.
_STRINGS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


def decode(body: bytes, signature: Signature) -> InferenceRequest:
    """Read an inference request.

    Args:
        body: JSON text in UTF-8; a byte order mark is tolerated.
        signature: what the model takes; tensors of the result fit it.

    Raises:
        InvalidRequest: naming the field, what it holds and what was expected.
    """
    document = _parsed(body)
    if not isinstance(document, simdjson.Object | dict):
        raise InvalidRequest(
            f"body: got {shown(_plain(document))}, expected an object with 'inputs'"
        )
    keys = _keys("body", document)
    _check_parameters("parameters", document)
    return InferenceRequest(
        inputs=_inputs(body, document, keys, signature),
        outputs=_wanted(_plain(document["outputs"]) if "outputs" in keys else None, signature),
        id=_id(_plain(document["id"]) if "id" in keys else None),
    )


def encode(response: InferenceResponse, *, model_name: str, model_version: str) -> bytes:
    """Write an answer; `data` is flat, row-major, as every client expects it."""
    answer: dict[str, Any] = {"model_name": model_name, "model_version": model_version}
    if response.id is not None:
        answer["id"] = response.id
    answer["outputs"] = [_written(spec, tensor) for spec, tensor in response.outputs]
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def _parsed(body: bytes) -> Any:
    if not body:
        raise InvalidRequest("body: empty, expected an object with 'inputs'")
    if body.count(b"[") + body.count(b"{") > MAX_CONTAINERS:
        raise InvalidRequest(f"body: more than {MAX_CONTAINERS} lists and objects; send flat data")
    try:
        # A parser of its own: values of an earlier document may still be alive in a traceback.
        return simdjson.Parser().parse(body)
    except UnicodeDecodeError as err:
        raise InvalidRequest("body: no valid UTF-8") from err
    except (ValueError, RuntimeError):
        return _parsed_slowly(body)


def _parsed_slowly(body: bytes) -> Any:
    """Read what pysimdjson refuses and clients send: NaN, Infinity, very long integers."""
    _check_depth(body)
    try:
        return json.loads(
            body.decode("utf-8-sig"), parse_constant=Token, object_pairs_hook=_without_duplicates
        )
    except UnicodeDecodeError as err:
        raise InvalidRequest("body: no valid UTF-8") from err
    except ValueError as err:
        raise InvalidRequest(f"body: no valid JSON ({err})") from err


def _check_depth(body: bytes) -> None:
    """Measure the nesting before a recursive parser sees it."""
    brackets = np.frombuffer(_STRINGS.sub(b"", body).translate(None, _NOT_BRACKETS), np.uint8)
    steps = np.where((brackets == ord("[")) | (brackets == ord("{")), 1, -1)
    if steps.size and steps.cumsum().max() > MAX_DEPTH:
        raise InvalidRequest(f"body: nesting depth is above {MAX_DEPTH}")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return content


def _keys(where: str, item: simdjson.Object | dict[str, Any]) -> set[str]:
    keys = list(item.keys())
    if len(set(keys)) != len(keys):
        raise InvalidRequest(f"{where}: a key occurs twice in one object")
    return set(keys)


def _plain(value: Any) -> Any:
    if isinstance(value, simdjson.Array):
        return value.as_list()
    return value.as_dict() if isinstance(value, simdjson.Object) else value


def _inputs(
    body: bytes, document: Any, keys: set[str], signature: Signature
) -> Mapping[str, Tensor]:
    entries = document["inputs"] if "inputs" in keys else None
    if not isinstance(entries, simdjson.Array | list) or not len(entries):
        found = "missing" if entries is None else f"got {shown(_plain(entries))}"
        raise InvalidRequest(f"inputs: {found}, expected a list of tensors")
    if len(entries) > MAX_TENSORS:
        raise InvalidRequest(f"inputs: {len(entries)} tensors, expected at most {MAX_TENSORS}")
    heads = [_head(index, entry, signature) for index, entry in enumerate(entries)]
    names = {spec.name: None for spec, _, _ in heads}
    if len(names) != len(heads):
        raise InvalidRequest("inputs: a tensor occurs twice, expected each once")
    signature.check_complete(names)
    # Brackets outside of data: the list of inputs, one shape each, the list of outputs.
    brackets = body.count(b"[") - 1 - len(heads) - ("outputs" in keys)
    quick = _quickly(heads, brackets)
    return (
        quick
        if quick is not None
        else {spec.name: _exactly(spec, data, shape) for spec, shape, data in heads}
    )


def _head(index: int, entry: Any, signature: Signature) -> tuple[TensorSpec, tuple[int, ...], Any]:
    where = f"inputs[{index}]"
    if not isinstance(entry, simdjson.Object | dict):
        raise InvalidRequest(f"{where}: got {shown(_plain(entry))}, expected an object")
    keys = _keys(where, entry)
    if "parameters" in keys:
        parameters = _check_parameters(f"{where}.parameters", entry)
        if "binary_data_size" in parameters:
            raise InvalidRequest(
                f"{where}.parameters.binary_data_size: not served, expected JSON data"
            )
    for field in ("name", "datatype", "shape", "data"):
        if field not in keys:
            raise InvalidRequest(f"{where}.{field}: missing, it is required")
    if not isinstance(entry["name"], str):
        raise InvalidRequest(f"{where}.name: got {shown(_plain(entry['name']))}, expected a string")
    spec = signature.input(entry["name"])
    return spec, spec.check(_plain(entry["datatype"]), _plain(entry["shape"])), entry["data"]


def _quickly(
    heads: Iterable[tuple[TensorSpec, tuple[int, ...], Any]], brackets: int
) -> dict[str, Tensor] | None:
    tensors = {}
    for spec, shape, data in heads:
        found = quick_tensor(data, spec.datatype, shape)
        if found is None:
            return None
        tensors[spec.name], opened = found
        brackets -= opened
    return tensors if brackets == 0 else None


def _exactly(spec: TensorSpec, data: Any, shape: tuple[int, ...]) -> Tensor:
    return exact_tensor(spec.name, _plain(data), spec.datatype, shape)


def _wanted(entries: Any, signature: Signature) -> tuple[TensorSpec, ...]:
    if entries is None or entries == []:
        return signature.outputs
    if not isinstance(entries, list) or len(entries) > MAX_TENSORS:
        raise InvalidRequest(
            f"outputs: got {shown(entries)}, expected a list of at most {MAX_TENSORS}"
        )
    wanted = tuple(_output(index, entry, signature) for index, entry in enumerate(entries))
    if len({spec.name for spec in wanted}) != len(wanted):
        raise InvalidRequest("outputs: a tensor occurs twice, expected each once")
    return wanted


def _output(index: int, entry: Any, signature: Signature) -> TensorSpec:
    where = f"outputs[{index}]"
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise InvalidRequest(f"{where}: got {shown(entry)}, expected an object with a 'name'")
    if "classification" in _check_parameters(f"{where}.parameters", entry):
        raise InvalidRequest(f"{where}.parameters.classification: not served, ask for the tensor")
    return signature.output(entry["name"])


def _check_parameters(where: str, owner: Any) -> Mapping[str, Any]:
    parameters = _plain(owner.get("parameters"))
    if parameters is None:
        return {}
    if not isinstance(parameters, dict) or len(parameters) > MAX_PARAMETERS:
        raise InvalidRequest(
            f"{where}: got {shown(parameters)}, expected an object of at most {MAX_PARAMETERS}"
        )
    for name, value in parameters.items():
        if not isinstance(value, str | int | float):
            raise InvalidRequest(
                f"{where}.{name[:40]}: got {shown(value)}, expected a string, number or boolean"
            )
    return parameters


def _id(value: Any) -> str | None:
    if value is None or value == "":  # perf_analyzer sends an empty one
        return value  # type: ignore[no-any-return]
    if not isinstance(value, str) or isinstance(value, Token) or len(value) > MAX_ID_CHARACTERS:
        raise InvalidRequest(
            f"id: got {shown(value)}, expected a string of at most {MAX_ID_CHARACTERS} characters"
        )
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise InvalidRequest(f"id: got {shown(value)}, expected valid Unicode")
    return value


def _written(spec: TensorSpec, tensor: Tensor) -> dict[str, Any]:
    return {
        "name": spec.name,
        "datatype": spec.datatype,
        "shape": tensor.shape,
        "data": _data(tensor),
    }


def _data(tensor: Tensor) -> Any:
    flat = np.ascontiguousarray(tensor).reshape(-1)
    if flat.dtype.kind == "O":
        return flat.tolist()
    if flat.dtype.kind != "f":
        return flat
    if not np.isfinite(flat).all():
        return [_number_or_word(value) for value in flat.tolist()]
    return flat if flat.dtype.itemsize > 2 else flat.astype(np.float32)


def _number_or_word(value: float) -> float | str:
    if value != value:
        return "NaN"
    return value if abs(value) != np.inf else ("Infinity" if value > 0 else "-Infinity")
