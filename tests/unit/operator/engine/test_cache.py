"""The newest version wins, the dead stay dead, and only what belongs to somebody is kept."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from slipway_operator.engine.cache import Cache, CacheKey, Census, Difference, ObjectKey
from slipway_operator.kube.kinds import AUTOSCALER, DEPLOYMENT, EVENT, MODEL_DEPLOYMENT, POD
from tests.builders import DEFAULTS, NOW, mdep

LAW = settings(max_examples=40, deadline=None)  # machines of CI stutter
DIGITS, OTHER = ObjectKey("t1", "digits"), ObjectKey("t1", "other")
NAME = CacheKey("Deployment", "t1", "d")


def _owned(
    version: int, *, uid: str = "u1", owner: str = "digits", owner_uid: str = "uid-digits"
) -> dict[str, Any]:
    reference = {"kind": "ModelDeployment", "name": owner, "uid": owner_uid, "controller": True}
    return {
        "kind": "Deployment",
        "metadata": {
            "name": "d", "namespace": "t1", "uid": uid, "resourceVersion": str(version),
            "ownerReferences": [reference] if owner else [], "managedFields": [{"manager": "x"}],
        },
    }  # fmt: skip


def _pod(name: str = "p", uid: str = "pu", labels: dict[str, str] | None = None) -> dict[str, Any]:
    serving = {"slipway.dev/model": "digits", "slipway.dev/revision": "abc"}
    return {
        "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "t1", "uid": uid, "resourceVersion": "1",
            "labels": serving if labels is None else labels,
        },
        "spec": {"containers": []},
    }  # fmt: skip


def _event(pod: str, uid: str, message: str, at: str = "2026") -> dict[str, Any]:
    return {
        "kind": "Event",
        "metadata": {
            "name": f"e-{message}", "namespace": "t1", "uid": f"e-{message}",
            "resourceVersion": "1",
        },
        "involvedObject": {"kind": "Pod", "name": pod, "uid": uid},
        "message": message,
        "lastTimestamp": at,
    }  # fmt: skip


def _filled() -> Cache:
    cache = Cache()
    cache.put(MODEL_DEPLOYMENT, mdep())
    return cache


@LAW
@given(versions=st.lists(st.integers(1, 20), min_size=1))
def test_the_newest_version_wins_in_any_order(versions: list[int]) -> None:
    cache = Cache()
    told = [cache.put(DEPLOYMENT, _owned(v)) for v in versions]
    found = cache.get(NAME)
    assert found is not None
    assert found["metadata"]["resourceVersion"] == str(max(versions))
    news = [v > max(versions[:i], default=0) for i, v in enumerate(versions)]
    assert told == [DIGITS if is_news else None for is_news in news]


@LAW
@given(late=st.lists(st.integers(1, 5)))
def test_what_is_older_than_a_deletion_does_not_come_back(late: list[int]) -> None:
    cache = Cache()
    cache.put(DEPLOYMENT, _owned(5))
    assert cache.drop(DEPLOYMENT, _owned(6)) == DIGITS
    assert [cache.put(DEPLOYMENT, _owned(v)) for v in late] == [None] * len(late)
    assert len(cache) == 0


def test_an_object_that_only_lost_its_label_comes_back() -> None:
    cache = Cache()
    cache.put(DEPLOYMENT, _owned(5))
    cache.drop(DEPLOYMENT, _owned(6))  # so it looks to a watch with a selector
    assert cache.put(DEPLOYMENT, _owned(7)) == DIGITS
    assert len(cache) == 1


def test_a_deletion_that_comes_first_is_remembered() -> None:
    cache = Cache()
    assert cache.drop(DEPLOYMENT, _owned(6)) is None
    assert cache.put(DEPLOYMENT, _owned(5)) is None


def test_a_new_life_takes_the_place_of_the_one_before() -> None:
    cache = Cache()
    cache.put(DEPLOYMENT, _owned(5))
    assert cache.put(DEPLOYMENT, _owned(7, uid="u2")) == DIGITS
    assert cache.drop(DEPLOYMENT, _owned(6)) is None
    found = cache.get(NAME)
    assert found is not None
    assert found["metadata"]["uid"] == "u2"


def test_an_event_of_an_earlier_life_changes_nothing() -> None:
    cache = Cache()
    cache.put(DEPLOYMENT, _owned(7, uid="u2"))
    assert cache.put(DEPLOYMENT, _owned(5)) is None
    found = cache.get(NAME)
    assert found is not None
    assert found["metadata"]["uid"] == "u2"


def test_foreign_objects_are_not_kept() -> None:
    cache = Cache()
    assert cache.put(DEPLOYMENT, _owned(5, owner="")) is None
    assert cache.put(POD, _pod(labels={"app": "x"})) is None
    assert len(cache) == 0


def test_an_object_that_loses_its_owner_is_news_for_the_owner() -> None:
    cache = Cache()
    cache.put(DEPLOYMENT, _owned(5))
    assert cache.put(DEPLOYMENT, _owned(6, owner="")) == DIGITS
    assert len(cache) == 0


def test_an_object_that_changes_hands_is_news_for_the_one_who_loses_it() -> None:
    cache = _filled()
    cache.put(MODEL_DEPLOYMENT, mdep(name="other", uid="uid-other"))
    cache.put(DEPLOYMENT, _owned(5))
    assert cache.put(DEPLOYMENT, _owned(6, owner="other", owner_uid="uid-other")) == DIGITS
    mine = cache.snapshot(DIGITS, NOW, DEFAULTS)
    others = cache.snapshot(OTHER, NOW, DEFAULTS)
    assert mine is not None
    assert others is not None
    assert (list(mine.children), list(others.children)) == ([], [("Deployment", "d")])


def test_what_is_never_read_is_not_kept() -> None:
    cache = _filled()
    cache.put(DEPLOYMENT, _owned(5))
    cache.put(POD, _pod())
    found = cache.snapshot(DIGITS, NOW, DEFAULTS)
    assert found is not None
    assert found.children["Deployment", "d"]["metadata"]["managedFields"] == []
    assert "spec" not in found.pods[0]


def _measured(version: int, is_active: str, load: int) -> dict[str, Any]:
    told = {"type": "ScalingActive", "status": is_active, "reason": "R", "message": f"at {version}"}
    moving = {"type": "ScalingLimited", "status": "False", "message": f"load {load}"}
    status = {"conditions": [moving, told], "currentMetrics": [load]}
    return {**_owned(version), "kind": "HorizontalPodAutoscaler", "status": status}


def test_a_measurement_is_no_news_but_a_failure_is() -> None:
    cache = _filled()
    assert cache.put(AUTOSCALER, _measured(5, "True", 10)) == DIGITS
    assert cache.put(AUTOSCALER, _measured(6, "True", 20)) is None
    assert cache.put(AUTOSCALER, _measured(7, "False", 30)) == DIGITS
    found = cache.get(CacheKey("HorizontalPodAutoscaler", "t1", "d"))
    assert found is not None
    assert found["status"]["conditions"] == [
        {"type": "ScalingActive", "status": "False", "reason": "R", "message": "at 7"}
    ]


def test_a_child_of_an_earlier_object_of_the_name_is_not_ours() -> None:
    cache = _filled()
    cache.put(DEPLOYMENT, _owned(5, owner_uid="an-earlier-one"))
    found = cache.snapshot(DIGITS, NOW, DEFAULTS)
    assert found is not None
    assert found.children == {}


def test_what_is_gone_or_going_has_no_snapshot() -> None:
    cache = Cache()
    assert cache.snapshot(DIGITS, NOW, DEFAULTS) is None
    going = mdep()
    going["metadata"]["deletionTimestamp"] = "2026-11-20T09:30:00Z"
    cache.put(MODEL_DEPLOYMENT, going)
    assert cache.snapshot(DIGITS, NOW, DEFAULTS) is None


def test_events_count_only_for_pods_that_are_known() -> None:
    cache = _filled()
    assert cache.put(EVENT, _event("p", "pu", "early")) is None
    cache.put(POD, _pod())
    assert cache.put(EVENT, _event("p", "pu", "first", "2026-11-20T09:00:00Z")) == DIGITS
    assert cache.put(EVENT, _event("p", "pu", "second", "2026-11-20T09:01:00Z")) == DIGITS
    assert cache.put(EVENT, _event("p", "another", "of one before", "2027")) == DIGITS
    found = cache.snapshot(DIGITS, NOW, DEFAULTS)
    assert found is not None
    assert found.mount_failures == {"p": "second"}


def test_supply_pods_concern_their_model() -> None:
    cache = Cache()
    assert cache.put(POD, _pod(labels={"slipway.dev/supply-for": "digits"})) == DIGITS


def test_a_full_list_is_the_truth() -> None:
    cache = Cache()
    cache.put(DEPLOYMENT, _owned(5))
    assert cache.replace(DEPLOYMENT, [], "9") == Difference(frozenset({DIGITS}), 1)
    assert cache.put(DEPLOYMENT, _owned(5)) is None


def test_a_full_list_that_agrees_differs_in_nothing() -> None:
    cache = Cache()
    cache.put(DEPLOYMENT, _owned(5))
    assert cache.replace(DEPLOYMENT, [_owned(5)], "9") == Difference(frozenset(), 0)


def test_a_list_older_than_a_watch_event_takes_nothing_away() -> None:
    cache = Cache()
    cache.put(DEPLOYMENT, _owned(12))
    assert cache.replace(DEPLOYMENT, [], "9") == Difference(frozenset(), 0)
    assert cache.replace(DEPLOYMENT, [_owned(8)], "9") == Difference(frozenset(), 0)
    found = cache.get(NAME)
    assert found is not None
    assert found["metadata"]["resourceVersion"] == "12"


def test_a_list_does_not_bring_back_what_was_deleted_meanwhile() -> None:
    cache = Cache()
    cache.put(DEPLOYMENT, _owned(5))
    cache.drop(DEPLOYMENT, _owned(10))
    assert cache.replace(DEPLOYMENT, [_owned(5)], "9") == Difference(frozenset(), 0)
    assert len(cache) == 0


def test_a_list_of_one_namespace_says_nothing_about_another() -> None:
    cache = Cache()
    cache.put(DEPLOYMENT, _owned(5))
    assert cache.replace(DEPLOYMENT, [], "9", namespace="t2") == Difference(frozenset(), 0)
    assert cache.replace(DEPLOYMENT, [], "9", namespace="t1").objects == 1


def test_all_model_deployments_are_told() -> None:
    cache = _filled()
    cache.put(DEPLOYMENT, _owned(5))
    assert cache.model_deployments() == [DIGITS]


def test_what_is_handed_out_is_a_copy() -> None:
    cache = _filled()
    cache.put(DEPLOYMENT, _owned(5))
    for _ in range(2):
        found = cache.snapshot(DIGITS, NOW, DEFAULTS)
        assert found is not None
        assert found.children["Deployment", "d"]["metadata"].pop("uid") == "u1"


def test_a_full_list_may_come_in_pages() -> None:
    cache = _filled()
    cache.put(DEPLOYMENT, {**_owned(5), "metadata": {**_owned(5)["metadata"], "name": "old"}})
    census = Census(cache, DEPLOYMENT, None)
    census.put([_owned(6)])
    census.put([])
    assert census.end("7") == Difference(frozenset({DIGITS}), 2)
    assert len(cache) == 2


def test_those_with_a_latency_objective_are_told() -> None:
    cache = _filled()
    assert cache.with_objective() == []
    objective = {"percentile": 95, "target": "50ms"}
    spec = {**mdep()["spec"], "autoscaling": {"maxReplicas": 3, "latencyObjective": objective}}
    for version, wanted, expected in (("98", spec, [DIGITS]), ("99", mdep()["spec"], [])):
        changed = {**mdep(), "spec": wanted}
        changed["metadata"] = {**changed["metadata"], "resourceVersion": version}
        cache.put(MODEL_DEPLOYMENT, changed)
        assert cache.with_objective() == expected
