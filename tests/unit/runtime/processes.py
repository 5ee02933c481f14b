"""The runtime as a process, the way a pod or a person starts it."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any
from unittest import mock

import httpx

from slipway_runtime.__main__ import main

REVISION = "0123456789"
DEADLINE_S = 30.0


def environment(**settings: object) -> dict[str, str]:
    """Our environment without this machine's proxies, and with `SLIPWAY_RUNTIME_*` settings."""
    kept = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    kept = {k: v for k, v in kept.items() if not k.startswith("SLIPWAY_RUNTIME_")}
    return {**kept, **{f"SLIPWAY_RUNTIME_{k.upper()}": str(v) for k, v in settings.items()}}


@dataclass(frozen=True)
class Ended:
    """How a verb ended."""

    returncode: int
    stdout: str
    stderr: str


def process(*args: object, **settings: object) -> Ended:
    """Run a verb to its end, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "slipway_runtime", *map(str, args)],
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def runtime(*args: object, **settings: object) -> Ended:
    """Run a verb to its end in this process: imports cost more than most verbs."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, environment(**settings), clear=True),
        redirect_stdout(out),
        redirect_stderr(err),
        _process_state_kept(),
    ):
        try:
            code = main([str(arg) for arg in args])
        except SystemExit as end:
            code = int(end.code or 0)
    return Ended(code, out.getvalue(), err.getvalue())


@contextmanager
def _process_state_kept() -> Iterator[None]:
    """Verbs own their process: they set up its logging and its signals."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    terminate = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        signal.signal(signal.SIGTERM, terminate)


def serving_document(uri: str = "file:///model.onnx", **changes: Any) -> dict[str, Any]:
    """A serving.json; keyword arguments replace or add top-level keys."""
    base = {
        "name": "digits",
        "namespace": "models",
        "revision": REVISION,
        "revisionNumber": 7,
        "model": {"uri": uri},
    }
    return {**base, **changes}


@dataclass
class Serving:
    """A server process that runs."""

    process: subprocess.Popen[str]
    lines: list[dict[str, Any]] = field(default_factory=list)
    news: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, message: str) -> dict[str, Any]:
        """Wait for a log line, and return its fields."""
        with self.news:
            found = self.news.wait_for(lambda: self._find(message) or self._ended(), DEADLINE_S)
        line = self._find(message)
        assert line is not None, f"no {message!r} ({found}): {self.lines}"
        return line

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.wait_for('listening')['http_port']}"

    @property
    def admin(self) -> str:
        return f"http://127.0.0.1:{self.wait_for('listening')['admin_port']}"

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.wait_for('listening')['grpc_port']}"

    def status(self) -> dict[str, Any]:
        """What the admin port's /status says."""
        found: dict[str, Any] = httpx.get(f"{self.admin}/status", trust_env=False).json()
        return found

    def until(self, **expected: object) -> None:
        """Wait until /status has these values."""
        deadline = monotonic() + DEADLINE_S
        while monotonic() < deadline:
            status = self.status()
            if all(status[key] == value for key, value in expected.items()):
                return
        raise AssertionError(f"{status} never became {expected}")

    def _find(self, message: str) -> dict[str, Any] | None:
        return next((line for line in self.lines if line.get("message") == message), None)

    def _ended(self) -> bool:
        return self.process.poll() is not None

    def _read(self) -> None:
        assert self.process.stderr
        for text in self.process.stderr:
            try:
                line = json.loads(text)
            except ValueError:
                line = {"raw": text}
            with self.news:
                self.lines.append(line)
                self.news.notify_all()


@contextmanager
def serving(*args: object, **settings: object) -> Iterator[Serving]:
    """A server on free ports; it is listening when the block begins, and gone when it ends."""
    settings = {"http_port": 0, "grpc_port": 0, "admin_port": 0, "endpoints_grace_s": 0, **settings}
    command = [sys.executable, "-m", "slipway_runtime", "serve", *map(str, args)]
    with subprocess.Popen(
        command, env=environment(**settings), stderr=subprocess.PIPE, text=True
    ) as process:
        server = Serving(process)
        reader = threading.Thread(target=server._read)
        reader.start()
        try:
            server.wait_for("listening")
            yield server
        finally:
            process.kill()
            process.wait()
            reader.join()


def pod_folder(folder: Path, source: Path, **changes: Any) -> tuple[Path, Path]:
    """What the init container leaves behind: the path of serving.json, and the model's folder."""
    from slipway_runtime.supply.digest import file_digest

    digest = file_digest(source)
    models = folder / "models"
    models.mkdir()
    (models / "model.onnx").write_bytes(source.read_bytes())
    (models / "model.json").write_text(json.dumps({"digest": digest}))
    config = folder / "serving.json"
    config.write_text(json.dumps(serving_document(digest=digest, **changes)))
    return config, models


def infer_body(name: str, datatype: str, shape: list[int], data: list[Any]) -> Mapping[str, Any]:
    """A V2 request with one input."""
    return {"inputs": [{"name": name, "datatype": datatype, "shape": shape, "data": data}]}
