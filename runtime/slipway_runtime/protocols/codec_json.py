"""V2 requests and answers as JSON, with or without binary tensors behind it.

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
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
import simdjson

from slipway_runtime.errors import InvalidRequest, InvalidTensor, shown
from slipway_runtime.inference.datatypes import Tensor
from slipway_runtime.inference.request import InferenceRequest, InferenceResponse
from slipway_runtime.inference.signature import Signature, TensorSpec
from slipway_runtime.inference.threads import give_way
from slipway_runtime.protocols import templates
from slipway_runtime.protocols.asked import (
    Asked,
    Output,
    OutputForm,
    binary_by_default,
    output_form,
    outputs_of,
    repeated,
    timeout_of,
)
from slipway_runtime.protocols.body import Part
from slipway_runtime.protocols.codec_binary import raw_input, read_tensor, write_tensor
from slipway_runtime.protocols.json_data import (
    Token,
    exact_tensor,
    filled,
    long_tensor,
    quick_tensor,
)

MAX_DEPTH: Final = 100
MAX_CONTAINERS: Final = 2**19
"""Lists and objects of one body; an empty one costs 3 bytes to send and 56 to hold."""
MAX_TENSORS: Final = 64
MAX_PARAMETERS: Final = 64
MAX_ID_CHARACTERS: Final = 256
_MAX_HEADS: Final = 1024
_LONG_TEXT_BYTES: Final = 8 * 1024
_LONG_DATA_BYTES: Final = 256 * 1024

_JSON: Final = OutputForm()
_BINARY: Final = OutputForm(is_binary=True)
_FIELDS: Final = ("name", "datatype", "shape", "data")
_OF_JSON: Final = frozenset(_FIELDS)
_OF_BINARY: Final = _OF_JSON - {"data"}

# Possessive, and an open string runs to the end: hostile text costs linear time.
_STRINGS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


class Written(NamedTuple):
    """An answer: JSON, and the length of it where tensors follow."""

    body: bytes
    json_bytes: int | None = None


def decode(body: Part, signature: Signature, json_bytes: int | None = None) -> Asked:
    """Read an inference request.

    Args:
        body: JSON text in UTF-8; a byte order mark is tolerated.
        signature: what the model takes; tensors of the result fit it.
        json_bytes: how much of the body is JSON; binary tensors follow. With 0 the body is
            nothing but the tensor of the only input, and all outputs are to come in binary.

    Raises:
        InvalidRequest: naming the field, what it holds and what was expected.
    """
    if json_bytes is None:
        return _decode_text(bytes(body), signature)
    if json_bytes > len(body):
        raise InvalidRequest(
            f"inference-header-content-length: got {json_bytes}, expected at most the "
            f"{len(body)} bytes of the body"
        )
    if json_bytes == 0:
        spec, tensor = raw_input(body, signature)
        request = InferenceRequest({spec.name: tensor}, signature.outputs)
        return Asked(request, (OutputForm(is_binary=True),) * len(signature.outputs))
    # A view: the tensors of a large body are not copied.
    text, tail = bytes(body[:json_bytes]), memoryview(body)[json_bytes:]
    seen = templates.known_layout(text, tail, signature)
    if seen is not None:
        return seen
    asked = _decode(text, _Tail(tail), signature)
    templates.learn_layout(text, tail, signature, asked)
    return asked


def _decode_text(text: bytes, signature: Signature) -> Asked:
    if len(text) > _LONG_DATA_BYTES:
        return _decode_long(text, signature) or _decode(text, _nothing(), signature)
    seen = templates.known(text, signature)
    if seen is not None:
        return seen
    asked = _decode(text, _nothing(), signature)
    templates.learn(text, signature, asked)
    return asked


def encode(
    response: InferenceResponse,
    forms: tuple[OutputForm, ...] = (),
    *,
    model_name: str,
    model_version: str,
) -> Written:
    """Write an answer; `data` is flat, row-major, as every client expects it."""
    head = _answer_head(model_name, model_version)
    if response.id is not None:
        head += b'"id":%b,' % orjson.dumps(response.id)
    tail: list[bytes] = []
    outputs = [_written(output, tail) for output in outputs_of(response, forms)]
    text = b'%b"outputs":[%b]}' % (head, b",".join(outputs))
    return Written(b"".join((text, *tail)), len(text)) if tail else Written(text)


@lru_cache(_MAX_HEADS)
def _answer_head(model_name: str, model_version: str) -> bytes:
    text = orjson.dumps({"model_name": model_name, "model_version": model_version})
    return text[:-1] + b","


@lru_cache(_MAX_HEADS)
def _output_head(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    """What stands before the data: the same for nearly every answer of a model."""
    text = orjson.dumps({"name": name, "datatype": datatype, "shape": shape})
    return text[:-1] + b","


class _Tail:
    """What follows the JSON; the inputs take their parts in order."""

    def __init__(self, rest: bytes | memoryview, *, is_there: bool = True) -> None:
        self._rest: Final = rest
        self._is_there: Final = is_there
        self._taken = 0

    def take(self, where: str, size: object) -> bytes | memoryview:
        """The next part."""
        if not self._is_there and size != 0:
            raise InvalidRequest(
                f"{where}: tensors in binary need the header inference-header-content-length"
            )
        if type(size) is not int or not 0 <= size <= len(self._rest) - self._taken:
            raise InvalidRequest(
                f"{where}: got {shown(size)}, expected at most the "
                f"{len(self._rest) - self._taken} bytes that are left"
            )
        self._taken += size
        return self._rest[self._taken - size : self._taken]

    def check_empty(self) -> None:
        """Refuse bytes that belong to no tensor."""
        if self._taken != len(self._rest):
            raise InvalidRequest(
                f"body: {len(self._rest) - self._taken} bytes after the last tensor, "
                "expected the sum of binary_data_size"
            )


def _nothing() -> _Tail:
    return _Tail(b"", is_there=False)


class _Unclear(Exception):
    """The data is not certainly a flat list of numbers."""


def _decode_long(text: bytes, signature: Signature) -> Asked | None:
    """Read a long request with one flat list, piece by piece; None where it has to be read whole.

    Raises:
        InvalidTensor: naming the input, what it holds and what was expected.
    """
    around = templates.surroundings(text)
    if around is None:
        return None
    before, after = around
    data = text[len(before) + 1 : len(text) - len(after) - 1]
    try:
        return _decode(before + b"[]" + after, _nothing(), signature, data)
    except InvalidTensor:
        raise
    except (InvalidRequest, _Unclear):
        return None  # nested, perhaps: then the first bracket that closes is not the last


def _decode(text: bytes, tail: _Tail, signature: Signature, data: bytes | None = None) -> Asked:
    """Read a request; `data` is the text of its only list of data where that was taken out."""
    document = parsed(text)
    if not isinstance(document, simdjson.Object | dict):
        raise InvalidRequest(
            f"body: got {shown(plain(document))}, expected an object with 'inputs'"
        )
    keys = _keys("body", document)
    parameters = _check_parameters("parameters", document) if "parameters" in keys else {}
    inputs = _inputs(text, tail, document, keys, signature, data)
    wanted = _wanted(
        plain(document["outputs"]) if "outputs" in keys else None,
        signature,
        binary_by_default(parameters),
    )
    request = InferenceRequest(
        inputs=inputs,
        outputs=tuple(spec for spec, _ in wanted),
        id=_id(plain(document["id"]) if "id" in keys else None),
    )
    return Asked(request, tuple(form for _, form in wanted), timeout_of(parameters))


def parsed(body: bytes) -> Any:
    """Parse JSON within bounds, without a Python object per value where that is possible.

    Raises:
        InvalidRequest: no JSON, or too much of it.
    """
    if not body:
        raise InvalidRequest("body: empty, expected an object with 'inputs'")
    if _count(body, b"[") + _count(body, b"{") > MAX_CONTAINERS:
        raise InvalidRequest(f"body: more than {MAX_CONTAINERS} lists and objects; send flat data")
    try:
        # A parser of its own: values of an earlier document may still be alive in a traceback.
        return simdjson.Parser().parse(body)
    except UnicodeDecodeError as err:
        raise InvalidRequest("body: no valid UTF-8") from err
    except (ValueError, RuntimeError):
        return _parsed_slowly(body)


def _count(text: bytes, character: bytes) -> int:
    """How often a character stands in a text; of a long one, numpy counts four times as fast."""
    if len(text) < _LONG_TEXT_BYTES:
        return text.count(character)
    letters, found = np.frombuffer(text, np.uint8), 0
    for start in range(0, len(text), _LONG_DATA_BYTES):
        if start:
            give_way()
        found += int(np.count_nonzero(letters[start : start + _LONG_DATA_BYTES] == character[0]))
    return found


def _parsed_slowly(body: bytes) -> Any:
    """Read what pysimdjson refuses and clients send: NaN, Infinity, very long integers."""
    _check_depth(body)
    try:
        return json.loads(
            body.decode("utf-8-sig"), parse_constant=Token, object_pairs_hook=_without_duplicates
        )
    except UnicodeDecodeError as err:
        raise InvalidRequest("body: no valid UTF-8") from err
    except json.JSONDecodeError as err:
        raise InvalidRequest(f"body: no valid JSON ({err})") from err
    except ValueError as err:  # the words are for whoever could change the interpreter's limit
        raise InvalidRequest("body: no valid JSON (a number is too long)") from err


def _check_depth(body: bytes) -> None:
    """Measure the nesting before a recursive parser sees it."""
    brackets = np.frombuffer(_STRINGS.sub(b"", body).translate(None, _NOT_BRACKETS), np.uint8)
    steps = np.where((brackets == ord("[")) | (brackets == ord("{")), 1, -1)
    if steps.size and steps.cumsum().max() > MAX_DEPTH:
        raise InvalidRequest(f"body: nesting depth is above {MAX_DEPTH}")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise InvalidRequest("body: no valid JSON (a key occurs twice in one object)")
    return content


def _keys(where: str, item: simdjson.Object | dict[str, Any]) -> set[str]:
    keys = set(item.keys())
    if len(keys) != len(item):
        raise InvalidRequest(f"{where}: a key occurs twice in one object")
    return keys


def plain(value: Any) -> Any:
    """Python's objects of a parsed value."""
    if isinstance(value, simdjson.Array):
        return value.as_list()
    return value.as_dict() if isinstance(value, simdjson.Object) else value


class _Head(NamedTuple):
    """One input of a request: its bytes, or its data in JSON."""

    spec: TensorSpec
    shape: tuple[int, ...]
    raw: bytes | memoryview | None
    data: Any


def _inputs(
    text: bytes,
    tail: _Tail,
    document: Any,
    keys: set[str],
    signature: Signature,
    data: bytes | None,
) -> Mapping[str, Tensor]:
    entries = document["inputs"] if "inputs" in keys else None
    if not isinstance(entries, simdjson.Array | list) or not len(entries):
        found = "missing" if entries is None else f"got {shown(plain(entries))}"
        raise InvalidRequest(f"inputs: {found}, expected a list of tensors")
    if len(entries) > MAX_TENSORS:
        raise InvalidRequest(f"inputs: {len(entries)} tensors, expected at most {MAX_TENSORS}")
    heads = [_head(index, entry, tail, signature) for index, entry in enumerate(entries)]
    tail.check_empty()
    names = {head.spec.name: None for head in heads}
    if len(names) != len(heads):
        raise repeated("inputs", [head.spec.name for head in heads])
    signature.check_complete(names)
    written = [head for head in heads if head.raw is None]
    if data is not None:
        return _from_long_data(written, heads, data)
    quick: dict[str, Tensor] | None = {}
    if written:
        # Brackets outside of data: the list of inputs, one shape each, the list of outputs.
        outside = 1 + len(heads) + ("outputs" in keys)
        quick = _quickly(written, _count(text, b"[") - outside)
    tensors = quick if quick is not None else {head.spec.name: _exactly(head) for head in written}
    for head in heads:
        if head.raw is not None:
            spec = head.spec
            tensors[spec.name] = read_tensor(spec, head.raw, head.shape)
    return tensors


def _from_long_data(
    written: Sequence[_Head], heads: Sequence[_Head], data: bytes
) -> Mapping[str, Tensor]:
    if len(written) != 1 or len(heads) != 1:
        raise _Unclear
    [(spec, shape, _, _)] = written
    tensor = long_tensor(spec.name, data, spec.datatype, shape)
    if tensor is None:
        raise _Unclear
    return {spec.name: tensor}


def _head(index: int, entry: Any, tail: _Tail, signature: Signature) -> _Head:
    where = f"inputs[{index}]"
    if not isinstance(entry, simdjson.Object | dict):
        raise InvalidRequest(f"{where}: got {shown(plain(entry))}, expected an object")
    keys = _keys(where, entry)
    parameters = _check_parameters(f"{where}.parameters", entry) if "parameters" in keys else {}
    is_binary = "binary_data_size" in parameters
    needed = _OF_BINARY if is_binary else _OF_JSON
    if not needed <= keys:
        missing = next(field for field in _FIELDS if field in needed - keys)
        raise InvalidRequest(f"{where}.{missing}: missing, it is required")
    # kserve's client writes `"data": null` beside the size of a tensor without elements.
    if is_binary and "data" in keys and entry["data"] is not None:
        raise InvalidRequest(f"{where}: has both data and binary_data_size, expected one of them")
    name = entry["name"]
    if not isinstance(name, str):
        raise InvalidRequest(f"{where}.name: got {shown(plain(name))}, expected a string")
    spec = signature.input(name)
    shape = spec.check(plain(entry["datatype"]), plain(entry["shape"]))
    if is_binary:
        size = parameters["binary_data_size"]
        return _Head(spec, shape, tail.take(f"{where}.parameters.binary_data_size", size), None)
    return _Head(spec, shape, None, entry["data"])


def _quickly(heads: Iterable[_Head], brackets: int) -> dict[str, Tensor] | None:
    tensors = {}
    for head in heads:
        found = quick_tensor(head.data, head.spec.datatype, head.shape)
        if found is None:
            return None
        tensors[head.spec.name], opened = found
        brackets -= opened
    return tensors if brackets == 0 else None


def _exactly(head: _Head) -> Tensor:
    return exact_tensor(
        head.spec.name, filled(head.spec, plain(head.data)), head.spec.datatype, head.shape
    )


def _wanted(
    entries: Any, signature: Signature, is_binary: bool
) -> Sequence[tuple[TensorSpec, OutputForm]]:
    if entries is None or entries == []:
        form = _BINARY if is_binary else _JSON
        return [(spec, form) for spec in signature.outputs]
    if not isinstance(entries, list) or len(entries) > MAX_TENSORS:
        raise InvalidRequest(
            f"outputs: got {shown(entries)}, expected a list of at most {MAX_TENSORS}"
        )
    wanted = [_output(index, entry, signature, is_binary) for index, entry in enumerate(entries)]
    if len({spec.name for spec, _ in wanted}) != len(wanted):
        raise repeated("outputs", [spec.name for spec, _ in wanted])
    return wanted


def _output(
    index: int, entry: Any, signature: Signature, is_binary: bool
) -> tuple[TensorSpec, OutputForm]:
    where = f"outputs[{index}]"
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise InvalidRequest(f"{where}: got {shown(entry)}, expected an object with a 'name'")
    parameters = _check_parameters(f"{where}.parameters", entry)
    spec = signature.output(entry["name"])
    return spec, output_form(f"{where}.parameters", parameters, is_binary)


def _check_parameters(where: str, owner: Any) -> Mapping[str, Any]:
    parameters = plain(owner.get("parameters"))
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


def _written(output: Output, tail: list[bytes]) -> bytes:
    head = _output_head(output.name, output.datatype, output.tensor.shape)
    if output.is_binary:
        tail.append(write_tensor(output.tensor))
        return b'%b"parameters":{"binary_data_size":%d}}' % (head, len(tail[-1]))
    return b'%b"data":%b}' % (head, flat_data(output.tensor))


def flat_data(tensor: Tensor) -> bytes:
    """Write the elements of a tensor, row-major."""
    flat = np.ascontiguousarray(tensor).reshape(-1)
    if flat.dtype.kind == "O":
        return orjson.dumps(flat.tolist())
    if flat.dtype.itemsize == 2 and flat.dtype.kind not in "iu":
        flat = flat.astype(np.float32)
    text = orjson.dumps(flat, option=orjson.OPT_SERIALIZE_NUMPY)
    if b"n" in text:  # a null stands for what is no number; true and false have no such letter
        return orjson.dumps([number_or_word(value) for value in flat.tolist()])
    return text


def number_or_word(value: float) -> float | str:
    """A float, or the word for one that JSON has no number for."""
    if value != value:
        return "NaN"
    return value if abs(value) != np.inf else ("Infinity" if value > 0 else "-Infinity")
