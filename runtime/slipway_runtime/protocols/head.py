"""What the head of an inference request says about its body.

Pure. Content-Type is not read: real clients send none, or a wrong one.
"""

from __future__ import annotations

from typing import NamedTuple

from starlette.types import Scope

from slipway_runtime.errors import InvalidRequest, UnsupportedEncoding, shown
from slipway_runtime.protocols.compression import CODINGS
from slipway_runtime.protocols.patience import TIMEOUT_HEADERS, header_timeout_s, shortest


class Head(NamedTuple):
    """Coding of the body, length of its JSON, coding of the answer, type of the body."""

    coding: str | None = None
    json_bytes: int | None = None
    """None: all of the body; with tensors behind it, where they begin once it is decompressed."""
    answer_coding: str | None = None
    content_type: str = ""
    timeout_s: float | None = None
    """What the client gives us, from now on."""


def read_head(scope: Scope) -> Head:
    """Read the headers that matter.

    Raises:
        UnsupportedEncoding: the body is compressed in a way that is not read, or twice.
        InvalidRequest: the length of the JSON is no number, or is told twice; a timeout is none.
    """
    codings: list[str] = []
    json_bytes: int | None = None
    answer_coding, content_type, timeout_s = None, "", None
    for name, value in scope["headers"]:
        if name == b"content-encoding":
            codings.append(value.decode("latin-1").strip())
        elif name == b"inference-header-content-length":
            if json_bytes is not None:
                raise InvalidRequest("inference-header-content-length: sent twice, expected once")
            json_bytes = _length(value)
        elif name == b"accept-encoding":
            answer_coding = _answer_coding(value)
        elif name == b"content-type":
            content_type = value.decode("latin-1")
        elif name in TIMEOUT_HEADERS:
            timeout_s = shortest(timeout_s, header_timeout_s(name, value))
    coding = _coding(codings) if codings else None
    return Head(coding, json_bytes, answer_coding, content_type, timeout_s)


def _coding(codings: list[str]) -> str | None:
    told = ", ".join(codings)
    coding = told.lower().replace("x-gzip", "gzip")
    if coding in ("", "identity"):
        return None
    if coding not in CODINGS:
        raise UnsupportedEncoding(
            f"content-encoding {shown(told)}: not served, expected {' or '.join(CODINGS)}, once"
        )
    return coding


def _length(value: bytes) -> int:
    if not value.isdigit() or len(value) > 18:
        raise InvalidRequest(
            f"inference-header-content-length: got {shown(value.decode('latin-1'))}, "
            "expected the bytes of the JSON"
        )
    return int(value)


def _answer_coding(value: bytes) -> str | None:
    """The coding that is asked for by name.

    A list such as `gzip, deflate, br` is what HTTP libraries send unasked: compressing for them
    costs both sides more than it saves.
    """
    asked = value.decode("latin-1").strip().lower()
    return asked if asked in CODINGS else None
