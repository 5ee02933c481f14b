"""Times as Kubernetes writes them: RFC 3339 in UTC, whole seconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def timestamp(at: datetime) -> str:
    """Write a time.

    >>> timestamp(datetime(2026, 11, 20, 9, 30, tzinfo=UTC))
    '2026-11-20T09:30:00Z'
    """
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse(text: object) -> datetime | None:
    """Read a time; None when there is none, or when somebody wrote something else."""
    if not isinstance(text, str) or not text:
        return None
    try:
        read = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def later(at: datetime, seconds: float) -> datetime | None:
    """Add seconds; None past the end of time, which somebody may have written by hand."""
    try:
        return at + timedelta(seconds=seconds)
    except OverflowError:
        return None
