"""Bring ModelDeployments a step closer to their specs: read all, decide purely, write in order.

Lives here: the loop around `plan()`. It decides nothing: it makes the writes in their order
(`writer.py`), and turns refusals into the status.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from slipway_operator.api import v1alpha1
from slipway_operator.engine.cache import Cache, ObjectKey
from slipway_operator.engine.elector import NotLeading
from slipway_operator.engine.faults import fault_of
from slipway_operator.engine.workqueue import MAX_DELAY_S, WorkQueue
from slipway_operator.engine.writer import Contested, NameTaken, Writer
from slipway_operator.kube.apply import fingerprint
from slipway_operator.kube.errors import (
    ApiError,
    Conflict,
    Denied,
    Invalid,
    Throttled,
    Unavailable,
)
from slipway_operator.kube.kinds import MODEL_DEPLOYMENT
from slipway_operator.plan import conditions
from slipway_operator.plan.children import key as child_key
from slipway_operator.plan.evidence import Evidence
from slipway_operator.plan.plan import Note, Plan, Problem, notes, plan, with_problems
from slipway_operator.plan.policy import TemplateKey
from slipway_operator.plan.preflight import Trial
from slipway_operator.plan.queries import Answers
from slipway_operator.plan.snapshot import ChildKey, Snapshot
from slipway_operator.plan.template import Template
from slipway_operator.plan.workload import RuntimeDefaults
from slipway_operator.telemetry.faults import Fault

log = logging.getLogger(__name__)

Manifest = dict[str, Any]

RECONCILE_TIMEOUT_S: Final = 30.0
CONFLICT_PAUSE_S: Final = 3.0
"""Somebody else wrote in between: that is no sign of trouble, and what they wrote comes soon."""
FORBIDDEN_PAUSE_S: Final = 60.0
"""Until a right is granted, every attempt is in vain and fills the audit log."""


class Leadership(Protocol):
    """Who may write."""

    async def leading(self) -> None:
        """Wait until this process may write."""


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
    writer: Writer
    leadership: Leadership
    recorder: Recorder
    defaults: RuntimeDefaults
    accepted: dict[ObjectKey, frozenset[str]] = field(default_factory=dict)
    """Fingerprints of what the API server has judged good, of each key's last pass."""
    observe: Observer = lambda result, seconds: None
    failed: Callable[[Fault], None] = lambda fault: None
    """Told of each cause that stood against a reconcile, or against one of its objects."""
    evidence: Mapping[ObjectKey, Evidence] = field(default_factory=dict)
    """What was counted of the tracks of rollouts in progress, as it was last told."""
    preflights: Mapping[ObjectKey, Trial] = field(default_factory=dict)
    """What preflights came to."""
    answers: Mapping[ObjectKey, Answers] = field(default_factory=dict)
    """What a Prometheus has answered, as it was last told."""
    templates: Mapping[ObjectKey, Mapping[TemplateKey, Template]] = field(default_factory=dict)
    """The Jobs of checks, as they were last read."""

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
            # A pass that finds all settled waits for nothing: thousands of them in a row, as after
            # a start, would keep the Lease and the probes waiting.
            await asyncio.sleep(0)

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
            self.failed(fault_of(error))
            pause = error.retry_after_s if isinstance(error, Throttled) else 0.0
            longest = CONFLICT_PAUSE_S if isinstance(error, Conflict) else MAX_DELAY_S
            delay = self.queue.retry(key, at_least_s=pause, at_most_s=longest)
            log.warning(
                "reconcile failed, trying again",
                extra={"key": _text(key), "cause": str(error), "delay_s": round(delay, 2)},
            )
            return "conflict" if isinstance(error, Conflict) else "error"
        except Exception as error:  # a bug of ours or an object nobody imagined: others must go on
            self.failed(fault_of(error))
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
        snapshot = replace(
            snapshot,
            evidence=self.evidence.get(key),
            preflight=self.preflights.get(key),
            answers=self.answers.get(key),
            templates=self.templates.get(key, {}),
            contested=self.writer.contested(key.namespace, key.name),
        )
        decided = plan(snapshot)
        if _is_unknown(decided):
            self.failed(Fault.INVALID_SPEC)
        wrote, problems = await self._write(snapshot, decided)
        for note in decided.remarks if wrote else ():
            self.recorder.record(dict(snapshot.mdep), note)
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
            self._try_again(key, problems)
            return "refused"
        self.queue.forget(key)
        if wrote:  # our own writes are news: the next pass sees them in the cache
            self.queue.add(key)
        return "written" if wrote else "settled"

    def _try_again(self, key: ObjectKey, problems: list[Problem]) -> None:
        """A refusal may be lifted without any event for us: a quota, a policy, a foreign object."""
        pauses = [p.retry_after_s for p in problems if p.retry_after_s is not None]
        if pauses:
            self.queue.add_after(key, min(pauses))
        if len(pauses) < len(problems):
            self.queue.retry(key, at_least_s=1.0)

    async def _write(self, snapshot: Snapshot, decided: Plan) -> tuple[bool, list[Problem]]:
        """Apply and delete; refusals of single objects are collected, the rest goes on."""
        wrote, problems, unsized = False, list[Problem](), set[ChildKey]()
        for resize in decided.resize:
            before = len(problems)
            wrote |= await self._attempted(self.writer.resize(resize), resize.live, problems)
            if len(problems) > before:
                unsized.add(child_key(resize.live))
        for manifest in decided.apply:
            if child_key(manifest) not in unsized:  # it would let go of `replicas` too early
                write = self.writer.apply(snapshot, manifest)
                wrote |= await self._attempted(write, manifest, problems)
        if problems:  # deletions come after everything that was to replace what they delete
            return wrote, problems
        for live in decided.delete:
            wrote |= await self.writer.delete(live)
        return wrote, problems

    async def _attempted(
        self, write: Awaitable[bool], what: Manifest, problems: list[Problem]
    ) -> bool:
        """Tell whether anything was written; a refusal of this single object becomes a problem."""
        try:
            return await write
        except (Invalid, Denied, Unavailable, NameTaken, Contested) as error:
            if isinstance(error, Unavailable) and not error.status:
                raise  # no answer at all: the next object would wait in vain, too
            self.failed(fault_of(error))
            problems.append(_problem(what, error))
            return False

    async def _judge(self, key: ObjectKey, decided: Plan) -> list[Problem]:
        """Find out early what will be refused; each thing that is good is asked about once."""
        problems, good = [], set[str]()
        for manifest in decided.judge:
            mark = fingerprint(manifest)
            if mark not in self.accepted.get(key, ()):
                try:
                    await self.writer.judge(manifest)
                except Invalid as error:
                    self.failed(fault_of(error))
                    problems.append(_problem(manifest, error))
                    continue
            good.add(mark)
        if good:
            self.accepted[key] = frozenset(good)
        else:
            self.accepted.pop(key, None)
        return problems

    async def _report(self, snapshot: Snapshot, decided: Plan, problems: list[Problem]) -> bool:
        """Write the status if it changed: compare-and-swap on what was read."""
        if decided.status is None:
            return False
        report = with_problems(snapshot, decided.status, problems)
        if report == dict(snapshot.status):
            return False
        meta = snapshot.mdep["metadata"]
        answer = await self.writer.report(
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


def _is_unknown(decided: Plan) -> bool:
    """Whether the spec was not understood, so that nothing but that was decided."""
    told = conditions.find((decided.status or {}).get("conditions") or (), conditions.READY)
    return told is not None and told["reason"] == conditions.INVALID_SPEC


def _problem(manifest: Manifest, error: Exception) -> Problem:
    what = f"{manifest['kind']} {manifest['metadata']['name']!r}"
    match error:
        case NameTaken():
            return Problem(conditions.NAME_CONFLICT, str(error), is_terminal=True)
        case Contested():
            return Problem(conditions.CONTESTED, str(error), False, error.pause_s)
        case Invalid():
            cure = "correct the field of spec that it is made from"
            text = f"{what} was refused: {error.message}; {cure}"
            return Problem(conditions.INVALID_CHILD, text, is_terminal=True)
        case Denied(is_for_want_of_rights=True):
            text = f"{what}: {error.message}; grant the right to the operator's service account"
            return Problem(conditions.FORBIDDEN, text, False, FORBIDDEN_PAUSE_S)
    message = error.message if isinstance(error, ApiError) else str(error)
    return Problem(conditions.APPLY_FAILED, f"{what}: {message}", is_terminal=False)


def _text(key: ObjectKey) -> str:
    return f"{key.namespace}/{key.name}"
