"""What a node leaves on the machine outside its own folder, and how it is taken back.

A kubelet sets five kernel settings, containerd mounts, and both drop small files in fixed places.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from devcluster.cache import cache_root, write_if_changed
from devcluster.commands import run
from devcluster.progress import wait_until

KUBELET_SETTINGS: Final = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
CNI_RESULTS: Final = Path("/var/lib/cni/results")
CONTAINER_LOGS: Final = Path("/var/log/containers")
SHIM_SOCKETS: Final = Path("/run/containerd/s")
"""A shim's socket lies here wherever containerd's own state is."""
SYSCTL: Final = Path("/proc/sys")


def remember_settings() -> None:
    """Record the kernel settings a kubelet will change, unless another cluster did so before."""
    record = _settings_record()
    if not record.exists():
        values = {name: (SYSCTL / name).read_text().strip() for name in KUBELET_SETTINGS}
        write_if_changed(record, json.dumps(values, indent=2) + "\n")


def restore_settings() -> None:
    """Put the recorded kernel settings back; called when the last cluster is down."""
    record = _settings_record()
    if record.exists():
        for name, value in json.loads(record.read_text()).items():
            if (SYSCTL / name).read_text().strip() != value:
                (SYSCTL / name).write_text(value)
        record.unlink()


def mounts_below(folder: Path, mountinfo: str) -> list[str]:
    """Mount points at or below a folder, the last mounted first."""
    points = [line.split()[4] for line in mountinfo.splitlines()]
    decoded = [point.replace("\\040", " ") for point in points]
    root = str(folder)
    return [point for point in reversed(decoded) if point == root or point.startswith(f"{root}/")]


def unmount_below(folder: Path) -> None:
    """Unmount everything below a folder."""
    for point in mounts_below(folder, Path("/proc/self/mountinfo").read_text()):
        run(["umount", "--lazy", point])


def end_shims(socket: Path) -> None:
    """End the shims that outlived their tasks, told by the address on their command line."""

    def none_left() -> bool:
        pids = shims(socket)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not pids

    wait_until(none_left, f"the containerd shims of {socket} to end", timeout_s=30)


def remove_sockets(containerd_state: Path) -> None:
    """Remove the sockets of shims that ended without doing so; their tasks' folders tell which."""
    for address in containerd_state.glob("io.containerd.runtime.v2.task/*/*/address"):
        socket = Path(address.read_text().strip().removeprefix("unix://"))
        if socket.parent == SHIM_SOCKETS:
            socket.unlink(missing_ok=True)


def shims(socket: Path) -> list[int]:
    """Ids of the containerd shims of this socket, told by the address on their command line."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if is_shim_of(words, socket):
                found.append(int(process.name))
    return found


def is_shim_of(words: Iterable[str], socket: Path) -> bool:
    """Whether a command line is that of a shim serving the containerd of this socket."""
    program, *arguments = [*words, ""]
    pairs = itertools.pairwise(arguments)
    is_shim = os.path.basename(program) == "containerd-shim-runc-v2"
    return is_shim and ("-address", str(socket)) in pairs


def remove_leftovers(root: Path, node: str) -> None:
    """Remove a cluster's files that its parts keep in fixed places of the machine."""
    for result in CNI_RESULTS.glob(f"{node}-*"):
        result.unlink(missing_ok=True)
        sandbox = result.name.removeprefix(f"{node}-").rpartition("-")[0]
        (CNI_RESULTS / f"cni-loopback-{sandbox}-lo").unlink(missing_ok=True)
    if CONTAINER_LOGS.is_dir():
        for link in CONTAINER_LOGS.iterdir():
            if link.is_symlink() and os.readlink(link).startswith(f"{root}/"):
                link.unlink(missing_ok=True)


def remove_empty_folders() -> None:
    """Remove the fixed places themselves where nothing is in them; for when no cluster is left."""
    places = (CNI_RESULTS, CNI_RESULTS.parent, CONTAINER_LOGS, SHIM_SOCKETS, SHIM_SOCKETS.parent)
    for folder in places:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def file_system(path: Path) -> str:
    """The type of the file system a path lies on."""
    return run(["stat", "--file-system", "--format=%T", path]).strip()


def snapshotter_for(file_system_type: str) -> str:
    """Containerd's snapshotter: no overlay stacks on an overlay, such as a container's disk."""
    return "native" if file_system_type in ("overlayfs", "overlay") else "overlayfs"


def _settings_record() -> Path:
    return cache_root() / "clusters" / ".host-settings.json"
