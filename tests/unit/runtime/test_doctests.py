"""The examples in docstrings are true."""

import doctest
import importlib
import pkgutil

import pytest

import slipway_runtime

MODULES = sorted(
    found.name
    for found in pkgutil.walk_packages(slipway_runtime.__path__, "slipway_runtime.")
    if found.name != "slipway_runtime.__main__"
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_are_true(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
