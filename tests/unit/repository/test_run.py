"""How the suite counts, and what it tries once more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import run as suite

_LUCKY = """
from pathlib import Path
def test_lucky():
    seen = Path(__file__).with_suffix(".seen")
    was_there = seen.exists()
    seen.touch()
    assert was_there
def test_good():
    pass
"""
_BROKEN = "def test_broken():\n    assert 0\n"


@pytest.mark.parametrize(
    ("kind", "source", "passed", "failed", "retried"),
    [
        pytest.param("cluster", _LUCKY, 2, 0, 1, id="a race is tried again, and told"),
        pytest.param("unit", _LUCKY, 2, 0, 1, id="in a unit test, too"),
        pytest.param("faults", _LUCKY, 1, 1, 0, id="a long target has one attempt"),
        pytest.param("e2e", _LUCKY + _BROKEN, 1, 2, 0, id="what fails twice has failed"),
        pytest.param("e2e", "import nothing_like_this", 0, 1, 0, id="no tests at all"),
    ],
)
def test_a_count(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    source: str,
    passed: int,
    failed: int,
    retried: int,
) -> None:
    file = tmp_path / "test_some.py"
    file.write_text(source)
    monkeypatch.setattr(suite, "ROOT", tmp_path)
    monkeypatch.setitem(suite.PYTEST, kind, [file.name])
    count = suite.tests(kind)
    assert (count.passed, count.failed, len(count.retried)) == (passed, failed, retried)
