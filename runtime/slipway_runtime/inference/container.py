"""What the container may use: CPU time and memory, as its cgroups say.

More threads than CPU quota are throttled together, which costs more than it gains. More memory
than the limit ends the whole container; below a cap of our own, it only ends one inference.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/")
_NO_LIMIT_V1_BYTES: Final = 2**62
"""Version 1 writes "no limit" as the largest multiple of a page."""


def auto_threads(root: Path = _ROOT, affinity: int | None = None) -> int:
    """Floor of the smaller of cgroup quota and CPU affinity, at least 1.

    Args:
        root: where `proc/` and `sys/` lie; tests build one.
        affinity: CPUs this process may run on; None asks the kernel.
    """
    cpus = len(os.sched_getaffinity(0)) if affinity is None else affinity
    quota = cpu_quota(root)
    return max(1, int(cpus if quota is None else min(quota, cpus)))


def cpu_quota(root: Path = _ROOT) -> float | None:
    """CPUs that the cgroups above this process allow, or None without a limit."""
    quotas = [_v2_quota(folder) for folder in _folders(root, "")]
    quotas += [_v1_quota(folder) for folder in _folders(root, "cpu")]
    return min((quota for quota in quotas if quota is not None), default=None)


def memory_limit_bytes(root: Path = _ROOT) -> int | None:
    """Memory that the cgroups above this process allow, or None without a limit."""
    limits = [_text(folder / "memory.max") for folder in _folders(root, "")]
    limits += [_text(folder / "memory.limit_in_bytes") for folder in _folders(root, "memory")]
    found = [int(limit) for limit in limits if limit.isdecimal()]
    return min((limit for limit in found if limit < _NO_LIMIT_V1_BYTES), default=None)


def cap_memory(root: Path = _ROOT) -> None:
    """Let an allocation that can never be held fail, instead of ending the container.

    Kubernetes' nodes overcommit: a model that expands a number to a terabyte gets it, and is
    killed while writing to it. Counted is what may be written, on top of what is mapped already.
    """
    limit = memory_limit_bytes(root) or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cap = _mapped_bytes() + limit
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or cap < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (cap, hard))


def _mapped_bytes() -> int:
    status = _text(_ROOT / "proc/self/status")
    return next(
        (int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData")),
        0,
    )


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """The cgroup folders of this process and their parents: any of them can hold a limit.

    Inside a container the path may name the host's tree, which is not mounted; the mount's root
    is then the container's own group, and it is always among them.
    """
    mounts = root / "sys/fs/cgroup"
    for controllers, path in _memberships(root):
        if controller == controllers == "":
            yield from _upwards(mounts, path)
        elif controller and controller in controllers.split(","):
            for name in {controllers, controller}:
                yield from _upwards(mounts / name, path)


def _memberships(root: Path) -> list[tuple[str, str]]:
    """`(controllers, path)` of each line `id:controllers:path`; version 2 has no controllers."""
    fields = [line.split(":", 2) for line in _text(root / "proc/self/cgroup").splitlines()]
    return [(field[1], field[2]) for field in fields if len(field) == 3]


def _upwards(mount: Path, path: str) -> list[Path]:
    parts = [part for part in path.split("/") if part not in ("", "..")]
    return [mount.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]


def _v2_quota(folder: Path) -> float | None:
    quota, _, period = _text(folder / "cpu.max").partition(" ")
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() else None


def _v1_quota(folder: Path) -> float | None:
    quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
