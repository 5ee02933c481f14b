"""Run the system's tools, bounded in time, with errors that carry their output."""

from __future__ import annotations

import shlex
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from devcluster.errors import DevclusterError
from devcluster.progress import step

Words = Sequence[str | Path]
"""A command line."""


def run(
    argv: Words,
    *,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float = 60,
) -> str:
    """Run a short command and return its standard output.

    Raises:
        DevclusterError: it failed, could not be started, or took longer than `timeout_s`.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            env=None if env is None else dict(env),
            cwd=cwd,
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError as err:
        raise DevclusterError(f"{words[0]}: not installed (python -m devcluster packages)") from err
    except subprocess.TimeoutExpired as err:
        raise DevclusterError(f"{_shown(words)}: did not end within {timeout_s:.0f} s") from err
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-3000:]
        raise DevclusterError(f"{_shown(words)}: exit status {done.returncode}\n{said}")
    return done.stdout


def succeeds(argv: Sequence[str | Path], *, timeout_s: float = 20) -> bool:
    """Whether a command ends with status 0 in time."""
    try:
        run(argv, timeout_s=timeout_s)
    except DevclusterError:
        return False
    return True


def run_long(
    what: str,
    argv: Words,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float,
) -> None:
    """Run a command of seconds to minutes, with progress: elapsed time and its latest line.

    Raises:
        DevclusterError: it failed or took longer than `timeout_s`; carries its last 30 lines.
    """
    words = [str(word) for word in argv]
    latest: deque[str] = deque(maxlen=30)
    seen = 0
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=None if env is None else dict(env),
            cwd=cwd,
        )
    except FileNotFoundError as err:
        raise DevclusterError(f"{words[0]}: not installed (python -m devcluster packages)") from err

    def read() -> None:
        nonlocal seen
        for line in process.stdout or ():
            latest.append(line.rstrip())
            seen += 1

    reader = threading.Thread(target=read, daemon=True)
    begun = time.monotonic()
    with process, step(what, detail=lambda: f"line {seen}: {latest[-1][:100]}" if latest else ""):
        reader.start()
        try:
            status = process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired as err:
            process.kill()
            raise DevclusterError(f"{what}: did not end within {timeout_s:.0f} s") from err
        except BaseException:
            process.kill()
            raise
        reader.join(timeout=10)
    if status:
        elapsed_s = time.monotonic() - begun
        said = "\n".join(f"    {line}" for line in latest)
        raise DevclusterError(
            f"{what}: exit status {status} after {elapsed_s:.0f} s of {_shown(words)}\n{said}"
        )


def _shown(words: Sequence[str]) -> str:
    text = shlex.join(words)
    return text if len(text) < 300 else f"{text[:300]}…"
