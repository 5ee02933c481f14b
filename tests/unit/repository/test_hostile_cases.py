"""Every hostile case has a test with its number: A1 to A70 of the operator, C1 to C28 of models."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import pytest

from tests.unit.repository.files import REPOSITORY

_FOLDERS: Final = ("tests/cluster", "tests/e2e", "tests/unit/operator")
_MODELS: Final = ("tests/unit/runtime", "tests/supply", "tests/e2e", "tests/convert")
_MODEL_NUMBER: Final = re.compile(r"\bdef test_c(\d+)_|[\"(]C(\d+) ")
_NUMBER: Final = re.compile(r"\bdef test_a(\d+)_|\bid=f?\"A(\d+)\b")


def _numbers(folders: Iterable[str], number: re.Pattern[str]) -> set[int]:
    """Cases that a test names."""
    text = "".join(
        path.read_text() for folder in folders for path in (REPOSITORY / folder).rglob("test_*.py")
    )
    return {int(one or other) for one, other in number.findall(text)}


@pytest.mark.parametrize("case", range(1, 71))
def test_the_case_has_a_test(case: int) -> None:
    assert case in _numbers(_FOLDERS, _NUMBER), f"A{case}: no test bears this number"


@pytest.mark.parametrize("case", range(1, 29))
def test_the_case_of_a_model_has_a_test(case: int) -> None:
    assert case in _numbers(_MODELS, _MODEL_NUMBER), f"C{case}: no test bears this number"
