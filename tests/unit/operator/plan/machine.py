"""The stateful simulation: users, faults and the operator, in any order; then a settlement."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from slipway_operator.plan.plan import plan
from slipway_operator.plan.revision import read
from tests.unit.operator.plan.world import BAD_MODEL, BAD_PODS, Planner, World

URIS: Final = (
    *(f"https://models.test/{n}" for n in ("a", "b", "c", "d")),
    f"https://models.test/{BAD_MODEL}",
    f"https://models.test/{BAD_PODS}",
)


class Rollouts(RuleBasedStateMachine):
    """One ModelDeployment's life, with crashes between any two writes."""

    planner: Planner = staticmethod(plan)

    def __init__(self) -> None:
        super().__init__()
        spec = {"model": {"uri": URIS[0]}, "replicas": 2}
        self.world = World(spec, type(self).planner)

    @rule(fuse=st.none() | st.integers(0, 8))
    def reconcile(self, fuse: int | None) -> None:
        self.world.reconcile(fuse)

    @rule(passes=st.integers(1, 12), seconds=st.sampled_from([5, 30]))
    def advance(self, passes: int, seconds: int) -> None:
        for _ in range(passes):
            self.world.tick(seconds)
            self.world.reconcile()

    @rule(seconds=st.sampled_from([1, 5, 61]), stumbles=st.sampled_from([False, False, True]))
    def tick(self, seconds: int, stumbles: bool) -> None:
        self.world.tick(seconds, stumbles=stumbles)

    @rule(uri=st.sampled_from(URIS))
    def change_model(self, uri: str) -> None:
        self._change(model={"uri": uri})

    @rule(replicas=st.integers(0, 3))
    def scale(self, replicas: int) -> None:
        self._change(replicas=replicas)

    @rule(autoscaling=st.sampled_from([None, {}, {"minReplicas": 2, "maxReplicas": 4}]))
    def change_autoscaling(self, autoscaling: dict[str, Any] | None) -> None:
        self._change(autoscaling=autoscaling)

    @rule(wish=st.integers(0, 6))
    def load(self, wish: int) -> None:
        self.world.autoscale(wish)

    @rule(suspend=st.booleans())
    def suspend(self, suspend: bool) -> None:
        self._change(suspend=suspend)

    def _change(self, **blocks: Any) -> None:
        self.world.change({**self.world.mdep["spec"], **blocks})

    @rule()
    def flap(self) -> None:
        self.world.flap()

    @precondition(lambda self: self._stable_is_recorded())
    @rule()
    def lose_status(self) -> None:
        self.world.lose_status()

    # One fault at a time: without status and record nothing tells which revision was stable.
    @precondition(lambda self: self.world.mdep.get("status", {}).get("stable"))
    @rule()
    def delete_stable_record(self) -> None:
        name = f"{self.world.owner.name}-{self.world.stable}"
        if {("Deployment", name), ("ConfigMap", name)} <= self.world.objects.keys():
            self.world.remove("ControllerRevision", name)

    @precondition(lambda self: self._stable_is_recorded())
    @rule(kind=st.sampled_from(["Deployment", "Service", "ConfigMap", "Job", "ServiceAccount"]))
    def delete_child(self, kind: str) -> None:
        names = sorted(n for k, n in self.world.objects if k == kind)
        if names:
            self.world.remove(kind, names[0])

    def _stable_is_recorded(self) -> bool:
        name = f"{self.world.owner.name}-{self.world.stable}"
        record = self.world.objects.get(("ControllerRevision", name))
        found = read(record) if record else None
        return not self.world.stable or bool(found and found.promoted_at)

    @invariant()
    def numbers_are_unique(self) -> None:
        records = [o for (k, _), o in self.world.objects.items() if k == "ControllerRevision"]
        numbers = [r["revision"] for r in records]
        assert len(set(numbers)) == len(numbers)

    def teardown(self) -> None:
        self.world.settle()
