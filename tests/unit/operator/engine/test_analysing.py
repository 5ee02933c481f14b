"""Rollouts in progress are read from real servers, and told of when there is news."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from slipway_operator.api.v1alpha1 import parse_spec
from slipway_operator.engine.analysing import TELL_EVERY_S, Analysing
from slipway_operator.engine.cache import Cache, ObjectKey
from slipway_operator.engine.scrape import NoReading, sampled
from slipway_operator.engine.workqueue import WorkQueue
from slipway_operator.kube.kinds import MODEL_DEPLOYMENT, POD
from slipway_operator.plan.evidence import Sample
from slipway_operator.plan.names import MODEL, REVISION
from slipway_operator.plan.policy import policy_of
from slipway_operator.verdict.outcome import Verdict
from tests.builders import LONG_AGO, mdep, spec_of

KEY = ObjectKey("t1", "digits")
OLD, NEW = "aaaaaaaaaa", "bbbbbbbbbb"
SPEC = spec_of(rollout={"analysis": {"warmup": "0s", "checks": [
    {"name": "errors", "type": "ErrorRate"}]}})  # fmt: skip
POLICY = policy_of(parse_spec(SPEC))
STATUS = {
    "stable": {"hash": OLD},
    "candidate": {"hash": NEW},
    "rollout": {"state": "Baking", "id": "2-1", "step": 1, "weight": {"applied": 20}},
}


class Pods:
    """Answers for pods by their address."""

    def __init__(self) -> None:
        self.samples: dict[str, Sample] = {}
        self.asked: list[str] = []

    async def sample(self, host: str, port: int) -> Sample:
        self.asked.append(host)
        if host not in self.samples:
            raise NoReading(host)
        return self.samples[host]


class Stage:
    """A rollout in progress, and a clock."""

    def __init__(self, spec: dict[str, Any] = SPEC, status: dict[str, Any] = STATUS) -> None:
        self.cache, self.queue, self.pods = Cache(), WorkQueue[ObjectKey](), Pods()
        self.analysing = Analysing(self.cache, self.queue, self.pods, lambda: True)
        self.now, self.version = 1000.0, 1
        self.spec = spec
        self.put(status)
        for revision, host in ((OLD, "old"), (NEW, "new")):
            self.cache.put(POD, _pod(revision, host))

    def put(self, status: dict[str, Any]) -> None:
        self.version += 1
        stored = mdep(self.spec, status=copy.deepcopy(status))
        stored["metadata"]["resourceVersion"] = str(self.version)
        self.cache.put(MODEL_DEPLOYMENT, stored)

    async def look(self, old: Sample | None, new: Sample | None, after_s: float = 15) -> Verdict:
        self.now += after_s
        found = {"old": old, "new": new}
        self.pods.samples = {host: s for host, s in found.items() if s is not None}
        await self.analysing.look(lambda: self.now)
        return self.analysing.told[KEY].findings(POLICY)[0].verdict


def _pod(revision: str, host: str) -> dict[str, Any]:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": LONG_AGO}
    return {
        "metadata": {
            "name": f"pod-{host}", "namespace": "t1", "uid": f"uid-{host}", "resourceVersion": "5",
            "labels": {MODEL: "digits", REVISION: revision},
        },
        "status": {"podIP": host, "conditions": [ready]},
    }  # fmt: skip


async def test_a_failing_candidate_is_told_of_at_once() -> None:
    stage = Stage()
    assert await stage.look(Sample(0, 0), Sample(0, 0)) is Verdict.NO_DATA
    assert await stage.look(Sample(900, 2), Sample(60, 40)) is Verdict.FAIL
    assert len(stage.queue) == 1


async def test_numbers_alone_are_told_now_and_then() -> None:
    stage = Stage()
    told = []
    for n in range(6):
        await stage.look(Sample(10.0 * n, 0), Sample(10.0 * n, 0))
        told.append(stage.analysing.told[KEY].rates.get("errors"))
    assert told[0] == told[1] != told[2] == told[3] != told[4]
    assert TELL_EVERY_S == 30


async def test_a_pod_is_read_once_in_an_interval() -> None:
    stage = Stage()
    for _ in range(5):
        await stage.look(Sample(0, 0), Sample(0, 0), after_s=5)
    assert stage.pods.asked.count("new") == 2


async def test_after_a_gap_nothing_is_concluded() -> None:
    stage = Stage()
    await stage.look(Sample(0, 0), Sample(0, 0))
    assert await stage.look(Sample(900, 2), Sample(60, 40), after_s=60) is Verdict.NO_DATA


async def test_a65_a_pod_that_does_not_answer_is_no_data() -> None:
    stage = Stage()
    await stage.look(Sample(0, 0), None)
    assert await stage.look(None, Sample(60, 40)) is Verdict.NO_DATA


async def test_what_was_told_before_a_restart_is_known() -> None:
    first = Stage()
    await first.look(Sample(0, 0), Sample(0, 0))
    await first.look(Sample(900, 2), Sample(60, 40))
    (finding,) = first.analysing.told[KEY].findings(POLICY)
    told = {"name": "errors", "verdict": "Fail", "state": finding.state}
    rollout = {**STATUS["rollout"], "analysisOf": f"{NEW}-1"}  # type: ignore[dict-item]
    second = Stage(status={**STATUS, "rollout": rollout, "analysis": [told]})
    assert await second.look(Sample(900, 2), Sample(60, 40)) is Verdict.FAIL


@pytest.mark.parametrize(
    ("spec", "status"),
    [
        pytest.param(spec_of(), STATUS, id="a spec without rollout"),
        pytest.param(spec_of(rollout={"strategy": "BlueGreen", "watch": "0s"}), STATUS,
                     id="nothing to judge it by"),
        pytest.param(SPEC, {**STATUS, "rollout": {"state": "Idle"}}, id="no rollout"),
        pytest.param(SPEC, {"candidate": {"hash": NEW}, "rollout": {"state": "Preparing"}},
                     id="a first revision"),
        pytest.param({**SPEC, "typo": 1}, STATUS, id="a spec that is not understood"),
    ],
)  # fmt: skip
async def test_what_is_not_read(spec: dict[str, Any], status: dict[str, Any]) -> None:
    stage = Stage(spec, status)
    await stage.analysing.look(lambda: 1.0)
    assert (stage.pods.asked, stage.analysing.told) == ([], {})


async def test_when_a_rollout_is_over_it_is_forgotten() -> None:
    stage = Stage()
    await stage.look(Sample(0, 0), Sample(0, 0))
    stage.put({"stable": {"hash": NEW}, "rollout": {"state": "Idle", "id": "2-1"}})
    await stage.analysing.look(lambda: stage.now + 99)
    assert stage.analysing.told == {}


EXPOSITION = """\
# TYPE slipway_requests_total counter
slipway_requests_total{code="200",protocol="rest"} 90
slipway_requests_total{code="200",protocol="grpc"} 5
slipway_requests_total{code="400",protocol="rest"} 77
slipway_requests_total{code="429",protocol="rest"} 3
slipway_requests_total{code="500",protocol="rest"} 2
slipway_requests_total{code="503",protocol="grpc"} 1
# TYPE slipway_request_duration_seconds histogram
slipway_request_duration_seconds_bucket{protocol="rest",le="0.1"} 80
slipway_request_duration_seconds_bucket{protocol="grpc",le="0.1"} 5
slipway_request_duration_seconds_bucket{protocol="rest",le="+Inf"} 99
slipway_request_duration_seconds_bucket{protocol="grpc",le="+Inf"} 6
# TYPE slipway_output_total counter
slipway_output_total{output="label",bucket="3"} 12
"""


def test_a_sample_is_what_clients_have_got() -> None:
    assert sampled(EXPOSITION) == Sample(98, 3, {0.1: 85, float("inf"): 105}, {"label/3": 12})


@pytest.mark.parametrize(
    "text", ['slipway_requests_total{code="200"} NaN\n', "slipway_requests_total -1\n", "{"]
)
def test_a65_a_hostile_sample_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"^"):
        sampled(text)
