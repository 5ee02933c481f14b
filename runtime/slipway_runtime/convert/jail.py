"""Run the converting process: its own session, few rights, no environment, a time limit.

It has no network (`network.py`). It shares the file system with its parent as far as permissions
go; what it must not have (credentials, a token), the parent must not have either.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from slipway_runtime.convert.network import shut_off
from slipway_runtime.convert.task import Report, Task
from slipway_runtime.errors import SUPPLY_ERRORS, InvalidModel, clipped

CHILD: Final = "slipway_runtime.convert.child"
_PASSED: Final = ("PATH", "LD_LIBRARY_PATH", "LANG")
_STDERR_BYTES: Final = 600

Progress = Callable[[str], object]


def converted(task: Task, *, timeout_s: float, progress: Progress) -> Report:
    """Convert in a child process; the result lies at `task.target`.

    Raises:
        SupplyError: why there is none.
    """
    with tempfile.TemporaryDirectory(prefix="slipway-convert-") as folder:
        return _run(task, Path(folder), timeout_s, progress)


def _run(task: Task, folder: Path, timeout_s: float, progress: Progress) -> Report:
    errors = folder / "stderr"
    shut_off()
    with errors.open("wb") as stderr:
        child = subprocess.Popen(  # noqa: S603  # our own module
            [sys.executable, "-P", "-m", CHILD],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr,
            cwd=folder, env=_environment(folder), start_new_session=True,
        )  # fmt: skip
    with _limited(child, timeout_s) as expired:
        answer = _conversation(child, task, progress)
    if expired.is_set():
        raise InvalidModel(
            f"model: not converted within {timeout_s:g}s, expected less; "
            "allow more with --timeout if it is slow by nature"
        )
    return _outcome(answer, child.returncode, errors)


def _conversation(
    child: subprocess.Popen[bytes], task: Task, progress: Progress
) -> dict[str, Any] | None:
    """Hand the task over, and read one JSON object a line until the last."""
    if child.stdin is None or child.stdout is None:
        raise RuntimeError("no pipes to the converting process")
    with suppress(BrokenPipeError), child.stdin as stdin:
        stdin.write(task.model_dump_json(by_alias=True).encode())
    answer = None
    for line in child.stdout:
        with suppress(ValueError):
            message = json.loads(line)
            if "step" in message:
                progress(str(message["step"]))
            else:
                answer = message
    child.stdout.close()
    return answer


@contextmanager
def _limited(child: subprocess.Popen[bytes], timeout_s: float) -> Iterator[threading.Event]:
    """End the child and whatever it has started, at the latest after `timeout_s`."""
    expired = threading.Event()

    def end() -> None:
        expired.set()
        _kill(child)

    timer = threading.Timer(timeout_s, end)
    timer.start()
    try:
        yield expired
        child.wait()
    finally:
        timer.cancel()
        _kill(child)
        child.wait()


def _kill(child: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def _outcome(answer: dict[str, Any] | None, code: int, errors: Path) -> Report:
    if code < 0:
        raise InvalidModel(
            f"model: converting it ended in {signal.Signals(-code).name}; it is broken, hostile or "
            "too large for the memory limit"
        )
    match answer:
        case {"report": dict(report)}:
            return Report.model_validate(report)
        case {"failure": {"reason": str(reason), "message": str(text)}} if reason in SUPPLY_ERRORS:
            raise SUPPLY_ERRORS[reason](text)
        case {"missing": str(module)}:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
    last = errors.read_bytes()[-_STDERR_BYTES:].decode(errors="replace")
    raise InvalidModel(
        f"model: converting it ended with exit code {code} and no result "
        f"({clipped(' '.join(last.split()), _STDERR_BYTES)})"
    )


def _environment(folder: Path) -> dict[str, str]:
    """Nothing of ours but where programs lie; a fixed hash seed makes exporters steady."""
    passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
    return {
        **passed,
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "KERAS_BACKEND": "tensorflow",
    }
