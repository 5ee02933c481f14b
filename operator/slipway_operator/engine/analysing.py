"""The loop that reads both tracks of rollouts in progress and tells what the checks come to.

It reads pods; what follows from a verdict the next pass decides. What was counted is remembered
here between two readings, and by the status beyond the end of this process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from slipway_operator.engine.attempt import attempt_of
from slipway_operator.engine.cache import Cache, ObjectKey
from slipway_operator.engine.scrape import NoReading
from slipway_operator.engine.turns import Manifest, Turns
from slipway_operator.engine.workqueue import WorkQueue
from slipway_operator.plan.clock import parse
from slipway_operator.plan.evidence import Evidence, Sample, restored
from slipway_operator.plan.names import ADMIN_PORT
from slipway_operator.plan.policy import Policy
from slipway_operator.plan.progress import Progress, State
from slipway_operator.plan.transition import step_of

log = logging.getLogger(__name__)

LOOK_S: Final = 5.0
"""The shortest interval that there is."""
TELL_EVERY_S: Final = 30.0
"""Numbers that move are told at most this often: each telling is a write of the status."""
_GAP: Final = 3.0
"""Intervals without a reading after which nothing is concluded from the next one."""


class Reader(Protocol):
    """The request a reading makes."""

    async def sample(self, host: str, port: int) -> Sample:
        """Read one pod."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What is remembered of one rollout, and when it was read and told."""

    evidence: Evidence
    read_at: float = float("-inf")
    told_at: float = float("-inf")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A rollout to be read."""

    policy: Policy
    stable: str
    candidate: str
    rollout: str
    is_cut: bool
    weight: int
    """Percent that a gateway is confirmed to send to the candidate; 0 when there is none."""
    status: Mapping[str, Any]


class Analysing(Turns):
    """Keeps what is told of rollouts true."""

    def __init__(
        self,
        cache: Cache,
        queue: WorkQueue[ObjectKey],
        reader: Reader,
        is_leading: Callable[[], bool],
        port: int = ADMIN_PORT,
    ) -> None:
        super().__init__(cache, queue, is_leading, port)
        self._reader = reader
        self._known: dict[ObjectKey, _Known] = {}
        self.told: dict[ObjectKey, Evidence] = {}
        """What the next pass of each ModelDeployment is to know."""

    def forget(self) -> None:
        """Begin anew from what the status says."""
        self._known.clear()
        self.told.clear()

    async def look(self, clock: Callable[[], float]) -> None:
        """Read every rollout that is due."""
        wanted = dict(self._wanted())
        for gone in self._known.keys() - wanted.keys():
            del self._known[gone]
            self.told.pop(gone, None)
        due = [(k, w) for k, w in wanted.items() if self._is_due(k, w, clock())]
        await asyncio.gather(*(self._read(key, want, clock) for key, want in due))

    def _wanted(self) -> list[tuple[ObjectKey, _Wanted]]:
        looked = ((key, _wanted(self._mdep(key))) for key in self._cache.rolling())
        return [(key, want) for key, want in looked if want is not None]

    def _is_due(self, key: ObjectKey, want: _Wanted, now: float) -> bool:
        known = self._known.get(key)
        if known is None or known.evidence.rollout != want.rollout:
            self._known[key] = _Known(restored(want.rollout, want.status))
            return True
        return now - known.read_at >= want.policy.interval_s

    async def _read(self, key: ObjectKey, want: _Wanted, clock: Callable[[], float]) -> None:
        stable, candidate = await asyncio.gather(
            self._samples(key, want.stable, 0.0),
            self._samples(key, want.candidate, want.policy.warmup_s),
        )
        now, known = clock(), self._known[key]
        evidence = known.evidence
        if now - known.read_at > _GAP * want.policy.interval_s:
            evidence = replace(evidence, stable={}, candidate={}, was_cut=False)
        evidence = evidence.read(
            stable, candidate, want.policy, is_cut=want.is_cut, weight=want.weight
        )
        self._known[key] = replace(known, evidence=evidence, read_at=now)
        self._tell(key, want, now)

    def _tell(self, key: ObjectKey, want: _Wanted, now: float) -> None:
        """Tell of another verdict at once, of other numbers now and then."""
        known, told = self._known[key], self.told.get(key)
        is_news = told is None or _verdicts(told, want) != _verdicts(known.evidence, want)
        if is_news or now - known.told_at >= TELL_EVERY_S:
            self.told[key] = known.evidence
            self._known[key] = replace(known, told_at=now)
            self._queue.add(key)

    async def _samples(self, key: ObjectKey, revision: str, warmup_s: float) -> dict[str, Sample]:
        pods = self._serving(key, revision)
        found = await asyncio.gather(*(self._sample(p, warmup_s) for p in pods))
        return {
            pod["metadata"]["uid"]: sample
            for pod, sample in zip(pods, found, strict=True)
            if sample is not None
        }

    async def _sample(self, pod: Manifest, warmup_s: float) -> Sample | None:
        try:
            found = await self._reader.sample(pod["status"]["podIP"], self._port)
        except NoReading as error:
            log.debug("no reading", extra={"cause": str(error)})
            return None
        return replace(found, is_warm=_ready_for_s(pod) >= warmup_s)


def _wanted(mdep: Mapping[str, Any]) -> _Wanted | None:
    found = attempt_of(mdep)
    if found is None:
        return None
    weight = (mdep["status"].get("rollout") or {}).get("weight") or {}
    return _Wanted(
        found.policy, found.stable, found.candidate, found.rollout,
        is_cut=weight.get("applied") == 100,
        weight=_confirmed(found.progress, found.policy, weight),
        status=mdep["status"],
    )  # fmt: skip


def _confirmed(progress: Progress, policy: Policy, weight: Mapping[str, Any]) -> int:
    if step_of(progress, policy).is_aside:
        return 0
    is_held = progress.state in (State.BAKING, State.PAUSED) and bool(progress.step_since)
    return progress.weight if is_held and weight.get("mode") == "Gateway" else 0


def _verdicts(evidence: Evidence, want: _Wanted) -> list[tuple[str, str]]:
    return [(f.name, f.verdict) for f in evidence.findings(want.policy)]


def _ready_for_s(pod: Mapping[str, Any]) -> float:
    """How long a pod has been ready, by the clock of the cluster."""
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Ready" and condition.get("status") == "True":
            since = parse(condition.get("lastTransitionTime"))
            return (datetime.now(UTC) - since).total_seconds() if since else 0.0
    return 0.0
