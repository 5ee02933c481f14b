"""Write one object of a plan: only what is not so already, and never over what is not ours.

Lives here: skipping, adopting, handing over a number of pods, asking what would be refused, and the
truce with those who write the same fields.
Stays out: the order of writes and what a refusal means (`reconciler.py`); whether this process may
write at all, which the client asks at the last moment (`kube/client.py`).
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from slipway_operator.api import v1alpha1
from slipway_operator.api.managers import FIELD_MANAGER, HANDOVER_MANAGER
from slipway_operator.engine.cache import Cache, CacheKey, key_of
from slipway_operator.engine.disputes import Disputes
from slipway_operator.kube.apply import covers, differing_field, fingerprint, fingerprint_of, marked
from slipway_operator.kube.errors import Conflict, Denied, NotFound, Unavailable
from slipway_operator.kube.kinds import DEPLOYMENT, GRPC_ROUTE, HTTP_ROUTE, Kind, kind_of
from slipway_operator.plan.children import Resize
from slipway_operator.plan.names import MANAGED_BY, MANAGER, MODEL, grpc_route_name
from slipway_operator.plan.sizing import desired_replicas
from slipway_operator.plan.snapshot import ChildKey, Snapshot

log = logging.getLogger(__name__)

Manifest = dict[str, Any]

_LOOK_S: Final = 1.0
"""When to look again whether the other side has given up."""
_OURS: Final = (FIELD_MANAGER, HANDOVER_MANAGER)
_FIGHTS: Final = 3
"""Repairs of a route in five minutes after which it is told."""
_SCALE: Final = "Scale"
"""What is fought about when it is a number of pods alone."""


class Store(Protocol):
    """The requests a reconcile makes; each write may raise NotLeading."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest:
        """Read one object."""

    async def apply(self, manifest: Manifest, manager: str = FIELD_MANAGER) -> Manifest:
        """Write an object, or the fields of it that a manager is to own."""

    async def judged(self, manifest: Manifest) -> Manifest:
        """Let the API server judge an object without writing it."""

    async def apply_status(self, manifest: Manifest) -> Manifest:
        """Write a status."""

    async def merge(self, manifest: Manifest) -> Manifest:
        """Change fields of an object."""

    async def delete(self, manifest: Manifest) -> None:
        """Delete an object as it was seen."""


class NameTaken(Exception):
    """An object that is not ours bears a name that we need."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(
            f"{kind} {name!r} exists and does not belong to this ModelDeployment;"
            " delete or rename it, or choose another metadata.name"
        )


class Contested(Exception):
    """Somebody changes an object after every repair; the next one has to wait."""

    def __init__(self, text: str, pause_s: float) -> None:
        super().__init__(text)
        self.pause_s = pause_s


@dataclass(frozen=True, slots=True)
class Writer:
    """One per process."""

    cache: Cache
    store: Store
    disputes: Disputes = field(default_factory=Disputes)

    async def apply(self, snapshot: Snapshot, want: Manifest) -> bool:
        """Make a child what the plan wants; tell whether anything was written.

        Raises:
            ApiError: the API server refused.
            NameTaken: the name belongs to somebody else.
            Contested: somebody else writes the same fields.
        """
        kind, wanted = kind_of(want), marked(want)
        key, mark = key_of(kind, want), fingerprint_of(wanted)
        live = snapshot.child(kind.kind, key.name)
        if live is not None and covers(live, wanted):
            self._tell(key, mark)
            return False
        if pause_s := self.disputes.pause_s(key, mark, _now()):
            return await self._hold(kind, key, mark, wanted, live, pause_s)
        if live is None:
            answer = await self._created(snapshot, kind, wanted)
            if answer is None:
                return True
        else:  # never by name alone: another object may bear it by now
            answer = await self.store.apply(_with_uid(wanted, live))
        self.cache.put(kind, answer)
        is_vain = not covers(answer, marked(want))
        self.disputes.wrote(key, mark, _now(), is_vain=is_vain)
        self._tell(key, mark)
        return not is_vain

    def _tell(self, key: CacheKey, mark: str) -> None:
        """Go on telling of a dispute while all is well for the moment: a status must not flap.

        Raises:
            Contested: it has not been quiet for long enough yet.
        """
        if text := self.disputes.open_about(key, mark, _now()):
            raise Contested(text, self.disputes.pause_s(key, mark, _now()) or _LOOK_S)

    async def _hold(
        self,
        kind: Kind,
        key: CacheKey,
        mark: str,
        wanted: Manifest,
        live: Manifest | None,
        pause_s: float,
    ) -> bool:
        """Leave an object as it is for now.

        What the API server itself rewrites (an admission webhook) is only logged: nobody can tell
        whether it is worse than what was wanted, and looking again at once would never end.

        Raises:
            Contested: it is somebody else who rewrites it.
        """
        if self.disputes.is_vain(key, mark, _now()):
            return False
        text = self.disputes.open_about(key, mark, _now())
        if not text:
            text = await self._about(kind, key, wanted, live)
            self.disputes.describe(key, text)
            log.warning("an object is contested", extra={"object": str(key), "cause": text})
        raise Contested(text, pause_s)

    async def _about(
        self, kind: Kind, key: CacheKey, wanted: Manifest, live: Manifest | None
    ) -> str:
        """Say who does what; the managers are only in the object itself, not in the cache."""
        what = f"{kind.kind} {key.name!r}"
        if live is None:
            return f"{what} is deleted again and again; stop who deletes it"
        try:
            managers = _others(await self.store.get(kind, key.namespace, key.name))
        except NotFound:
            managers = ""
        return (
            f"{what}: {differing_field(live, wanted)} is changed after every write,"
            f" last by {managers or 'somebody'}; stop who changes it, or change the spec"
        )

    def contested(self, namespace: str, name: str) -> frozenset[ChildKey]:
        """Tell which routes of a ModelDeployment somebody changes again and again."""
        names = ((HTTP_ROUTE.kind, name), (GRPC_ROUTE.kind, grpc_route_name(name)))
        return frozenset(
            (kind, route)
            for kind, route in names
            if self.disputes.fights(CacheKey(kind, namespace, route), _now()) >= _FIGHTS
        )

    async def resize(self, resize: Resize) -> bool:
        """Write a number of pods as another field manager, so that ours can let go of it.

        Raises:
            ApiError: the API server refused.
            Contested: somebody else writes the number, too.
        """
        meta = resize.live["metadata"]
        number = {
            "apiVersion": DEPLOYMENT.api_version,
            "kind": DEPLOYMENT.kind,
            "metadata": {k: meta[k] for k in ("name", "namespace", "uid")},
            "spec": {"replicas": resize.replicas},
        }
        key, mark = CacheKey(_SCALE, meta["namespace"], meta["name"]), fingerprint(number)
        if pause_s := self.disputes.pause_s(key, mark, _now()):
            return await self._hold(DEPLOYMENT, key, mark, number, resize.live, pause_s)
        answer = await self.store.apply(number, HANDOVER_MANAGER)
        self.cache.put(DEPLOYMENT, answer)
        is_vain = desired_replicas(answer) < resize.replicas
        self.disputes.wrote(key, mark, _now(), is_vain=is_vain)
        self._tell(key, mark)
        return not is_vain

    async def judge(self, manifest: Manifest) -> None:
        """Let the API server judge an object that does not exist yet.

        Raises:
            Invalid: it will be refused.
        """
        # Rights and quotas may change until it is written: then they are told.
        with suppress(Denied, Unavailable, NotFound, Conflict):
            await self.store.judged(_if_absent(manifest))

    async def report(self, manifest: Manifest) -> Manifest:
        """Write a status; the answer is the live object."""
        return await self.store.apply_status(manifest)

    async def delete(self, live: Manifest) -> bool:
        """Delete an object as it was seen; tell whether it was there."""
        try:
            await self.store.delete(live)
        except NotFound:
            return False
        return True

    async def _created(self, snapshot: Snapshot, kind: Kind, wanted: Manifest) -> Manifest | None:
        """Make an object that is not there; None when it was, and has been looked at instead.

        Raises:
            NameTaken: it belongs to somebody else.
            Conflict: it has gone meanwhile, or is about to.
        """
        try:
            return await self.store.apply(_if_absent(wanted))
        except Conflict as conflict:
            await self._adopt(snapshot, kind, wanted, conflict)
            return None

    async def _adopt(
        self, snapshot: Snapshot, kind: Kind, want: Manifest, conflict: Conflict
    ) -> None:
        """Look at what bears the name; ours without its owner reference gets it back."""
        meta = want["metadata"]
        try:
            found = await self.store.get(kind, meta["namespace"], meta["name"])
        except NotFound:
            raise conflict from None
        if _is_leftover(found, snapshot):
            text = "its predecessor's object of the same name is still being collected"
            raise Conflict(409, "Leftover", f"{kind.kind} {meta['name']!r}: {text}")
        if not _is_ours(found, snapshot):
            raise NameTaken(kind.kind, meta["name"])
        if not _controllers(found):
            found = await self._give_owner(snapshot, kind, found)
        self.cache.put(kind, found)

    async def _give_owner(self, snapshot: Snapshot, kind: Kind, found: Manifest) -> Manifest:
        """Restore the owner reference alone: what else is wrong, the next pass plans from it."""
        meta = found["metadata"]
        others = meta.get("ownerReferences") or []
        identity = {k: meta[k] for k in ("name", "namespace", "uid", "resourceVersion")}
        references = [*others, snapshot.owner.reference()]
        return await self.store.merge(
            {
                "apiVersion": kind.api_version,
                "kind": kind.kind,
                "metadata": {**identity, "ownerReferences": references},
            }
        )


def is_foreign(found: Manifest, snapshot: Snapshot) -> bool:
    """Tell whether an object that bears a name of ours stays in the way until somebody moves it."""
    return not _is_leftover(found, snapshot) and not _is_ours(found, snapshot)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _if_absent(wanted: Manifest) -> Manifest:
    """Let an apply make an object but change none, which saves to look before.

    No object ever has this version: the database's first write is the second one.
    """
    return {**wanted, "metadata": {**wanted["metadata"], "resourceVersion": "1"}}


def _with_uid(wanted: Manifest, live: Manifest) -> Manifest:
    return {**wanted, "metadata": {**wanted["metadata"], "uid": live["metadata"]["uid"]}}


def _others(found: Manifest) -> str:
    """The field manager that wrote last, other than ourselves and of more than the status."""
    entries = [
        (str(e.get("time") or ""), repr(e["manager"]))
        for e in found["metadata"].get("managedFields") or ()
        if e.get("manager") not in _OURS and not e.get("subresource")
    ]
    return max(entries, default=("", ""))[1]


def _is_ours(found: Manifest, snapshot: Snapshot) -> bool:
    """Ours by controller reference; or by label, when somebody has removed the reference."""
    if controllers := _controllers(found):
        return bool(controllers[0].get("uid") == snapshot.owner.uid)
    labels = found["metadata"].get("labels") or {}
    return bool(labels.get(MANAGED_BY) == MANAGER and labels.get(MODEL) == snapshot.owner.name)


def _is_leftover(found: Manifest, snapshot: Snapshot) -> bool:
    """Tell whether it belonged to a ModelDeployment of this name that was deleted just before."""
    return any(
        r.get("kind") == v1alpha1.KIND
        and r.get("name") == snapshot.owner.name
        and r.get("uid") != snapshot.owner.uid
        for r in _controllers(found)
    )


def _controllers(found: Manifest) -> list[Manifest]:
    references: list[Manifest] = found["metadata"].get("ownerReferences") or []
    return [r for r in references if r.get("controller")]
