"""Stops what runs on the event loop when it takes long: the loop cannot stop itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import clock_gettime, monotonic, pthread_getcpuclockid
from typing import Final

from slipway_runtime.inference.session import Cancellation

_LONG_S: Final = 0.05
"""Many times what is expected; everybody waits meanwhile."""
_FAR_TOO_LONG_S: Final = 1.0
"""Even where the core was taken away."""
_QUIET_LOOKS: Final = 40


class Guard:
    """A thread that looks at what runs, and sleeps where nothing has run for a while.

    Made by the thread that runs. Time in which others had its core does not count: a busy machine
    makes a run no longer than it would be anywhere else.
    """

    def __init__(self) -> None:
        self._clock: Final = pthread_getcpuclockid(threading.get_ident())
        self._running: tuple[Cancellation, float] | None = None
        self._is_asleep = True
        self._is_closed = False
        self._wake: Final = threading.Event()
        threading.Thread(target=self._watch, name="guard", daemon=True).start()

    @contextmanager
    def watching(self, cancellation: Cancellation) -> Iterator[None]:
        """Stop the run inside of the block if it takes long."""
        self._running = (cancellation, monotonic())
        if self._is_asleep:
            self._is_asleep = False
            self._wake.set()
        try:
            yield
        finally:
            self._running = None

    def close(self) -> None:
        """Let the thread end."""
        self._is_closed = True
        self._wake.set()

    def _watch(self) -> None:
        while not self._is_closed:
            self._wake.wait()
            self._wake.clear()
            self._look_often()
            self._is_asleep = True
            if self._running is not None:  # it began before it could see that we sleep
                self._wake.set()

    def _look_often(self) -> None:
        quiet = 0
        seen, used_s = self._running, clock_gettime(self._clock)
        while quiet < _QUIET_LOOKS and not self._wake.wait(_LONG_S / 2):
            running = self._running
            quiet = quiet + 1 if running is None else 0
            if running is not seen:
                seen, used_s = running, clock_gettime(self._clock)
            elif running is not None and self._is_long(running[1], used_s):
                running[0].stop()

    def _is_long(self, begun_s: float, used_s: float) -> bool:
        """Whether a run takes long; `used_s` is what its thread had computed when it was seen."""
        took_s = monotonic() - begun_s
        computed_s = clock_gettime(self._clock) - used_s
        return took_s > _FAR_TOO_LONG_S or (took_s > _LONG_S and computed_s > _LONG_S / 4)
