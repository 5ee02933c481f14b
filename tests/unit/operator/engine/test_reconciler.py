"""The loop around the plan: skips what is there, fences every write, turns refusals into status."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import Any

import pytest

from slipway_operator.api.managers import FIELD_MANAGER
from slipway_operator.engine.cache import Cache, ObjectKey
from slipway_operator.engine.elector import NotLeading
from slipway_operator.engine.faults import fault_of
from slipway_operator.engine.reconciler import Reconciler
from slipway_operator.engine.workqueue import WorkQueue
from slipway_operator.engine.writer import Contested, NameTaken, Writer
from slipway_operator.kube.errors import (
    ApiError,
    Conflict,
    Denied,
    Invalid,
    NotFound,
    Throttled,
    Unavailable,
)
from slipway_operator.kube.kinds import MODEL_DEPLOYMENT, by_name
from slipway_operator.plan.plan import Note
from slipway_operator.plan.revision import revision_hash
from slipway_operator.telemetry.faults import Fault
from tests.builders import DEFAULTS, mdep, spec_of
from tests.unit.operator.engine.clock import cancelled, run
from tests.unit.operator.engine.store import Store

Manifest = dict[str, Any]
KEY = ObjectKey("t1", "digits")
NAME = f"digits-{revision_hash(spec_of())}"


class Leader:
    """Leads until told otherwise."""

    is_leading = True

    async def leading(self) -> None:
        """Lead at once."""

    def fence(self) -> None:
        """Refuse when told so."""
        if not self.is_leading:
            raise NotLeading


class Recorder:
    """Remembers Events."""

    def __init__(self) -> None:
        self.notes: list[Note] = []

    def record(self, mdep: Manifest, note: Note) -> None:
        """Remember."""
        self.notes.append(note)


class Operator:
    """A reconciler and everything around it."""

    def __init__(self, spec: Manifest | None = None) -> None:
        self.cache, self.queue, self.store = Cache(), WorkQueue[ObjectKey](), Store()
        self.leader, self.recorder = Leader(), Recorder()
        self.store.fence = self.leader.fence
        self.results: list[str] = []
        self.faults: list[Fault] = []
        self.reconciler = Reconciler(
            self.cache, self.queue, Writer(self.cache, self.store), self.leader, self.recorder,
            DEFAULTS, observe=lambda result, seconds: self.results.append(result),
            failed=self.faults.append,
        )  # fmt: skip
        self.add(mdep(spec))

    def add(self, manifest: Manifest) -> None:
        """Let a user create a ModelDeployment."""
        self.store.objects["ModelDeployment", manifest["metadata"]["name"]] = manifest
        self.cache.put(MODEL_DEPLOYMENT, copy.deepcopy(manifest))

    async def work(self, seconds: float) -> None:
        """Let two workers work for a time."""
        tasks = [asyncio.create_task(self.reconciler.work()) for _ in range(2)]
        await asyncio.sleep(seconds)
        assert not any(t.done() for t in tasks)
        await cancelled(*tasks)

    def conditions(self, name: str = "digits") -> dict[str, tuple[str, str]]:
        """Conditions as stored."""
        found = self.store.objects["ModelDeployment", name]["status"]["conditions"]
        return {c["type"]: (c["status"], c["reason"]) for c in found}


FRESH = [
    ("apply", "ServiceAccount", "digits-runtime"),
    ("apply", "ControllerRevision", NAME),
    ("apply", "Job", NAME),
    ("apply", "Service", "digits"),
    ("status", "ModelDeployment", "digits"),
]


def _refusing(error: ApiError, verb: str, kind: str) -> Callable[[str, str], ApiError | None]:
    return lambda v, k: error if (v, k) == (verb, kind) else None


def test_a_plan_is_written_in_its_order_and_the_status_last() -> None:
    operator = Operator()
    assert run(operator.reconciler.reconcile(KEY)) == "written"
    assert operator.store.writes == FRESH


async def _settled() -> Operator:
    """An operator that waits for the supply Job."""
    operator = Operator()
    while await operator.reconciler.reconcile(KEY) == "written":
        assert len(operator.store.writes) < 9
    operator.store.writes.clear()
    return operator


def test_a_settled_pass_writes_nothing() -> None:
    async def main() -> None:
        operator = await _settled()
        assert await operator.reconciler.reconcile(KEY) == "settled"
        assert operator.store.writes == []

    run(main())


def test_a_restart_writes_nothing() -> None:
    async def main() -> None:
        first = await _settled()
        second = Operator()
        second.cache, second.store = Cache(), first.store
        for (kind, _), manifest in first.store.objects.items():
            second.cache.put(by_name(kind), copy.deepcopy(manifest))
        again = Reconciler(
            second.cache, second.queue, Writer(second.cache, second.store), second.leader,
            second.recorder, DEFAULTS,
        )  # fmt: skip
        assert await again.reconcile(KEY) == "settled"
        assert second.store.writes == []

    run(main())


@pytest.mark.parametrize("after", range(len(FRESH)))
def test_no_write_follows_the_end_of_the_leadership(after: int) -> None:
    async def main() -> None:
        operator = Operator()

        def end() -> None:
            if len(operator.store.writes) == after:
                operator.leader.is_leading = False

        operator.store.before_write = end
        end()
        with pytest.raises(NotLeading):
            await operator.reconciler.reconcile(KEY)
        assert operator.store.writes == FRESH[:after]

    run(main())


def test_a_key_comes_again_when_the_leadership_has_ended() -> None:
    async def main() -> None:
        operator = Operator()
        operator.leader.is_leading = False
        assert await operator.reconciler._outcome(KEY) == "not_leading"
        assert len(operator.queue) == 1

    run(main())


@pytest.mark.parametrize(
    "foreign",
    [
        pytest.param({}, id="nobody's"),
        pytest.param(
            {"ownerReferences": [{"kind": "Deployment", "uid": "x", "controller": True}]},
            id="somebody else's",
        ),
        pytest.param(
            {"labels": {"app.kubernetes.io/managed-by": "slipway", "slipway.dev/model": "other"}},
            id="another model's",
        ),
    ],
)
def test_an_object_that_is_not_ours_is_left_alone(foreign: Manifest) -> None:
    operator = Operator()
    taken = {"kind": "Service", "metadata": {"name": "digits", "uid": "foreign", **foreign}}
    operator.store.objects["Service", "digits"] = taken
    assert run(operator.reconciler._outcome(KEY)) == "refused"
    assert ("apply", "Service", "digits") not in operator.store.writes
    assert operator.store.objects["Service", "digits"] is taken
    assert operator.conditions()["Stalled"] == ("True", "NameConflict")


def test_nothing_is_read_before_what_is_not_there_is_made() -> None:
    operator = Operator()
    assert run(operator.reconciler._outcome(KEY)) == "written"
    assert operator.store.reads == []


def test_a_name_that_became_free_meanwhile_is_tried_again() -> None:
    operator = Operator()
    operator.store.refuse = lambda verb, kind: (
        Conflict(409, "Conflict", "modified") if (verb, kind) == ("apply", "Service") else None
    )
    assert run(operator.reconciler._outcome(KEY)) == "conflict"
    assert operator.store.reads == [("Service", "digits")]
    operator.store.refuse = lambda verb, kind: None
    assert run(operator.reconciler._outcome(KEY)) == "written"


def test_an_object_of_ours_that_lost_its_owner_is_taken_back() -> None:
    operator = Operator()
    labels = {"app.kubernetes.io/managed-by": "slipway", "slipway.dev/model": "digits"}
    metadata = {"name": "digits", "namespace": "t1", "uid": "u", "resourceVersion": "1"}
    lost = {"kind": "Service", "metadata": {**metadata, "labels": labels}}
    operator.store.objects["Service", "digits"] = lost
    assert run(operator.reconciler._outcome(KEY)) == "written"
    assert operator.store.objects["Service", "digits"]["metadata"]["ownerReferences"]


def test_a_child_that_was_replaced_meanwhile_is_not_overwritten() -> None:
    async def main() -> None:
        operator = Operator()
        await operator.reconciler.reconcile(KEY)
        operator.store.objects["Service", "digits"]["metadata"]["uid"] = "another"
        changed = copy.deepcopy(operator.store.objects["ModelDeployment", "digits"])
        changed["spec"]["exposure"] = {"service": {"type": "NodePort"}}
        changed["metadata"]["resourceVersion"] = "9999"
        operator.add(changed)
        assert await operator.reconciler._outcome(KEY) == "conflict"

    run(main())


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(
            Invalid(422, "Invalid", "spec.type: no"),
            {"Ready": ("False", "InvalidPassthrough"), "Stalled": ("True", "InvalidPassthrough")},
            id="invalid is for good",
        ),
        pytest.param(
            Denied(403, "Forbidden", "exceeded quota"),
            {"Ready": ("False", "ApplyFailed"), "Stalled": ("False", "ApplyFailed")},
            id="a quota may be raised",
        ),
        pytest.param(
            Denied(403, "Forbidden", 'x is forbidden: User "op" cannot patch resource "jobs"'),
            {"Ready": ("False", "Forbidden"), "Stalled": ("False", "Forbidden")},
            id="a right may be granted",
        ),
    ],
)
def test_a_refusal_is_told_and_the_rest_goes_on(
    error: ApiError, expected: dict[str, tuple[str, str]]
) -> None:
    operator = Operator()
    operator.store.refuse = _refusing(error, "apply", "Job")
    assert run(operator.reconciler._outcome(KEY)) == "refused"
    assert operator.store.writes == [w for w in FRESH if w[1] != "Job"]
    assert expected.items() <= operator.conditions().items()


FAULTS = {
    Invalid(422, "Invalid", "spec.type: no"): Fault.INVALID,
    Denied(403, "Forbidden", "exceeded quota"): Fault.DENIED,
    Denied(403, "", 'x is forbidden: User "op" cannot patch resource "jobs"'): Fault.FORBIDDEN,
    NotFound(404, "NotFound", "no such namespace"): Fault.NOT_FOUND,
    Conflict(409, "Conflict", "somebody else wrote"): Fault.CONFLICT,
    Throttled(429, "TooManyRequests", "later"): Fault.THROTTLED,
    Unavailable(500, "InternalError", "failed calling webhook w"): Fault.UNAVAILABLE,
    Unavailable(0, "", "no answer"): Fault.NO_ANSWER,
}


@pytest.mark.parametrize(("error", "fault"), FAULTS.items(), ids=str)
def test_what_stood_against_a_reconcile_is_counted_by_its_cause(
    error: ApiError, fault: Fault
) -> None:
    async def main() -> None:
        operator = Operator()
        operator.store.refuse = _refusing(error, "status", "ModelDeployment")
        await operator.reconciler._outcome(KEY)
        assert operator.faults == [fault]

    run(main())


def test_a_refused_object_is_counted_though_the_rest_goes_on() -> None:
    operator = Operator()
    operator.store.refuse = _refusing(Denied(403, "Forbidden", "quota"), "apply", "Job")
    assert run(operator.reconciler._outcome(KEY)) == "refused"
    assert operator.faults == [Fault.DENIED]


def test_what_is_well_counts_nothing() -> None:
    assert run(_settled()).faults == []


def test_every_error_of_the_api_server_is_a_fault_of_its_own() -> None:
    assert set(ApiError.__subclasses__()) == {type(error) for error in FAULTS}
    foreign, fought = NameTaken("Service", "digits"), Contested("x changes it", 1.0)
    assert [fault_of(e) for e in (foreign, fought)] == [Fault.NAME_TAKEN, Fault.CONTESTED]
    told = {*FAULTS.values(), Fault.NAME_TAKEN, Fault.CONTESTED, Fault.INVALID_SPEC, Fault.CRASH}
    assert told == set(Fault)


def test_what_comes_later_is_judged_once_before_and_not_written() -> None:
    async def main() -> None:
        operator = Operator(spec_of(autoscaling={}))
        operator.queue.add(KEY)
        await operator.work(5)
        assert operator.store.judgements == [
            ("Deployment", NAME), ("HorizontalPodAutoscaler", NAME),
        ]  # fmt: skip
        assert not {"Deployment", "HorizontalPodAutoscaler"} & {
            kind for _, kind, _ in operator.store.writes
        }

    run(main())


def test_what_will_be_refused_is_told_before_the_model_is_there() -> None:
    async def main() -> None:
        operator = Operator(spec_of(autoscaling={}))
        refusal = Invalid(422, "Invalid", "spec.metrics: no such thing")
        operator.store.refuse = _refusing(refusal, "judge", "HorizontalPodAutoscaler")
        operator.queue.add(KEY)
        await operator.work(5)
        assert operator.conditions()["Stalled"] == ("True", "InvalidPassthrough")
        operator.store.refuse = lambda verb, kind: None
        await operator.work(30)
        assert operator.conditions()["Stalled"][0] == "False"

    run(main())


def test_a_judge_that_does_not_answer_stops_nothing() -> None:
    async def main() -> None:
        operator = Operator()
        down = Unavailable(503, "ServiceUnavailable", "a webhook is down")
        operator.store.refuse = _refusing(down, "judge", "Deployment")
        operator.queue.add(KEY)
        await operator.work(5)
        assert operator.conditions()["Stalled"][0] == "False"
        assert "refused" not in operator.results

    run(main())


def test_nothing_is_deleted_while_something_is_refused() -> None:
    async def main() -> None:
        operator = Operator()
        await operator.reconciler.reconcile(KEY)
        changed = copy.deepcopy(operator.store.objects["ModelDeployment", "digits"])
        changed["spec"]["model"]["uri"] = "https://models.test/other.onnx"
        changed["metadata"]["resourceVersion"] = "9999"
        operator.add(changed)
        operator.store.refuse = _refusing(Denied(403, "Forbidden", "quota"), "apply", "Job")
        await operator.reconciler._outcome(KEY)
        assert not [w for w in operator.store.writes if w[0] == "delete"]

    run(main())


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(Conflict(409, "Conflict", "modified"), "conflict", id="a conflict"),
        pytest.param(Unavailable(0, "NoAnswer", "refused"), "error", id="no answer"),
        pytest.param(NotFound(404, "NotFound", "namespace"), "error", id="no such namespace"),
        pytest.param(Throttled(429, "TooManyRequests", "slow"), "error", id="a pause"),
    ],
)
@pytest.mark.parametrize("step", FRESH, ids=lambda s: s[1])
def test_a_passing_trouble_is_tried_again_until_it_passes(
    error: ApiError, expected: str, step: tuple[str, str, str]
) -> None:
    async def main() -> None:
        operator = Operator()
        operator.store.refuse = _refusing(error, step[0], step[1])
        operator.queue.add(KEY)
        await operator.work(20)
        assert set(operator.results) == {expected}
        assert len(operator.results) < 15
        operator.store.refuse = lambda verb, kind: None
        await operator.work(700)
        assert operator.results[-1] == "settled"
        assert sorted(set(operator.store.writes)) == sorted(FRESH)

    run(main())


def test_a_told_pause_is_kept() -> None:
    async def main() -> None:
        operator = Operator()
        error = Throttled(429, "TooManyRequests", "slow")
        error.retry_after_s = 30.0
        operator.store.refuse = _refusing(error, "apply", "Job")
        operator.queue.add(KEY)
        await operator.work(29)
        assert operator.results == ["error"]

    run(main())


def test_a_key_that_crashes_delays_no_other() -> None:
    async def main() -> None:
        operator = Operator()
        poison = mdep(name="poison", uid="uid-poison")
        poison["metadata"]["generation"] = "x"
        operator.add(poison)
        operator.queue.add(ObjectKey("t1", "poison"))
        operator.queue.add(KEY)
        await operator.work(60)
        assert operator.conditions()["Ready"] == ("False", "SupplyingModel")
        assert operator.results.count("crash") in range(8, 14)
        assert operator.faults == [Fault.CRASH] * operator.results.count("crash")

    run(main())


def test_a_hanging_api_server_ends_a_reconcile() -> None:
    async def main() -> None:
        operator = Operator()

        async def hang(manifest: Manifest, manager: str = FIELD_MANAGER) -> Manifest:
            await asyncio.sleep(1_000)
            return manifest

        operator.store.apply = hang  # type: ignore[method-assign]  # this one never answers
        operator.queue.add(KEY)
        await operator.work(31)
        assert (operator.results, operator.faults) == (["error"], [Fault.NO_ANSWER])

    run(main())


def test_what_is_gone_is_forgotten() -> None:
    async def main() -> None:
        operator = Operator()
        assert await operator.reconciler.reconcile(ObjectKey("t1", "gone")) == "gone"
        assert operator.store.writes == []

    run(main())


def test_events_are_recorded_after_the_status_and_once() -> None:
    async def main() -> None:
        operator = Operator()
        await operator.reconciler.reconcile(KEY)
        await operator.reconciler.reconcile(KEY)
        assert [(n.type, n.reason) for n in operator.recorder.notes] == [
            ("Normal", "SupplyingModel")
        ]

    run(main())


def test_a_spec_of_a_later_version_is_told_and_nothing_else_is_written() -> None:
    operator = Operator(spec_of(canary={"steps": []}))
    assert run(operator.reconciler._outcome(KEY)) == "written"
    assert operator.store.writes == [("status", "ModelDeployment", "digits")]
    assert operator.conditions()["Stalled"] == ("True", "InvalidSpec")
    assert operator.faults == [Fault.INVALID_SPEC]


def test_a_webhook_that_is_down_for_one_kind_stops_no_other_and_the_status_says_so() -> None:
    async def main() -> None:
        operator = Operator()
        down = Unavailable(500, "InternalError", "failed calling webhook w")
        operator.store.refuse = _refusing(down, "apply", "Job")
        operator.queue.add(KEY)
        await operator.work(0.5)
        assert operator.results[0] == "refused"
        assert ("Service", "digits") in operator.store.objects
        status = operator.store.objects["ModelDeployment", "digits"]["status"]
        ready = next(c for c in status["conditions"] if c["type"] == "Ready")
        assert (ready["status"], ready["reason"]) == ("False", "ApplyFailed")
        assert "failed calling webhook w" in ready["message"]

    run(main())


def test_a_missing_right_is_asked_for_once_a_minute() -> None:
    async def main() -> None:
        operator = Operator()
        message = 'jobs.batch "x" is forbidden: User "op" cannot patch resource "jobs"'
        tries = 0

        def refuse(verb: str, kind: str) -> ApiError | None:
            nonlocal tries
            if kind != "Job":
                return None
            tries += 1
            return Denied(403, "Forbidden", message)

        operator.store.refuse = refuse
        operator.queue.add(KEY)
        await operator.work(59)
        at_once = tries
        await operator.work(240)
        assert at_once <= 2
        assert 4 <= tries - at_once <= 5

    run(main())


def _rewrite(operator: Operator) -> None:
    """Somebody changes the Service, and a watch tells."""
    operator.store._version += 1
    theirs = copy.deepcopy(operator.store.objects["Service", "digits"])
    theirs["spec"]["type"] = "ExternalName"
    theirs["metadata"]["resourceVersion"] = str(operator.store._version)
    theirs["metadata"]["managedFields"] = [
        {"manager": "slipway-operator", "time": "2026-11-20T10:00:00Z"},
        {"manager": "meddler", "time": "2026-11-20T10:00:01Z"},
        {"manager": "kube-controller-manager", "time": "2026-11-20T10:00:02Z",
         "subresource": "status"},
    ]  # fmt: skip
    operator.store.objects["Service", "digits"] = theirs
    operator.cache.put(by_name("Service"), copy.deepcopy(theirs))
    operator.queue.add(KEY)


def test_who_rewrites_every_repair_is_named_and_not_fought() -> None:
    async def main() -> None:
        operator = await _settled()

        def fight() -> None:
            if operator.store.writes and operator.store.writes[-1][:2] == ("apply", "Service"):
                asyncio.get_running_loop().call_later(0.01, _rewrite, operator)

        operator.store.before_write = fight
        _rewrite(operator)
        await operator.work(120)
        repairs = operator.store.writes.count(("apply", "Service", "digits"))
        assert 6 <= repairs <= 12, "five at once, then after pauses that double"
        assert operator.conditions()["Ready"] == ("False", "Contested")
        status = operator.store.objects["ModelDeployment", "digits"]["status"]
        assert "Service 'digits': spec.type is changed" in status["message"]
        assert "last by 'meddler'" in status["message"]
        told = [n for n in operator.recorder.notes if n.reason == "Contested"]
        assert len(told) == 1
        operator.store.before_write = lambda: None
        await operator.work(600)
        assert operator.conditions()["Ready"][1] != "Contested", "peace is noticed"

    run(main())


def test_what_the_api_server_rewrites_is_written_rarely() -> None:
    async def main() -> None:
        operator = await _settled()
        apply = operator.store.apply

        async def defaulted(manifest: Manifest, manager: str = FIELD_MANAGER) -> Manifest:
            answer = await apply(manifest, manager)
            if answer["kind"] == "Service":
                answer["spec"]["type"] = "ExternalName"
            return answer

        operator.store.apply = defaulted  # type: ignore[method-assign]  # an admission webhook
        _rewrite(operator)
        for _ in range(600):  # something happens every second
            operator.queue.add(KEY)
            await operator.work(1)
        assert operator.store.writes.count(("apply", "Service", "digits")) <= 10
        assert operator.conditions()["Ready"][1] != "Contested"

    run(main())
