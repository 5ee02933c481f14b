"""The Jobs of checks are read while a rollout may need them, and told of when they change."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from slipway_operator.engine.cache import Cache, ObjectKey
from slipway_operator.engine.templates import Templates
from slipway_operator.engine.workqueue import WorkQueue
from slipway_operator.kube.errors import ApiError, NotFound, Unavailable
from slipway_operator.kube.kinds import MODEL_DEPLOYMENT, Kind
from slipway_operator.plan.policy import TemplateKey
from tests.builders import mdep, spec_of

KEY, WHERE = ObjectKey("t1", "digits"), TemplateKey("judge", "job.yaml")
CHECK = {"name": "j", "type": "Job", "configMap": {"name": "judge", "key": "job.yaml"}}
SPEC = spec_of(rollout={"analysis": {"checks": [CHECK]}})
STATUS = {"stable": {"hash": "aa"}, "candidate": {"hash": "bb"}, "rollout": {"state": "Baking"}}
GOOD = "spec: {template: {spec: {containers: [{name: main, image: one}]}}}"


class ConfigMaps:
    """Answers with one ConfigMap, or a failure."""

    def __init__(self) -> None:
        self.data: dict[str, Any] | None = {"job.yaml": GOOD}
        self.error: ApiError | None = None
        self.asked = 0

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        assert (kind.kind, namespace, name) == ("ConfigMap", "t1", "judge")
        self.asked += 1
        if self.error is not None:
            raise self.error
        return {"data": self.data}


class Stage:
    """A rollout in progress, and a clock."""

    def __init__(self) -> None:
        self.cache, self.queue, self.maps = Cache(), WorkQueue[ObjectKey](), ConfigMaps()
        self.templates = Templates(self.cache, self.queue, self.maps, lambda: True)
        self.now, self.version = 0.0, 1
        self.put()

    def put(self, spec: dict[str, Any] = SPEC, status: dict[str, Any] = STATUS) -> None:
        self.version += 1
        stored = mdep(spec, status=copy.deepcopy(status))
        stored["metadata"]["resourceVersion"] = str(self.version)
        self.cache.put(MODEL_DEPLOYMENT, stored)

    async def look(self, after_s: float = 15) -> str:
        self.now += after_s
        await self.templates.look(lambda: self.now)
        return self.templates.told[KEY][WHERE].problem


async def test_a_job_is_read_now_and_then_and_told_when_it_changes() -> None:
    stage = Stage()
    for _ in range(4):
        assert await stage.look(after_s=5) == ""
    assert stage.maps.asked == 2
    assert len(stage.queue) == 1
    first = stage.templates.told[KEY][WHERE]
    stage.maps.data = {"job.yaml": GOOD.replace("one", "two")}
    await stage.look()
    assert stage.templates.told[KEY][WHERE] != first


@pytest.mark.parametrize(
    ("data", "error", "expected"),
    [
        (None, NotFound(404, "NotFound", "no"), "'judge' does not exist in namespace 't1'"),
        (None, Unavailable(503, "Busy", "played"), "'judge' cannot be read: played"),
        (None, None, "has no key 'job.yaml'"),
        ({"other": "x"}, None, "has no key 'job.yaml'"),
        ({"job.yaml": "spec: 1"}, None, "'judge', key 'job.yaml': spec: expected an object"),
    ],
)
async def test_what_cannot_be_read_is_told(
    data: dict[str, Any] | None, error: ApiError | None, expected: str
) -> None:
    stage = Stage()
    stage.maps.data, stage.maps.error = data, error
    assert expected in await stage.look()


async def test_when_nobody_needs_it_it_is_forgotten() -> None:
    stage = Stage()
    await stage.look()
    stage.put(status={**STATUS, "rollout": {"state": "Idle"}})
    await stage.templates.look(lambda: stage.now + 99)
    assert stage.templates.told == {}
