"""The run: rounds of every server in turn, each record written as soon as it is there."""

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
from benchmarks.runtime.errors import BenchmarkError, NotAvailable
from benchmarks.runtime.launches import SERVERS, SERVING, Ports, Server, Start
from benchmarks.runtime.plan import WARM_UP_S, Plan, rotated, workload
from benchmarks.runtime.processes import Processes, busy_s, free_ports, started
from benchmarks.runtime.table import Record, rounded
from benchmarks.runtime.workloads import MODELS, Array, Workload, inputs, request

FOUR: Final = "slipway-four"
_RAW_S: Final = 1.0
_RAW_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Options:
    """How a run is made. Times in seconds; `limit_s` bounds the whole run."""

    rounds: int = 3
    seconds: int = 2
    limit_s: float = 1500.0


@dataclass(slots=True)
class Run:
    """A run under way: where models are, what they answer, and where records go."""

    plan: Plan
    options: Options
    write: Callable[[Record], None]
    model_folder: Path = field(default_factory=models.built)
    begun: float = field(default_factory=time.monotonic)
    round: int = 0

    def rounds(self) -> None:
        """Measure everything, until the rounds or the time are over.

        Raises:
            BenchmarkError: the time was over first.
        """
        answers = {model: models.expected(self.model_folder, model) for model in MODELS}
        for number in range(self.options.rounds):
            self.round = number
            for name in self.plan.sized:
                self._size(name)
            for name in rotated(list(self.plan.loads), number):
                self._require_time()
                if name == FOUR:
                    self._four()
                else:
                    self._server(SERVING[name], answers)

    def _server(self, server: Server, answers: dict[str, dict[str, Array]]) -> None:
        """One server's turn: start, weigh, load, end."""
        try:
            # In the same minute as what is compared with it.
            if cases := self.plan.raw.get(server.name):
                self._raw(cases)
            with self._running(server) as (ports, processes, folder):
                seconds = probes.wait_for_first_answers(server, ports, processes)
                self._start(server.name, [processes], seconds)
                for name in self.plan.loads[server.name]:
                    self._require_time()
                    asked = workload(name, is_plain=server.is_plain)
                    self._load(server.name, name, asked, ports, processes, folder, answers)
        except NotAvailable as err:
            self._record("absent", server.name, reason=str(err))
            self._say(f"{server.name}: not available: {err}")

    def _four(self) -> None:
        """Four processes of ours at once, each with a model of its own."""
        try:
            with ExitStack() as stack:
                running = [
                    (SERVING[f"slipway-{model}"], *stack.enter_context(
                        self._running(SERVING[f"slipway-{model}"])))
                    for model in MODELS
                ]  # fmt: skip
                first = running[0][2].started
                for server, ports, processes, _ in running:
                    probes.wait_for_first_answers(server, ports, processes)
                seconds = time.monotonic() - first
                self._start(FOUR, [processes for _, _, processes, _ in running], seconds)
        except NotAvailable as err:
            self._record("absent", FOUR, reason=str(err))

    @contextmanager
    def _running(self, server: Server) -> Iterator[tuple[Ports, Processes, Path]]:
        with tempfile.TemporaryDirectory(prefix="slipway-bench-") as name:
            folder, ports = Path(name), free_ports()
            start = Start(folder, self.model_folder, server.models, ports, server.option)
            command = server.launch(start)
            environment = self._environment(server.models) | dict(command.environment)
            with started(command.words, environment, folder) as processes:
                yield ports, processes, folder

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

    def _load(
        self,
        server: str,
        name: str,
        asked: Workload,
        ports: Ports,
        processes: Processes,
        folder: Path,
        answers: dict[str, dict[str, Array]],
    ) -> None:
        """Check, warm up, measure, check again."""
        body, right = request(asked.model, asked.wire), answers[asked.model]
        try:
            size = probes.check(ports, asked.model, asked.wire, right)
            tools.loaded(asked, body, ports, folder, seconds=WARM_UP_S, answer=size)
            cpu, busy, own, begun = processes.cpu_s(), busy_s(), _own_s(), time.monotonic()
            load = tools.loaded(
                asked, body, ports, folder, seconds=self.options.seconds, answer=size
            )
            wall = time.monotonic() - begun
            cpu, busy, own = processes.cpu_s() - cpu, busy_s() - busy, _own_s() - own
            probes.check(ports, asked.model, asked.wire, right)
        except NotAvailable as err:
            self._record("absent", server, of=name, reason=str(err))
            self._say(f"{server} {name}: {err}")
            return
        self._record(
            "load", server, of=name, per_second=load.per_second,
            per_cpu_second=load.requests / cpu if cpu else None,
            p50_ms=load.p50_ms, p99_ms=load.p99_ms, errors=load.errors,
            noise_cores=max(0.0, (busy - cpu - own) / wall),
        )  # fmt: skip
        errors = f", ERRORS {load.errors}" if load.errors else ""
        self._say(f"{server} {name}: {rounded(load.per_second)} req/s{errors}")

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

    def _size(self, environment: str) -> None:
        try:
            self._record("size", environment, size_mb=size_mb(installed(environment)))
        except NotAvailable as err:
            self._record("absent", environment, reason=str(err))

    def _record(self, kind: str, server: str, **figures: Any) -> None:
        self.write({"kind": kind, "round": self.round, "server": server, **figures})

    def _require_time(self) -> None:
        if time.monotonic() - self.begun > self.options.limit_s:
            raise BenchmarkError(f"over its limit of {self.options.limit_s:.0f} s; see --limit-s")

    def _say(self, text: str) -> None:
        elapsed = time.monotonic() - self.begun
        whole = self.plan.seconds(self.options.seconds) * self.options.rounds
        where = f"round {self.round + 1}/{self.options.rounds}"
        sys.stderr.write(f"[{elapsed:4.0f} s of about {whole:.0f}] {where} · {text}\n")
        sys.stderr.flush()


def _own_s() -> float:
    """CPU seconds of this process and of the load tools that ended."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    used = [resource.getrusage(kind) for kind in kinds]
    return sum(each.ru_utime + each.ru_stime for each in used)
