"""What can keep a figure from being taken."""

from __future__ import annotations


class BenchmarkError(Exception):
    """The benchmark cannot go on; the message says what to do."""


class NotAvailable(BenchmarkError):
    """A server cannot be installed, started, or answers wrongly: its rows say so, others go on."""


class TimeOver(BenchmarkError):
    """The run has used up its time."""
