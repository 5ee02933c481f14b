"""The watches: kopf's `on.event` for each kind, which only puts into the cache and the queue.

kopf is the transport. Nothing it could store (annotations, finalizers, progress) is used: the one
handler returns None, takes microseconds and writes nothing. The reasons are in
`docs/decisions/0003-kopf-as-watch-transport.md`.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Iterator, Set
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import kopf
from kopf._cogs.structs.references import Insights  # what it takes as an argument, and exports not

from slipway_operator.engine.cache import Cache, ObjectKey
from slipway_operator.engine.workqueue import WorkQueue
from slipway_operator.kube.connection import Connection
from slipway_operator.kube.kinds import MODEL_DEPLOYMENT, OPTIONAL, WATCHED, Kind, pruned

Manifest = dict[str, Any]

SETTLE_S: Final = 0.1
"""How long a key waits for company when something else than the ModelDeployment itself changed.

What controllers and kubelets write comes in bursts; each of them would be a pass and a status.
"""
_TOKEN_LIFE: Final = timedelta(minutes=10)


class NoDiffBase(kopf.DiffBaseStorage):
    """What kopf would compare an object with; nothing here asks, and it would copy every object."""

    def build(
        self, *, body: kopf.Body, extra_fields: Iterable[kopf.FieldSpec] | None = None
    ) -> kopf.BodyEssence:
        """Find nothing essential."""
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        """Remember nothing."""
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Write nothing."""


class NoProgress(kopf.ProgressStorage):
    """How far handlers have come; the one kind there is never begins, and its copies cost time."""

    def fetch(self, *, key: Any, body: kopf.Body) -> kopf.ProgressRecord | None:
        """Remember nothing."""
        return None

    def store(
        self, *, key: Any, record: kopf.ProgressRecord, body: kopf.Body, patch: kopf.Patch
    ) -> None:
        """Write nothing."""

    def purge(self, *, key: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Leave everything as it is."""

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: str | None) -> None:
        """Leave everything as it is."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        """Find nothing to remove."""
        return essence


class Sight:
    """What one run of kopf watches.

    It looks at the API server's list of kinds once after each event of a CRD, and that list may
    come later than the event: then the kind is watched by nobody until the next one. With rights
    in single namespaces it sees no CRDs, and looks at that list only when it begins.
    """

    def __init__(self) -> None:
        self.insights: Final = Insights()

    def has(self, kind: Kind) -> bool:
        """Tell whether a kind is watched, or about to be for the first time."""
        insights = self.insights
        if not insights.ready_resources.is_set():
            return True
        return any((r.group, r.plural) == (kind.group, kind.plural)
                   for r in insights.watched_resources)  # fmt: skip


def overlooked(sight: Sight, missing: Set[str], *, is_clusterwide: bool) -> set[str]:
    """Name the kinds of other projects that the API server has, and nobody watches."""
    return {
        kind.kind
        for kind in OPTIONAL
        if kind.kind not in missing
        and (kind.is_namespaced or is_clusterwide)
        and not sight.has(kind)
    }


class Backoffs:
    """Endless pauses between attempts, in seconds: kopf gives up and exits when they end."""

    def __iter__(self) -> Iterator[float]:
        yield from (0.5, 1, 2, 4, 8)
        while True:
            yield 10 + random.random() * 5


def build_registry(
    cache: Cache,
    queue: WorkQueue[ObjectKey],
    connection: Connection,
    observe: Callable[[str], None] = lambda kind: None,
    *,
    is_clusterwide: bool = True,
) -> kopf.OperatorRegistry:
    """Register one watch per kind, and the login."""
    registry = kopf.OperatorRegistry()
    for kind in WATCHED:
        if not (kind.is_namespaced or is_clusterwide):
            continue  # the rights are those of namespaces
        _register(registry, kind, cache, queue, observe)

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        access = await connection.access()
        return kopf.ConnectionInfo(
            server=access.server,
            ca_path=access.ca_path,
            insecure=not access.verifies,
            token=access.token,
            certificate_path=access.certificate_path,
            private_key_path=access.key_path,
            # A fresh expiration makes equal credentials unequal: one 401 is otherwise remembered
            # as "these are invalid", and the process ends. It also re-reads rotated tokens.
            expiration=datetime.now(UTC) + _TOKEN_LIFE,
        )

    return registry


def _register(
    registry: kopf.OperatorRegistry,
    kind: Kind,
    cache: Cache,
    queue: WorkQueue[ObjectKey],
    observe: Callable[[str], None],
) -> None:
    @kopf.on.event(
        group=kind.group, version=kind.version, plural=kind.plural, registry=registry,
        id=f"watch-{kind.plural}",
    )  # fmt: skip
    async def on_event(event: Any, **_: Any) -> None:  # async: a sync handler runs in a thread
        observe(kind.kind)
        notice(kind, event["type"] == "DELETED", dict(event["object"]), cache, queue)


def notice(
    kind: Kind, is_gone: bool, manifest: Manifest, cache: Cache, queue: WorkQueue[ObjectKey]
) -> None:
    """Note what a watch has brought, and ask for whom it concerns: a spec at once."""
    if kind.is_shared:
        kept = pruned(kind, manifest)
        act = cache.gateways.drop if is_gone else cache.gateways.put
        for key in act(kind, kept):
            queue.add_after(key, SETTLE_S)
        return
    concerned = cache.drop(kind, manifest) if is_gone else cache.put(kind, manifest)
    if concerned is None:
        return
    if kind is MODEL_DEPLOYMENT:
        queue.add(concerned)
        for other in cache.gateways.stirred():
            queue.add_after(other, SETTLE_S)
    else:
        queue.add_after(concerned, SETTLE_S)


def kopf_settings(*, is_clusterwide: bool) -> kopf.OperatorSettings:
    """Set kopf up as a transport: patient, frugal, silent."""
    settings = kopf.OperatorSettings()
    # For given namespaces it would list namespaces, and for want of that right never begin.
    settings.scanning.disabled = not is_clusterwide
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.persistence.progress_storage = NoProgress()
    settings.process.ultimate_exiting_timeout = 25
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 10
    settings.watching.chunk_size = 100
    settings.queueing.idle_timeout = 0.05  # halves the memory
    settings.networking.request_timeout = 30
    settings.networking.error_backoffs = Backoffs()
    for kind in WATCHED:
        selector = kopf_selector(kind)
        if kind.label_selector:
            settings.watching.label_selectors[selector] = kind.label_selector
        if kind.field_selector:
            settings.watching.field_selectors[selector] = kind.field_selector
    # kopf logs a success line for every event
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    return settings


def kopf_selector(kind: Kind) -> tuple[str, str] | tuple[str, str, str]:
    """Name a kind in kopf's terms."""
    return (kind.group, kind.version, kind.plural) if kind.group else (kind.version, kind.plural)
