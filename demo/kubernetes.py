"""kubectl and helm, as a user runs them; each command is shown before it runs."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from demo.screen import command
from demo.target import DemoFailed

CHART: Final = Path("charts/slipway")
SYSTEM: Final = "slipway-system"
NAMESPACE: Final = "slipway-demo"
_TIMEOUT_S: Final = 240


@dataclass(frozen=True, slots=True)
class Kubernetes:
    """The two programs."""

    kubectl: str
    helm: str

    def run(self, *arguments: str, show: bool = True, text: str | None = None) -> str:
        """Run kubectl and return what it printed.

        Raises:
            DemoFailed: with kubectl's own words.
        """
        if show:
            command(f"kubectl {' '.join(arguments)}")
        return _run([self.kubectl, *arguments], text)

    def install(self, images: Mapping[str, str]) -> None:
        """Install the chart, and wait until the operator is ready."""
        values = {
            **_image("image", images["operator"]),
            **_image("runtimeImage", images["runtime"]),
            "converterImage.repository": "",
        }
        settings = [f"{k}={v}" for k, v in values.items()]
        shown = f"helm upgrade --install slipway {CHART} -n {SYSTEM} --create-namespace --wait …"
        command(shown)
        try:
            self._upgrade(settings)
        except DemoFailed as failed:
            pods = self.run("get", "pods", "-n", SYSTEM, show=False)
            log = self.run("logs", "deploy/slipway-operator", "-n", SYSTEM, "--tail=5", show=False)
            raise DemoFailed(f"{failed}\n{pods}\n{log}") from failed

    def _upgrade(self, settings: list[str]) -> None:
        listed = _run([self.helm, "list", "-n", SYSTEM, "--pending", "-o", "json"], None)
        if json.loads(listed):  # an interrupted install blocks every later one
            self.uninstall()
        _run(
            [
                self.helm, "upgrade", "--install", "slipway", str(CHART), "--namespace", SYSTEM,
                "--create-namespace", "--wait", "--timeout", "3m",
                *(a for s in settings for a in ("--set", s)),
            ],
            None,
        )  # fmt: skip

    def uninstall(self) -> None:
        """Remove the chart."""
        _run([self.helm, "uninstall", "slipway", "-n", SYSTEM, "--ignore-not-found"], None)

    @contextmanager
    def proxy(self) -> Iterator[str]:
        """Run `kubectl proxy` and give the URL under which Services of the demo are reached."""
        process = subprocess.Popen(
            [self.kubectl, "proxy", "--port=0"], stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None  # noqa: S101 - PIPE was asked for
            line = process.stdout.readline()
            address = line.rpartition(" ")[2].strip()
            if ":" not in address:
                raise DemoFailed(f"kubectl proxy did not start: {line!r}")
            yield f"http://{address}/api/v1/namespaces/{NAMESPACE}/services"
        finally:
            process.terminate()
            process.wait(timeout=10)

    def logs(self, pod: str) -> Generator[str, None, None]:
        """Follow a pod's log line by line, from the last one on."""
        follow = [self.kubectl, "logs", "-f", "--tail=1", "-n", NAMESPACE, pod]
        with subprocess.Popen(follow, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield from process.stdout or ()
            finally:
                process.terminate()


def post(url: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Send JSON and read JSON."""
    request = urllib.request.Request(url, json.dumps(body).encode())  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - loopback
        read: dict[str, Any] = json.load(answer)
        return read


def _image(prefix: str, reference: str) -> dict[str, str]:
    repository, _, tag = reference.rpartition(":")
    return {f"{prefix}.repository": repository, f"{prefix}.tag": tag}


def _run(arguments: list[str], text: str | None) -> str:
    shown = " ".join([Path(arguments[0]).name, *arguments[1:4]])
    try:
        done = subprocess.run(
            arguments, input=text, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as slow:
        raise DemoFailed(f"{shown} … did not end within {_TIMEOUT_S} s") from slow
    if done.returncode:
        raise DemoFailed(f"{shown} … failed: {done.stderr.strip()[-1500:]}")
    return done.stdout
