"""The real operator as a process, as it runs in a pod."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tests.kubeapi import eventually

ROOT: Final = Path(__file__).resolve().parents[2]
RUNTIME_IMAGE: Final = "localhost/slipway-runtime:played"
LEASE: Final = {
    "SLIPWAY_OPERATOR_LEASE_DURATION_S": "4",
    "SLIPWAY_OPERATOR_LEASE_RENEW_DEADLINE_S": "3",
    "SLIPWAY_OPERATOR_LEASE_RETRY_S": "0.5",
}


class Operator:
    """One process that looks after one namespace."""

    def __init__(
        self,
        kubeconfig: Path,
        namespace: str,
        log: Path,
        environment: Mapping[str, str] = MappingProxyType({}),
        module: str = "slipway_operator",
        **settings: str,
    ) -> None:
        self.log = log
        self.port = free_port()
        variables = {
            **environment,
            "KUBECONFIG": str(kubeconfig),
            "SLIPWAY_OPERATOR_RUNTIME_IMAGE": RUNTIME_IMAGE,
            "SLIPWAY_OPERATOR_WATCH_NAMESPACES": namespace,
            "SLIPWAY_OPERATOR_LEASE_NAMESPACE": namespace,
            "SLIPWAY_OPERATOR_HEALTH_HOST": "127.0.0.1",
            "SLIPWAY_OPERATOR_HEALTH_PORT": str(self.port),
            "SLIPWAY_OPERATOR_IDENTITY": log.stem,
            **LEASE,
            **{f"SLIPWAY_OPERATOR_{k.upper()}": v for k, v in settings.items()},
        }
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module],
                env={**os.environ, **variables},
                stdout=output,
                stderr=output,
            )

    def until_ready(self) -> Operator:
        """Wait until its caches are filled."""
        eventually(self._is_ready, "the operator is ready", timeout_s=90, describe=self.tail)
        return self

    def _is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(
                f"the operator ended with {self.process.returncode}\n{self.tail()}"
            )
        return self.answer("/readyz") == 200

    def answer(self, path: str) -> int:
        """Status of a probe; 0 when nothing answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            return refused.code
        except OSError:
            return 0

    def text(self, path: str) -> str:
        """What a probe says; empty when nothing answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=2) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as refused:
            return refused.read().decode()
        except OSError:
            return ""

    def metric(self, name: str) -> float:
        """Sum of the samples of a metric."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        found = [ln for ln in lines if ln.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(ln.rpartition(" ")[2]) for ln in found)

    @property
    def is_leading(self) -> bool:
        """Whether it holds the Lease."""
        return self.answer("/readyz") == 200 and self.metric("slipway_leader") == 1

    def end(self) -> int:
        """Ask it to end, and wait; tell its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)

    def kill(self) -> None:
        """End it without a chance to tidy up."""
        self.process.kill()
        self.process.wait(timeout=10)

    def tail(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text().splitlines()[-30:])


def skewed(offset: str) -> dict[str, str]:
    """The environment of a process whose wall clock is wrong; its monotonic clock is right.

    Args:
        offset: as faketime(1) writes it, such as `+10m`.
    """
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": offset,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


def free_port() -> int:
    """Find a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
