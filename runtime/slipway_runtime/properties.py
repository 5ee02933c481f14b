"""What a model file says of itself: who exported it, with what, and whatever its author has added.

Lives here: reading it out of the file, within bounds, and making it safe to show. Authors put
metrics and lineage into `metadata_props` (`accuracy`, `git_commit`, `mlflow_run_id`); the rest are
ONNX's own fields, under `onnx.`. It is their word, and it is shown, never acted on and never
logged. A file's text may be as long as the file: of each only the beginning is read.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from slipway_runtime.onnx_scan import Field, Malformed, fields, scanned
from slipway_runtime.provenance import CLASSES, CONVERSION, MAX_TOLD_CHARACTERS, OPTIMIZATION

MAX_PROPERTIES: Final = 32
MAX_KEY_CHARACTERS: Final = 64
MAX_VALUE_CHARACTERS: Final = 256
"""Of what is not Slipway's own, which may have `MAX_TOLD_CHARACTERS`."""
_MAX_FIELDS: Final = 10_000
"""Looked at in one file. A model has a dozen, beside its author's."""
_MAX_BYTES: Final = 4
"""Of a character in UTF-8."""

_TEXTS: Final = {2: "producer_name", 3: "producer_version", 4: "domain", 6: "doc_string"}
_NUMBERS: Final = {1: "ir_version", 5: "model_version"}
_OPSET: Final = 8
_PROPERTY: Final = 14
"""Numbers of fields of ModelProto."""

_Raw = mmap.mmap | bytes


def properties(model: Path | bytes) -> dict[str, str]:
    """Read them from a file or its content; of a broken one, as many as come before the break.

    Returns:
        Printable texts by printable names, ONNX's own first.
    """
    if isinstance(model, bytes):
        return _read(model)
    try:
        with scanned(model) as raw:
            return _read(raw)
    except OSError:
        return {}  # it has been taken away since it was loaded


def _read(raw: _Raw) -> dict[str, str]:
    own: dict[str, str] = {}
    opsets: list[str] = []
    told: dict[str, str] = {}
    try:
        for field in islice(fields(raw, 0, len(raw)), _MAX_FIELDS):
            if field.number == _PROPERTY and len(told) < MAX_PROPERTIES:
                told.update([_pair(raw, field)])
            elif field.number == _OPSET and len(opsets) < MAX_PROPERTIES:
                opsets.append(_opset(raw, field))
            else:
                own.update(_own(raw, field))
    except Malformed:
        pass  # who loads the file says what is wrong with it
    if opsets:
        own["onnx.opset_import"] = printable(", ".join(opsets), MAX_VALUE_CHARACTERS)
    rest = {key: value for key, value in told.items() if key not in own}
    return dict(islice((*own.items(), *rest.items()), MAX_PROPERTIES))


def _own(raw: _Raw, field: Field) -> Iterator[tuple[str, str]]:
    """ONNX's own fields, where they say anything."""
    if field.number in _TEXTS and field.end > field.start:
        yield f"onnx.{_TEXTS[field.number]}", _text(raw, field, MAX_VALUE_CHARACTERS)
    elif field.number in _NUMBERS and field.value:
        yield f"onnx.{_NUMBERS[field.number]}", str(_signed(field.value))


def _pair(raw: _Raw, entry: Field) -> tuple[str, str]:
    found = {field.number: field for field in _few(raw, entry)}
    key = _text(raw, found[1], MAX_KEY_CHARACTERS) if 1 in found else ""
    is_ours = key in (CONVERSION, OPTIMIZATION) or key.startswith(CLASSES)
    limit = MAX_TOLD_CHARACTERS if is_ours else MAX_VALUE_CHARACTERS
    return key, _text(raw, found[2], limit) if 2 in found else ""


def _opset(raw: _Raw, entry: Field) -> str:
    found = {field.number: field for field in _few(raw, entry)}
    domain = _text(raw, found[1], MAX_KEY_CHARACTERS) if 1 in found else ""
    version = str(_signed(found[2].value)) if 2 in found else "0"
    return f"{domain} {version}".strip()


def _few(raw: _Raw, entry: Field) -> Iterator[Field]:
    return islice(fields(raw, entry.start, entry.end), 8)


def _signed(value: int) -> int:
    """The protocol writes a negative number as what it is modulo 2^64."""
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


def _text(raw: _Raw, field: Field, limit: int) -> str:
    # One character more than is shown tells that there are more.
    end = min(field.end, field.start + (limit + 1) * _MAX_BYTES)
    text = raw[field.start : end].decode("utf-8", "replace")
    return printable(text, limit)


def printable(text: str, limit: int) -> str:
    r"""Escape what is not printable, as JSON does, and cut the rest.

    >>> printable("a\nb", 9), printable("abcdef", 5), printable("a\x1b[2J", 10)
    ('a\\nb', 'abcd…', 'a\\u001b[2J')
    """
    safe = "".join(c if c.isprintable() else _escaped(c) for c in text[: limit + 1])
    return safe if len(safe) <= limit else f"{safe[: limit - 1]}…"


def _escaped(character: str) -> str:
    return json.dumps(character)[1:-1] if ord(character) != 127 else "\\u007f"
