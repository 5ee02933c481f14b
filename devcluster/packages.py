"""The Debian packages a node needs: which are missing, and installing those."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from devcluster.commands import run, run_long
from devcluster.errors import DevclusterError
from devcluster.progress import say
from devcluster.versions import versions


def missing_from(answer: str, wanted: Iterable[str]) -> list[str]:
    """The wanted packages that `dpkg-query` does not report as installed.

    Args:
        answer: lines of `PACKAGE STATUS`, where STATUS is dpkg's `db:Status-Status`.
        wanted: package names.
    """
    rows = (line.split() for line in answer.splitlines())
    installed = {row[0] for row in rows if row[1:] == ["installed"]}
    return [package for package in wanted if package not in installed]


def missing(also: Iterable[str] = ()) -> list[str]:
    """The packages of `versions.toml`, and others asked for, that this machine lacks."""
    # With --show, unknown names make dpkg-query fail; asking for all is quick, and never does.
    show = "--showformat=${Package} ${db:Status-Status}\\n"
    answer = run(["dpkg-query", "--show", show], timeout_s=60)
    return missing_from(answer, [*versions().debian_packages, *also])


def require() -> None:
    """Refuse to go on without the packages.

    Raises:
        DevclusterError: names what is missing, and the command that installs it.
    """
    if lacking := missing():
        raise DevclusterError(
            f"Debian packages are missing: {' '.join(lacking)}; run: python -m devcluster packages"
        )


def install_missing(also: Iterable[str] = (), environment: Mapping[str, str] = os.environ) -> None:
    """Install what is missing; touches neither apt nor the network where nothing is."""
    lacking = missing(also)
    if not lacking:
        say("all Debian packages are installed")
        return
    quiet = {**environment, "DEBIAN_FRONTEND": "noninteractive"}
    run_long("apt-get update", ["apt-get", "update"], env=quiet, timeout_s=600)
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *lacking]
    run_long(f"installing {' '.join(lacking)}", install, env=quiet, timeout_s=1800)
