"""The two source roots stay roots, and no module of ours hides one of Python's."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.repository.files import PACKAGES, REPOSITORY, relative, tracked

SHADOWING = {"logging", "queue", "types"}
MODULES = [path for path in tracked() if path.suffix == ".py"]


@pytest.mark.parametrize("root", ["operator", "runtime", "tests"])
def test_a_source_root_is_no_package(root: str) -> None:
    assert not (REPOSITORY / root / "__init__.py").exists()


def test_the_operator_of_the_standard_library_wins_at_the_root_of_the_repository() -> None:
    code = "import operator, collections; print(operator.itemgetter(0)('a'), operator.__file__)"
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split()
    assert shown[0] == "a"
    assert not Path(shown[1]).is_relative_to(REPOSITORY / "operator")


def test_no_module_has_a_name_that_would_shadow_the_standard_library() -> None:
    # Whoever runs a file by its path puts the file's folder first on the import path.
    ours = [relative(path) for root in PACKAGES for path in root.rglob("*.py")]
    assert [name for name in ours if Path(name).stem in SHADOWING] == []


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_package_says_that_it_is_typed(package: Path) -> None:
    assert (package / "py.typed").exists()


def test_every_folder_of_modules_in_a_package_is_a_package() -> None:
    folders = {path.parent for root in PACKAGES for path in root.rglob("*.py")}
    assert [relative(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


@pytest.mark.parametrize("module", MODULES, ids=relative)
def test_every_module_says_what_it_is(module: Path) -> None:
    assert ast.get_docstring(ast.parse(module.read_text())), "got no docstring, expected one"
