"""The revisions on record, and what differs between two of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from slipway_operator.cli.past import NoSuchRevision, as_json, difference, history, table
from slipway_operator.plan.revision import record
from tests.builders import LONG_AGO, OTHER_URI, URI, Scene, mdep, revision_of, spec_of

NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
FIRST, SECOND = spec_of(URI), spec_of(OTHER_URI)
OWNER = Scene(FIRST).owner
ONE = revision_of(OWNER, FIRST, number=1, promoted_at=LONG_AGO)
TWO = revision_of(OWNER, SECOND, number=2)
RECORDS = [record(OWNER, ONE), record(OWNER, TWO)]


def _mdep(state: str = "Baking", **status: object) -> dict[str, object]:
    tracks = {"stable": {"revision": 1, "hash": ONE.hash}, "rollout": {"state": state}}
    return mdep(SECOND, status={**tracks, **status})


def test_every_revision_is_listed_newest_first_with_what_became_of_it() -> None:
    rows = history(_mdep(candidate={"revision": 2, "hash": TWO.hash}), RECORDS)
    assert [(r.revision, r.hash, r.role) for r in rows] == [
        (2, TWO.hash, "candidate"), (1, ONE.hash, "stable"),
    ]  # fmt: skip
    failed = history(_mdep("Failed", candidate={"revision": 2, "hash": TWO.hash}), RECORDS)
    assert failed[0].role == "failed"
    assert history(_mdep("Idle"), RECORDS)[0].role == "not promoted"


def test_without_the_records_the_status_tells() -> None:
    rows = history(_mdep(history=[{"revision": 4, "hash": "ab" * 5, "outcome": "Promoted"}]), [])
    assert [(r.revision, r.role) for r in rows] == [(4, "promoted"), (1, "stable")]


def test_a_table_has_a_line_per_revision() -> None:
    text = table(history(_mdep(), RECORDS), NOW).splitlines()
    assert text[0].split() == ["REVISION", "HASH", "ROLE", "VERSION", "PROMOTED", "MODEL"]
    assert "90m ago" in text[2]
    assert URI in text[2]


def test_json_has_whole_digests() -> None:
    told = json.loads(as_json(history(_mdep(), RECORDS)))
    assert ONE.result is not None
    assert told[1]["digest"] == ONE.result.digest


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        pytest.param("", "", id="stable and candidate"),
        pytest.param("1", "2", id="numbers"),
        pytest.param("r1", TWO.hash[:4], id="a hash's beginning"),
    ],
)
def test_the_lines_that_differ(older: str, newer: str) -> None:
    told = _mdep(candidate={"revision": 2, "hash": TWO.hash})
    found = difference(told, RECORDS, older, newer).splitlines()
    assert found[:2] == [f"--- r1 {ONE.hash}", f"+++ r2 {TWO.hash}"]
    assert [line for line in found[2:] if line[0] in "+-"] == [
        f"-  uri: {URI}", f"+  uri: {OTHER_URI}",
    ]  # fmt: skip


def test_without_a_candidate_the_one_before_is_compared() -> None:
    told = mdep(SECOND, status={
        "stable": {"revision": 2, "hash": TWO.hash}, "history": [{"hash": ONE.hash}],
    })  # fmt: skip
    assert difference(told, RECORDS, "", "").startswith(f"--- r1 {ONE.hash}\n+++ r2")


@pytest.mark.parametrize(
    ("older", "expected"),
    [
        pytest.param("r7", "no revision 'r7' is on record; there are: r1 ", id="unknown"),
        pytest.param("", "no revision has served before r1", id="none before"),
    ],
)
def test_what_is_not_on_record_is_named(older: str, expected: str) -> None:
    with pytest.raises(NoSuchRevision) as missing:
        difference(_mdep("Idle"), RECORDS, older, "")
    assert expected in str(missing.value)
