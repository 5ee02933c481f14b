"""`python -m tests.h2spec`: run h2spec against a server process; exit status 0 if all is well."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from devcluster.go import installed
from devcluster.versions import versions
from tests.h2spec.report import Case, Verdict, cases, tolerated, verdict
from tests.unit.runtime import models
from tests.unit.runtime.processes import serving

PACKAGE: Final = "github.com/summerwind/h2spec/cmd/h2spec"
TOLERATED: Final = Path(__file__).with_name("tolerated.toml")
CASE_TIMEOUT_S: Final = 2
RUN_TIMEOUT_S: Final = 600


def main() -> int:
    """Build, serve, run, judge."""
    program = installed("h2spec", PACKAGE, versions().h2spec)
    with tempfile.TemporaryDirectory() as folder:
        model = models.saved(models.affine(), Path(folder) / "digits.onnx")
        report = Path(folder) / "report.xml"
        with serving(model) as server:
            server.wait_for("ready")
            run(program, server.grpc, report)
        judged = verdict(cases(report.read_text()), tolerated(TOLERATED.read_text()))
    show(judged)
    return 0 if judged.is_good else 1


def run(program: Path, address: str, report: Path) -> None:
    """Run every case; its exit status says less than its report."""
    host, port = address.rsplit(":", 1)
    address_of: list[str | Path] = ["-h", host, "-p", port]
    command = [program, *address_of, "-o", str(CASE_TIMEOUT_S), "-j", report]
    subprocess.run(
        command, stdout=subprocess.DEVNULL, stderr=sys.stderr, timeout=RUN_TIMEOUT_S, check=False
    )


def show(judged: Verdict) -> None:
    """Print what did not pass, and the counts."""
    for word, found in (("tolerated", judged.tolerated), ("FAILED", judged.broken)):
        for case in found:
            print(_line(word, case))
    for name in judged.stale:
        print(f"STALE     {name}: passes, or is no case; remove it from tolerated.toml")
    counts = f"{len(judged.tolerated)} tolerated, {len(judged.broken)} failed"
    print(f"h2spec: {judged.passed} passed, {counts}, {len(judged.stale)} stale")


def _line(word: str, case: Case) -> str:
    return f"{word:9} {case.name}: {case.says} ({case.failure})"


if __name__ == "__main__":
    sys.exit(main())
