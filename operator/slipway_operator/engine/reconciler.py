"""Bring ModelDeployments a step closer to their specs: read all, decide purely, write in order.

Lives here: the loop around `plan()`. It decides nothing: it skips writes that would change nothing,
keeps each write behind the leadership, and turns refusals into the status.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from slipway_operator.api import v1alpha1
from slipway_operator.api.managers import FIELD_MANAGER, HANDOVER_MANAGER
from slipway_operator.engine.cache import Cache, ObjectKey
from slipway_operator.engine.elector import NotLeading
from slipway_operator.engine.workqueue import WorkQueue
from slipway_operator.kube.apply import fingerprint, is_applied, marked
from slipway_operator.kube.errors import (
    ApiError,
    Conflict,
    Denied,
    Invalid,
    NotFound,
    Throttled,
    Unavailable,
)
from slipway_operator.kube.kinds import DEPLOYMENT, MODEL_DEPLOYMENT, Kind, kind_of
from slipway_operator.plan import conditions
from slipway_operator.plan.children import Resize
from slipway_operator.plan.names import MANAGED_BY, MANAGER, MODEL
from slipway_operator.plan.plan import Note, Plan, Problem, notes, plan, with_problems
from slipway_operator.plan.snapshot import Snapshot
from slipway_operator.plan.workload import RuntimeDefaults

log = logging.getLogger(__name__)

Manifest = dict[str, Any]

RECONCILE_TIMEOUT_S: Final = 30.0


class Store(Protocol):
    """The writes a reconcile makes."""

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


class Leadership(Protocol):
    """Who may write."""

    async def leading(self) -> None:
        """Wait until this process may write."""

    def fence(self) -> None:
        """Raise NotLeading when it may not."""


class Recorder(Protocol):
    """Where Events go."""

    def record(self, mdep: Manifest, note: Note) -> None:
        """Note something about a ModelDeployment."""


Observer = Callable[[str, float], None]
"""Told of each reconcile: its result and how long it took, in seconds."""


@dataclass(frozen=True, slots=True)
class Reconciler:
    """One per process; its workers share cache and queue."""

    cache: Cache
    queue: WorkQueue[ObjectKey]
    store: Store
    leadership: Leadership
    recorder: Recorder
    defaults: RuntimeDefaults
    accepted: dict[ObjectKey, frozenset[str]] = field(default_factory=dict)
    """Fingerprints of what the API server has judged good, of each key's last pass."""
    observe: Observer = lambda result, seconds: None

    async def work(self) -> None:
        """Reconcile one key after the other, for ever; a failing key delays no other."""
        while True:
            # Before taking a key: one that is held by a pod in waiting would delay the pod's end.
            await self.leadership.leading()
            key = await self.queue.get()
            try:
                await self._attempt(key)
            finally:
                self.queue.done(key)

    async def _attempt(self, key: ObjectKey) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        result = await self._outcome(key)
        self.observe(result, loop.time() - start)

    async def _outcome(self, key: ObjectKey) -> str:
        """Reconcile one key and say how it went; the outermost edge for exceptions."""
        try:
            async with asyncio.timeout(RECONCILE_TIMEOUT_S):
                return await self.reconcile(key)
        except NotLeading:
            self.queue.add(key)
            return "not_leading"
        except (ApiError, TimeoutError) as error:
            pause = error.retry_after_s if isinstance(error, Throttled) else 0.0
            delay = self.queue.retry(key, at_least_s=pause)
            log.warning(
                "reconcile failed, trying again",
                extra={"key": _text(key), "cause": str(error), "delay_s": round(delay, 2)},
            )
            return "conflict" if isinstance(error, Conflict) else "error"
        except Exception:  # a bug of ours or an object nobody imagined: the others must go on
            self.queue.retry(key, at_least_s=1.0)
            log.exception("reconcile crashed, trying again", extra={"key": _text(key)})
            return "crash"

    async def reconcile(self, key: ObjectKey) -> str:
        """Bring one ModelDeployment a step closer to its spec.

        Raises:
            ApiError: the API server could not be reached, or somebody else wrote in between.
            NotLeading: the leadership ended meanwhile.
        """
        snapshot = self.cache.snapshot(key, datetime.now(UTC), self.defaults)
        if snapshot is None:
            self.queue.drop(key)
            self.accepted.pop(key, None)
            return "gone"
        decided = plan(snapshot)
        wrote, problems = await self._write(snapshot, decided)
        if snapshot.status.get("conditions"):  # nothing delays the first status
            problems += await self._judge(key, decided)
        wrote |= await self._report(snapshot, decided, problems)
        return self._finish(key, decided, wrote=wrote, problems=problems)

    def _finish(
        self, key: ObjectKey, decided: Plan, *, wrote: bool, problems: list[Problem]
    ) -> str:
        if decided.requeue_after_s is not None:
            self.queue.add_after(key, decided.requeue_after_s)
        if problems:
            # A refusal may be lifted without any event for us: a quota, a policy, a foreign object.
            self.queue.retry(key, at_least_s=1.0)
            return "refused"
        self.queue.forget(key)
        if wrote:  # our own writes are news: the next pass sees them in the cache
            self.queue.add(key)
        return "written" if wrote else "settled"

    async def _write(self, snapshot: Snapshot, decided: Plan) -> tuple[bool, list[Problem]]:
        """Apply and delete; refusals of single objects are collected, the rest goes on."""
        wrote, problems = False, []
        for resize in decided.resize:
            await self._resize(resize)
            wrote = True
        for manifest in decided.apply:
            try:
                wrote |= await self._apply(snapshot, manifest)
            except (Invalid, Denied, Unavailable, NameTaken) as error:
                if isinstance(error, Unavailable) and not error.status:
                    raise  # no answer at all: the next object would wait in vain, too
                problems.append(_problem(manifest, error))
        if problems:  # deletions come after everything that was to replace what they delete
            return wrote, problems
        for live in decided.delete:
            wrote |= await self._delete(live)
        return wrote, problems

    async def _judge(self, key: ObjectKey, decided: Plan) -> list[Problem]:
        """Find out early what will be refused; each thing that is good is asked about once."""
        problems, good = [], set[str]()
        for manifest in decided.judge:
            mark = fingerprint(manifest)
            if mark not in self.accepted.get(key, ()):
                try:
                    await self._ask(manifest)
                except Invalid as error:
                    problems.append(_problem(manifest, error))
                    continue
            good.add(mark)
        if good:
            self.accepted[key] = frozenset(good)
        else:
            self.accepted.pop(key, None)
        return problems

    async def _ask(self, manifest: Manifest) -> None:
        """Let the API server judge an object that does not exist yet.

        Raises:
            Invalid: it will be refused.
        """
        meta = manifest["metadata"]
        try:
            await self.store.get(kind_of(manifest), meta["namespace"], meta["name"])
        except NotFound:
            # Rights and quotas may change until it is written: then they are told.
            with suppress(Denied, Unavailable, NotFound, Conflict):
                await self.store.judged(manifest)

    async def _resize(self, resize: Resize) -> None:
        """Write a number of pods as another field manager, so that ours can let go of it."""
        identity = {k: resize.live["metadata"][k] for k in ("name", "namespace", "uid")}
        self.leadership.fence()
        answer = await self.store.apply(
            {
                "apiVersion": DEPLOYMENT.api_version,
                "kind": DEPLOYMENT.kind,
                "metadata": identity,
                "spec": {"replicas": resize.replicas},
            },
            HANDOVER_MANAGER,
        )
        self.cache.put(DEPLOYMENT, answer)

    async def _apply(self, snapshot: Snapshot, want: Manifest) -> bool:
        kind = kind_of(want)
        meta = want["metadata"]
        live = snapshot.child(kind.kind, meta["name"])
        if live is not None and is_applied(live, want):
            return False
        marked_want = marked(want)
        if live is None:
            if await self._adopt(snapshot, kind, want):
                return True
        else:  # never by name alone: another object may bear it by now
            uid = {"uid": live["metadata"]["uid"]}
            marked_want = {**marked_want, "metadata": {**marked_want["metadata"], **uid}}
        self.leadership.fence()
        answer = await self.store.apply(marked_want)
        self.cache.put(kind, answer)
        if is_applied(answer, want):
            return True
        # Something in the API server rewrites it: looking again at once would never end.
        log.warning("an applied object came back changed", extra={"object": _name(want)})
        return False

    async def _adopt(self, snapshot: Snapshot, kind: Kind, want: Manifest) -> bool:
        """Look at what bears the name; ours without its owner reference gets it back.

        Raises:
            NameTaken: it belongs to somebody else.
            Conflict: it belonged to a ModelDeployment of this name that is gone.
        """
        meta = want["metadata"]
        try:
            found = await self.store.get(kind, meta["namespace"], meta["name"])
        except NotFound:
            return False
        if _is_leftover(found, snapshot):
            text = "its predecessor's object of the same name is still being collected"
            raise Conflict(409, "Leftover", f"{kind.kind} {meta['name']!r}: {text}")
        if not _is_ours(found, snapshot):
            raise NameTaken(kind.kind, meta["name"])
        if not _controllers(found):
            found = await self._give_owner(snapshot, kind, found)
        self.cache.put(kind, found)
        return True

    async def _give_owner(self, snapshot: Snapshot, kind: Kind, found: Manifest) -> Manifest:
        """Restore the owner reference alone: what else is wrong, the next pass plans from it."""
        meta = found["metadata"]
        others = meta.get("ownerReferences") or []
        identity = {k: meta[k] for k in ("name", "namespace", "uid", "resourceVersion")}
        references = [*others, snapshot.owner.reference()]
        self.leadership.fence()
        return await self.store.merge(
            {
                "apiVersion": kind.api_version,
                "kind": kind.kind,
                "metadata": {**identity, "ownerReferences": references},
            }
        )

    async def _delete(self, live: Manifest) -> bool:
        self.leadership.fence()
        try:
            await self.store.delete(live)
        except NotFound:
            return False
        return True

    async def _report(self, snapshot: Snapshot, decided: Plan, problems: list[Problem]) -> bool:
        """Write the status if it changed: compare-and-swap on what was read."""
        if decided.status is None:
            return False
        report = with_problems(snapshot, decided.status, problems)
        if report == dict(snapshot.status):
            return False
        meta = snapshot.mdep["metadata"]
        self.leadership.fence()
        answer = await self.store.apply_status(
            {
                "apiVersion": v1alpha1.API_VERSION,
                "kind": v1alpha1.KIND,
                "metadata": {k: meta[k] for k in ("name", "namespace", "resourceVersion")},
                "status": report,
            }
        )
        self.cache.put(MODEL_DEPLOYMENT, answer)
        for note in notes(snapshot.status, report):
            self.recorder.record(answer, note)
        return bool(answer.get("status") == report)


class NameTaken(Exception):
    """An object that is not ours bears a name that we need."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(
            f"{kind} {name!r} exists and does not belong to this ModelDeployment;"
            " delete or rename it, or choose another metadata.name"
        )


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


def _problem(manifest: Manifest, error: Exception) -> Problem:
    what = _name(manifest)
    if isinstance(error, NameTaken):
        return Problem(conditions.NAME_CONFLICT, str(error), is_terminal=True)
    message = error.message if isinstance(error, ApiError) else str(error)
    if isinstance(error, Invalid):
        text = f"{what} was refused: {message}; correct the field of spec that it is made from"
        return Problem(conditions.INVALID_CHILD, text, is_terminal=True)
    return Problem(conditions.APPLY_FAILED, f"{what}: {message}", is_terminal=False)


def _name(manifest: Manifest) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']!r}"


def _text(key: ObjectKey) -> str:
    return f"{key.namespace}/{key.name}"
