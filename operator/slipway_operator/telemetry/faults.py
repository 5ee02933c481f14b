"""What can go wrong with a reconcile: the closed set of reasons that a metric counts by.

Stays out: which error is which (`engine/faults.py`), and what is told (`plan/conditions.py`).
"""

from __future__ import annotations

from enum import StrEnum


class Fault(StrEnum):
    """One cause; the API server's status, where there was an answer."""

    INVALID_SPEC = "invalid_spec"
    """The spec has what this operator does not know."""
    INVALID = "invalid"
    """400, 413, 422: an object that is made of the spec was refused for good."""
    DENIED = "denied"
    """403: a quota or an admission policy stands against it."""
    FORBIDDEN = "forbidden"
    """403: the operator lacks a right."""
    NOT_FOUND = "not_found"
    """404: the object, its namespace or its kind has gone."""
    CONFLICT = "conflict"
    """409: somebody else wrote in between."""
    THROTTLED = "throttled"
    """429: the API server asks for a pause."""
    UNAVAILABLE = "unavailable"
    """Any other answer that is no success: the server, or a webhook before it."""
    NO_ANSWER = "no_answer"
    """None at all, or not in time."""
    NAME_TAKEN = "name_taken"
    """Somebody else's object bears the name."""
    CONTESTED = "contested"
    """Somebody changes an object after every repair."""
    CRASH = "crash"
    """A defect of the operator."""
