"""What a refused request means for what happens next.

    ApiError
    ├── Conflict       409  somebody else wrote: look again
    ├── NotFound       404  gone, or never there
    ├── Invalid        400, 413, 422  the object is wrong: only another one helps
    ├── Denied         403  quota, admission, rights: may change, so try again later
    ├── Throttled      429  wait as told
    └── Unavailable    everything else, and no answer at all: try again

Source: `hostile-inputs.md` 3.1, the API server's recorded answers.
"""

from __future__ import annotations

import json
import re
from typing import Final

_NO_RIGHT: Final = re.compile(r'User "[^"]*" cannot \w+ resource')


class ApiError(Exception):
    """A request that did not succeed."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class Conflict(ApiError):
    """Somebody else wrote in between."""


class NotFound(ApiError):
    """The object, its namespace or its kind does not exist."""


class Invalid(ApiError):
    """The API server will never accept this object."""


class Denied(ApiError):
    """Quota, admission or rights stand against it now."""

    @property
    def is_for_want_of_rights(self) -> bool:
        """Whether RBAC refused: no event tells when that changes."""
        return _NO_RIGHT.search(self.message) is not None


class Throttled(ApiError):
    """The API server asks for a pause."""

    retry_after_s: float = 1.0


class Unavailable(ApiError):
    """No answer, or one that says nothing about the object."""


_BY_STATUS: Final[dict[int, type[ApiError]]] = {
    400: Invalid, 403: Denied, 404: NotFound, 409: Conflict, 413: Invalid, 422: Invalid,
}  # fmt: skip


_TYPED_PATCH: Final = "failed to create typed patch object"
"""What server-side apply says, with status 500, to a field that the kind does not have."""


def from_response(status: int, body: bytes, retry_after: str | None) -> ApiError:
    """Read an answer that is not a success; the body is a `Status` object, or anything at all."""
    reason, message = _status(body)
    if status == 500 and _TYPED_PATCH in message:
        return Invalid(status, reason, message)
    if status == 429 or (status >= 500 and retry_after):
        throttled = Throttled(status, reason, message)
        throttled.retry_after_s = _seconds(retry_after)
        return throttled
    return _BY_STATUS.get(status, Unavailable)(status, reason, message)


def _status(body: bytes) -> tuple[str, str]:
    try:
        read = json.loads(body)
    except ValueError:
        read = None
    if not isinstance(read, dict):
        return "Unknown", body[:200].decode(errors="replace")
    return str(read.get("reason") or "Unknown"), str(read.get("message") or "")


def _seconds(retry_after: str | None) -> float:
    try:
        return min(60.0, max(0.1, float(retry_after or 1)))
    except ValueError:  # an HTTP date, which the API server does not send
        return 1.0
