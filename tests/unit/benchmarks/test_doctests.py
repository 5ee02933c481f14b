"""The examples in docstrings are true."""

from __future__ import annotations

import doctest
import importlib

import pytest

RUNTIME = [f"runtime.{name}" for name in ("figures", "plan", "rows", "table", "verdicts")]


@pytest.mark.parametrize(
    "name", [*RUNTIME, "operator.table", "attack.verdict", "soak.verdict", "machine"]
)
def test_the_examples_of_a_module_are_true(name: str) -> None:
    done = doctest.testmod(importlib.import_module(f"benchmarks.{name}"))
    assert done.attempted > 0
    assert done.failed == 0
