"""Which fault an error is, for the metric that counts them."""

from __future__ import annotations

from typing import Final

from slipway_operator.engine.writer import Contested, NameTaken
from slipway_operator.kube.errors import (
    ApiError,
    Conflict,
    Denied,
    Invalid,
    NotFound,
    Throttled,
)
from slipway_operator.telemetry.faults import Fault

_BY_TYPE: Final[tuple[tuple[type[Exception], Fault], ...]] = (
    (NameTaken, Fault.NAME_TAKEN),
    (Contested, Fault.CONTESTED),
    (Invalid, Fault.INVALID),
    (NotFound, Fault.NOT_FOUND),
    (Conflict, Fault.CONFLICT),
    (Throttled, Fault.THROTTLED),
    (TimeoutError, Fault.NO_ANSWER),
)


def fault_of(error: Exception) -> Fault:
    """Name the cause; what nobody has imagined is a defect of ours."""
    if isinstance(error, Denied):
        return Fault.FORBIDDEN if error.is_for_want_of_rights else Fault.DENIED
    found = next((fault for kind, fault in _BY_TYPE if isinstance(error, kind)), None)
    if found is not None:
        return found
    if isinstance(error, ApiError):
        return Fault.UNAVAILABLE if error.status else Fault.NO_ANSWER
    return Fault.CRASH
