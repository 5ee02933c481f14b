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
from slipway_operator.engine.reconciler import Reconciler
from slipway_operator.engine.workqueue import WorkQueue
from slipway_operator.kube.errors import (
    ApiError,
    Conflict,
    Denied,
    Invalid,
    NotFound,
    Throttled,
    Unavailable,
)
from slipway_operator.kube.kinds import MODEL_DEPLOYMENT, Kind, by_name
from slipway_operator.plan.plan import Note
from slipway_operator.plan.revision import revision_hash
from tests.builders import DEFAULTS, mdep, spec_of
from tests.unit.operator.engine.clock import cancelled, run

Manifest = dict[str, Any]
KEY = ObjectKey("t1", "digits")
NAME = f"digits-{revision_hash(spec_of())}"


class Store:
    """An API server in memory, which can refuse."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Manifest] = {}
        self.writes: list[tuple[str, str, str]] = []
        self.judgements: list[tuple[str, str]] = []
        self.refuse: Callable[[str, str], ApiError | None] = lambda verb, kind: None
        self.before_write: Callable[[], None] = lambda: None
        self._version = 100

    def _enter(self, verb: str, manifest: Manifest) -> tuple[str, str]:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        if error := self.refuse(verb, kind):
            raise error
        self.writes.append((verb, kind, name))
        self.before_write()
        self._version += 1
        return kind, name

    async def get(self, kind: Kind, namespace: str, name: str) -> Manifest:
        if (kind.kind, name) not in self.objects:
            raise NotFound(404, "NotFound", name)
        return copy.deepcopy(self.objects[kind.kind, name])

    async def apply(self, manifest: Manifest, manager: str = FIELD_MANAGER) -> Manifest:
        key = self._enter("apply", manifest)
        known = self.objects.get(key, {"metadata": {"uid": f"uid-{self._version}"}})
        stored = copy.deepcopy(manifest)
        uid = stored["metadata"].get("uid", known["metadata"]["uid"])
        if uid != known["metadata"]["uid"]:
            raise Conflict(409, "Conflict", "uid mismatch")
        stored["metadata"] |= {"uid": uid, "resourceVersion": str(self._version)}
        self.objects[key] = stored
        return copy.deepcopy(stored)

    async def judged(self, manifest: Manifest) -> Manifest:
        self.judgements.append((manifest["kind"], manifest["metadata"]["name"]))
        if error := self.refuse("judge", manifest["kind"]):
            raise error
        return manifest

    async def apply_status(self, manifest: Manifest) -> Manifest:
        key = self._enter("status", manifest)
        stored = self.objects[key]
        if stored["metadata"]["resourceVersion"] != manifest["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", "modified")
        stored["status"] = copy.deepcopy(manifest["status"])
        stored["metadata"]["resourceVersion"] = str(self._version)
        return copy.deepcopy(stored)

    async def merge(self, manifest: Manifest) -> Manifest:
        """Change the metadata of an object."""
        key = self._enter("merge", manifest)
        stored = self.objects[key]
        stored["metadata"] |= {**manifest["metadata"], "resourceVersion": str(self._version)}
        return copy.deepcopy(stored)

    async def delete(self, manifest: Manifest) -> None:
        key = self._enter("delete", manifest)
        if key not in self.objects:
            raise NotFound(404, "NotFound", key[1])
        del self.objects[key]


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
        self.results: list[str] = []
        self.reconciler = Reconciler(
            self.cache, self.queue, self.store, self.leader, self.recorder, DEFAULTS,
            observe=lambda result, seconds: self.results.append(result),
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
            second.cache, second.queue, second.store, second.leader, second.recorder, DEFAULTS
        )
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
        assert len(operator.results) < 12
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
        assert operator.results == ["error"]

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
