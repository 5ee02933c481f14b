"""The run: rounds of every server in turn, each record written as soon as it is there.

Lives here: what happens in which order, and what becomes of a server that cannot be measured: a
record that says why, and the others go on.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.runtime import models, probes, tools
from benchmarks.runtime.environments import installed, size_mb
from benchmarks.runtime.errors import BenchmarkError, NotAvailable, TimeOver
from benchmarks.runtime.launches import SERVERS, SERVING, Ports, Server, Start
from benchmarks.runtime.plan import WARM_UP_S, Plan, rotated, workload
from benchmarks.runtime.processes import Processes, busy_s, free_ports, started
from benchmarks.runtime.table import Record, rounded
from benchmarks.runtime.workloads import MODELS, Array, inputs, request

FOUR: Final = "slipway-four"
"""Four processes of ours, one for each model, started at once."""

_RAW_S: Final = 1.0
_RAW_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Options:
    """How a run is made. Times in seconds; `limit_s` bounds the whole run."""

    rounds: int = 3
    seconds: int = 2
    limit_s: float = 1500.0


@dataclass(frozen=True, slots=True)
class Turn:
    """A server that runs: whose turn it is in a round."""

    server: Server
    ports: Ports
    processes: Processes
    folder: Path


@dataclass(slots=True)
class Run:
    """A run under way: where models are, what they answer, and where records go."""

    plan: Plan
    options: Options
    write: Callable[[Record], None]
    model_folder: Path = field(default_factory=models.built)
    answers: dict[str, dict[str, Array]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    """Environments that cannot be installed."""
    begun: float = field(default_factory=time.monotonic)
    round: int = 0

    def prepare(self) -> None:
        """Install everything before anything is timed."""
        for model in MODELS:
            self.answers[model] = models.expected(self.model_folder, model)
        servers = [SERVING[name] for name in self.plan.loads if name != FOUR]
        wanted = {"slipway", *self.plan.sized, *(server.environment for server in servers)}
        for environment in sorted(wanted):
            self._say(f"environment {environment}")
            try:
                installed(environment)
            except NotAvailable as err:
                self.broken.add(environment)
                owners = {s.name for s in servers if s.environment == environment}
                for name in sorted({environment, *owners}):
                    self._absent(name, err)
        self.begun = time.monotonic()

    def rounds(self) -> None:
        """Measure everything, until the rounds or the time are over.

        Raises:
            TimeOver: the time was over first; what was measured is on record.
        """
        for number in range(self.options.rounds):
            self.round = number
            for name in self.plan.sized:
                if name not in self.broken:
                    self._record("size", name, size_mb=size_mb(installed(name)))
            for name in rotated(list(self.plan.loads), number):
                self._require_time()
                try:
                    self._turn(name)
                except TimeOver:
                    raise
                except BenchmarkError as err:
                    self._absent(name, err)

    def _turn(self, name: str) -> None:
        if name == FOUR:
            self._four()
        elif SERVING[name].environment not in self.broken:
            # In the same minute as what is compared with it.
            if cases := self.plan.raw.get(name):
                self._raw(cases)
            self._one(SERVING[name])

    def _one(self, server: Server) -> None:
        """Start, weigh, load, end."""
        with self._running(server) as turn:
            seconds = probes.wait_for_first_answers(server, turn.ports, turn.processes)
            self._start(server.name, [turn.processes], seconds)
            for name in self.plan.loads[server.name]:
                self._require_time()
                try:
                    self._load(turn, name)
                except BenchmarkError as err:
                    turn.processes.require_alive()
                    self._absent(server.name, err, of=name)

    def _four(self) -> None:
        with ExitStack() as stack:
            servers = [SERVING[f"slipway-{model}"] for model in MODELS]
            turns = [stack.enter_context(self._running(server)) for server in servers]
            for turn in turns:
                probes.wait_for_first_answers(turn.server, turn.ports, turn.processes)
            seconds = time.monotonic() - turns[0].processes.started
            self._start(FOUR, [turn.processes for turn in turns], seconds)

    @contextmanager
    def _running(self, server: Server) -> Iterator[Turn]:
        with tempfile.TemporaryDirectory(prefix="slipway-bench-") as name:
            folder, ports = Path(name), free_ports()
            start = Start(folder, self.model_folder, server.models, ports, server.option)
            command = server.launch(start)
            environment = self._environment(server.models) | dict(command.environment)
            with started(command.words, environment, folder) as processes:
                yield Turn(server, ports, processes, folder)

    def _environment(self, loaded: tuple[str, ...]) -> dict[str, str]:
        return {
            "BENCHMARK_MODELS": ",".join(loaded),
            "BENCHMARK_MODEL_FOLDER": str(self.model_folder),
            "OMP_NUM_THREADS": "1",
            # Nothing of this project but what its own environment has installed.
            "PYTHONPATH": str(SERVERS),
        }

    def _start(self, name: str, processes: list[Processes], seconds: float) -> None:
        pss = sum(each.pss_mb() for each in processes)
        count = sum(len(each.pids()) for each in processes)
        self._record("start", name, start_s=seconds, pss_mb=pss, processes=count)
        self._say(f"{name}: first answer after {seconds:.2f} s, {pss:.0f} MB")

    def _load(self, turn: Turn, name: str) -> None:
        """Check, warm up, measure, check again."""
        asked = workload(name, is_plain=turn.server.is_plain)
        body, right = request(asked.model, asked.wire), self.answers[asked.model]
        size = probes.check(turn.ports, asked.model, asked.wire, right)
        load_for = tools.Loader(asked, body, turn.ports, turn.folder, size)
        load_for(WARM_UP_S)
        before = _clocks(turn.processes)
        load = load_for(self.options.seconds)
        cpu, busy, own, wall = (
            after - begun for after, begun in zip(_clocks(turn.processes), before, strict=True)
        )
        probes.check(turn.ports, asked.model, asked.wire, right)
        self._record(
            "load", turn.server.name, of=name, per_second=load.per_second,
            per_cpu_second=load.requests / cpu if cpu else None,
            p50_ms=load.p50_ms, p99_ms=load.p99_ms, errors=load.errors,
            noise_cores=max(0.0, (busy - cpu - own) / wall),
        )  # fmt: skip
        errors = f", ERRORS {load.errors}" if load.errors else ""
        self._say(f"{turn.server.name} {name}: {rounded(load.per_second)} req/s{errors}")

    def _raw(self, cases: list[str]) -> None:
        """Time ONNX Runtime alone, on the core where servers run."""
        with tempfile.TemporaryDirectory(prefix="slipway-bench-") as name:
            folder = Path(name)
            rows = {f"{model}/{key}": row for model in MODELS for key, row in inputs(model).items()}
            np.savez(folder / "rows.npz", allow_pickle=False, **rows)
            python = str(installed("slipway") / "bin" / "python")
            script = str(SERVERS / "raw_limit.py")
            words = [python, script, str(_RAW_S), str(folder / "rows.npz"), *cases]
            with started(words, self._environment(MODELS), folder) as processes:
                processes.leader.wait(_RAW_TIMEOUT_S)
                output = processes.log.read_text()
        for case, (rate, per_cpu) in json.loads(output).items():
            figures = {"inferences_per_second": rate, "per_cpu_second": per_cpu}
            self._record("raw", "raw", of=case, **figures)
            self._say(f"ONNX Runtime alone, {case}: {rounded(rate)} inf/s")

    def _absent(self, name: str, err: BenchmarkError, **of: str) -> None:
        self._record("absent", name, reason=str(err), **of)
        self._say(f"{name}: not available: {err}")

    def _record(self, kind: str, server: str, **figures: Any) -> None:
        self.write({"kind": kind, "round": self.round, "server": server, **figures})

    def _require_time(self) -> None:
        if time.monotonic() - self.begun > self.options.limit_s:
            raise TimeOver(f"over its limit of {self.options.limit_s:.0f} s; see --limit-s")

    def _say(self, text: str) -> None:
        elapsed = time.monotonic() - self.begun
        whole = self.plan.seconds(self.options.seconds) * self.options.rounds
        where = f"round {self.round + 1}/{self.options.rounds}"
        sys.stderr.write(f"[{elapsed:4.0f} s of about {whole:.0f}] {where} · {text}\n")
        sys.stderr.flush()


def _clocks(processes: Processes) -> tuple[float, float, float, float]:
    """Seconds so far: CPU of the server, of the machine, of this and the load tools, and time."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    used = [resource.getrusage(kind) for kind in kinds]
    own = sum(each.ru_utime + each.ru_stime for each in used)
    return processes.cpu_s(), busy_s(), own, time.monotonic()
