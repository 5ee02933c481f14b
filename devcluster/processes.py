"""Processes that outlive the command that starts them, and are never mistaken for others.

A process is known by its id together with its start time and the machine's boot: an id alone is
reused. Nothing here ever looks a process up by name.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from devcluster.cache import write_if_changed
from devcluster.errors import DevclusterError

LOG_LIMIT_BYTES: Final = 32 * 1024 * 1024
KILL_WAIT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """A started process, as written to the state folder."""

    pid: int
    start_ticks: int
    """Field 22 of /proc/PID/stat: clock ticks from boot to the start of the process."""
    boot_id: str
    key: str
    """Hash of the command line and configuration it was started with."""


def boot_id() -> str:
    """Names this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def parse_stat(text: str) -> tuple[str, int, int]:
    """State letter, parent's id and start ticks out of a /proc/PID/stat line.

    The command's name stands in parentheses and may itself hold spaces and parentheses.
    """
    fields = text[text.rindex(")") + 2 :].split()
    return fields[0], int(fields[1]), int(fields[19])


def start_ticks(pid: int) -> int | None:
    """When a live process started; None where there is none (an unreaped one has ended, too)."""
    try:
        state, parent, started = parse_stat(Path(f"/proc/{pid}/stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None
    if state in "ZX":
        if parent == os.getpid():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        return None
    return started


def is_alive(record: ProcessRecord | None) -> bool:
    """Whether exactly this process still runs."""
    return (
        record is not None
        and record.boot_id == boot_id()
        and start_ticks(record.pid) == record.start_ticks
    )


def spawn(
    argv: Sequence[str], *, log: Path, key: str, env: Mapping[str, str] | None = None
) -> ProcessRecord:
    """Start a process in a session of its own; its standard output and error go to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(".previous.log"))
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    # posix_spawn, not subprocess: nothing keeps, or warns about, a process that is meant to stay.
    pid = os.posix_spawnp(
        argv[0],
        list(argv),
        dict(os.environ if env is None else env),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGPIPE],
    )
    started = start_ticks(pid)
    if started is None:
        raise DevclusterError(f"{argv[0]}: ended as soon as it was started, read {log}")
    return ProcessRecord(pid, started, boot_id(), key)


def end(record: ProcessRecord, *, grace_s: float) -> None:
    """Ask a process to end, make it end after `grace_s` seconds, and wait until it has.

    Raises:
        DevclusterError: it is still there 30 s after SIGKILL.
    """
    try:
        handle = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return
    try:
        # The handle is bound to whoever has the id now; only then is its identity checked.
        if not is_alive(record):
            return
        for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, KILL_WAIT_S)):
            if number == signal.SIGTERM and grace_s <= 0:
                continue
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)
            if _ended_within(record, patience_s):
                return
    finally:
        os.close(handle)
    raise DevclusterError(f"process {record.pid}: still there {KILL_WAIT_S:.0f} s after SIGKILL")


def read_record(path: Path) -> ProcessRecord | None:
    """A process's record; None where there is none, or none that can be read."""
    try:
        return ProcessRecord(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def write_record(path: Path, record: ProcessRecord) -> None:
    """Record a process; a crash leaves the old record or the new one."""
    write_if_changed(path, json.dumps(asdict(record)) + "\n")


def _ended_within(record: ProcessRecord, patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while is_alive(record):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
