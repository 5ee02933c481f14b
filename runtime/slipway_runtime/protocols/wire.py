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
    LoadFailed,
    MisframedMessage,
    ModelNotFound,
    ModelNotReady,
    NotServed,
    QueueFull,
    RequestTooLarge,
    ServingError,
    Unauthenticated,
    UnsupportedEncoding,
    clipped,
)
from slipway_runtime.protocols.grpc_status import Status

WIRE_STATUS: Final[Mapping[type[ServingError], tuple[int, Status]]] = {
    InvalidRequest: (400, Status.INVALID_ARGUMENT),
    InvalidTensor: (400, Status.INVALID_ARGUMENT),
    LoadFailed: (400, Status.INVALID_ARGUMENT),  # as Triton; trying again changes nothing
    Unauthenticated: (401, Status.UNAUTHENTICATED),
    ModelNotFound: (404, Status.NOT_FOUND),
    BodyTimeout: (408, Status.DEADLINE_EXCEEDED),
    RequestTooLarge: (413, Status.RESOURCE_EXHAUSTED),
    # Source: gRPC's "Compression", which wants INTERNAL of a flag without an encoding.
    MisframedMessage: (400, Status.INTERNAL),
    UnsupportedEncoding: (415, Status.UNIMPLEMENTED),
    QueueFull: (429, Status.RESOURCE_EXHAUSTED),
    InferenceFailed: (500, Status.INTERNAL),
    NotServed: (501, Status.UNIMPLEMENTED),
    # Retrying can succeed: never 400.
    ModelNotReady: (503, Status.UNAVAILABLE),
    DeadlineExceeded: (504, Status.DEADLINE_EXCEEDED),
}

RETRY_AFTER_S: Final[Mapping[int, int]] = {429: 1, 503: 1}
"""Sent with answers that another attempt, here or elsewhere, can better."""

REJECTIONS: Final = frozenset({429, 503, 504})
"""Outcomes that are the server's state and not the request's fault; counted as rejected."""

_MAX_MESSAGE_BYTES: Final = 900


def status_of(error: ServingError) -> int:
    """The HTTP status of an error."""
    return WIRE_STATUS[type(error)][0]


def code_of(error: ServingError) -> Status:
    """The gRPC status of an error."""
    return WIRE_STATUS[type(error)][1]


def unexpected(err: Exception) -> InferenceFailed:
    """What a client is told of a bug: its kind, and nothing of its words."""
    return InferenceFailed(f"internal error ({type(err).__name__}); the server's log has the cause")


def clipped_message(message: str) -> str:
    """The words of an error, bounded on every wire."""
    return clipped(message, _MAX_MESSAGE_BYTES)


def further_headers(status: int, error: ServingError) -> list[tuple[bytes, bytes]]:
    """The header that tells when another attempt may succeed, where one may; or with what."""
    if isinstance(error, Unauthenticated):
        return [(b"www-authenticate", error.challenge.encode("ascii"))]
    if status not in RETRY_AFTER_S:
        return []
    return [(b"retry-after", b"%d" % (error.retry_after_s or RETRY_AFTER_S[status]))]


def error_body(message: str) -> bytes:
    """The body of every error answer: `{"error": "…"}`, at most 1 KiB before escaping."""
    return orjson.dumps({"error": clipped_message(message)})
