"""`python -m benchmarks.soak [--minutes M] [--rate R] [--publish]`: status 0 if all rows pass."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from benchmarks.attack.page import publish
from benchmarks.machine import machine
from benchmarks.publishing import offer, refuse_narrowed
from benchmarks.soak.load import COLUMNS, Load, Tally
from benchmarks.soak.sampling import sample
from benchmarks.soak.verdict import Row, Sample, judge, table
from tests.unit.runtime import models
from tests.unit.runtime.processes import Serving, serving

SAMPLES: Final = 200
"""As many as the run has room for; the shorter the run, the closer they are."""
REST_S: Final = 20.0
"""How long what clients have left may take to be gone; the model's arena stays as it is."""


@dataclass(frozen=True, slots=True)
class Course:
    """What clients and looks at the server noted."""

    tally: Tally
    before: Sample
    under_load: Sequence[Sample]
    after: Sample

    def rows(self) -> list[Row]:
        """The course, judged."""
        errors = sum(self.tally.errors.values())
        return judge(self.under_load, self.before, self.after, errors)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve, load, sample, judge."""
    found = parser()
    options = found.parse_args(arguments)
    refuse_narrowed(found, options)
    about = machine()
    with tempfile.TemporaryDirectory() as folder:
        model = models.saved(models.affine(COLUMNS, 10), Path(folder) / "digits.onnx")
        with serving(model) as server:
            server.wait_for("ready")
            course = soak(server, options.minutes * 60, options.rate)
            served = server.stop()
    tally, rows = course.tally, course.rows()
    report = {**about, **records(course, rows, options.minutes, options.rate, served)}
    if options.json:
        options.json.write_text(json.dumps(report) + "\n")
    if options.publish:
        publish("soak", report)
    print(
        f"{sum(tally.sent.values())} requests of {len(tally.sent)} kinds in {options.minutes} min"
    )
    for kind, count in tally.errors.most_common(10):
        print(f"  {count} x {kind}")
    print(table(rows))
    is_passed = all(row.is_passed for row in rows) and served == 0
    print("pass" if is_passed else f"FAIL (the server ended with {served})")
    return 0 if is_passed else 1


def records(
    course: Course, rows: Sequence[Row], minutes: float, rate_per_s: float, status: int
) -> dict[str, Any]:
    """A run for a file: the settings, every row, and the looks from which the rows follow."""
    return {
        "minutes": minutes,
        "rate": rate_per_s,
        "status": status,
        "sent": dict(course.tally.sent),
        "errors": dict(course.tally.errors),
        "rows": [row.json() for row in rows],
        "looks": [asdict(sample) for sample in (course.before, *course.under_load, course.after)],
    }


def soak(server: Serving, duration_s: float, rate_per_s: float) -> Course:
    """Run the load beside the sampling; this thread samples."""
    tally = Tally()
    begun_s = time.monotonic()
    with httpx.Client(trust_env=False) as client:

        def look() -> Sample:
            at_s = time.monotonic() - begun_s
            return sample(server.process.pid, f"{server.admin}/status", client, at_s)

        look()  # opens the admin connection, which stays
        before = look()
        samples = []
        with ThreadPoolExecutor(1) as pool:
            clients = pool.submit(asyncio.run, loaded(server, tally, duration_s, rate_per_s))
            while not clients.done():
                samples.append(look())
                wait([clients], duration_s / SAMPLES)
            clients.result()
        # The last looks meet clients that close: they belong to rest.
        under_load = [each for each in samples if each.at_s < duration_s]
        after = at_rest(look, before)
    return Course(tally, before, under_load, after)


async def loaded(server: Serving, tally: Tally, duration_s: float, rate_per_s: float) -> None:
    """Run the clients, in a loop of their own."""
    await Load(server.url, server.grpc, tally).run(duration_s, rate_per_s)


def at_rest(look: Callable[[], Sample], before: Sample) -> Sample:
    """Wait until as little is open as before, or until it should have been long ago."""
    end_s = time.monotonic() + REST_S
    while True:
        after = look()
        is_rest = after.fds <= before.fds and after.tasks <= before.tasks
        if is_rest or time.monotonic() > end_s:
            return after
        time.sleep(0.5)  # between two looks: the server tells nobody that it rests


def parser() -> argparse.ArgumentParser:
    """The options; their defaults are a whole run."""
    found = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    found.add_argument("--minutes", type=float, default=10, help="length (default: %(default)s)")
    found.add_argument("--rate", type=float, default=200, help="requests/s (default: %(default)s)")
    offer(found)
    return found


if __name__ == "__main__":
    sys.exit(main())
