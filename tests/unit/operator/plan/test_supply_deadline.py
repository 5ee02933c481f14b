"""A model that does not come ends a rollout in its time, and pods have theirs beside it."""

from __future__ import annotations

from typing import Any, Final

import pytest

from slipway_operator.plan.plan import plan
from tests.kstatus import kstatus
from tests.unit.operator.plan.canaries import ROLLOUT, URIS, Canary
from tests.unit.operator.plan.world import DEAD_STORE

DEAD: Final = f"https://models.test/{DEAD_STORE}"
DEADLINE_S: Final = 600
"""Of `ROLLOUT`."""


def _spec(uri: str = URIS[0], **more: Any) -> dict[str, Any]:
    return {"model": {"uri": uri}, "replicas": 4, "rollout": ROLLOUT, **more}


def _asked(uri: str, **more: Any) -> Canary:
    """The first revision serves, and another one is asked for."""
    world = Canary(_spec())
    world.settle(100)
    world.change(_spec(uri, **more))
    world.reconcile()
    return world


def _live(world: Canary, seconds: int) -> None:
    for _ in range(seconds // 5):
        world.tick(5)
        world.reconcile()


def _jobs(world: Canary) -> list[str]:
    """Uids of the supply Jobs that were created for the revision that is asked for."""
    name = f"{world.owner.name}-{world.desired}"
    return [o["metadata"]["uid"] for key, o in world.objects.items() if key == ("Job", name)]


def _told(world: Canary) -> tuple[str, str]:
    return world.state, world.mdep["status"]["rollout"].get("reason", "")


def test_a_dead_store_ends_a_rollout_and_says_so() -> None:
    world = _asked(DEAD)
    _live(world, DEADLINE_S - 10)
    assert _told(world) == ("Preparing", "")
    assert len(world.supplied) > 3, "it was tried again and again"
    _live(world, 20)
    assert _told(world) == ("Failed", "ProgressDeadline")
    message = world.mdep["status"]["message"]
    assert "the model was not there in time: Unavailable: 503; revision r1" in message
    assert world.condition("Stalled") == ("True", "RolloutAborted")
    assert world.condition("Available") == ("True", "Serving")
    assert kstatus(world.mdep) == "Failed"


def test_what_was_given_up_is_not_fetched_again_by_itself() -> None:
    world = _asked(DEAD)
    _live(world, DEADLINE_S + 10)
    tried, job = len(world.supplied), _jobs(world)
    assert job, "its last Job stays to be looked at"
    status = world.mdep["status"]
    _live(world, 2 * DEADLINE_S)
    assert (len(world.supplied), _jobs(world)) == (tried, job)
    assert world.mdep["status"] == status, "nothing is written either"
    assert plan(world.snapshot()).requeue_after_s is None
    world.remove("Job", f"{world.owner.name}-{world.desired}")
    _live(world, 60)
    assert len(world.supplied) == tried


def test_a_retry_has_all_its_time_again() -> None:
    world = _asked(URIS[1])
    world.is_slow = True
    _live(world, DEADLINE_S + 10)
    assert _told(world) == ("Failed", "ProgressDeadline")
    assert "it was still being fetched" in world.mdep["status"]["message"]
    world.act("retry", 1)
    _live(world, DEADLINE_S - 10)
    assert _told(world) == ("Preparing", "")
    world.is_slow = False
    world.settle(150)
    assert world.mdep["status"]["stable"]["revision"] == 2


def test_a_model_that_comes_too_late_changes_nothing_but_helps_a_retry() -> None:
    world = _asked(URIS[1])
    world.is_slow = True
    _live(world, DEADLINE_S + 10)
    world.is_slow = False
    _live(world, 60)
    assert _told(world) == ("Failed", "ProgressDeadline")
    assert "the model was not there in time" in world.mdep["status"]["message"]
    found = world.deployment(world.desired)
    assert found is None or found["spec"]["replicas"] == 0
    tried = len(world.supplied)
    world.act("retry", 1)
    world.settle(150)
    assert world.mdep["status"]["stable"]["revision"] == 2
    assert len(world.supplied) == tried


def test_the_time_that_fetching_took_is_not_taken_from_the_pods() -> None:
    world = _asked(URIS[1])
    world.is_slow = True
    _live(world, DEADLINE_S - 10)
    world.is_slow = False
    _live(world, 5)
    world.tick(DEADLINE_S - 10)  # and with it the first pod becomes ready
    world.reconcile()
    assert world.state == "Shifting"


def test_a_suspended_model_does_not_wait_for_ever_either() -> None:
    world = _asked(DEAD, suspend=True)
    _live(world, DEADLINE_S + 10)
    assert _told(world) == ("Failed", "ProgressDeadline")


@pytest.mark.parametrize("fuse", range(8))
def test_a_crash_at_the_deadline_is_made_good(fuse: int) -> None:
    world = _asked(DEAD)
    _live(world, DEADLINE_S - 10)
    world.tick(20)
    world.reconcile(fuse)
    world.settle(50)
    assert _told(world) == ("Failed", "ProgressDeadline")


def test_the_operator_looks_again_when_the_time_is_over() -> None:
    world = _asked(URIS[1])
    world.is_slow = True
    world.tick(100)
    world.reconcile()
    assert plan(world.snapshot()).requeue_after_s == DEADLINE_S - 100


def test_a_first_revision_stalls_and_goes_on_trying() -> None:
    world = Canary(_spec(DEAD))
    world.reconcile()
    _live(world, DEADLINE_S - 10)
    assert world.condition("Stalled") == ("False", "Settled")
    _live(world, 20)
    assert world.condition("Stalled") == ("True", "ProgressDeadline")
    assert (world.state, world.mdep["status"]["phase"]) == ("Preparing", "Failed")
    stalled = {c["type"]: c["message"] for c in world.mdep["status"]["conditions"]}["Stalled"]
    assert stalled == "Unavailable: 503; its deadline has passed"
    assert kstatus(world.mdep) == "Failed"
    tried = len(world.supplied)
    _live(world, DEADLINE_S)
    assert len(world.supplied) > tried
    assert world.condition("Stalled") == ("True", "ProgressDeadline")


def test_a_first_revision_is_no_longer_stalled_when_its_model_comes() -> None:
    world = Canary(_spec())
    world.reconcile()
    world.is_slow = True
    _live(world, DEADLINE_S + 10)
    assert world.condition("Stalled") == ("True", "ProgressDeadline")
    world.is_slow = False
    world.settle(100)
    assert world.condition("Ready") == ("True", "Serving")
