"""A revision's hash never changes by itself, and its record gives back what was recorded.

The corpus `tests/golden/revision_hashes.json` is frozen. There is no switch to rewrite it, unlike
the other golden files: a hash that changes starts a rollout of every model of every installation at
the next upgrade of the operator. Add rows; a row that fails is a bug in the change under test.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway_operator.plan.names import Owner
from slipway_operator.plan.revision import (
    Revision,
    SupplyResult,
    next_number,
    read,
    record,
    revision_hash,
)
from tests.builders import mdep, result_of, revision_of, spec_of

LAW = settings(max_examples=40, deadline=None)  # machines of CI stutter
CORPUS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[3] / "golden" / "revision_hashes.json").read_text()
)
HASHES = {row["name"]: row["hash"] for row in CORPUS}
OWNER = Owner.of(mdep())


@pytest.mark.parametrize("row", [pytest.param(r, id=r["name"]) for r in CORPUS])
def test_a_hash_is_frozen(row: dict[str, Any]) -> None:
    assert revision_hash(row["spec"]) == row["hash"]


def test_the_corpus_is_not_thinned_out() -> None:
    assert len(CORPUS) >= 29


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("every field", "every field, keys in another order"),
        ("every field", "live fields changed"),
        ("minimal", "replicas given"),
        ("minimal", "suspended"),
        ("minimal", "exposure given"),
        ("minimal", "poll is live"),
        ("minimal", "empty blocks"),
        ("minimal", "null blocks"),
        ("minimal", "empty blocks inside blocks"),
    ],
)
def test_these_are_one_revision(one: str, other: str) -> None:
    assert HASHES[one] == HASHES[other]


def test_all_others_differ() -> None:
    assert len(set(HASHES.values())) == len(HASHES) - 9


scalars = st.text(max_size=6) | st.integers(-9, 9) | st.booleans()
filled = st.recursive(
    scalars,
    lambda inner: (
        st.dictionaries(st.text("abc", min_size=1), inner, min_size=1, max_size=3)
        | st.lists(inner, min_size=1, max_size=3)
    ),
    max_leaves=6,
)
blocks = st.dictionaries(st.text("abc", min_size=1), filled, max_size=4)
specs = st.fixed_dictionaries(
    {"model": blocks.map(lambda b: {**b, "uri": "https://m.test/a"})},
    optional={"serving": blocks, "runtime": blocks, "pipeline": blocks},
)
live = st.fixed_dictionaries(
    {}, optional={"replicas": st.integers(), "suspend": st.booleans(), "exposure": blocks}
)


@LAW
@given(spec=specs, live=live, poll=blocks)
def test_live_fields_never_change_the_hash(
    spec: dict[str, Any], live: dict[str, Any], poll: dict[str, Any]
) -> None:
    changed = {**spec, **live, "model": {**spec["model"], "poll": poll}}
    assert revision_hash(changed) == revision_hash(spec)


def _reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _reordered(value[k]) for k in reversed(value)}
    return [_reordered(v) for v in value] if isinstance(value, list) else value


@LAW
@given(spec=specs)
def test_the_order_of_keys_never_changes_the_hash(spec: dict[str, Any]) -> None:
    assert revision_hash(_reordered(spec)) == revision_hash(spec)


@LAW
@given(spec=specs, empty=st.sampled_from([None, {}, [], {"a": {}}, {"a": {"b": None}}]),
       block=st.sampled_from(["model", "serving", "runtime", "pipeline"]))  # fmt: skip
def test_empty_and_absent_are_the_same(spec: dict[str, Any], empty: Any, block: str) -> None:
    changed = {**spec, block: {**spec.get(block, {}), "zzz": empty}}
    assert revision_hash(changed) == revision_hash(spec)


@LAW
@given(spec=specs, value=scalars, block=st.sampled_from(["model", "serving", "runtime"]))
def test_a_revisioned_change_changes_the_hash(spec: dict[str, Any], value: Any, block: str) -> None:
    changed = copy.deepcopy(spec)
    changed.setdefault(block, {})["zzz"] = value
    assert revision_hash(changed) != revision_hash(spec)


@LAW
@given(spec=specs)
def test_the_spec_is_left_as_it_was(spec: dict[str, Any]) -> None:
    before = copy.deepcopy(spec)
    revision_hash(spec)
    assert spec == before


results = st.builds(
    SupplyResult,
    st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True),
    st.text(max_size=9),
    st.integers(0),
    st.just({}),
    framework=st.sampled_from(["", "pytorch", "skl2onnx"]),
)
revisions = st.builds(
    Revision,
    hash=st.text("0123456789abcdef", min_size=10, max_size=10),
    number=st.integers(1),
    spec=specs,
    pod_template=blocks,
    result=st.none() | results,
    promoted_at=st.sampled_from(["", "2026-11-20T09:30:00Z"]),
)


@LAW
@given(revision=revisions)
def test_a_record_gives_back_what_was_recorded(revision: Revision) -> None:
    stored = json.loads(json.dumps(record(OWNER, revision)))
    assert read(stored) == revision


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param({"data": None}, id="no data"),
        pytest.param({"data": {"spec": {}}}, id="no template"),
        pytest.param({"revision": "7"}, id="a number that is a text"),
        pytest.param({"data": {"spec": {}, "podTemplate": {}}}, id="no hash"),
    ],
)
def test_a_foreign_or_damaged_record_is_none(damage: dict[str, Any]) -> None:
    stored = record(OWNER, revision_of(OWNER, spec_of()))
    assert read({**stored, **damage}) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"digest": 1}'])
def test_a_damaged_result_means_not_resolved(text: str) -> None:
    stored = record(OWNER, revision_of(OWNER, spec_of()))
    stored["metadata"]["annotations"]["slipway.dev/supply-result"] = text
    found = read(stored)
    assert found is not None
    assert found.result is None


def test_a_result_is_read_as_it_is_written() -> None:
    assert SupplyResult.parse(result_of("a").manifest()) == result_of("a")


def test_a_result_of_before_there_was_a_framework_is_read() -> None:
    old = result_of("a").manifest()
    assert "framework" not in old
    found = SupplyResult.parse(old)
    assert found is not None
    assert (found.framework, found.manifest()) == ("", old)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        pytest.param("pytorch", "pytorch", id="a name"),
        pytest.param("a" * 200, "a" * 100, id="a long one is cut"),
        pytest.param("py\ntorch\x1b", "pytorch", id="nothing that a terminal acts on"),
        pytest.param(" ", "", id="blank"),
        pytest.param(None, "", id="none"),
        pytest.param({"name": "pytorch"}, "", id="no text"),
    ],
)
def test_the_framework_is_what_the_supply_step_tells(told: object, expected: str) -> None:
    found = SupplyResult.parse({**result_of("a").manifest(), "framework": told})
    assert found is not None
    assert found.framework == expected
    assert SupplyResult.parse(found.manifest()) == found


@LAW
@given(known=st.lists(st.integers(1)))
def test_a_new_number_is_greater_than_all_before(known: list[int]) -> None:
    assert all(next_number(known) > n for n in known)
