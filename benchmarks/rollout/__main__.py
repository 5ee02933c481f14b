"""`python -m benchmarks.rollout [--mode service]`: roll versions out under load; then a table.

The exit status is 1 when a case fails.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from benchmarks.rollout.cases import CASES, RATES, REPLICAS, Case, Mode
from benchmarks.rollout.judging import Course, Look, Request, faults, judged
from benchmarks.rollout.page import publish
from benchmarks.rollout.stage import Stage, staged
from benchmarks.rollout.table import markdown, plain
from devcluster import images
from devcluster.cluster import Cluster
from tests.e2e.installation import Installation
from tests.e2e.models import Models, namespace_with_models
from tests.kubeapi import Api


def main() -> int:
    """Measure and judge."""
    options = parser().parse_args()
    chosen = [c for c in CASES if not options.case or c.name in options.case]
    about = machine()
    failed = []
    with _cluster(options.cluster, keep=options.keep) as cluster:
        api = Api(cluster.kubeconfig)
        _installed(cluster, api)
        for mode in options.mode or [Mode.SERVICE]:
            with namespace_with_models(api, cluster.kubeconfig) as models:
                results = measure(cluster, models, mode, chosen, options.raw)
            report = {**about, **_report(mode, results)}
            if options.publish:
                publish(mode, report)
            print(f"\n{mode}\n{markdown(results)}", flush=True)
            failed += [f"{mode}: {r['name']}" for r in results if r["faults"]]
    print(f"\n{'fail: ' + '; '.join(failed) if failed else 'pass'}")
    return int(bool(failed))


def measure(
    cluster: Cluster, models: Models, mode: Mode, cases: Sequence[Case], raw: Path | None
) -> list[dict[str, Any]]:
    """Play all cases of a mode; each is told as it ends."""
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = raw or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        with staged(cluster, models, mode, folder) as stage:
            for case in cases:
                results.append(_result(case, mode, stage))
                print(f"{mode}: {plain(results[-1])}", flush=True)
    return results


def _result(case: Case, mode: Mode, stage: Stage) -> dict[str, Any]:
    course = stage.run(case)
    found = judged(case, mode, course)
    return {
        "name": case.name,
        "figures": found.json(),
        "faults": faults(case, mode, course, found),
        "stable": course.before,
        "candidate": course.candidate,
        "seconds": _seconds(course),
        "looks": _looks(course),
    }


def _seconds(course: Course) -> list[Any]:
    """How many requests of each wire, revision and outcome were answered, second by second."""
    zero_s = course.looks[0].at_s

    def key(request: Request) -> tuple[int, str, str, str]:
        second = int(request.answered_s - zero_s)
        return second, request.wire, request.revision, request.outcome

    return [[*k, n] for k, n in sorted(Counter(map(key, course.requests)).items())]


def _looks(course: Course) -> list[Any]:
    """Looks that differ from the one before, with seconds since the first."""
    zero_s = course.looks[0].at_s

    def told(look: Look) -> tuple[Any, ...]:
        return (look.state, look.step, look.reason, look.applied, look.serving, len(look.pods))

    return [[round(next(same).at_s - zero_s, 1), *k] for k, same in groupby(course.looks, told)]


def _report(mode: Mode, results: list[dict[str, Any]]) -> dict[str, Any]:
    return {"replicas": REPLICAS[mode], "rate": sum(RATES.values()), "results": results}


@contextmanager
def _cluster(name: str, *, keep: bool) -> Iterator[Cluster]:
    cluster = Cluster(name)
    cluster.up(metrics_server=False, traefik=True)
    try:
        yield cluster
    finally:
        if not keep:
            cluster.down()


def _installed(cluster: Cluster, api: Api) -> None:
    built = {half: images.build(half) for half in images.HALVES}
    for reference in built.values():
        cluster.load_image(reference)
    Installation(cluster.kubeconfig, api, built, "registry.invalid:5000").upgrade()


def parser() -> argparse.ArgumentParser:
    """The options."""
    found = argparse.ArgumentParser(prog="python -m benchmarks.rollout", description=__doc__)
    found.add_argument("--mode", type=Mode, action="append", choices=list(Mode),
                       help="how traffic comes (default: service); may be repeated")  # fmt: skip
    found.add_argument("--case", action="append", choices=[c.name for c in CASES], metavar="NAME",
                       help="only this one; may be repeated")  # fmt: skip
    found.add_argument("--cluster", default="bench-rollout", help="its name")
    found.add_argument("--raw", type=Path, help="keep every request in this folder")
    found.add_argument("--publish", action="store_true", help="let docs/ tell of this run")
    found.add_argument("--keep", action="store_true", help="leave the cluster up")
    return found


if __name__ == "__main__":
    sys.exit(main())
