"""The control groups below which one cluster's pods run.

Each cluster has a group of its own at the root of each hierarchy, named like its node. The
machine's mounts and other groups are left alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from devcluster.progress import wait_until

V2_CONTROLLERS: Final = ("cpu", "cpuset", "memory", "pids")


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A mounted control group hierarchy."""

    mount: Path
    is_v2: bool


def parse_hierarchies(mountinfo: str) -> list[Hierarchy]:
    """Every hierarchy in a /proc/PID/mountinfo."""
    found: dict[Path, bool] = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        kind = right.split(" ", 1)[0]
        if kind in ("cgroup", "cgroup2"):
            found[Path(left.split()[4])] = kind == "cgroup2"
    return [Hierarchy(mount, is_v2) for mount, is_v2 in found.items()]


def with_controllers(mounted: list[Hierarchy]) -> list[Hierarchy]:
    """Those that govern pods: in a hybrid layout the v2 tree has no controllers, so v1 counts.

    The kubelet and runc decide so, too; runc still makes an empty group in the v2 tree.
    """
    v1 = [hierarchy for hierarchy in mounted if not hierarchy.is_v2]
    return v1 or mounted


def hierarchies() -> list[Hierarchy]:
    """Every hierarchy of this machine."""
    return parse_hierarchies(Path("/proc/self/mountinfo").read_text())


def is_cgroup_v2() -> bool:
    """Whether this machine has the unified hierarchy only."""
    return all(hierarchy.is_v2 for hierarchy in with_controllers(hierarchies()))


def ensure_group(name: str) -> None:
    """Make the cluster's group in every hierarchy that governs pods, able to hold them."""
    for hierarchy in with_controllers(hierarchies()):
        group = hierarchy.mount / name
        if hierarchy.is_v2:
            # Its children get only the controllers that it hands down; runc does the same below.
            _hand_down(hierarchy.mount)
        group.mkdir(exist_ok=True)
        if hierarchy.is_v2:
            _hand_down(group)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            # A v1 cpuset starts empty, and takes no process until it is filled.
            own, parent = group / setting, hierarchy.mount / setting
            if not hierarchy.is_v2 and own.exists() and not own.read_text().strip():
                own.write_text(parent.read_text())


def processes(name: str) -> set[int]:
    """Ids of all processes in the cluster's groups: its containers' and nothing else."""
    return {pid for group in _groups(name) for pid in _pids(group)}


def kill_all(name: str) -> None:
    """Kill what runs in the cluster's groups, and wait until nothing does."""

    def empty() -> bool:
        pids = processes(name)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not pids

    wait_until(empty, f"the processes in control group {name} to end", timeout_s=30)


def remove_group(name: str) -> None:
    """Remove the cluster's groups, innermost first; they must be empty of processes."""

    def gone() -> bool:
        for group in _groups(name):
            with contextlib.suppress(OSError):  # busy for a moment after its last process
                group.rmdir()
        return not any(True for _ in _groups(name))

    wait_until(gone, f"control group {name} to be removed", timeout_s=30)


def _groups(name: str) -> Iterator[Path]:
    for hierarchy in hierarchies():
        for folder, _, _ in os.walk(hierarchy.mount / name, topdown=False):
            yield Path(folder)


def _pids(group: Path) -> Iterator[int]:
    with contextlib.suppress(OSError):
        yield from map(int, (group / "cgroup.procs").read_text().split())


def _hand_down(group: Path) -> None:
    available = (group / "cgroup.controllers").read_text().split()
    active = (group / "cgroup.subtree_control").read_text().split()
    for controller in V2_CONTROLLERS:
        if controller in available and controller not in active:
            (group / "cgroup.subtree_control").write_text(f"+{controller}")
