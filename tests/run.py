"""Run the test suite in stages and close with one line that counts all of them.

`python -m tests.run KIND`, with `all`, `static` or a kind of tests (`PYTEST`). Every stage prints
its time; a stage that fails ends the run, a skipped test fails it too: what cannot run here has no
place here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
CLUSTER: Final = os.environ.get("SLIPWAY_TEST_CLUSTER", "test")
SOURCES: Final = "tests/e2e/long/test_sources.py"
PIPELINES: Final = "tests/e2e/long/test_pipelines.py"
KEDA: Final = "tests/cluster/test_keda.py"
PYTEST: Final = {
    "unit": ["tests/unit", "tests/contract", "tests/chart", "tests/clients/test_smoke.py"],
    "cluster": ["tests/cluster", "-m", "not long"],
    "e2e": ["tests/e2e", "--ignore=tests/e2e/long"],
    "clients": ["tests/clients"],
    "supply": [
        "-s",
        "tests/supply",
        *(f"tests/e2e/long/test_{t}.py" for t in ("sources", "pipelines", "optimization")),
    ],
    "autoscaling": ["-s", "tests/e2e/long/test_autoscaling.py", KEDA],
    "faults": ["tests/cluster", "-m", "long", f"--ignore={KEDA}"],
    "ui": ["tests/ui"],
    "convert": ["-s", "tests/convert", "tests/e2e/long/test_conversion.py"],
}
ALL: Final = ("unit", "cluster", "e2e")
"""What `make test` runs; the others are longer, and have targets of their own. They run beside
processes with clocks of their own: what fails in them is tried once more alone, and told. What
fails twice has failed."""
MOST_RETRIED: Final = 5
"""More than these are no accident."""
_SOURCES: Final = [
    "operator",
    "runtime",
    "devcluster",
    "demo",
    "tests",
    "benchmarks",
    "charts",
    "docs",
]
_TYPED: Final = [
    "operator/slipway_operator", "runtime/slipway_runtime", *_SOURCES[2:],
]  # fmt: skip
_STORES: Final = ["docker-registry", "curl", "openssl"]
"""Debian packages of the real model stores that tests fetch from."""
_CLOCKS: Final = ["libfaketime"]
"""Debian packages that give a process a wrong clock."""
_BROWSER: Final = ["chromium", "chromium-driver"]
"""Debian packages of a real browser, and of what drives it."""
_CRD: Final = "crds/slipway.dev_modeldeployments.yaml"


@dataclass(frozen=True, slots=True)
class Count:
    """How the tests of one kind went."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    retried: tuple[str, ...] = ()
    """Tests that failed and then passed alone."""

    def __add__(self, other: Count) -> Count:
        return Count(
            self.passed + other.passed,
            self.failed + other.failed,
            self.skipped + other.skipped,
            self.retried + other.retried,
        )


class StageFailed(Exception):
    """A stage ended badly; its output says why."""


def run(command: Sequence[str], **more: str) -> None:
    """Run a command in the repository.

    Raises:
        StageFailed: its exit status is not 0.
    """
    done = subprocess.run(list(command), cwd=ROOT, env={**os.environ, **more}, check=False)
    if done.returncode:
        raise StageFailed(" ".join(command))


def python(*arguments: str) -> list[str]:
    """Command line of this Python."""
    return [sys.executable, *arguments]


def set_up(kinds: Sequence[str]) -> None:
    """Install and build what the tests need: packages, tools, images, the clients' environments."""
    if "unit" in kinds or "clients" in kinds:
        run(python("-m", "tests.clients.environments"))
    if "convert" in kinds:
        run(python("-m", "tests.convert.environment"))
    if list(kinds) == ["clients"]:
        return
    if list(kinds) == ["ui"]:
        run(python("-m", "devcluster", "packages", "--also", *_BROWSER))
        return
    run(python("-m", "devcluster", "packages", "--also", *_STORES, *_CLOCKS))
    run(python("-m", "devcluster", "tools"))
    run(python("-m", "devcluster", "images"))
    if "convert" in kinds:
        run(python("-m", "devcluster", "images", "--only", "converter-torch"))


def static() -> None:
    """Format, lint, types, import contracts, generated files."""
    tools = Path(sys.executable).parent
    run([f"{tools}/ruff", "format", "--check", "-q", *_SOURCES])
    run([f"{tools}/ruff", "check", "-q", *_SOURCES])
    run([f"{tools}/mypy", *_TYPED])
    run([f"{tools}/lint-imports"])
    run(python("-m", "slipway_operator.api.crd", "--check", _CRD))
    run(python("docs/generate.py", "--check"))
    run(python("-m", "benchmarks.runtime.page", "--check"))
    run(python("-m", "benchmarks.operator.page", "--check"))
    run(python("-m", "benchmarks.rollout.page", "--check"))
    run(python("-m", "benchmarks.attack.page", "--check"))
    run(python("-m", "tests.convert.page", "--check"))


def cluster_up() -> None:
    """Start the tests' own Kubernetes, new.

    A run that was cut short left one with its operator, which would go on acting on what these
    tests make.
    """
    cluster_down()
    run(python("-m", "devcluster", "up", "--name", CLUSTER, "--no-metrics-server"))


def cluster_down() -> None:
    """Remove it."""
    run(python("-m", "devcluster", "down", "--name", CLUSTER))


def tests(kind: str) -> Count:
    """Run the tests of one kind and count them; failures are counted, not raised."""
    first, failed = attempt(PYTEST[kind])
    if kind not in ALL or not 0 < len(failed) <= MOST_RETRIED:
        return first
    print(f"── {len(failed)} failed; once more, alone: {' '.join(failed)}", flush=True)
    second, _ = attempt(failed)
    if second.failed or second.passed != len(failed):
        return first
    return Count(first.passed + second.passed, 0, first.skipped, tuple(failed))


def attempt(arguments: Sequence[str]) -> tuple[Count, list[str]]:
    """Run pytest once; the count, and the ids of the tests that failed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = python(
            "-m", "pytest", "-q", "-o", "junit_family=xunit1", f"--junitxml={report}", *arguments
        )
        done = subprocess.run(command, cwd=ROOT, check=False)
        if not report.exists():
            return Count(failed=1), []
        suite = ET.parse(report).getroot().find("testsuite")  # noqa: S314 - pytest's own report
    count = _count_of(suite)
    if done.returncode and not count.failed:
        return count + Count(failed=1), []
    return count, _failures(suite)


def _count_of(suite: ET.Element | None) -> Count:
    number = {k: int(suite.get(k, 0)) if suite is not None else 0
              for k in ("tests", "failures", "errors", "skipped")}  # fmt: skip
    failed = number["failures"] + number["errors"]
    return Count(number["tests"] - failed - number["skipped"], failed, number["skipped"])


def _failures(suite: ET.Element | None) -> list[str]:
    """Ids as pytest takes them; a test that fails and whose clearing up fails, too, stands once."""
    cases = suite.iter("testcase") if suite is not None else ()
    failed = [c for c in cases if c.find("failure") is not None or c.find("error") is not None]
    return list(dict.fromkeys(_id_of(case) for case in failed))


def _id_of(case: ET.Element) -> str:
    """`tests/test_a.py::TestClass::test_b`; the report joins module and class by a dot."""
    file = case.get("file", "")
    module = file.removesuffix(".py").replace("/", ".")
    classes = [c for c in case.get("classname", "").removeprefix(module).split(".") if c]
    return "::".join([file, *classes, case.get("name", "")])


def timed(name: str, stage: Callable[[], object]) -> None:
    """Run a stage and say how long it took."""
    print(f"── {name}", flush=True)
    start = time.monotonic()
    stage()
    print(f"── {name}: {time.monotonic() - start:.0f} s", flush=True)


def suite(kinds: Sequence[str], *, with_static: bool, with_cluster: bool) -> int:
    """Run stages in order; tell the exit status."""
    counts: dict[str, Count] = {}
    try:
        timed("set-up", partial(set_up, kinds))
        if with_static:
            timed("static checks", static)
        if with_cluster:
            timed("cluster", cluster_up)
        for kind in kinds:
            timed(f"{kind} tests", partial(_count, counts, kind))
            if counts[kind].failed:
                break
    except StageFailed as failed:
        print(f"failed: {failed}", flush=True)
        counts["stage"] = Count(failed=1)
    finally:
        if with_cluster:
            timed("cluster down", cluster_down)
    return _close(counts, kinds)


def _count(counts: dict[str, Count], kind: str) -> None:
    counts[kind] = tests(kind)


def _close(counts: dict[str, Count], kinds: Sequence[str]) -> int:
    missing = [k for k in kinds if k not in counts or not counts[k].passed]
    parts = [f"{kind} {count.passed} passed" for kind, count in counts.items()]
    total = sum(counts.values(), Count())
    print(f"\n{', '.join(parts)}; not run: {', '.join(missing) or 'none'}")
    if total.retried:
        print(f"passed at the second attempt only: {', '.join(total.retried)}")
    print(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped", flush=True)
    return int(bool(total.failed or total.skipped or missing))


def _static_only() -> int:
    try:
        timed("static checks", static)
    except StageFailed as failed:
        print(f"failed: {failed}", flush=True)
        return 1
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for."""
    match list(arguments):
        case ["all"]:
            return suite(ALL, with_static=True, with_cluster=True)
        case ["static"]:
            return _static_only()
        case ["unit" | "clients" as kind]:
            return suite([kind], with_static=False, with_cluster=False)
        case ["cluster" | "e2e" | "autoscaling" | "faults" | "supply" | "ui" | "convert" as kind]:
            return suite([kind], with_static=False, with_cluster=True)
    print(f"usage: python -m tests.run all|static|{'|'.join(PYTEST)}")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
