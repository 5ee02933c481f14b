"""The load tools, wrk and h2load: run on the client's core for a bounded time."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
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
_REQUEST_TIMEOUT_S: Final = 10
_SLACK_S: Final = 20.0
_STREAMS: Final = 8
"""Requests at a time on one HTTP/2 connection."""


@dataclass(frozen=True, slots=True)
class Loader:
    """Puts one load on a server, for as long as it is told.

    `folder` gets the request's body and the tool's log; `answer_bytes` is the size of a right
    answer.
    """

    workload: Workload
    asked: Request
    ports: Ports
    folder: Path
    answer_bytes: int

    def __call__(self, seconds: int) -> Load:
        """Load the server.

        Raises:
            BenchmarkError: the tool is missing, failed, did not end, or says nothing.
        """
        body = self.folder / f"{self.workload.model}-{self.workload.wire}.body"
        if not body.exists():
            body.write_bytes(self.asked.body)
        try:
            grpc = self.workload.wire == "grpc"
            return self._h2load(body, seconds) if grpc else self._wrk(body, seconds)
        except (OSError, ValueError) as err:
            raise BenchmarkError(str(err)) from err

    def _wrk(self, body: Path, seconds: int) -> Load:
        headers = [word for pair in self.asked.headers.items() for word in pair]
        url = f"http://127.0.0.1:{self.ports.http}{self.asked.path}"
        words = ["wrk", "-t1", f"-c{self.workload.concurrency}", f"-d{seconds}s"]
        words += ["--timeout", f"{_REQUEST_TIMEOUT_S}s", "-s", str(_SCRIPT), url]
        return read_wrk(_run([*words, "--", str(body), *headers], seconds))

    def _h2load(self, body: Path, seconds: int) -> Load:
        concurrency = self.workload.concurrency
        connections = max(1, concurrency // _STREAMS)
        log = body.with_suffix(".log")
        # It appends.
        log.unlink(missing_ok=True)
        words = ["h2load", "--threads=1", f"--clients={connections}", f"--duration={seconds}"]
        words += [f"--max-concurrent-streams={concurrency // connections}"]
        words += [f"--data={body}", f"--log-file={log}"]
        words += [f"--header={name}: {value}" for name, value in self.asked.headers.items()]
        output = _run([*words, f"http://127.0.0.1:{self.ports.grpc}{self.asked.path}"], seconds)
        return read_h2load(
            output, log.read_text(), message_bytes=self.answer_bytes, in_flight=concurrency
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
