"""What is already there is recognised, whatever the API server added or rewrote."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway_operator.kube.apply import APPLIED, covers, fingerprint, marked
from slipway_operator.kube.versions import is_newer, version_of
from slipway_operator.plan.names import Owner
from slipway_operator.plan.workload import deployment
from tests.builders import mdep, revision_of, spec_of

LAW = settings(max_examples=40, deadline=None)  # machines of CI stutter
OWNER = Owner.of(mdep())
DEPLOYMENT = deployment(OWNER, revision_of(OWNER, spec_of()), 2)


@pytest.mark.parametrize(
    ("live", "want", "expected"),
    [
        pytest.param({"a": 1, "b": 2}, {"a": 1}, True, id="fields of others"),
        pytest.param({"a": 1}, {"a": 1, "b": 2}, False, id="a field is missing"),
        pytest.param({"a": 2}, {"a": 1}, False, id="another value"),
        pytest.param({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, True, id="defaults inside"),
        pytest.param({"a": [1, 2]}, {"a": [1]}, False, id="a longer list"),
        pytest.param({"a": [1]}, {"a": [1, 2]}, False, id="a shorter list"),
        pytest.param({"a": [{"x": 1, "y": 2}]}, {"a": [{"x": 1}]}, True, id="defaults in items"),
        pytest.param({"a": [2, 1]}, {"a": [1, 2]}, False, id="another order"),
        pytest.param({}, {"a": {}}, True, id="an empty block is absent"),
        pytest.param({}, {"a": []}, True, id="an empty list is absent"),
        pytest.param({}, {"a": None}, True, id="null is absent"),
        pytest.param({}, {"a": ""}, True, id="an empty text is absent"),
        pytest.param({"a": "x"}, {"a": ""}, False, id="an empty text is not any text"),
        pytest.param({}, {"a": 0}, False, id="zero is a value"),
        pytest.param({}, {"a": False}, False, id="false is a value"),
        pytest.param({"a": 1}, {"a": {"b": 1}}, False, id="a value instead of a block"),
        pytest.param({"a": {}}, {"a": ["x"]}, False, id="a block instead of a list"),
        pytest.param(
            {"limits": {"cpu": "500m"}}, {"limits": {"cpu": "0.5"}}, True, id="a half is 500m"
        ),
        pytest.param({"limits": {"cpu": "1"}}, {"limits": {"cpu": 1}}, True, id="one is 1"),
        pytest.param(
            {"requests": {"memory": "1Gi"}}, {"requests": {"memory": "1024Mi"}}, True, id="1024Mi"
        ),
        pytest.param(
            {"requests": {"memory": "1G"}}, {"requests": {"memory": "1Gi"}}, False, id="G, not Gi"
        ),
        pytest.param({"requests": {}}, {"requests": {"cpu": 1}}, False, id="no such quantity"),
        pytest.param({"cpu": "500m"}, {"cpu": "0.5"}, False, id="quantities only where they are"),
        pytest.param(
            {"limits": {"cpu": "odd"}}, {"limits": {"cpu": "odd"}}, True, id="no quantity at all"
        ),
    ],
)
def test_covers(live: Any, want: Any, expected: bool) -> None:
    assert covers(live, want) is expected


manifests = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "limits"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@LAW
@given(manifest=manifests)
def test_everything_covers_itself(manifest: Any) -> None:
    assert covers(copy.deepcopy(manifest), manifest)


@LAW
@given(manifest=st.dictionaries(st.sampled_from("abc"), manifests))
def test_additions_of_others_change_nothing(manifest: Any) -> None:
    assert covers({**manifest, "zzz": 1}, manifest)


def test_what_was_applied_is_applied() -> None:
    live = marked(DEPLOYMENT) | {"status": {"replicas": 2}}
    live["metadata"]["resourceVersion"] = "5"
    assert covers(live, marked(DEPLOYMENT))


def test_a_removed_field_is_noticed_by_the_mark() -> None:
    live = marked(DEPLOYMENT)
    want = copy.deepcopy(DEPLOYMENT)
    del want["spec"]["progressDeadlineSeconds"]
    assert covers(live, want)
    assert not covers(live, marked(want))


def test_a_change_by_hand_is_noticed_though_the_mark_is_there() -> None:
    live = copy.deepcopy(marked(DEPLOYMENT))
    live["spec"]["replicas"] = 7
    assert not covers(live, marked(DEPLOYMENT))


def test_marking_changes_nothing_but_the_annotation() -> None:
    before = copy.deepcopy(DEPLOYMENT)
    found = marked(DEPLOYMENT)
    assert before == DEPLOYMENT
    assert found["metadata"]["annotations"].pop(APPLIED) == fingerprint(DEPLOYMENT)
    assert found == DEPLOYMENT


def test_a_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})


@pytest.mark.parametrize(
    ("seen", "known", "expected"),
    [
        pytest.param("10", "9", True, id="numbers, not texts"),
        pytest.param("9", "10", False, id="older"),
        pytest.param("9", "9", False, id="the same"),
        pytest.param("x", "9", True, id="no number: what comes later wins"),
    ],
)
def test_is_newer(seen: str, known: str, expected: bool) -> None:
    def version(text: str) -> int:
        return version_of({"metadata": {"resourceVersion": text}})

    assert is_newer(version(seen), version(known)) is expected
