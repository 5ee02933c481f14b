"""Kubernetes Events: deduplicated, paced, and never in the way of a reconcile."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from slipway_operator.api import v1alpha1
from slipway_operator.kube.errors import ApiError, NotFound
from slipway_operator.plan.plan import Note

log = logging.getLogger(__name__)

_MEMORY: Final = 4096
_QUEUE: Final = 1000
_MESSAGE_LIMIT: Final = 1000


class EventStore(Protocol):
    """The two requests the recorder makes."""

    async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Create the Event."""

    async def merge(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Raise its count."""


class EventRecorder:
    """Records what happened; the same thing again raises a count instead of adding an Event."""

    def __init__(self, store: EventStore, identity: str) -> None:
        self._store, self._identity = store, identity
        self._pending: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_QUEUE)
        self._known: OrderedDict[str, int] = OrderedDict()

    def record(self, mdep: dict[str, Any], note: Note) -> None:
        """Note something about a ModelDeployment; dropped when too much is pending."""
        try:
            self._pending.put_nowait(_event(mdep, note, self._identity))
        except asyncio.QueueFull:
            log.warning("event dropped", extra={"reason": note.reason})

    async def run(self) -> None:
        """Write what is pending, for ever."""
        while True:
            event = await self._pending.get()
            try:
                await self._write(event)
            except ApiError as error:
                log.debug("event not written", extra={"cause": str(error)})
            finally:
                self._pending.task_done()

    async def flush(self, within_s: float) -> None:
        """Wait until all is written, but not for longer than this."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._pending.join()

    async def _write(self, event: dict[str, Any]) -> None:
        name = event["metadata"]["name"]
        count = self._known.pop(name, 0) + 1
        if count == 1 or not await self._again(event, count):
            await self._first(event)
            count = 1
        self._known[name] = count
        if len(self._known) > _MEMORY:
            self._known.popitem(last=False)

    async def _again(self, event: dict[str, Any], count: int) -> bool:
        """Raise the count; False when the API server has forgotten the Event, as it does."""
        last = {"count": count, "lastTimestamp": event["lastTimestamp"]}
        try:
            await self._store.merge({**_identity(event), **last})
        except NotFound:
            return False
        return True

    async def _first(self, event: dict[str, Any]) -> None:
        try:
            await self._store.create(event)
        except ApiError as error:
            if error.reason != "AlreadyExists":  # an operator before this one recorded it
                raise


def _identity(event: dict[str, Any]) -> dict[str, Any]:
    meta = event["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": meta["namespace"], "name": meta["name"]},
    }


def _event(mdep: dict[str, Any], note: Note, identity: str) -> dict[str, Any]:
    meta = mdep["metadata"]
    text = note.message[:_MESSAGE_LIMIT]
    same = hashlib.sha256(f"{meta['uid']}\n{note.reason}\n{text}".encode()).hexdigest()[:16]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": meta["namespace"], "name": f"{meta['name']}.{same}"},
        "involvedObject": {
            "apiVersion": v1alpha1.API_VERSION,
            "kind": v1alpha1.KIND,
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
        },
        "type": note.type,
        "reason": note.reason,
        "message": text,
        "source": {"component": "slipway-operator"},
        "reportingComponent": "slipway.dev/operator",
        "reportingInstance": identity,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
