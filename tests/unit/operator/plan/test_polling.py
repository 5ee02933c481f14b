"""Looking at a model's source again: when, what of it is remembered, and what follows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pytest

from slipway_operator.api.status import Status
from slipway_operator.plan.children import key
from slipway_operator.plan.clock import timestamp
from slipway_operator.plan.names import POLL_OF, Manifest
from slipway_operator.plan.plan import Note, Plan, notes, plan
from slipway_operator.plan.polling import RETRY_AFTER_S
from slipway_operator.plan.revision import revision_hash
from tests.builders import URI, Scene, ago, digest_of, failure_message, result_of, spec_of
from tests.unit.operator.plan.world import World, _supply_pod

JOB: Final = ("Job", "digits-poll")
FIRST: Final = spec_of(URI)
OWN: Final = digest_of(URI)
OTHER: Final = digest_of("other bytes")
THIRD: Final = digest_of("third bytes")
MARK: Final = digest_of("what the store tells")
EVERY_S: Final = 300.0


def polling(**more: Any) -> dict[str, Any]:
    """A spec with poll, as a user writes it."""
    return {"model": {"uri": URI, "poll": {"every": "5m"}}, **more}


def asking(digest: str) -> dict[str, Any]:
    """The spec of the revision that comes of other bytes."""
    return {"model": {"uri": URI, "digest": digest}}


def settled(spec: Mapping[str, Any] | None = None, *, promoted_s: float = 0) -> Scene:
    """The first revision serves, and the status says so."""
    scene = Scene(spec or polling()).serving(FIRST, promoted_at=ago(promoted_s))
    return scene.status(decided(scene).status or {})


def decided(scene: Scene) -> Plan:
    found = plan(scene.snapshot())
    assert found.status is not None
    Status.model_validate(found.status)
    return found


def made(found: Plan) -> Manifest | None:
    """The Job that is to look."""
    return next((m for m in found.apply if key(m) == JOB), None)


def goes(found: Plan) -> bool:
    return JOB in [key(m) for m in found.delete]


def looking(scene: Scene) -> Scene:
    """Make the Job, as it runs."""
    job = made(decided(scene))
    assert job is not None
    return scene.live(job, {})


def looked(
    scene: Scene, digest: str = OWN, *, mark: str | None = MARK, code: int = 0, text: str = ""
) -> Scene:
    """Let the Job end now, and the operator take note of it."""
    told = {"digest": digest, **({"mark": mark} if mark else {})}
    message = text or json.dumps({"look": told})
    condition = {"type": "Failed" if code else "Complete", "status": "True"}
    scene.children[JOB]["status"] = {
        "conditions": [{**condition, "lastTransitionTime": scene.now.isoformat()}]
    }
    scene.pods = [p for p in scene.pods if p["metadata"]["name"] != "look"]
    scene.supply_ended(FIRST, code, message, name="look")
    labels = scene.children[JOB]["spec"]["template"]["metadata"]["labels"]
    scene.pods[-1]["metadata"] |= {
        "labels": labels,
        "ownerReferences": [{"kind": "Job", "uid": scene.children[JOB]["metadata"]["uid"]}],
    }
    return scene


def noted(scene: Scene) -> Scene:
    """Write the status that a pass comes to."""
    return scene.status(decided(scene).status or {})


def argument(job: Manifest | None, option: str) -> str:
    args: list[str] = (job or {})["spec"]["template"]["spec"]["containers"][0]["args"]
    return args[args.index(option) + 1] if option in args else ""


def test_the_first_look_waits_for_its_time() -> None:
    found = decided(settled())
    assert made(found) is None
    assert found.requeue_after_s is not None
    assert EVERY_S <= found.requeue_after_s <= 1.1 * EVERY_S


def test_a_look_is_a_job_that_knows_what_serves() -> None:
    job = made(decided(settled(promoted_s=400)))
    assert job is not None
    assert argument(job, "--known-digest") == OWN
    assert argument(job, "--known-mark") == ""
    assert job["metadata"]["labels"][POLL_OF] == revision_hash(FIRST)
    assert "slipway.dev/supply-revision" not in job["spec"]["template"]["metadata"]["labels"]
    [container] = job["spec"]["template"]["spec"]["containers"]
    document = json.loads(container["env"][-1]["value"])
    assert document["model"] == {"uri": URI}
    assert job["spec"]["backoffLimit"] == 0


def test_no_poll_no_job() -> None:
    assert made(decided(settled(FIRST, promoted_s=4000))) is None


def test_a_look_that_runs_is_left_alone() -> None:
    found = decided(looking(settled(promoted_s=400)))
    assert made(found) is None
    assert not goes(found)


def test_the_same_bytes_change_nothing_but_the_mark() -> None:
    scene = looked(looking(settled(promoted_s=400)))
    before = dict(scene.mdep["status"])
    found = decided(scene)
    assert found.status == {**before, "polled": {"of": revision_hash(FIRST), "mark": MARK}}
    assert not goes(found)
    scene = noted(scene)
    assert decided(scene).status == scene.mdep["status"]  # and then nothing at all


def test_the_next_look_waits_for_the_job_before_to_be_old_enough() -> None:
    scene = noted(looked(looking(settled(promoted_s=400))))
    assert not goes(decided(scene.after(EVERY_S - 1)))
    scene.after(0.1 * EVERY_S + 1)
    assert goes(decided(scene))
    again = made(decided(scene.without(*JOB)))
    assert argument(again, "--known-digest") == OWN
    assert argument(again, "--known-mark") == MARK


def test_looks_of_several_models_are_spread() -> None:
    pauses = set()
    for uid in range(20):
        scene = settled()
        scene.mdep["metadata"]["uid"] = f"uid-{uid}"
        for child in scene.children.values():
            for reference in child["metadata"].get("ownerReferences") or ():
                reference["uid"] = f"uid-{uid}"
        pauses.add(round(decided(scene).requeue_after_s or 0.0, 3))
    assert len(pauses) > 15


def test_other_bytes_are_a_new_revision_through_the_same_rollout() -> None:
    scene = looked(looking(settled(promoted_s=400)), OTHER)
    found = decided(scene)
    wanted = revision_hash(asking(OTHER))
    assert found.status is not None
    assert found.status["desired"]["hash"] == wanted
    assert found.status["rollout"]["state"] == "Preparing"
    assert found.status["stable"]["hash"] == revision_hash(FIRST)
    assert found.status["polled"] == {"of": revision_hash(FIRST), "digest": OTHER, "mark": MARK}
    job = next(m for m in found.apply if key(m) == ("Job", f"digits-{wanted}"))
    [container] = job["spec"]["template"]["spec"]["containers"]
    document = json.loads(container["env"][-1]["value"])
    assert document["model"] == {"uri": URI, "digest": OTHER}
    assert Note("Normal", "SourceChanged", f"model.uri has {OTHER}") in notes(
        scene.mdep["status"], found.status
    )
    assert scene.mdep["spec"] == polling()  # what is in Git is as it was


def test_what_was_found_serves_and_is_what_the_next_look_knows() -> None:
    scene = following()
    found = decided(scene)
    assert found.status is not None
    assert found.status["rollout"]["state"] == "Idle"
    assert found.status["stable"]["hash"] == revision_hash(asking(OTHER))
    job = made(decided(scene.after(1.1 * EVERY_S)))
    assert argument(job, "--known-digest") == OTHER
    assert argument(job, "--known-mark") == MARK


def following(spec: Mapping[str, Any] | None = None, *, digest: str = OTHER) -> Scene:
    """Other bytes were found, and serve; the first revision is kept."""
    scene = Scene(spec or polling()).serving(asking(digest), number=2, promoted_at=ago(0))
    scene.retired(FIRST)
    told = {"of": revision_hash(FIRST), "digest": digest, "mark": MARK}
    status = {**scene.mdep["status"], "polled": told}
    scene.status(status)
    return noted(scene)


def test_the_first_bytes_again_are_the_first_revision_again() -> None:
    scene = looked(looking(following().after(1.1 * EVERY_S)), OWN)
    found = decided(scene)
    assert found.status is not None
    assert found.status["desired"]["hash"] == revision_hash(FIRST)
    assert found.status["rollout"]["fast"]
    assert found.status["polled"] == {"of": revision_hash(FIRST), "mark": MARK}


def test_to_stop_polling_changes_no_model() -> None:
    scene = following(FIRST)
    found = decided(scene)
    assert found.status is not None
    assert found.status["desired"]["hash"] == revision_hash(asking(OTHER))
    assert found.status["rollout"]["state"] == "Idle"
    assert made(decided(scene.after(10 * EVERY_S))) is None


def test_another_spec_is_resolved_anew() -> None:
    other = polling(runtime={"drain": "5s"})
    found = decided(following(other))
    assert found.status is not None
    assert found.status["desired"]["hash"] == revision_hash(other)
    assert found.status["polled"] == {"of": revision_hash(other)}


def test_a_look_for_the_spec_before_goes() -> None:
    scene = looking(settled(promoted_s=400))
    scene.mdep["spec"] = polling(runtime={"drain": "5s"})
    assert goes(decided(scene))


def test_a_lost_status_follows_what_served_last() -> None:
    scene = following()
    del scene.mdep["status"]
    found = decided(scene)
    assert found.status is not None
    assert found.status["desired"]["hash"] == revision_hash(asking(OTHER))
    assert found.status["rollout"]["state"] == "Idle"


FAILURES: Final = [
    pytest.param(11, failure_message("Unavailable", "the store is away"), "Unavailable",
                 "the store is away", id="a store that is away"),
    pytest.param(10, failure_message("NotFound", "it is gone"), "NotFound", "it is gone",
                 id="a model that was deleted"),
    pytest.param(0, "usage", "SupplyFailed",
                 "the step that looks told nothing; its image may be an older one",
                 id="a runtime of the user's own"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "text", "reason", "message"), FAILURES)
def test_a_look_that_fails_harms_nothing_and_is_told(
    code: int, text: str, reason: str, message: str
) -> None:
    scene = looked(looking(settled(promoted_s=400)), code=code, text=text)
    before = dict(scene.mdep["status"])
    found = decided(scene)
    told = {"of": revision_hash(FIRST), "reason": reason, "message": message}
    assert found.status == {**before, "polled": told}
    text = f"model.poll: {reason}: {message}"
    assert notes(before, found.status) == [Note("Warning", "PollFailed", text)]


def test_a_look_that_failed_is_made_again_and_success_takes_its_message_away() -> None:
    daily = {"model": {"uri": URI, "poll": {"every": "24h"}}}
    scene = settled(daily, promoted_s=100_000)
    failed = noted(looked(looking(scene), code=11, text=failure_message("Unavailable", "away")))
    assert not goes(decided(failed.after(RETRY_AFTER_S - 1)))
    assert goes(decided(failed.after(0.1 * RETRY_AFTER_S + 1)))
    again = noted(looking(failed.without(*JOB)))
    assert again.mdep["status"]["polled"]["reason"] == "Unavailable"  # until it is known better
    assert decided(looked(again)).status == {
        **again.mdep["status"],
        "polled": {"of": revision_hash(FIRST), "mark": MARK},
    }


def test_a_secret_that_is_missing_is_named() -> None:
    model = {"uri": URI, "credentials": {"secretName": "login"}}
    spec = {"model": {**model, "poll": {"every": "5m"}}}
    scene = Scene(spec).serving({"model": model}, promoted_at=ago(400))
    scene = looking(noted(scene))
    scene.supply_pending(FIRST, 'MountVolume.SetUp failed : secret "login" not found')
    scene.pods[-1]["metadata"]["ownerReferences"][0]["uid"] = "uid-Job-digits-poll"
    assert (decided(scene).status or {})["polled"] == {
        "of": revision_hash(spec),
        "reason": "NotFound",
        "message": "model.credentials: Secret 'login' does not exist in namespace 't1'; create it",
    }


def test_a_suspended_model_is_not_polled() -> None:
    scene = looking(settled(promoted_s=400))
    scene.mdep["spec"] = polling(suspend=True)
    assert goes(decided(scene))
    assert made(decided(scene.without(*JOB))) is None


def test_what_was_found_during_a_rollout_waits_for_its_end() -> None:
    scene = looking(settled(promoted_s=400))
    busy = {**scene.mdep["status"], "rollout": {"state": "Preparing", "since": ago(5)}}
    scene.status({**busy, "candidate": {"hash": revision_hash(FIRST)}})
    found = decided(looked(scene, OTHER))
    assert (found.status or {})["polled"] == {"of": revision_hash(FIRST)}


def test_nobody_looks_during_a_rollout() -> None:
    scene = looked(looking(settled(promoted_s=400)), OTHER)
    rolling = noted(scene)
    found = decided(rolling.after(5 * EVERY_S))
    assert made(found) is None
    assert not goes(found)


def pinned(digest: str) -> Scene:
    """A rollback to the first revision, after which the source was looked at again."""
    scene = following().after(1.1 * EVERY_S)
    served = Scene(polling()).serving(FIRST, promoted_at=ago(0))
    served.retired(asking(OTHER), number=2)
    pin = {
        "hash": revision_hash(FIRST),
        "pinnedBy": "rollback",
        "pinnedFrom": revision_hash(asking(OTHER)),
    }
    status = {**scene.mdep["status"], **served.mdep["status"], "desired": pin}
    return looked(looking(noted(served.status(status).after(1.1 * EVERY_S))), digest)


def test_a_rollback_stays_while_the_source_does() -> None:
    found = decided(pinned(OTHER))
    assert found.status is not None
    assert found.status["desired"]["hash"] == revision_hash(FIRST)
    assert found.status["rollout"]["state"] == "Idle"


def test_a_rollback_ends_with_the_next_bytes_as_with_the_next_spec() -> None:
    found = decided(pinned(THIRD))
    assert found.status is not None
    assert found.status["desired"] == {"hash": revision_hash(asking(THIRD))}
    assert found.status["rollout"]["state"] == "Preparing"


def test_a_first_model_that_cannot_be_had_may_come_later() -> None:
    scene = Scene(polling()).recorded(FIRST, resolved=False).job(FIRST, ended="Failed")
    scene.supply_ended(FIRST, 10, failure_message("NotFound", "nothing there"))
    scene = noted(scene)
    assert scene.mdep["status"]["phase"] == "Failed"
    found = decided(looked(looking(scene), OTHER))
    assert found.status is not None
    assert found.status["desired"]["hash"] == revision_hash(asking(OTHER))


def test_a_look_that_somebody_deletes_is_no_repair() -> None:
    scene = noted(looked(looking(settled(promoted_s=400))))
    scene.after(1.1 * EVERY_S).without(*JOB)
    assert decided(scene).remarks == ()


class Moving(World):
    """A world whose source changes while the spec does not."""

    source = OWN
    mark = ""
    looks = 0

    def _run_job(self, job: Manifest, *, stumbles: bool) -> None:
        if job.get("status"):
            return
        labels = job["metadata"]["labels"]
        if POLL_OF in labels:
            self.looks += 1
            told = {"digest": self.source, "mark": digest_of(self.source)}
            message = {"look": told if self.mark else {"digest": self.source}}
        else:
            message = {"result": {**result_of(URI).manifest(), "digest": self.source}}
            self.verified.add(self.source)
        of = labels.get("slipway.dev/revision", "")
        self.pods.append(_supply_pod(self.owner, of, job, 0, json.dumps(message), self.now))
        condition = {
            "type": "Complete",
            "status": "True",
            "lastTransitionTime": timestamp(self.now),
        }
        job["status"] = {"conditions": [condition]}

    def live(self, fuses: Sequence[int | None], seconds: float = 10) -> None:
        """Live through passes, each of which may be cut off after some writes."""
        for fuse in fuses:
            self.tick(seconds)
            self.reconcile(fuse)

    @property
    def served(self) -> str:
        return str((self.mdep["status"].get("model") or {}).get("digest"))


@pytest.mark.parametrize("mark", [MARK, ""], ids=["a store that tells", "one that does not"])
@pytest.mark.parametrize("fuse", [None, 0, 1, 2, 3])
def test_what_the_source_has_serves_in_the_end_wherever_passes_are_cut_off(
    fuse: int | None, mark: str
) -> None:
    world = Moving(polling())
    world.mark = mark
    world.live([None] * 8)
    assert (world.served, world.looks) == (OWN, 0)
    for digest in (OTHER, OWN):
        world.source = digest
        world.live([fuse, None] * 14, 30)
        assert world.served == digest
        state = world.mdep["status"]["rollout"]["state"]
        assert (state, world.condition("Ready")[0]) == ("Idle", "True")
    assert world.mdep["spec"] == polling()


def test_hours_without_news_write_only_jobs() -> None:
    world = Moving(polling())
    world.live([None] * 20, 30)
    before = json.dumps(world.mdep["status"])
    looks = world.looks
    world.live([None] * 120, 60)
    assert json.dumps(world.mdep["status"]) == before
    assert 15 <= world.looks - looks <= 24  # two hours of every five minutes, and of passes
