"""The API server's recorded answers (`hostile-inputs.md` 3.1) are understood."""

from __future__ import annotations

import json

import pytest

from slipway_operator.kube.errors import (
    ApiError,
    Conflict,
    Denied,
    Invalid,
    NotFound,
    Throttled,
    Unavailable,
    from_response,
)


def _body(reason: str, message: str) -> bytes:
    return json.dumps({"kind": "Status", "reason": reason, "message": message}).encode()


@pytest.mark.parametrize(
    ("status", "reason", "message", "expected"),
    [
        (409, "AlreadyExists", 'deployments.apps "d1" already exists', Conflict),
        (409, "Conflict", "Operation cannot be fulfilled on …: the object has been modified",
         Conflict),
        (409, "Conflict", 'Apply failed with 1 conflict: conflict with "a": .spec.replicas',
         Conflict),
        (422, "Invalid", "spec.selector: Invalid value: …: field is immutable", Invalid),
        (422, "Invalid", "must be no more than 63 characters", Invalid),
        (400, "BadRequest", "quantities must match the regular expression", Invalid),
        (400, "BadRequest", "strict decoding error", Invalid),
        (413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728", Invalid),
        (403, "Forbidden", "unable to create new content in namespace t2 because it is being"
         " terminated", Denied),
        (403, "Forbidden", "exceeded quota: rq, requested: services=1", Denied),
        (403, "Forbidden", 'User "x" cannot list resource "deployments"', Denied),
        (404, "NotFound", 'namespaces "t9" not found', NotFound),
        (401, "Unauthorized", "Unauthorized", Unavailable),
        (410, "Expired", "too old resource version: 300 (809)", Unavailable),
        (500, "InternalError", 'failed calling webhook "w.ex.io": … connection refused',
         Unavailable),
        (503, "ServiceUnavailable", "the server is currently unable", Unavailable),
        (504, "Timeout", "Too large resource version", Unavailable),
    ],
)  # fmt: skip
def test_an_answer_is_read(
    status: int, reason: str, message: str, expected: type[ApiError]
) -> None:
    error = from_response(status, _body(reason, message), None)
    assert (type(error), error.status, error.reason, error.message) == (
        expected, status, reason, message,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("status", "retry_after", "expected"),
    [
        pytest.param(429, "5", 5.0, id="as told"),
        pytest.param(429, None, 1.0, id="not told"),
        pytest.param(429, "0", 0.1, id="never at once"),
        pytest.param(429, "86400", 60.0, id="never for a day"),
        pytest.param(429, "Fri, 20 Nov 2026 09:30:00 GMT", 1.0, id="a date"),
        pytest.param(504, "1", 1.0, id="a server error that names a pause"),
    ],
)
def test_a_pause_is_honoured(status: int, retry_after: str | None, expected: float) -> None:
    error = from_response(status, _body("TooManyRequests", "later"), retry_after)
    assert isinstance(error, Throttled)
    assert error.retry_after_s == expected


@pytest.mark.parametrize("body", [b"", b"<html>502</html>", b"[]", b"\xff\xfe", b"null"])
def test_a_body_that_is_no_status_is_no_obstacle(body: bytes) -> None:
    error = from_response(502, body, None)
    assert (type(error), error.reason) == (Unavailable, "Unknown")
