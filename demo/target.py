"""The cluster the demonstration runs on: the project's own, or the user's.

The project's own needs nothing. With `KUBECONFIG` and `IMAGE_REGISTRY` set it is the user's: images
are pushed to that registry, and nothing is installed on this machine but the Python environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CLUSTER: Final = "demo"


class DemoFailed(Exception):
    """A step failed; the message says which, and what to look at."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to run."""

    registry: str | None
    """Where images are pushed; None for the project's own cluster."""
    kubeconfig: str | None

    @property
    def is_own(self) -> bool:
        """Whether it is the project's own cluster."""
        return self.registry is None


def choose(environment: Mapping[str, str]) -> Target:
    """Choose by the two variables.

    Raises:
        DemoFailed: only one of them is set.
    """
    registry, kubeconfig = environment.get("IMAGE_REGISTRY"), environment.get("KUBECONFIG")
    own = str(Path(environment.get("SLIPWAY_CACHE", "")) / "clusters" / CLUSTER / "kubeconfig")
    if not registry and kubeconfig in (None, "", own):
        return Target(None, None)
    if not registry:
        raise DemoFailed(
            "KUBECONFIG is set, so the demo would use that cluster, but IMAGE_REGISTRY is not:"
            " set it to a registry that both you and the cluster reach (such as"
            " registry.example.com/team), or unset KUBECONFIG to use the project's own cluster"
        )
    if not kubeconfig:
        raise DemoFailed(
            "IMAGE_REGISTRY is set, so the demo would use your cluster, but KUBECONFIG is not:"
            " set it to that cluster's file, or unset IMAGE_REGISTRY to use the project's own"
        )
    return Target(registry, kubeconfig)


def devcluster(*arguments: str) -> str:
    """Run a verb of `devcluster`; its progress goes to the terminal, its result is returned.

    Raises:
        DemoFailed: it failed, and has said why.
    """
    command = [sys.executable, "-m", "devcluster", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise DemoFailed(f"devcluster {' '.join(arguments)} failed; its last lines say why")
    return done.stdout


def images(target: Target) -> dict[str, str]:
    """Build both images; push them where the cluster is the user's."""
    push = ["--push", target.registry] if target.registry else []
    read: dict[str, str] = json.loads(devcluster("images", *push))
    return read


def start(target: Target) -> str:
    """Make sure the cluster is there; tell its kubeconfig."""
    if target.kubeconfig:
        return target.kubeconfig
    # Without metrics-server, which takes two minutes to build and which the story does not need.
    said = devcluster("up", "--name", CLUSTER, "--no-metrics-server", "--traefik")
    return said.strip().splitlines()[-1].partition("=")[2]


def tools() -> dict[str, str]:
    """Paths of helm and kubectl."""
    read: dict[str, str] = json.loads(devcluster("tools"))
    return read


def use(kubeconfig: str) -> None:
    """Let every program that is started from here on use this cluster."""
    os.environ["KUBECONFIG"] = kubeconfig
