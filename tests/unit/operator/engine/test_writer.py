"""Handing over a number of pods, and asking what would be refused: fenced, and never fought for."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest

from slipway_operator.api.managers import FIELD_MANAGER
from slipway_operator.engine.cache import Cache, ObjectKey
from slipway_operator.engine.elector import NotLeading
from slipway_operator.engine.reconciler import Reconciler
from slipway_operator.engine.workqueue import WorkQueue
from slipway_operator.engine.writer import Contested, Writer
from slipway_operator.kube.errors import ApiError, Denied
from slipway_operator.plan.children import Resize
from slipway_operator.plan.plan import Note, plan
from tests.builders import DEFAULTS, Scene, spec_of
from tests.unit.operator.engine.clock import run
from tests.unit.operator.engine.store import Store

Manifest = dict[str, Any]
SPEC = spec_of(autoscaling={"minReplicas": 3})


class Parts:
    """A writer before a model that served with one pod until it got an autoscaler."""

    def __init__(self) -> None:
        self.scene = Scene(SPEC).serving(SPEC, replicas=1)
        self.store = Store()
        self.writer = Writer(Cache(), self.store)
        self.name = self.scene.name_of(SPEC)
        for key, manifest in self.scene.children.items():
            self.store.objects[key] = copy.deepcopy(manifest)

    @property
    def resize(self) -> Resize:
        """The hand-over that the plan asks for."""
        (found,) = plan(self.scene.snapshot()).resize
        return found

    @property
    def replicas(self) -> int:
        """As stored."""
        return int(self.store.objects["Deployment", self.name]["spec"]["replicas"])


def _end() -> None:
    raise NotLeading


def test_a_number_of_pods_is_handed_over_under_another_name() -> None:
    async def main() -> None:
        parts = Parts()
        managers = []
        apply = parts.store.apply

        async def noted(manifest: Manifest, manager: str = FIELD_MANAGER) -> Manifest:
            managers.append(manager)
            return await apply(manifest, manager)

        parts.store.apply = noted  # type: ignore[method-assign]  # tells who writes
        assert await parts.writer.resize(parts.resize)
        assert parts.replicas == 3
        assert managers == ["slipway-operator-handover"]

    run(main())


def test_neither_a_hand_over_nor_a_judgement_follows_the_end_of_the_leadership() -> None:
    async def main() -> None:
        parts = Parts()
        parts.store.fence = _end
        with pytest.raises(NotLeading):
            await parts.writer.resize(parts.resize)
        unborn = copy.deepcopy(parts.store.objects.pop(("Deployment", parts.name)))
        with pytest.raises(NotLeading):
            await parts.writer.judge(unborn)
        assert parts.store.writes == []
        assert parts.store.judgements == []

    run(main())


def test_a_number_that_somebody_lowers_again_and_again_is_not_fought_for() -> None:
    async def main() -> None:
        parts = Parts()
        told = []
        for _ in range(600):  # somebody lowers it every second
            try:
                await parts.writer.resize(parts.resize)
            except Contested as contested:
                told.append(str(contested))
            parts.store.objects["Deployment", parts.name]["spec"]["replicas"] = 1
            await asyncio.sleep(1)
        assert 6 <= len(parts.store.writes) <= 16
        assert len(told) > 500
        assert all("spec.replicas is changed after every write" in text for text in told)

    run(main())


def test_a_deployment_whose_number_could_not_be_handed_over_does_not_let_go_of_it() -> None:
    async def main() -> None:
        parts = Parts()
        refusals = [Denied(403, "Forbidden", "exceeded quota")]

        def refuse(verb: str, kind: str) -> ApiError | None:
            return refusals.pop() if kind == "Deployment" and refusals else None

        parts.store.refuse = refuse
        reconciler = Reconciler(
            Cache(), WorkQueue[ObjectKey](), parts.writer, Leader(), Recorder(), DEFAULTS
        )
        snapshot = parts.scene.snapshot()
        decided = plan(snapshot)
        assert [m["kind"] for m in decided.apply].count("Deployment") == 1
        _, problems = await reconciler._write(snapshot, decided)
        assert [p.reason for p in problems] == ["ApplyFailed"]
        assert parts.replicas == 1
        assert ("apply", "HorizontalPodAutoscaler", parts.name) in parts.store.writes

    run(main())


class Leader:
    """Leads."""

    async def leading(self) -> None:
        """Lead at once."""


class Recorder:
    """Forgets Events."""

    def record(self, mdep: Manifest, note: Note) -> None:
        """Forget."""
