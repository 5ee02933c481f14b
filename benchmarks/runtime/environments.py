"""One virtual environment for each server, from a hashed lock, in the cache outside the tree.

Lives here: locking, installing, the sizes on disk.
Usage: `python -m benchmarks.runtime.environments lock` writes the locks anew from `*.in`.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.runtime.errors import NotAvailable
from devcluster.cache import (
    content_key,
    file_lock,
    folder,
    keep_newest,
    repository_root,
    tree_entries,
)

ROOT: Final = repository_root()
REQUIREMENTS: Final = Path(__file__).resolve().parent / "requirements"
DEBIAN_PYTHON: Final = Path("/usr/bin/python3.11")
"""Triton's python backend is linked against Debian's 3.11; another 3.11 fails in its stub."""

_INSTALL_TIMEOUT_S: Final = 900.0
_KEPT: Final = 2
_UNRESOLVED: Final = ("wheels",)
"""Locks of packages that are taken for the files in them, without what they depend on."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What a server is installed from.

    `locks` are files of hashed requirements, with all that these depend on.
    """

    name: str
    locks: tuple[Path, ...]
    python: Path = Path(sys.executable)
    project: bool = False
    """Whether this project itself is installed, as a user would: not editable."""


def own(name: str, **more: object) -> Environment:
    """The environment of a rival, from the lock with its name."""
    return Environment(name, (REQUIREMENTS / f"{name}.txt",), **more)  # type: ignore[arg-type]  # its own fields


ENVIRONMENTS: Final = {
    each.name: each
    for each in (
        # The base is what is compared: MLServer does nothing of what the extras are for, either.
        Environment("slipway", (ROOT / "requirements" / "runtime-base.txt",), project=True),
        Environment("slipway-all", (ROOT / "requirements" / "runtime.txt",), project=True),
        own("mlserver"),
        own("kserve"),
        own("triton", python=DEBIAN_PYTHON),
        own("fastapi"),
        own("flask"),
        Environment("models", (REQUIREMENTS / "models.txt", REQUIREMENTS / "wheels.txt")),
    )
}


@functools.cache
def installed(name: str) -> Path:
    """Install an environment unless it is there; its folder.

    Raises:
        NotAvailable: the interpreter is missing, or the installation fails; says why.
    """
    environment = ENVIRONMENTS[name]
    if not environment.python.exists():
        raise NotAvailable(f"{environment.python} is missing; run: apt-get install python3")
    target = folder("benchmarks", "venvs") / f"{name}-{_key(environment)}"
    with file_lock(f"benchmark-{name}"):
        if not (target / ".complete").exists():
            _install(environment, target)
            # Each state of the source makes another one of ours.
            keep_newest(of_name(target.parent, name), _KEPT)
    return target


def of_name(folder: Path, name: str) -> list[Path]:
    """What was installed of an environment, and of none whose name only begins like its name."""
    return [path for path in folder.glob(f"{name}-*") if path.name.rpartition("-")[0] == name]


def size_mb(venv: Path) -> float:
    """Megabytes (10^6) of the files of an environment, without bytecode."""
    files = (path for _, path in tree_entries(venv, [venv]) if not path.is_symlink())
    return sum(path.stat().st_size for path in files) / 1e6


def _install(environment: Environment, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    python = str(target / "bin" / "python")
    _uv("venv", "--quiet", "--python", str(environment.python), str(target))
    # Bytecode is compiled as an image would: a cold start that compiles measures the compiler.
    install = ("pip", "install", "--quiet", "--compile-bytecode", "--python", python)
    hashed = [word for lock in environment.locks for word in ("-r", str(lock))]
    _uv(*install, "--require-hashes", "--no-deps", *hashed)
    if environment.project:
        build = ROOT / "requirements" / "build.txt"
        _uv(*install, "--no-deps", "--build-constraints", str(build), str(ROOT))
    (target / ".complete").touch()


def _key(environment: Environment) -> str:
    texts = [path.read_bytes() for path in environment.locks]
    if environment.project:
        texts += [b for entry in _sources() for b in entry]
    return content_key([str(environment.python), *texts])


def _sources() -> Iterator[tuple[bytes, bytes]]:
    """What the project's wheel is made of: another source, another environment."""
    paths = [ROOT / "operator", ROOT / "runtime", ROOT / "pyproject.toml"]
    for name, path in tree_entries(ROOT, paths):
        yield name.encode(), path.read_bytes()


def lock() -> None:
    """Write the locks anew, with hashes and without an index."""
    options = ("--quiet", "--no-header", "--no-annotate", "--python-version", "3.11")
    for source in sorted(REQUIREMENTS.glob("*.in")):
        alone = ("--no-deps",) if source.stem in _UNRESOLVED else ()
        _uv("pip", "compile", *options, *alone, str(source), "-o", str(source.with_suffix(".txt")))


def _uv(*arguments: str) -> None:
    command = [str(Path(sys.executable).parent / "uv"), *arguments]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False,
            timeout=_INSTALL_TIMEOUT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired as err:
        raise NotAvailable(f"uv {arguments[0]}: not done in {_INSTALL_TIMEOUT_S:.0f} s") from err
    if done.returncode:
        raise NotAvailable(f"uv {' '.join(arguments[:2])}: {' '.join(done.stderr.split())[-300:]}")


def main(arguments: Sequence[str]) -> int:
    """Lock, or install what is named."""
    if list(arguments) == ["lock"]:
        lock()
        return 0
    for name in arguments or ENVIRONMENTS:
        path = installed(name)
        sys.stdout.write(f"{name}: {path} {size_mb(path):.0f} MB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
