"""`python -m benchmarks.attack [--seconds S] [--turns N] [--only WORD] [--publish]`.

Exit status 0 if no attack costs good clients more than it may.

Cores: the server has one for itself, as a pod's CPU limit would give it; the good client has the
other, and the attacker shares that one at the lowest priority: it would be on another machine, and
what it takes must not be taken from who measures. What it sends is bounded by its rate.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from benchmarks.attack import attackers
from benchmarks.attack.attackers import Attack, Target
from benchmarks.attack.client import INTERVAL_S, GrpcClient, RestClient, measure, pinned
from benchmarks.attack.page import publish
from benchmarks.attack.verdict import MAX_RATIO, Cost, Turns, cost, table
from benchmarks.machine import machine
from benchmarks.publishing import offer, refuse_narrowed
from tests.unit.runtime import models
from tests.unit.runtime.processes import Serving, serving

SETTLE_S: Final = 0.5
"""Between turns: what an attack has left behind is cleared away, and it is under way."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve, attack, measure, judge."""
    cores = sorted(os.sched_getaffinity(0))
    options = parsed(arguments, len(cores))
    about = machine()
    chosen = [each for each in attackers.attacks() if options.only in each.name]
    costs = measured(chosen, cores, options)
    report = {**about, **records(costs, options.turns, options.seconds)}
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    if options.publish:
        publish("attack", report)
    failed = [each for each in costs if not each.is_passed]
    print(f"{len(costs) - len(failed)} passed, {len(failed)} failed, on {len(cores)} cores")
    return 1 if failed or not costs else 0


def parsed(arguments: Sequence[str] | None, cores: int) -> argparse.Namespace:
    """The options; what cannot be published is refused ahead of a run of minutes."""
    found = parser()
    options = found.parse_args(arguments)
    refuse_narrowed(found, options)
    if options.publish and cores < 2:
        found.error("--publish: got 1 core, expected 2: one for the server, one for its clients")
    return options


def measured(
    chosen: Sequence[Attack], cores: Sequence[int], options: argparse.Namespace
) -> list[Cost]:
    """What each attack costs each client; each is told as it ends."""
    costs: list[Cost] = []
    with tempfile.TemporaryDirectory() as folder:
        model = models.saved(models.affine(1, 3), Path(folder) / "digits.onnx")
        with serving(model) as server:
            server.wait_for("ready")
            _pin(server, cores[0])
            pinned(cores[-1])
            _prefer(0)
            for attack in chosen:
                found = costs_of(attack, server, cores[-1], options.turns, options.seconds)
                print(table(found), flush=True)
                costs += found
    return costs


def records(costs: Sequence[Cost], turns: int, duration_s: float) -> dict[str, Any]:
    """A run for a file: the settings, then every row."""
    return {
        "turns": turns,
        "seconds": duration_s,
        "requests_per_s": 1 / INTERVAL_S,
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "max_ratio": MAX_RATIO,
        "rows": [each.json() for each in costs],
    }


def costs_of(
    attack: Attack, server: Serving, core: int, turns: int, duration_s: float
) -> list[Cost]:
    """Measure in turns, alone and attacked, so that the machine's moods meet both."""
    target = Target(server.url.removeprefix("http://"), server.grpc)
    clients: list[RestClient | GrpcClient] = [RestClient(target.http), GrpcClient(target.grpc)]
    alone: list[list[Turns]] = [[] for _ in clients]
    attacked: list[list[Turns]] = [[] for _ in clients]

    def measured(into: list[list[Turns]]) -> None:
        begun_s, begun_cpu_s = time.perf_counter(), cpu_s(server.process.pid)
        with ThreadPoolExecutor(len(clients)) as pool:
            running = [pool.submit(measure, c.ask, c.close, duration_s) for c in clients]
            found = [each.result() for each in running]
        share = (cpu_s(server.process.pid) - begun_cpu_s) / (time.perf_counter() - begun_s)
        for turns_of, turn in zip(into, found, strict=True):
            turns_of.append(replace(turn, cpu=share))

    for client in clients:  # connected, and warm
        measure(client.ask, client.close, SETTLE_S)
    for _ in range(turns):
        measured(alone)
        with attacking(attack, target, core):
            measure(clients[0].ask, clients[0].close, SETTLE_S)
            measured(attacked)
        measure(clients[0].ask, clients[0].close, SETTLE_S)
    for client in clients:
        client.close()
    return [
        cost(attack.name, client.name, _together(quiet), _together(loud))
        for client, quiet, loud in zip(clients, alone, attacked, strict=True)
    ]


def _together(turns: list[Turns]) -> Turns:
    return Turns(
        [each for turn in turns for each in turn.latencies_s],
        sum(turn.failures for turn in turns),
        fmean(turn.cpu for turn in turns),
    )


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used, in all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def attacking(attack: Attack, target: Target, core: int) -> Iterator[None]:
    """Attack from a process of its own for as long as the block runs."""
    process = multiprocessing.get_context("fork").Process(
        target=attackers.run, args=(attack, target, core), daemon=True
    )
    process.start()
    try:
        yield
        if not process.is_alive():
            raise RuntimeError(f"{attack.name}: the attacker ended by itself")
    finally:
        process.kill()
        process.join()


def _pin(server: Serving, core: int) -> None:
    """Every thread that the server has: those to come inherit it."""
    for thread in Path(f"/proc/{server.process.pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})
        _prefer(int(thread.name))


def _prefer(thread: int) -> None:
    """Ahead of whatever else this machine does, where that is allowed: it is not to be measured."""
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, thread, -15)


def parser() -> argparse.ArgumentParser:
    """The options; their defaults are a whole run."""
    summary, _, _ = (__doc__ or "").partition("\n\n")
    found = argparse.ArgumentParser(prog="python -m benchmarks.attack", description=summary)
    found.add_argument("--seconds", type=float, default=3, help="of a turn (default: %(default)s)")
    found.add_argument("--turns", type=int, default=4, help="of each kind (default: %(default)s)")
    found.add_argument("--only", default="", metavar="WORD", help="attacks whose name has it")
    offer(found)
    return found


if __name__ == "__main__":
    sys.exit(main())
