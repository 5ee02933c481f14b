"""Files as requests: the bytes of an image, a sound or a text, for models that take bytes.

Pure. Such a model has one input: UINT8 of shape [-1], which is what graphs that decode images
begin with, or BYTES, which ONNX Runtime holds as UTF-8, so that only texts can go there. A form
(`multipart/form-data`) has one file, or several texts for an input of several.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from slipway_runtime.errors import InvalidRequest, shown
from slipway_runtime.inference.datatypes import Tensor
from slipway_runtime.inference.signature import Signature, TensorSpec
from slipway_runtime.protocols.codec_binary import decoded_word, raw_input

_RAW: Final = ("image/", "audio/", "video/", "application/octet-stream")
_FORM: Final = "multipart/form-data"
_MAX_PARTS: Final = 64
_MAX_HEADER_BYTES: Final = 4096
_MAX_BOUNDARY_BYTES: Final = 70
"""RFC 2046, 5.1.1."""


def takes_uploads(signature: Signature) -> bool:
    """Whether the bytes of a file can be this model's request."""
    return len(signature.inputs) == 1 and _takes_bytes(signature.inputs[0])


def is_upload(content_type: str) -> bool:
    """Whether a body is announced as a file or as a form with files.

    >>> is_upload("Image/PNG"), is_upload("application/json"), is_upload("")
    (True, False, False)
    """
    return content_type.lower().startswith((*_RAW, _FORM))


def read_upload(body: bytes, content_type: str, signature: Signature) -> dict[str, Tensor]:
    """Make the only input of a file's bytes; those of a number are not copied.

    Raises:
        InvalidRequest: the model takes no files, or the form holds something else.
    """
    if not takes_uploads(signature):
        raise InvalidRequest(_remedy(content_type, signature))
    [spec] = signature.inputs
    if not content_type.lower().startswith(_FORM):
        return _lone(body, signature)
    parts = form_parts(body, content_type)
    if len(parts) == 1:
        return _lone(parts[0], signature)
    if spec.datatype != "BYTES" or spec.shape not in {(-1,), (-1, 1), (len(parts),)}:
        raise InvalidRequest(
            f"form: has {len(parts)} parts, expected one, for input {shown(spec.name)} of "
            f"{spec.datatype} and shape {list(spec.shape)}"
        )
    words = np.empty(len(parts), np.object_)
    words[:] = [decoded_word(spec, index, part) for index, part in enumerate(parts)]
    return {spec.name: words.reshape(len(parts), *[1] * (len(spec.shape) - 1))}


def form_parts(body: bytes, content_type: str) -> list[bytes]:
    """Take a form apart; the names of its fields do not matter.

    Raises:
        InvalidRequest: no form, or one with too many parts.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= _MAX_BOUNDARY_BYTES:
        raise InvalidRequest(
            f"content-type: got {shown(content_type)}, expected {_FORM} with a boundary"
        )
    form = _Form()
    callbacks = {
        "on_part_begin": form.begin,
        "on_part_data": form.add,
        "on_end": form.end,
    }
    try:
        parser = MultipartParser(boundary, callbacks, max_header_size=_MAX_HEADER_BYTES)  # type: ignore[arg-type]  # its callbacks are a TypedDict with more keys
        parser.write(body)
        parser.finalize()
    except FormParserError as err:
        raise InvalidRequest(f"body: no valid form ({err})") from err
    if not form.is_whole or not form.parts:
        raise InvalidRequest("body: its form is cut off or empty, expected at least one part")
    return [b"".join(part) for part in form.parts]


class _Form:
    """Collects what the parser finds."""

    def __init__(self) -> None:
        self.parts: list[list[bytes]] = []
        self.is_whole = False

    def begin(self) -> None:
        if len(self.parts) == _MAX_PARTS:
            raise InvalidRequest(f"form: more than {_MAX_PARTS} parts")
        self.parts.append([])

    def add(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].append(data[start:end])

    def end(self) -> None:
        self.is_whole = True


def _takes_bytes(spec: TensorSpec) -> bool:
    sizes: Sequence[int] = spec.shape
    if spec.datatype == "UINT8":
        return spec.shape == (-1,)
    return spec.datatype == "BYTES" and all(size in (-1, 1) for size in sizes)


def _lone(content: bytes, signature: Signature) -> dict[str, Tensor]:
    spec, tensor = raw_input(content, signature)
    return {spec.name: tensor}


def _remedy(content_type: str, signature: Signature) -> str:
    """Say what this model takes, and what model would take a file."""
    takes = ", ".join(
        f"{shown(spec.name)} {spec.datatype} {list(spec.shape)}" for spec in signature.inputs
    )
    return (
        f"content-type: got {shown(content_type)}, expected application/json: the model takes "
        f"{takes or 'no inputs'}, and a file is taken by one input of UINT8 and shape [-1] or of "
        "BYTES; decode the file and send its numbers as {'inputs': ...}, or decode it in the model"
    )
