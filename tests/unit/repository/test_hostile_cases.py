"""Every hostile case has a test with its number.

A1 to A70 are of the operator, B1 to B70 of requests, C1 to C28 of models. The number stands in the
name of a test or of a row, where a deleted test takes it along; one in a docstring or in a list
does not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import pytest

from tests.unit.repository.files import REPOSITORY

_OPERATOR: Final = ("tests/cluster", "tests/e2e", "tests/unit/operator")
_REQUESTS: Final = ("tests/unit/runtime", "tests/contract")
_MODELS: Final = ("tests/unit/runtime", "tests/supply", "tests/e2e", "tests/convert")
_TEST: Final = re.compile(r"^ *(?:async )?def test((?:_[abc]\d+)+)_", re.M)
_ROW: Final = re.compile(r'(?:\(| id=|^ +)f?"([ABC]\d+)\b', re.M)


def named(text: str) -> set[str]:
    """Name the cases whose number a test, or a row of one, bears."""
    tests = {case for found in _TEST.findall(text) for case in found.upper().split("_")}
    return (tests - {""}) | set(_ROW.findall(text))


def cases(folders: Iterable[str]) -> set[str]:
    """Name the cases that have a test in these folders."""
    files = (path for folder in folders for path in (REPOSITORY / folder).rglob("test_*.py"))
    return {case for path in files for case in named(path.read_text())}


@pytest.mark.parametrize(
    ("letter", "last", "folders"),
    [
        pytest.param("A", 70, _OPERATOR, id="of the operator"),
        pytest.param("B", 70, _REQUESTS, id="of requests"),
        pytest.param("C", 28, _MODELS, id="of models"),
    ],
)
def test_every_case_has_a_test(letter: str, last: int, folders: tuple[str, ...]) -> None:
    assert {f"{letter}{number}" for number in range(1, last + 1)} - cases(folders) == set()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("async def test_b53_a_thousand() -> None:", {"B53"}, id="a test"),
        pytest.param("    def test_a4_b() -> None:", {"A4"}, id="a method"),
        pytest.param("def test_b49_b50_poison() -> None:", {"B49", "B50"}, id="of two cases"),
        pytest.param('    ("B13 no word", 400),', {"B13"}, id="a row"),
        pytest.param('    (\n        "C5 a link",\n', {"C5"}, id="a row of several lines"),
        pytest.param('pytest.param(b"", id=f"B67 {word}")', {"B67"}, id="the id of a row"),
        pytest.param('"""B68 on servers (B1 to B70)."""', set[str](), id="no docstring"),
        pytest.param("    # B61: the fields", set[str](), id="no comment"),
    ],
)
def test_a_number_counts_where_a_test_bears_it(text: str, expected: set[str]) -> None:
    assert named(text) == expected
