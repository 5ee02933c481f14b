"""What a ServingError is on the wires: its status, and its words. The only place with codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import orjson

from slipway_runtime.errors import (
    BodyTimeout,
    DeadlineExceeded,
    InferenceFailed,
    InvalidRequest,
    InvalidTensor,
    ModelNotFound,
    ModelNotReady,
    QueueFull,
    RequestTooLarge,
    ServingError,
    UnsupportedEncoding,
    clipped,
)

WIRE_STATUS: Final[Mapping[type[ServingError], int]] = {
    InvalidRequest: 400,
    InvalidTensor: 400,
    ModelNotFound: 404,
    BodyTimeout: 408,
    RequestTooLarge: 413,
    UnsupportedEncoding: 415,
    QueueFull: 429,
    InferenceFailed: 500,
    ModelNotReady: 503,  # retrying can succeed: never 400
    DeadlineExceeded: 504,
}

RETRY_AFTER_S: Final[Mapping[int, int]] = {429: 1, 503: 1}
"""Sent with answers that another attempt, here or elsewhere, can better."""

REJECTIONS: Final = frozenset({429, 503, 504})
"""Outcomes that are the server's state and not the request's fault; counted as rejected."""

_MAX_MESSAGE_BYTES: Final = 900


def status_of(error: ServingError) -> int:
    """The HTTP status of an error."""
    return WIRE_STATUS[type(error)]


def error_body(message: str) -> bytes:
    """The body of every error answer: `{"error": "…"}`, at most 1 KiB before escaping."""
    return orjson.dumps({"error": clipped(message, _MAX_MESSAGE_BYTES)})
