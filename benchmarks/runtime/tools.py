"""The load tools, wrk and h2load: run on the client's core for a bounded time."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from benchmarks.runtime.errors import BenchmarkError
from benchmarks.runtime.figures import Load, read_h2load, read_wrk
from benchmarks.runtime.launches import Ports
from benchmarks.runtime.processes import CLIENT_CORE
from benchmarks.runtime.workloads import Request, Workload

PACKAGES: Final = ("wrk", "nghttp2-client")
"""Debian's packages of them."""

_SCRIPT: Final = Path(__file__).resolve().parent / "load.lua"
_SLACK_S: Final = 20.0
_STREAMS: Final = 8
"""Requests at a time on one HTTP/2 connection."""


def loaded(
    workload: Workload, asked: Request, ports: Ports, folder: Path, *, seconds: int, answer: int
) -> Load:
    """Put a load on a server.

    Args:
        workload: how many requests at a time, on which wire.
        asked: the request.
        ports: where the server listens.
        folder: for the request's body and the tool's log.
        seconds: how long.
        answer: bytes of a right answer.

    Raises:
        BenchmarkError: the tool is missing, failed, or did not end.
    """
    body = folder / f"{workload.model}-{workload.wire}.body"
    if not body.exists():
        body.write_bytes(asked.body)
    if workload.wire == "grpc":
        return _h2load(workload, asked, ports, body, seconds=seconds, answer=answer)
    return _wrk(workload, asked, ports, body, seconds=seconds)


def _wrk(workload: Workload, asked: Request, ports: Ports, body: Path, *, seconds: int) -> Load:
    headers = [word for pair in asked.headers.items() for word in pair]
    url = f"http://127.0.0.1:{ports.http}{asked.path}"
    words = ["wrk", "-t1", f"-c{workload.concurrency}", f"-d{seconds}s", "--timeout", "10s"]
    return read_wrk(_run([*words, "-s", str(_SCRIPT), url, "--", str(body), *headers], seconds))


def _h2load(
    workload: Workload, asked: Request, ports: Ports, body: Path, *, seconds: int, answer: int
) -> Load:
    connections = max(1, workload.concurrency // _STREAMS)
    streams = workload.concurrency // connections
    log = body.with_suffix(".log")
    log.unlink(missing_ok=True)
    words = ["h2load", f"--clients={connections}", f"--max-concurrent-streams={streams}"]
    words += [f"--duration={seconds}", "--threads=1", f"--data={body}", f"--log-file={log}"]
    words += [f"--header={name}: {value}" for name, value in asked.headers.items()]
    output = _run([*words, f"http://127.0.0.1:{ports.grpc}{asked.path}"], seconds)
    return read_h2load(
        output, log.read_text(), message_bytes=answer, in_flight=workload.concurrency
    )


def _run(words: list[str], seconds: int) -> str:
    command = ["taskset", "--cpu-list", str(CLIENT_CORE), *words]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=seconds + _SLACK_S
        )
    except subprocess.TimeoutExpired as err:
        raise BenchmarkError(f"{words[0]}: not done in {seconds + _SLACK_S:.0f} s") from err
    if done.returncode:
        raise BenchmarkError(f"{words[0]}: exit {done.returncode}: {done.stderr[-300:]}")
    return done.stdout
