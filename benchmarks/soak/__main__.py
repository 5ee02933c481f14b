"""`python -m benchmarks.soak [--minutes M] [--rate R]`: exit status 0 if every row passes."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Final

import httpx

from benchmarks.soak.load import COLUMNS, Load, Tally
from benchmarks.soak.sampling import sample
from benchmarks.soak.verdict import Row, Sample, judge, table
from tests.unit.runtime import models
from tests.unit.runtime.processes import Serving, serving

SAMPLES: Final = 200
"""As many as the run has room for; the shorter the run, the closer they are."""
REST_S: Final = 20.0
"""How long what clients have left may take to be gone; the model's arena stays as it is."""


def main() -> int:
    """Serve, load, sample, judge."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="length (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=200, help="requests/s (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = models.saved(models.affine(COLUMNS, 10), Path(folder) / "digits.onnx")
        with serving(model) as server:
            server.wait_for("ready")
            tally, rows = soak(server, options.minutes * 60, options.rate)
            served = server.stop()
    print(
        f"{sum(tally.sent.values())} requests of {len(tally.sent)} kinds in {options.minutes} min"
    )
    for kind, count in tally.errors.most_common(10):
        print(f"  {count} x {kind}")
    print(table(rows))
    is_passed = all(row.is_passed for row in rows) and served == 0
    print("pass" if is_passed else f"FAIL (the server ended with {served})")
    return 0 if is_passed else 1


def soak(server: Serving, duration_s: float, rate_per_s: float) -> tuple[Tally, list[Row]]:
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
    return tally, judge(under_load, before, after, sum(tally.errors.values()))


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


if __name__ == "__main__":
    sys.exit(main())
