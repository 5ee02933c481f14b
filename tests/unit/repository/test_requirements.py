"""The locks are hashed and in step with what the project says that it needs."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from slipway_runtime.extras import BROUGHT_BY
from tests.unit.repository.files import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
LOCKS = [
    *sorted((REPOSITORY / "requirements").rglob("*.txt")),
    *sorted((REPOSITORY / "benchmarks" / "runtime" / "requirements").glob("*.txt")),
]
CLIENTS = sorted((REPOSITORY / "requirements" / "clients").glob("*.in"))

OPTIONAL = ("images", "texts", "access")
"""What the base of the runtime leaves out."""

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


def needed_by(*extras: str) -> Iterator[str]:
    """The requirements of extras, and of those that they are made of."""
    for text in (text for extra in extras for text in EXTRAS[extra]):
        requirement = Requirement(text)
        if requirement.name == PROJECT["project"]["name"]:
            yield from needed_by(*requirement.extras)
        else:
            yield text


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        pytest.param("operator.txt", needed_by("operator"), id="operator"),
        pytest.param("runtime-base.txt", needed_by("runtime"), id="the runtime's base"),
        pytest.param("runtime.txt", needed_by("runtime-all"), id="the runtime's image"),
        pytest.param("build.txt", PROJECT["build-system"]["requires"], id="build"),
        pytest.param("dev.txt", needed_by(*EXTRAS), id="development has everything"),
    ],
)
def test_a_lock_holds_every_direct_dependency_at_a_version_that_satisfies(
    name: str, needed: Iterable[str]
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


def test_the_image_has_the_base_and_every_extra() -> None:
    assert set(needed_by("runtime-all")) == set(needed_by("runtime", *OPTIONAL))
    image = pins(REPOSITORY / "requirements" / "runtime.txt")
    base = pins(REPOSITORY / "requirements" / "runtime-base.txt")
    assert {package: image[package] for package in base} == base


def test_the_base_has_nothing_of_the_extras() -> None:
    base = pins(REPOSITORY / "requirements" / "runtime-base.txt")
    extra = {canonicalize_name(Requirement(text).name) for text in needed_by(*OPTIONAL)}
    assert extra == {"pillow", "tokenizers", "cryptography", "pyjwt"}
    assert extra & set(base) == set()


def test_messages_name_the_extra_that_brings_a_module() -> None:
    """Both ways: no package of an extra is left out of the table, and none stands elsewhere."""
    provided = packages_distributions()
    told = {
        (extra, canonicalize_name(package))
        for module, extra in BROUGHT_BY.items()
        for package in provided[module]
    }
    assert told == {
        (extra, canonicalize_name(Requirement(text).name))
        for extra in OPTIONAL
        for text in needed_by(extra)
    }


def test_neither_half_carries_the_others_weight() -> None:
    assert PROJECT["project"]["dependencies"] == []
    operator = pins(REPOSITORY / "requirements" / "operator.txt")
    runtime = pins(REPOSITORY / "requirements" / "runtime.txt")
    assert {"onnxruntime", "numpy", "starlette"} & set(operator) == set()
    assert {"kopf", "kubernetes"} & set(runtime) == set()


def test_a_package_has_the_same_version_in_every_lock() -> None:
    everything = pins(REPOSITORY / "requirements" / "dev.txt")
    for name in ("operator.txt", "runtime.txt", "runtime-base.txt", "uv.txt"):
        for package, versions in pins(REPOSITORY / "requirements" / name).items():
            assert versions == everything[package], package
