"""What runs on the loop for long is stopped; what only waits for its core is not."""

import threading
from collections.abc import Iterator
from time import monotonic, thread_time

import pytest

from slipway_runtime.inference.guard import Guard
from slipway_runtime.inference.session import Cancellation


@pytest.fixture
def guard() -> Iterator[Guard]:
    guard = Guard()
    yield guard
    guard.close()


def test_a_run_that_computes_for_long_is_stopped(guard: Guard) -> None:
    cancellation = Cancellation()
    with guard.watching(cancellation):
        until_s = thread_time() + 5
        while not cancellation.options.terminate and thread_time() < until_s:
            pass
    assert cancellation.options.terminate


def test_a_run_whose_core_is_taken_away_goes_on(guard: Guard) -> None:
    cancellation = Cancellation()
    with guard.watching(cancellation):
        threading.Event().wait(0.2)
    assert not cancellation.options.terminate


def test_a_run_that_never_ends_is_stopped_though_it_computes_nothing(guard: Guard) -> None:
    cancellation, begun_s = Cancellation(), monotonic()
    with guard.watching(cancellation):
        while not cancellation.options.terminate and monotonic() - begun_s < 10:
            threading.Event().wait(0.02)
    assert cancellation.options.terminate
    assert monotonic() - begun_s > 0.9
