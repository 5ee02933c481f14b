"""Measure the runtime beside its rivals; print the ratio table.

Usage: `python -m benchmarks.runtime [--rounds N] [--seconds N] [--only ROW,…] [--servers NAME,…]
[--quick] [--limit-s S] [--keep]`. Exit status: 0 every must is met or noise, 1 one is missed,
2 the run failed, or took longer than it may.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NoReturn

from benchmarks.machine import place
from benchmarks.runtime import page
from benchmarks.runtime.environments import ENVIRONMENTS
from benchmarks.runtime.errors import BenchmarkError, TimeOver
from benchmarks.runtime.launches import NAMES, SERVING, TRITON_PACKAGES
from benchmarks.runtime.page import described, settings
from benchmarks.runtime.plan import planned
from benchmarks.runtime.processes import CLIENT_CORE
from benchmarks.runtime.rounds import FOUR, Options, Run
from benchmarks.runtime.rows import NUMBERS, rows_for
from benchmarks.runtime.table import Record, details, markdown, measured, results
from benchmarks.runtime.tools import PACKAGES
from benchmarks.runtime.verdicts import Verdict
from devcluster import packages
from devcluster.cache import folder
from devcluster.errors import DevclusterError

KEPT: Final = Path(__file__).resolve().parent / "results"
"""The run that the documents tell about, committed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for."""
    asked = parser().parse_args(arguments)
    try:
        return _measure(asked)
    except BenchmarkError as err:
        sys.stderr.write(f"benchmark: {err}\n")
        return 2


def _listed(text: str, known: frozenset[str], option: str) -> frozenset[str]:
    """Read a list, and refuse what does not exist: a typo would measure nothing, and pass."""
    found = frozenset(filter(None, text.split(",")))
    if unknown := sorted(found - known):
        raise BenchmarkError(f"{option}: got {unknown[0]!r}, expected {', '.join(sorted(known))}")
    return found


def _end(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _measure(asked: argparse.Namespace) -> int:
    rows = rows_for(_listed(asked.only, NUMBERS, "--only"))
    plan = planned(rows, _listed(asked.servers, frozenset(SERVING), "--servers"))
    if (os.cpu_count() or 1) < 2:
        raise BenchmarkError("cores: got 1, expected 2: one for the server, one for its clients")
    _install()
    # Servers are ended by leaving their blocks, which a signal's default action does not do.
    signal.signal(signal.SIGTERM, _end)
    options = Options(1 if asked.quick else asked.rounds, asked.seconds, asked.limit_s)
    records: list[Record] = [machine(options)]
    target = folder("benchmarks", "results", _stamp())
    is_whole = True
    with (target / "raw.jsonl").open("w") as stream:

        def write(record: Record) -> None:
            records.append(record)
            stream.write(json.dumps(record) + "\n")
            stream.flush()

        stream.write(json.dumps(records[0]) + "\n")
        run = Run(plan, options, write)
        run.prepare()
        os.sched_setaffinity(0, {CLIENT_CORE})
        try:
            run.rounds()
        except TimeOver as err:
            sys.stderr.write(f"benchmark: {err}\n")
            is_whole = False
    found = measured(results(records, rows))
    text = f"{described(records)}\n\n{markdown(found, NAMES)}\n{details(records, NAMES)}"
    (target / "table.md").write_text(f"{text}\n{settings(records[0])}\n")
    sys.stdout.write(f"{text}\n{target}\n")
    if not is_whole:
        return 2
    if asked.keep:
        keep(target)
    return int(any(result.verdict is Verdict.MISSED for result in found))


def keep(target: Path) -> None:
    """Make a run the one that is committed, and that the documents tell about."""
    KEPT.mkdir(exist_ok=True)
    for name in ("raw.jsonl", "table.md"):
        shutil.copy(target / name, KEPT / name)
    page.main([])


def _install() -> None:
    """Install Debian packages; without Triton's the others can still be measured."""
    try:
        packages.install_missing(PACKAGES)
        packages.install_missing(TRITON_PACKAGES)
    except DevclusterError as err:
        if packages.missing(PACKAGES):
            raise BenchmarkError(str(err)) from err
        sys.stderr.write(f"benchmark: {err}\n")


def machine(options: Options) -> dict[str, Any]:
    """What the figures were taken on, and with which settings."""
    return {
        "kind": "machine",
        **place(),
        "python": platform.python_version(),
        "versions": _versions(),
        "seconds": options.seconds,
        "servers": {**_UNSERVED, **_serving()},
    }


_TOLD: Final = (
    "mlserver", "kserve", "nvidia-pytriton", "fastapi", "flask", "gunicorn", "uvicorn", "uvloop",
    "onnxruntime", "numpy", "grpcio",
)  # fmt: skip
_UNSERVED: Final = {
    FOUR: {
        "title": "Slipway, four processes",
        "setting": "one for each model, started at once on the same core",
        "environment": "slipway",
    },
    "raw": {
        "title": NAMES["raw"],
        "setting": "a loop around `run`, 1 thread, no server",
        "environment": "slipway",
    },
}
"""What is measured without load."""


def _serving() -> dict[str, dict[str, str]]:
    return {
        name: {
            "title": server.title,
            "setting": server.setting,
            "environment": server.environment,
        }
        for name, server in SERVING.items()
    }


def _versions() -> dict[str, dict[str, str]]:
    """The pinned versions that matter, by environment and package."""
    found: dict[str, dict[str, str]] = {}
    for name, environment in ENVIRONMENTS.items():
        lines = [line for lock in environment.locks for line in lock.read_text().splitlines()]
        pins = [line.partition("==") for line in lines if "==" in line]
        # Of several pins the first is for the oldest Python, which is the one in use.
        told = {package: rest.split()[0] for package, _, rest in reversed(pins)}
        found[name] = {package: told[package] for package in _TOLD if package in told}
    return found


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y%m%d-%H%M%S")


def parser() -> argparse.ArgumentParser:
    """Describe the options."""
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.runtime", description=(__doc__ or "").splitlines()[0]
    )
    options.add_argument("--rounds", type=int, default=3, help="rounds (%(default)s)")
    options.add_argument("--seconds", type=int, default=2, help="each load (%(default)s)")
    options.add_argument("--only", default="", metavar="ROWS", help="rows, as in 1,5a,13")
    options.add_argument("--servers", default="", metavar="NAMES", help="these rivals only")
    options.add_argument("--quick", action="store_true", help="one round")
    options.add_argument(
        "--limit-s", type=float, default=1500.0, help="the whole run (%(default)s)"
    )
    options.add_argument("--keep", action="store_true", help="make it the run that is committed")
    return options


if __name__ == "__main__":
    sys.exit(main())
