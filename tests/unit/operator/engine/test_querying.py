"""Rollouts with queries are asked about, each at its own pace, and told of when there is news."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest

from slipway_operator.api.v1alpha1 import parse_spec
from slipway_operator.engine.cache import Cache, ObjectKey
from slipway_operator.engine.querying import TELL_EVERY_S, Queries
from slipway_operator.engine.workqueue import WorkQueue
from slipway_operator.kube.kinds import MODEL_DEPLOYMENT
from slipway_operator.plan.policy import policy_of
from slipway_operator.plan.queries import Question, Subject
from slipway_operator.verdict.outcome import Verdict
from slipway_operator.verdict.promql import Reading
from tests.builders import mdep, spec_of

OLD, NEW = "aaaaaaaaaa", "bbbbbbbbbb"
STATUS = {
    "stable": {"hash": OLD},
    "candidate": {"hash": NEW},
    "rollout": {"state": "Baking", "id": "2-1", "step": 1},
}


def spec(query: str = 'x{r="{{candidate}}"}') -> dict[str, Any]:
    checks = [{"name": "q", "type": "PromQL", "query": query, "max": "0.5"}]
    prometheus = {"address": "http://prometheus:9090/"}
    return spec_of(rollout={"analysis": {"prometheus": prometheus, "checks": checks}})


class Oracle:
    """Answers what it is told to."""

    def __init__(self) -> None:
        self.value: float | None = 0.1
        self.silent: set[str] = set()
        self.asked: list[Question] = []

    async def ask(self, question: Question) -> Reading:
        self.asked.append(question)
        if question.query in self.silent:
            await asyncio.Event().wait()
        if self.value is None:
            raise RuntimeError("nobody imagined this")
        return Reading(self.value)


class Stage:
    """Rollouts in progress, and a clock."""

    def __init__(self) -> None:
        self.cache, self.queue, self.oracle = Cache(), WorkQueue[ObjectKey](), Oracle()
        self.queries = Queries(self.cache, self.queue, self.oracle, lambda: True)
        self.now, self.version = 1000.0, 1

    def put(
        self, name: str = "digits", *, spec: dict[str, Any], status: dict[str, Any] = STATUS
    ) -> ObjectKey:
        self.version += 1
        stored = mdep(spec, name=name, uid=f"uid-{name}", status=copy.deepcopy(status))
        stored["metadata"]["resourceVersion"] = str(self.version)
        self.cache.put(MODEL_DEPLOYMENT, stored)
        return ObjectKey("t1", name)

    async def look(self, after_s: float = 15) -> None:
        self.now += after_s
        await self.queries.look(lambda: self.now)
        for _ in range(5):  # the tasks have their turns; none of them waits for anything real
            await asyncio.sleep(0)

    def verdict(self, key: ObjectKey, wanted: dict[str, Any]) -> Verdict:
        about = Subject(key.namespace, key.name, OLD, NEW)
        policy = policy_of(parse_spec(wanted))
        return self.queries.told[key].findings(about, policy)[0].verdict


async def test_a_rollout_is_asked_about_once_in_an_interval() -> None:
    stage = Stage()
    stage.put(spec=spec())
    for _ in range(5):
        await stage.look(after_s=5)
    assert stage.oracle.asked == [Question("http://prometheus:9090", f'x{{r="{NEW}"}}')] * 2


async def test_another_verdict_is_told_at_once_and_other_numbers_now_and_then() -> None:
    stage = Stage()
    key = stage.put(spec=spec())
    await stage.look()
    assert stage.verdict(key, spec()) is Verdict.PASS
    assert len(stage.queue) == 1
    first = stage.queries.told[key]
    stage.oracle.value = 0.2
    await stage.look()
    assert stage.queries.told[key] is first
    await stage.look(after_s=TELL_EVERY_S)
    assert stage.queries.told[key] != first
    stage.oracle.value = 0.7
    await stage.look()
    assert stage.verdict(key, spec()) is Verdict.FAIL


async def test_an_edited_query_is_asked_at_once() -> None:
    stage = Stage()
    key = stage.put(spec=spec())
    await stage.look()
    stage.put(spec=spec("y"))
    assert stage.verdict(key, spec("y")) is Verdict.NO_DATA
    await stage.look(after_s=1)
    assert stage.verdict(key, spec("y")) is Verdict.PASS


async def test_who_does_not_answer_delays_nobody_else() -> None:
    stage = Stage()
    stage.oracle.silent = {"silent"}
    silent = stage.put("one", spec=spec("silent"))
    other = stage.put("two", spec=spec("y"))
    for _ in range(3):
        await stage.look()
    assert silent not in stage.queries.told
    assert stage.verdict(other, spec("y")) is Verdict.PASS
    assert [q.query for q in stage.oracle.asked].count("silent") == 1
    stage.queries.forget()


async def test_a_crash_is_no_data() -> None:
    stage = Stage()
    key = stage.put(spec=spec())
    stage.oracle.value = None
    await stage.look()
    assert stage.verdict(key, spec()) is Verdict.NO_DATA


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        pytest.param(spec_of(rollout={}), STATUS, id="no query"),
        pytest.param(spec(), {**STATUS, "rollout": {"state": "Idle"}}, id="no rollout"),
        pytest.param(spec(), {**STATUS, "stable": {}}, id="a first revision"),
    ],
)
async def test_about_what_nobody_is_asked(wanted: dict[str, Any], status: dict[str, Any]) -> None:
    stage = Stage()
    stage.put(spec=wanted, status=status)
    await stage.look()
    assert (stage.oracle.asked, stage.queries.told) == ([], {})


async def test_another_attempt_begins_anew() -> None:
    stage = Stage()
    key = stage.put(spec=spec())
    await stage.look()
    stage.put(spec=spec(), status={**STATUS, "rollout": {"state": "Preparing", "id": "2-2"}})
    stage.oracle.silent = {f'x{{r="{NEW}"}}'}
    await stage.look(after_s=1)
    assert key not in stage.queries.told
    stage.queries.forget()
