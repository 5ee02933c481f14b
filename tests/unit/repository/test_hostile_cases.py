"""Every hostile case of custom resource and operator (A1 to A70) has a test with its number."""

from __future__ import annotations

import re
from typing import Final

import pytest

from tests.unit.repository.files import REPOSITORY

_FOLDERS: Final = ("tests/cluster", "tests/e2e", "tests/unit/operator")
_NUMBER: Final = re.compile(r"\bdef test_a(\d+)_|\bid=f?\"A(\d+)\b")

_TRAFFIC: Final = "comes with steps of traffic"
OPEN: Final = dict.fromkeys((11, 26, 28, 65), _TRAFFIC)
"""Cases of features that do not exist yet."""


def _numbers() -> set[int]:
    """Cases that a test names."""
    text = "".join(
        path.read_text() for folder in _FOLDERS for path in (REPOSITORY / folder).rglob("test_*.py")
    )
    return {int(one or other) for one, other in _NUMBER.findall(text)}


@pytest.mark.parametrize("case", [n for n in range(1, 71) if n not in OPEN])
def test_the_case_has_a_test(case: int) -> None:
    assert case in _numbers(), f"A{case}: no test bears this number"
