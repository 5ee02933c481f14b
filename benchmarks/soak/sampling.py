"""What a server process holds, from /proc and from its own /status."""

from __future__ import annotations

import os
from pathlib import Path

import httpx

from benchmarks.soak.verdict import Sample


def sample(pid: int, status_url: str, client: httpx.Client, at_s: float) -> Sample:
    """Look at a process; the tasks are those that it counts itself."""
    process = Path(f"/proc/{pid}")
    memory = _sizes(process / "smaps_rollup")
    return Sample(
        at_s=at_s,
        rss_bytes=memory["Rss"],
        own_bytes=memory["Anonymous"],
        fds=len(os.listdir(process / "fd")),
        threads=len(os.listdir(process / "task")),
        tasks=client.get(status_url).json()["tasks"],
    )


def _sizes(path: Path) -> dict[str, int]:
    """Bytes by name of a file of `Name:  12 kB` lines."""
    sizes = {}
    for line in path.read_text().splitlines():
        name, _, rest = line.partition(":")
        if rest.endswith(" kB"):
            sizes[name] = int(rest.split()[0]) * 1024
    return sizes
