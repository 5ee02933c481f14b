"""What a request asks for beyond its tensors: in which form each output is to come back.

Pure. The data plane knows nothing of it: a binary answer or a ranking of classes is a matter of
the wire.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from slipway_runtime.errors import InvalidRequest, shown
from slipway_runtime.inference.datatypes import Tensor
from slipway_runtime.inference.request import InferenceRequest, InferenceResponse
from slipway_runtime.inference.signature import TensorSpec

_MAX_RANKED: Final = 1_000_000
"""Elements of an output that are ranked; a word is made of each."""
_MAX_TIMEOUT_US: Final = 3_600_000_000


class OutputForm(NamedTuple):
    """How one output is answered."""

    is_binary: bool = False
    classes: int = 0
    """Answer the so many highest elements as `value:index` words; 0 answers the tensor."""


class Asked(NamedTuple):
    """A decoded request, and the form of each output in the order of `request.outputs`."""

    request: InferenceRequest
    forms: tuple[OutputForm, ...] = ()
    timeout_s: float | None = None
    """The client's own deadline, on top of the server's."""
    is_row_form: bool = False
    """The tensors came by rows, and so do the answers (TensorFlow Serving's `instances`)."""


class Output(NamedTuple):
    """One output as it is answered."""

    name: str
    datatype: str
    tensor: Tensor
    is_binary: bool = False


def outputs_of(response: InferenceResponse, forms: tuple[OutputForm, ...] = ()) -> list[Output]:
    """Bring each output into its form.

    Raises:
        InvalidRequest: a ranking is asked of what cannot be ranked.
    """
    forms = forms or (OutputForm(),) * len(response.outputs)
    return [
        ranked(spec, tensor, form)
        if form.classes
        else Output(spec.name, spec.datatype, tensor, form.is_binary)
        for (spec, tensor), form in zip(response.outputs, forms, strict=True)
    ]


def ranked(spec: TensorSpec, tensor: Tensor, form: OutputForm) -> Output:
    """The highest elements of each row as words, highest first; equal ones by their index.

    Source: Triton, "Classification Extension".
    """
    where = f"output {shown(spec.name)}: classification"
    if tensor.dtype.kind == "O":
        raise InvalidRequest(f"{where} of {spec.datatype}, expected numbers")
    if tensor.size > _MAX_RANKED:
        raise InvalidRequest(f"{where} of {tensor.size} elements, expected at most {_MAX_RANKED}")
    has_batch = bool(spec.shape) and spec.shape[0] == -1 and tensor.ndim > 0
    columns = int(np.prod(tensor.shape[1:])) if has_batch else tensor.size
    rows = tensor.reshape(tensor.shape[0] if has_batch else 1, columns)
    words = _words(rows, min(form.classes, columns))
    shaped = words if has_batch else words.reshape(-1)
    return Output(spec.name, "BYTES", shaped, form.is_binary)


def _words(rows: Tensor, count: int) -> Tensor:
    is_integer = rows.dtype.kind in "biu"
    # Descending and stable: the complement of an integer falls as it rises, and cannot overflow.
    keys = ~rows.astype(np.uint8 if rows.dtype.kind == "b" else rows.dtype) if is_integer else -rows
    order = np.argsort(keys.astype(np.float64) if not is_integer else keys, axis=1, kind="stable")
    words = np.empty((len(rows), count), np.object_)
    for row, indices in enumerate(order[:, :count].tolist()):
        for place, index in enumerate(indices):
            value = rows[row, index]
            number = str(int(value)) if is_integer else f"{float(value):f}"
            words[row, place] = f"{number}:{index}"
    return words


def repeated(where: str, names: Sequence[str]) -> InvalidRequest:
    """The refusal of a list in which a tensor occurs twice.

    >>> repeated("outputs", ["a", "b", "b"])
    InvalidRequest("outputs: tensor 'b' occurs twice, expected each once")
    """
    name = next(name for index, name in enumerate(names) if name in names[:index])
    return InvalidRequest(f"{where}: tensor {shown(name)} occurs twice, expected each once")


def output_form(where: str, parameters: Any, is_binary: bool) -> OutputForm:
    """Read the parameters of a requested output; `is_binary` is what the whole request says."""
    binary = parameters.get("binary_data", is_binary)
    if not isinstance(binary, bool):
        raise InvalidRequest(f"{where}.binary_data: got {shown(binary)}, expected true or false")
    classes = parameters.get("classification", 0)
    if type(classes) is not int or classes < ("classification" in parameters):
        raise InvalidRequest(
            f"{where}.classification: got {shown(classes)}, expected the number of classes"
        )
    return OutputForm(binary, classes)


def binary_by_default(parameters: Any) -> bool:
    """Whether outputs come as bytes where they do not say otherwise."""
    found = parameters.get("binary_data_output", False)
    if not isinstance(found, bool):
        raise InvalidRequest(
            f"parameters.binary_data_output: got {shown(found)}, expected true or false"
        )
    return found


def timeout_of(parameters: Any) -> float | None:
    """The request's own timeout in seconds; the wire has it in microseconds, 0 for none."""
    found = parameters.get("timeout")
    if found is None or (type(found) is int and found == 0):
        return None
    if type(found) is not int or not 0 < found <= _MAX_TIMEOUT_US:
        raise InvalidRequest(
            f"parameters.timeout: got {shown(found)}, expected microseconds from 1 to "
            f"{_MAX_TIMEOUT_US}"
        )
    return found / 1e6
