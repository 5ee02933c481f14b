"""The locks are hashed and in step with what the project says that it needs."""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.unit.repository.files import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
LOCKS = [
    *sorted((REPOSITORY / "requirements").rglob("*.txt")),
    *sorted((REPOSITORY / "benchmarks" / "runtime" / "requirements").glob("*.txt")),
]
CLIENTS = sorted((REPOSITORY / "requirements" / "clients").glob("*.in"))

_PIN = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>[^\s;]+)(?P<rest>.*)$")
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}\b")


def entries(lock: Path) -> list[str]:
    """Return the entries of a lock, one line each, without comments."""
    lines = [line for line in lock.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [line for line in joined.splitlines() if line.strip()]


def pins(lock: Path) -> dict[str, set[Version]]:
    """Return the locked versions by name; there may be several, for different Pythons."""
    found: dict[str, set[Version]] = {}
    for entry in entries(lock):
        pin = _PIN.match(entry)
        assert pin is not None, f"{lock.name}: got {entry!r}, expected NAME==VERSION"
        found.setdefault(canonicalize_name(pin["name"]), set()).add(Version(pin["version"]))
    return found


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_entry_of_a_lock_is_pinned_and_hashed(lock: Path) -> None:
    assert pins(lock)
    assert [entry.split()[0] for entry in entries(lock) if not _HASH.search(entry)] == []


@pytest.mark.parametrize("wanted", CLIENTS, ids=lambda path: path.name)
def test_the_lock_of_a_client_holds_what_is_wanted(wanted: Path) -> None:
    locked = pins(wanted.with_suffix(".txt"))
    for entry in entries(wanted):
        requirement = Requirement(entry.partition("#")[0])
        versions = locked[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(version) for version in versions), entry


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        pytest.param("operator.txt", EXTRAS["operator"], id="operator"),
        pytest.param("runtime.txt", EXTRAS["runtime"], id="runtime"),
        pytest.param("build.txt", PROJECT["build-system"]["requires"], id="build"),
        pytest.param(
            "dev.txt", [*chain.from_iterable(EXTRAS.values())], id="development has everything"
        ),
    ],
)
def test_a_lock_holds_every_direct_dependency_at_a_version_that_satisfies(
    name: str, needed: list[str]
) -> None:
    locked = pins(REPOSITORY / "requirements" / name)
    for text in needed:
        requirement = Requirement(text)
        versions = locked.get(canonicalize_name(requirement.name), set())
        assert versions, f"{name}: got no {requirement.name}; run `make lock`"
        assert all(requirement.specifier.contains(version) for version in versions), (
            f"{name}: got {requirement.name} {sorted(versions)}, expected {requirement.specifier}"
        )


def test_the_lock_for_cuda_differs_in_the_accelerator_alone() -> None:
    cpu = pins(REPOSITORY / "requirements" / "runtime.txt")
    cuda = pins(REPOSITORY / "requirements" / "runtime-cuda.txt")
    assert cuda.pop("onnxruntime-gpu") == cpu.pop("onnxruntime")
    cuda = {name: found for name, found in cuda.items() if not name.startswith("nvidia-")}
    assert cuda == cpu


def test_neither_half_carries_the_others_weight() -> None:
    assert PROJECT["project"]["dependencies"] == []
    operator = pins(REPOSITORY / "requirements" / "operator.txt")
    runtime = pins(REPOSITORY / "requirements" / "runtime.txt")
    assert {"onnxruntime", "numpy", "starlette"} & set(operator) == set()
    assert {"kopf", "kubernetes"} & set(runtime) == set()


def test_a_package_has_the_same_version_in_every_lock() -> None:
    everything = pins(REPOSITORY / "requirements" / "dev.txt")
    for name in ("operator.txt", "runtime.txt", "uv.txt"):
        for package, versions in pins(REPOSITORY / "requirements" / name).items():
            assert versions == everything[package], package
