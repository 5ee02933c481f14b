"""Events are written once, counted afterwards, and never hold anything up."""

from __future__ import annotations

import asyncio
from typing import Any

from slipway_operator.engine.events import EventRecorder
from slipway_operator.kube.errors import ApiError, Conflict, Unavailable
from slipway_operator.plan.plan import Note
from tests.builders import mdep
from tests.unit.operator.engine.clock import cancelled, run, settle

NOTE = Note("Warning", "NotFound", "no such model")


class Store:
    """Remembers what was written."""

    def __init__(self, error: ApiError | None = None) -> None:
        self.created: list[dict[str, Any]] = []
        self.merged: list[dict[str, Any]] = []
        self.error = error

    async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self.created.append(manifest)
        if self.error:
            raise self.error
        return manifest

    async def merge(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self.merged.append(manifest)
        return manifest


def _recorded(store: Store, *notes: Note, name: str = "digits") -> None:
    async def main() -> None:
        recorder = EventRecorder(store, "pod-0")
        task = asyncio.create_task(recorder.run())
        for note in notes:
            recorder.record(mdep(name=name), note)
        await settle()
        assert not task.done()
        await cancelled(task)

    run(main())


def test_an_event_says_what_happened_to_whom() -> None:
    store = Store()
    _recorded(store, NOTE)
    (event,) = store.created
    assert event["involvedObject"] == {
        "apiVersion": "slipway.dev/v1alpha1", "kind": "ModelDeployment", "namespace": "t1",
        "name": "digits", "uid": "uid-digits",
    }  # fmt: skip
    assert (event["type"], event["reason"], event["message"], event["count"]) == (
        "Warning", "NotFound", "no such model", 1,
    )  # fmt: skip


def test_the_same_again_raises_the_count() -> None:
    store = Store()
    _recorded(store, NOTE, NOTE, NOTE)
    assert len(store.created) == 1
    assert [m["count"] for m in store.merged] == [2, 3]
    assert {m["metadata"]["name"] for m in store.merged} == {store.created[0]["metadata"]["name"]}


def test_another_message_is_another_event() -> None:
    store = Store()
    _recorded(store, NOTE, Note("Warning", "NotFound", "another"))
    assert len({e["metadata"]["name"] for e in store.created}) == 2


def test_a_long_message_is_cut() -> None:
    store = Store()
    _recorded(store, Note("Normal", "Serving", "x" * 5000))
    assert len(store.created[0]["message"]) == 1000


def test_an_event_of_an_operator_before_is_no_trouble() -> None:
    store = Store(Conflict(409, "AlreadyExists", "it exists"))
    _recorded(store, NOTE, NOTE)
    assert [m["count"] for m in store.merged] == [2]


def test_an_event_that_cannot_be_written_stops_no_other() -> None:
    store = Store(Unavailable(500, "InternalError", "webhook"))
    _recorded(store, NOTE, Note("Normal", "Serving", "another"))
    assert len(store.created) == 2


def test_too_many_are_dropped_and_nothing_waits() -> None:
    async def main() -> None:
        recorder = EventRecorder(Store(), "pod-0")
        for number in range(2000):
            recorder.record(mdep(), Note("Normal", "Serving", str(number)))

    run(main())
