"""Leader election by a Lease, fenced by our own clock.

A leader may act until `start of its last successful renewal + renew deadline`, which ends before
the Lease can be taken over. Others judge a Lease by when they saw it change, on their own clock, so
that clocks need not agree.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from slipway_operator.kube.errors import ApiError, Conflict, NotFound
from slipway_operator.kube.kinds import LEASE, Kind

log = logging.getLogger(__name__)

_RELEASED_DURATION_S: Final = 1


class NotLeading(Exception):
    """The leadership ended: nothing may be written."""


class LeaseStore(Protocol):
    """The three requests the elector makes."""

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        """Read the Lease."""

    async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Create the Lease."""

    async def replace(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Replace the Lease as it was read."""


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """How long a leadership lasts, in seconds; each must be greater than the next."""

    duration_s: float = 15.0
    """Others take over when the Lease has not changed for this long."""
    renew_deadline_s: float = 10.0
    """The leader stops acting when its last renewal is this long ago."""
    retry_s: float = 2.0
    """Pause between attempts."""


class Elector:
    """Holds a Lease, or waits for it."""

    def __init__(
        self,
        store: LeaseStore,
        namespace: str,
        name: str,
        identity: str,
        times: LeaseTimes,
        on_change: Callable[[bool], None] = lambda is_leading: None,
    ) -> None:
        self._store, self._namespace, self._name = store, namespace, name
        self._identity, self._times, self._on_change = identity, times, on_change
        self._deadline = 0.0
        self._seen: tuple[str, float] = ("", 0.0)
        self._lease: dict[str, Any] | None = None
        self._changed = asyncio.Event()
        self._was_leading = False

    @property
    def is_leading(self) -> bool:
        """Whether this process may write now."""
        return asyncio.get_running_loop().time() < self._deadline

    def fence(self) -> None:
        """Check the leadership at the last moment before a write.

        Raises:
            NotLeading: it has ended.
        """
        if not self.is_leading:
            raise NotLeading

    async def leading(self) -> None:
        """Wait until this process may write."""
        while not self.is_leading:
            self._changed.clear()
            await self._changed.wait()

    async def run(self) -> None:
        """Try to hold the Lease for ever."""
        while True:
            await self._attempt()
            self._announce()
            await asyncio.sleep(self._times.retry_s)

    async def _attempt(self) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        try:
            async with asyncio.timeout(self._times.renew_deadline_s / 2):
                held = await self._hold()
        except (ApiError, TimeoutError) as error:
            log.warning("lease not renewed", extra={"cause": str(error)})
            self._lease = None
            if isinstance(error, Conflict):  # somebody else has written it
                self._deadline = 0.0
            return
        if held:
            self._deadline = start + self._times.renew_deadline_s
            self._changed.set()
        else:
            self._deadline = 0.0

    def _announce(self) -> None:
        if self.is_leading != self._was_leading:
            self._was_leading = self.is_leading
            log.info("leadership changed", extra={"leading": self._was_leading})
            self._on_change(self._was_leading)

    async def _hold(self) -> bool:
        """Renew our Lease, or take one that is free; tell whether it is ours."""
        if self._lease is None or not self._is_ours(self._lease):
            self._lease = await self._read()
        if self._lease is None:
            self._lease = await self._store.create(self._written(None))
            return True
        if not self._is_ours(self._lease) and not self._is_free(self._lease):
            return False
        self._lease = await self._store.replace(self._written(self._lease))
        return True

    async def _read(self) -> dict[str, Any] | None:
        try:
            return await self._store.get(LEASE, self._namespace, self._name)
        except NotFound:
            return None

    def _is_ours(self, lease: dict[str, Any]) -> bool:
        return bool((lease.get("spec") or {}).get("holderIdentity") == self._identity)

    def _is_free(self, lease: dict[str, Any]) -> bool:
        now = asyncio.get_running_loop().time()  # after the answer: it is not older than this
        spec = lease.get("spec") or {}
        if not spec.get("holderIdentity"):
            return True
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen[0]:
            self._seen = (version, now)
        # The holder's own duration counts: it may have been installed with other times.
        duration = float(spec.get("leaseDurationSeconds") or self._times.duration_s)
        return now - self._seen[1] > duration

    def _written(self, old: dict[str, Any] | None, *, released: bool = False) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        before = (old or {}).get("spec") or {}
        ours = before.get("holderIdentity") == self._identity
        metadata: dict[str, Any] = {"namespace": self._namespace, "name": self._name}
        if old is not None:
            metadata["resourceVersion"] = old["metadata"]["resourceVersion"]
        # Rounded up: others must not take over while we may still act.
        duration = _RELEASED_DURATION_S if released else math.ceil(self._times.duration_s)
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                "holderIdentity": "" if released else self._identity,
                "leaseDurationSeconds": duration,
                "acquireTime": before.get("acquireTime") if ours else now,
                "renewTime": now,
                "leaseTransitions": int(before.get("leaseTransitions") or 0) + (not ours),
            },
        }

    async def release(self) -> None:
        """Give the Lease up, so that another takes over at once."""
        was_ours = self.is_leading and self._lease is not None
        self._deadline = 0.0
        self._announce()
        if not was_ours or self._lease is None:
            return
        try:
            async with asyncio.timeout(self._times.retry_s):
                await self._give_up(self._lease)
        except (ApiError, TimeoutError) as error:
            log.warning("lease not released", extra={"cause": str(error)})

    async def _give_up(self, known: dict[str, Any]) -> None:
        try:
            await self._store.replace(self._written(known, released=True))
        except Conflict:  # a renewal that was cut off has arrived all the same
            lease = await self._read()
            if lease is not None and self._is_ours(lease):
                await self._store.replace(self._written(lease, released=True))
