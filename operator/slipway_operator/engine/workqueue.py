"""A queue of keys that holds each key once and never gives one to two workers.

Semantics of client-go's workqueue: a key added while it is being processed comes again afterwards;
`add_after` keeps the earliest time; failures back off exponentially, per key.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

BASE_DELAY_S: Final = 0.05
MAX_DELAY_S: Final = 300.0
JITTER: Final = 0.2


class WorkQueue(Generic[K]):
    """Deduplicating, delaying, backing off; two priorities. For one event loop."""

    def __init__(self, observe_latency: Callable[[float], None] = lambda seconds: None) -> None:
        self._urgent: deque[K] = deque()
        self._patient: deque[K] = deque()
        self._waiting_patiently: set[K] = set()
        self._dirty: dict[K, float] = {}
        self._processing: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._wake = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._is_closed = False
        self._observe_latency = observe_latency

    def __len__(self) -> int:
        return len(self._dirty)

    def add(self, key: K, *, patient: bool = False) -> None:
        """Ask for `key` to be looked at; `patient` keys wait for all others."""
        if key in self._dirty:
            if key in self._waiting_patiently and not patient:
                # It overtakes; get() skips the old place.
                self._waiting_patiently.discard(key)
                self._enqueue(key)
            return
        self._dirty[key] = asyncio.get_running_loop().time()
        if key not in self._processing:
            self._enqueue(key, patient=patient)

    def _enqueue(self, key: K, *, patient: bool = False) -> None:
        (self._patient if patient else self._urgent).append(key)
        if patient:
            self._waiting_patiently.add(key)
        self._wake.set()

    def add_after(self, key: K, delay_s: float) -> None:
        """Ask for `key` later; of several times the earliest counts."""
        loop = asyncio.get_running_loop()
        due = loop.time() + delay_s
        timer = self._timers.get(key)
        if timer is not None and timer.when() <= due:
            return
        if timer is not None:
            timer.cancel()
        self._timers[key] = loop.call_at(due, self._due, key)

    def _due(self, key: K) -> None:
        del self._timers[key]
        self.add(key)

    def retry(self, key: K, *, at_least_s: float = 0.0, at_most_s: float = MAX_DELAY_S) -> float:
        """Ask for `key` after a pause that doubles with each failure in a row; tell the pause."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(at_most_s, BASE_DELAY_S * 2.0 ** min(failures, 20))
        delay = max(at_least_s, delay * random.uniform(1 - JITTER, 1 + JITTER))
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """Note a success: the next failure begins with the shortest pause."""
        self._failures.pop(key, None)

    def drop(self, key: K) -> None:
        """Forget everything about a key whose object is gone."""
        self.forget(key)
        if timer := self._timers.pop(key, None):
            timer.cancel()

    async def get(self) -> K:
        """Wait for a key; call `done` with it afterwards, whatever happened."""
        while (key := self._next()) is None:
            self._wake.clear()
            await self._wake.wait()
        since = self._dirty.pop(key)
        self._processing.add(key)
        self._quiet.clear()
        self._observe_latency(asyncio.get_running_loop().time() - since)
        return key

    def _next(self) -> K | None:
        if self._is_closed:
            return None
        if self._urgent:
            return self._urgent.popleft()
        while self._patient:
            key = self._patient.popleft()
            if key in self._waiting_patiently:
                self._waiting_patiently.discard(key)
                return key
        return None

    def done(self, key: K) -> None:
        """Give a key back; if it was added meanwhile, it comes again."""
        self._processing.discard(key)
        if not self._processing:
            self._quiet.set()
        if key in self._dirty:
            self._enqueue(key)

    async def close(self) -> None:
        """Hand out nothing any more, and wait until every key has been given back."""
        self._is_closed = True
        await self._quiet.wait()
