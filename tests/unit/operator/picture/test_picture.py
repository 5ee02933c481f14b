"""What is drawn of every situation, and of statuses that nobody here has written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway_operator.picture.picture import MOST_PODS, picture
from tests.statuses import SITUATIONS, recorded

NOW = datetime(2026, 11, 20, 9, 33, 30, tzinfo=UTC)


def test_a_step_that_is_held_tells_how_long_still() -> None:
    seen = picture(recorded("baking"), NOW)
    assert [(s.label, s.place) for s in seen.steps] == [
        ("20 %", "here"), ("50 %", "ahead"), ("100 %", "ahead"),
    ]  # fmt: skip
    assert seen.steps[0].detail == "15s left"
    assert [(t.role, t.weight) for t in seen.tracks] == [("stable", 80), ("candidate", 20)]


def test_after_the_cut_all_steps_are_passed() -> None:
    seen = picture(recorded("watching"), NOW)
    assert [s.place for s in seen.steps] == ["passed", "passed", "here"]


def test_evidence_has_its_numbers() -> None:
    (check,) = picture(recorded("baking-counted"), NOW).checks
    assert check.counts == "candidate 24 of 4000, stable 80 of 16000"
    assert check.evidence.startswith("worse ")


def test_a_status_of_an_older_spec_says_so() -> None:
    assert picture(recorded("unobserved"), NOW).message.startswith(
        "the operator has not seen this spec yet; before: revision r1"
    )


def test_a_spec_of_another_release_is_drawn_without_steps() -> None:
    seen = picture(recorded("invalid-spec"), NOW)
    assert (seen.steps, seen.phase) == ((), "Degraded")


def test_steps_of_another_kind_are_named() -> None:
    mdep = recorded("baking")
    mdep["spec"]["rollout"]["steps"][0]["name"] = "first"
    assert picture(mdep, NOW).steps[0].label in {"first 20 %", "20 %"}


def _pod(name: str, **status: Any) -> dict[str, Any]:
    labels = {"slipway.dev/revision": "aaaabbbbcc"}
    return {"metadata": {"name": name, "labels": labels}, "status": status}


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        pytest.param(_pod("a", phase="Pending"), "Pending", id="waits"),
        pytest.param(
            _pod("a", conditions=[{"type": "Ready", "status": "True"}]), "Ready", id="serves"
        ),
        pytest.param(
            _pod("a", containerStatuses=[{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]),
            "CrashLoopBackOff", id="crashes",
        ),
        pytest.param(
            _pod("a", phase="Succeeded",
                 containerStatuses=[{"state": {"terminated": {"reason": "Completed"}}}]),
            "Succeeded", id="has ended well",
        ),
    ],
)  # fmt: skip
def test_a_pod_is_told_as_kubectl_would(pod: dict[str, Any], expected: str) -> None:
    (seen,) = picture(recorded("healthy"), NOW, pods=[pod]).pods
    assert (seen.state, seen.revision) == (expected, "aaaa")


def test_many_pods_are_cut() -> None:
    pods = [_pod(f"p{i:03}") for i in range(100)]
    assert len(picture(recorded("healthy"), NOW, pods=pods).pods) == MOST_PODS


def test_the_newest_events_come_first_and_are_counted() -> None:
    events: list[dict[str, Any]] = [
        {"reason": "Old", "message": "m", "lastTimestamp": "2026-11-20T09:00:00Z"},
        {"reason": "New", "message": "m", "lastTimestamp": "2026-11-20T09:33:00Z", "count": 3},
    ]
    seen = picture(recorded("healthy"), NOW, events=events).events
    assert [(e.reason, e.age, e.message) for e in seen] == [
        ("New", "30s", "m (3 times)"), ("Old", "33m", "m"),
    ]  # fmt: skip


@pytest.mark.parametrize("situation", SITUATIONS)
def test_every_situation_can_be_drawn(situation: str) -> None:
    seen = picture(recorded(situation), NOW)
    assert seen.name == "digits"
    assert seen.message


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
_FIELDS = st.sampled_from([
    "phase", "message", "rollout", "analysis", "stable", "candidate", "history", "conditions",
    "endpoints", "model", "desired", "observedGeneration",
])  # fmt: skip


@given(damage=st.dictionaries(_FIELDS, _ANY, max_size=4))
@settings(max_examples=150, deadline=None)
def test_whatever_a_status_holds_it_can_be_drawn(damage: dict[str, Any]) -> None:
    mdep = recorded("baking-counted")
    mdep["status"] |= damage
    picture(mdep, NOW)
