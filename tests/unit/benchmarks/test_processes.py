"""A server's processes are found, measured and ended, whoever their parents are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.runtime import probes
from benchmarks.runtime.errors import NotAvailable
from benchmarks.runtime.launches import SERVING
from benchmarks.runtime.processes import free_ports, started

# Two processes with 20 MB each of their own; the child ignores SIGTERM, and each says that it is
# there.
FAMILY = """
import os, signal, sys
child = os.fork() == 0
if child:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
held = os.urandom(20_000_000)
print("ready", flush=True)
signal.pause()
"""


def test_all_of_a_session_are_measured_and_ended(tmp_path: Path) -> None:
    with started([sys.executable, "-c", FAMILY], {}, tmp_path) as processes:
        while processes.log.read_text().count("ready") < 2:
            processes.require_alive()
        assert len(processes.pids()) == 2
        assert processes.cpu_s() > 0
        assert 40 < processes.pss_mb() < 100
    assert processes.pids() == []


def test_a_server_that_ends_is_not_available_and_its_last_words_are_told(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "raise SystemExit('no such model')"]
    with (
        started(words, {}, tmp_path) as processes,
        pytest.raises(NotAvailable, match="ended with 1: no such model"),
    ):
        probes.wait_for_first_answers(SERVING["mlserver"], free_ports(), processes)


def test_nobody_there_is_not_available() -> None:
    with pytest.raises(NotAvailable, match="digits over json: ConnectionRefusedError"):
        probes.check(free_ports(), "digits", "json", {})


def test_ports_are_different() -> None:
    ports = free_ports()
    assert len({ports.http, ports.grpc, ports.other}) == 3
