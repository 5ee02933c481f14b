"""The loop that asks a Prometheus about rollouts in progress, and tells what it answers.

Each rollout is asked about by a task of its own: whoever does not answer delays nobody else.
Nothing is remembered beyond the end of this process: what was not told is asked again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from slipway_operator.engine.attempt import Attempt, attempt_of
from slipway_operator.engine.cache import Cache, ObjectKey
from slipway_operator.engine.turns import Turns
from slipway_operator.engine.workqueue import WorkQueue
from slipway_operator.plan.policy import CheckType
from slipway_operator.plan.queries import Answers, Question, Subject
from slipway_operator.verdict.promql import Reading

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
TELL_EVERY_S: Final = 30.0
"""Numbers that move are told at most this often: each telling is a write of the status."""


class Asker(Protocol):
    """The request that is made."""

    async def ask(self, question: Question) -> Reading:
        """Ask one question; always comes to an end."""


@dataclass(slots=True)
class _Known:
    """What is remembered of one rollout: who asks now, and what was asked and told when."""

    rollout: str
    task: asyncio.Task[None] | None = None
    asked: frozenset[Question] = frozenset()
    asked_at: float = float("-inf")
    told_at: float = float("-inf")

    @property
    def is_asking(self) -> bool:
        return self.task is not None and not self.task.done()


class Queries(Turns):
    """Keeps what is told of queries true."""

    def __init__(
        self,
        cache: Cache,
        queue: WorkQueue[ObjectKey],
        asker: Asker,
        is_leading: Callable[[], bool],
    ) -> None:
        super().__init__(cache, queue, is_leading)
        self._asker = asker
        self._known: dict[ObjectKey, _Known] = {}
        self.told: dict[ObjectKey, Answers] = {}
        """What the next pass of each ModelDeployment is to know."""

    def forget(self) -> None:
        """End all questions."""
        for key in list(self._known):
            self._end(key)

    async def look(self, clock: Callable[[], float]) -> None:
        """Ask about every rollout that is due."""
        wanted = dict(self._wanted())
        for key, known in list(self._known.items()):
            if key not in wanted or wanted[key].rollout != known.rollout:
                self._end(key)
        for key, attempt in wanted.items():
            known = self._known.setdefault(key, _Known(attempt.rollout))
            questions = frozenset(_subject(key, attempt).questions(attempt.policy))
            is_due = clock() - known.asked_at >= attempt.policy.interval_s
            if not known.is_asking and (is_due or questions != known.asked):
                known.asked, known.asked_at = questions, clock()
                known.task = asyncio.create_task(self._ask(key, attempt, known, clock))

    def _wanted(self) -> list[tuple[ObjectKey, Attempt]]:
        looked = ((key, attempt_of(self._mdep(key))) for key in self._cache.rolling())
        return [(k, a) for k, a in looked if a and a.policy.of_type(CheckType.PROMQL)]

    def _end(self, key: ObjectKey) -> None:
        known = self._known.pop(key)
        if known.task is not None:
            known.task.cancel()
        self.told.pop(key, None)

    async def _ask(
        self, key: ObjectKey, attempt: Attempt, known: _Known, clock: Callable[[], float]
    ) -> None:
        """Ask everything once; the outermost edge of this task."""
        questions = sorted(known.asked, key=lambda q: q.query)
        readings = await asyncio.gather(*map(self._reading, questions))
        answers = Answers(known.rollout, dict(zip(questions, readings, strict=True)))
        self._tell(key, attempt, answers, clock())

    async def _reading(self, question: Question) -> Reading:
        try:
            return await self._asker.ask(question)
        except Exception as error:  # an answer nobody imagined: the others must go on
            log.exception("a query crashed")
            return Reading(None, f"it failed: {type(error).__name__}")

    def _tell(self, key: ObjectKey, attempt: Attempt, answers: Answers, now: float) -> None:
        """Tell of another verdict at once, of other numbers now and then."""
        known, told, about = self._known[key], self.told.get(key), _subject(key, attempt)
        is_news = told is None or told.verdicts(about, attempt.policy) != answers.verdicts(
            about, attempt.policy
        )
        if is_news or now - known.told_at >= TELL_EVERY_S:
            self.told[key], known.told_at = answers, now
            self._queue.add(key)


def _subject(key: ObjectKey, attempt: Attempt) -> Subject:
    return Subject(key.namespace, key.name, attempt.stable, attempt.candidate)
