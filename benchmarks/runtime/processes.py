"""A server's processes: started in a session of their own, measured and ended by its number."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.runtime.errors import NotAvailable
from benchmarks.runtime.launches import Ports
from devcluster.progress import wait_until

SERVER_CORE: Final = 0
CLIENT_CORE: Final = 1

_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
_STOP_S: Final = 10.0
_PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True)
class Processes:
    """All processes of one start: those of its session, whoever their parents are by now."""

    leader: subprocess.Popen[bytes]
    log: Path
    started: float

    def pids(self) -> list[int]:
        """The living ones."""
        found = [int(path.name) for path in _PROC.iterdir() if path.name.isdecimal()]
        return [pid for pid in found if _session(pid) == self.leader.pid]

    def cpu_s(self) -> float:
        """CPU seconds of all of them so far, with those of children that ended."""
        return sum(_cpu_s(pid) for pid in self.pids())

    def pss_mb(self) -> float:
        """Their proportional set size in megabytes (10^6): shared pages count by their share."""
        return sum(_pss_kib(pid) for pid in self.pids()) * 1024 / 1e6

    def require_alive(self) -> None:
        """Refuse to go on without the server.

        Raises:
            NotAvailable: it has ended; carries the last lines of its log.
        """
        code = self.leader.poll()
        if code is not None:
            tail = " ".join(self.log.read_text(errors="replace").split())[-300:]
            raise NotAvailable(f"ended with {code}: {tail or 'its log is empty'}")


@contextmanager
def started(
    words: Sequence[str], environment: Mapping[str, str], folder: Path
) -> Iterator[Processes]:
    """Run a command on the server's core until the block ends."""
    log = folder / "log.txt"
    with log.open("wb") as stream:
        begun = time.monotonic()
        leader = subprocess.Popen(
            ["taskset", "--cpu-list", str(SERVER_CORE), *words],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            cwd=folder,
            start_new_session=True,
        )
    processes = Processes(leader, log, begun)
    try:
        yield processes
    finally:
        _end(processes)


def free_ports() -> Ports:
    """Three ports that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return Ports(*(each.getsockname()[1] for each in sockets))


def busy_s() -> float:
    """Seconds that all cores of the machine have been busy, and those taken by its host."""
    words = (_PROC / "stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _, _, irq, softirq, steal = map(int, words[:8])
    return (user + nice + system + irq + softirq + steal) * _TICK_S


def _end(processes: Processes) -> None:
    """Ask, wait, then kill what is left of the session, and wait until it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(processes.leader.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        processes.leader.wait(_STOP_S)
    for pid in processes.pids():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    processes.leader.wait()
    # What still dies would take the core from the next server.
    wait_until(lambda: not processes.pids(), "a server's processes to end", timeout_s=_STOP_S)


def _stat(pid: int) -> list[str]:
    """The fields of a process from its state on, or nothing where it is gone."""
    try:
        # The name, in parentheses, may hold anything.
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _session(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[3]) if fields and fields[0] != "Z" else -1


def _cpu_s(pid: int) -> float:
    return sum(map(int, _stat(pid)[11:15])) * _TICK_S


def _pss_kib(pid: int) -> int:
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
