"""The `slipway` command on a real API server: seeing a rollout, and steering it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from devcluster.cluster import Cluster
from tests.cluster.kubelet import Script, Supplied
from tests.cluster.models import Models
from tests.kubeapi import Manifest, eventually

pytestmark = pytest.mark.usefixtures("operator")

SECOND: Final = "https://models.example/2.onnx"
ROLLOUT: Final = {
    "steps": [{"weight": 20, "hold": "1s", "approval": "Manual"}, {"weight": 50, "hold": "10m"}],
    "scaleDownDelay": "1s",
    "traffic": {"settle": "1s"},
}
_LONGEST_S: Final = 90
"""Of one run of the command: importing alone takes seconds on a busy machine."""


def _command(models: Models, *arguments: str) -> list[str]:
    """A command that Ctrl-C ends, also where the tests run in the background, which ignores it."""
    own = [sys.executable, "-m", "slipway_operator.cli", *arguments, "-n", models.namespace]
    return ["env", "--default-signal=INT", *own]


def _slipway(
    models: Models, *arguments: str, kubeconfig: Path | None = None
) -> subprocess.CompletedProcess[str]:
    more = ["--kubeconfig", str(kubeconfig)] if kubeconfig else []
    return subprocess.run(
        [*_command(models, *arguments), *more],
        capture_output=True, text=True, timeout=_LONGEST_S, check=False,
    )  # fmt: skip


def _waits_for_approval(models: Models, script: Script) -> Manifest:
    """Serve a first revision, and let a second one wait at its first step."""
    models.apply(replicas=4, rollout=ROLLOUT)
    models.until("Ready")
    script.supply = Supplied("sha256:" + "cd" * 32)
    models.apply(replicas=4, rollout=ROLLOUT, uri=SECOND)
    return _until(models, "Paused")


def _until(models: Models, state: str) -> Manifest:
    def reached() -> Manifest | None:
        status: Manifest = models.get()["status"]
        return status if status["rollout"]["state"] == state else None

    return eventually(reached, state, timeout_s=60, describe=lambda: str(models.get()["status"]))


def test_a_rollout_is_seen_and_steered(models: Models, script: Script) -> None:
    status = _waits_for_approval(models, script)
    seen = _slipway(models, "status", "m")
    assert seen.returncode == 0, seen.stderr
    assert "AwaitingApproval" in seen.stdout
    assert f"slipway approve m -n {models.namespace}" in seen.stdout
    assert re.search(r"\[>\]  20 %", seen.stdout)
    assert status["candidate"]["name"] in seen.stdout, "its pods"
    assert "RolloutBaking" in seen.stdout, "the Events"

    before = models.get()
    approved = _slipway(models, "approve", "m")
    assert (approved.returncode, approved.stderr) == (0, "")
    assert approved.stdout.startswith("m: ")
    after = models.get()
    assert after["spec"] == before["spec"]
    assert set(after["metadata"]["annotations"]) - set(
        before["metadata"].get("annotations", {})
    ) == {"slipway.dev/rollout-action"}
    owners = {e["manager"] for e in after["metadata"]["managedFields"]
              if "f:annotations" in e["fieldsV1"].get("f:metadata", {})}  # fmt: skip
    assert owners == {"slipway-cli"}
    _until(models, "Baking")

    wrong = _slipway(models, "retry", "m")
    assert wrong.returncode == 1
    assert "retry has no meaning in state Baking" in wrong.stderr
    assert _slipway(models, "abort", "m").returncode == 0
    _until(models, "Failed")
    rows = _slipway(models, "history", "m").stdout.splitlines()
    assert [row.split()[0::2][:2] for row in rows[1:]] == [["r2", "failed"], ["r1", "stable"]]
    assert f"+  uri: {SECOND}" in _slipway(models, "diff", "m").stdout
    assert _slipway(models, "retry", "m").returncode == 0
    _until(models, "Paused")
    assert _slipway(models, "promote", "m", "--no-wait").returncode == 0
    watching = json.loads(_slipway(models, "status", "m", "-o", "json").stdout)
    assert watching["status"]["rollout"]["id"] == "2-2"
    assert watching["name"] == "m"


def test_a_rollback_goes_to_an_earlier_revision_and_is_undone(
    models: Models, script: Script
) -> None:
    rollout = {"strategy": "BlueGreen", "watch": "0s", "scaleDownDelay": "1s"}
    models.apply(rollout=rollout)
    models.until("Ready")
    script.supply = Supplied("sha256:" + "cd" * 32)
    models.apply(rollout=rollout, uri=SECOND)
    eventually(lambda: models.get()["status"]["stable"]["revision"] == 2, "r2", timeout_s=60)
    done = _slipway(models, "rollback", "m", "r1")
    assert done.returncode == 0, done.stderr
    eventually(lambda: models.get()["status"]["stable"]["revision"] == 1, "r1", timeout_s=60)
    assert "slipway rollback m" in _slipway(models, "status", "m").stdout
    assert _slipway(models, "rollback", "m", "--undo").returncode == 0
    eventually(lambda: models.get()["status"]["stable"]["revision"] == 2, "r2 again", timeout_s=60)


def test_what_is_wrong_is_told_with_what_would_be_right(
    models: Models, cluster: Cluster, tmp_path: Path
) -> None:
    models.apply("digits")
    missing = _slipway(models, "status", "digitz")
    assert missing.returncode == 1
    assert "did you mean 'digits'?" in missing.stderr
    elsewhere = subprocess.run(
        [*_command(models, "status", "digits")[:-1], "default"],
        capture_output=True, text=True, timeout=_LONGEST_S, check=False,
    )  # fmt: skip
    assert models.namespace in elsewhere.stderr
    models.until("Ready", "digits")
    powerless = _kubeconfig(models, cluster, tmp_path)
    refused = _slipway(models, "rollback", "digits", kubeconfig=powerless)
    assert refused.returncode == 1
    assert 'cannot get resource "modeldeployments"' in refused.stderr


def _kubeconfig(models: Models, cluster: Cluster, folder: Path) -> Path:
    """A kubeconfig of an account without rights."""
    models.api.create({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "nobody", "namespace": models.namespace},
    })  # fmt: skip
    path = models.api.path("ServiceAccount", models.namespace, "nobody") + "/token"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = models.api.send("POST", path, json=body)["status"]["token"]
    config: Manifest = yaml.safe_load(cluster.kubeconfig.read_text())
    config["users"] = [{"name": config["users"][0]["name"], "user": {"token": token}}]
    written = folder / "kubeconfig"
    written.write_text(yaml.safe_dump(config))
    return written


class Terminal:
    """A command that believes to be drawn in a terminal."""

    def __init__(self, command: Sequence[str], rows: int = 50, columns: int = 160) -> None:
        self._ours, theirs = pty.openpty()
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color"}
        self.process = subprocess.Popen(
            list(command), stdin=theirs, stdout=theirs, stderr=theirs, env=environment,
            start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self.text = ""

    def until(self, expected: str) -> None:
        """Read until something has been drawn, from here on."""
        start, end = len(self.text), time.monotonic() + _LONGEST_S
        while expected not in self.text[start:]:
            assert time.monotonic() < end, f"{expected!r} was not drawn:\n{self.text[-3000:]}"
            self._read()

    def _read(self) -> bool:
        ready, _, _ = select.select([self._ours], [], [], 0.2)
        try:
            found = os.read(self._ours, 65_536) if ready else b""
        except OSError:  # its end was closed
            return False
        self.text += found.decode(errors="replace")
        return bool(ready)

    def end(self) -> int:
        """Press Ctrl-C, and wait."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(timeout=_LONGEST_S)
        while self._read():
            pass
        os.close(self._ours)
        return code


@contextmanager
def _terminal(command: Sequence[str]) -> Iterator[Terminal]:
    terminal = Terminal(command)
    try:
        yield terminal
    finally:
        if terminal.process.poll() is None:
            terminal.process.kill()
            terminal.process.wait()


def test_a_terminal_shows_a_rollout_as_it_goes_and_is_left_as_it_was(
    models: Models, script: Script
) -> None:
    status = _waits_for_approval(models, script)
    with _terminal(_command(models, "status", "m", "--watch")) as terminal:
        terminal.until("AwaitingApproval")
        terminal.until("━")
        assert "\x1b[?1049h" in terminal.text, "on a screen of its own"
        _act(models, f"abort @{status['candidate']['hash']} #1")
        terminal.until("AbortedByUser")
        terminal.until("slipway retry m")
        assert terminal.end() == 130
        assert terminal.text.rstrip().endswith(("\x1b[?1049l", "\x1b[?25h")), "and back"
        assert "Traceback" not in terminal.text


def _act(models: Models, text: str) -> None:
    done = models.kubectl("annotate", "--overwrite", "mdep/m", f"slipway.dev/rollout-action={text}")
    assert done.returncode == 0, done.stderr


def test_a_pipe_gets_one_line_per_change(models: Models, script: Script) -> None:
    status = _waits_for_approval(models, script)
    command: Any = _command(models, "status", "m", "--watch")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("slipway abort m"):
                break
        _act(models, f"abort @{status['candidate']['hash']} #1")
        for line in process.stdout:
            if "Degraded  Failed" in line:
                break
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=_LONGEST_S) == 130
    assert re.match(r"\d\d:\d\d:\d\dZ  Degraded  Failed", line)
    assert "\x1b" not in line
