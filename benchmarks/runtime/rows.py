"""The rows of the table: what is claimed, against whom, and the gate of each claim.

Lives here: the project's performance targets for the runtime, as data. A row compares one series of
figures with another, round by round, or judges one alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from benchmarks.runtime.verdicts import Gate

Metric = Literal[
    "per_second", "p50_ms", "p99_ms", "start_s", "pss_mb", "size_mb", "inferences_per_second"
]
UNITS: Final[dict[Metric, str]] = {
    "per_second": "req/s",
    "p50_ms": "ms",
    "p99_ms": "ms",
    "start_s": "s",
    "pss_mb": "MB",
    "size_mb": "MB",
    "inferences_per_second": "inf/s",
}


@dataclass(frozen=True, slots=True)
class Series:
    """Figures of one server, by round. `of` is a workload, or a case of the raw limit."""

    server: str
    metric: Metric
    of: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One claim. Without `theirs` the gate is on our figure itself; without a gate it informs."""

    number: str
    what: str
    ours: Series
    theirs: Series | None
    gate: Gate | None


def _against(
    number: str, what: str, workload: str, rival: str, must: float, stretch: float
) -> Row:  # fmt: skip
    """Requests a second on one workload, ours over the rival's."""
    ours = Series(ours_for(workload), "per_second", workload)
    return Row(number, what, ours, Series(rival, "per_second", workload), Gate(must, stretch))


def _raw(number: str, what: str, workload: str, case: str, must: float, stretch: float) -> Row:
    ours = Series(ours_for(workload), "per_second", workload)
    theirs = Series("raw", "inferences_per_second", case)
    return Row(number, what, ours, theirs, Gate(must, stretch))


def _most(
    number: str, what: str, ours: Series, theirs: Series | None, must: float, stretch: float | None
) -> Row:  # fmt: skip
    return Row(number, what, ours, theirs, Gate(must, stretch, at_most=True))


def _informs(number: str, what: str, ours: Series, theirs: Series) -> Row:
    return Row(number, what, ours, theirs, None)


def ours_for(workload: str) -> str:
    """The process of ours that serves a workload's model: one model each.

    >>> ours_for("cls-json-c8")
    'slipway-cls'
    """
    return f"slipway-{workload.split('-')[0]}"


_JSON: Final = "REST JSON, small model (digits), c=8"
_CNN: Final = "REST JSON, CNN (228 KB body), c=8"
_BATCHING: Final = "dynamic batching, mlp, REST JSON, c=32"
_ON: Final = Series("slipway-batching-on", "p50_ms", "digits-json-c1")
_OFF: Final = Series("slipway-batching-off", "p50_ms", "digits-json-c1")


def _latency(server: str, metric: Metric, concurrency: int) -> Series:
    return Series(server, metric, f"digits-json-c{concurrency}")


ROWS: Final = (
    _against("1", _JSON, "digits-json-c8", "mlserver", 5, 7),
    _against("2", "the same, c=32", "digits-json-c32", "mlserver", 7, 11),
    _against("3a", _JSON, "digits-json-c8", "kserve", 6, 9),
    _against("3b", _JSON, "digits-json-c8", "fastapi", 2.5, 3.5),
    _informs(
        "3c",
        _JSON,
        Series("slipway-digits", "per_second", "digits-json-c8"),
        Series("flask", "per_second", "digits-json-c8"),
    ),
    _against("4a", _JSON, "digits-json-c8", "triton", 1.0, 1.4),
    _against("4b", "the same, c=32", "digits-json-c32", "triton", 1.4, 1.9),
    _against("5a", _CNN, "cls-json-c8", "mlserver", 1.7, 2),
    _against("5b", _CNN, "cls-json-c8", "kserve", 4, 5),
    _against("5c", _CNN, "cls-json-c8", "fastapi", 4, 5.5),
    _against("5d", _CNN, "cls-json-c8", "triton", 1.5, 2),
    _against("6a", "REST binary, CNN, c=8", "cls-binary-c8", "kserve", 10, 14),
    _against("6b", "REST binary, CNN, c=8", "cls-binary-c8", "triton", 0.9, 1.05),
    _against("7a", "gRPC, small model, c=8", "digits-grpc-c8", "mlserver", 1.8, 2.8),
    _against("7b", "gRPC, small model, c=8", "digits-grpc-c8", "kserve", 1.4, 2.2),
    _against("8", "gRPC, small model, c=8", "digits-grpc-c8", "triton", 0.5, 0.65),
    _against("9a", "gRPC, CNN, c=8", "cls-grpc-c8", "mlserver", 1.8, 2.2),
    _against("9b", "gRPC, CNN, c=8", "cls-grpc-c8", "triton", 0.85, 0.95),
    _against("10a", _BATCHING, "mlp-json-c32", "mlserver-batching", 2.8, 3.8),
    _against("10b", _BATCHING, "mlp-json-c32", "mlserver", 5, 6.5),
    _against("11a", _BATCHING, "mlp-json-c32", "triton", 1.0, 1.3),
    _against("11b", "dynamic batching, mlp, REST binary, c=32", "mlp-binary-c32", "triton",
             0.9, 1.05),
    _raw("12a", "batching, mlp binary c=32, over ONNX Runtime alone at batch 1",
         "mlp-binary-c32", "mlp-b1", 2.5, 3.3),
    _raw("12b", "batching, mlp binary c=32, over ONNX Runtime alone at batch 32",
         "mlp-binary-c32", "mlp-b32", 0.45, 0.58),
    _raw("13a", "minilm JSON c=8 over ONNX Runtime alone", "minilm-json-c8", "minilm-b1",
         0.93, 0.98),
    _raw("13b", "cls binary c=8 over ONNX Runtime alone", "cls-binary-c8", "cls-b1", 0.75, 0.88),
    _raw("13c", "cls binary c=32 over ONNX Runtime alone", "cls-binary-c32", "cls-b1",
         0.75, 0.88),
    _most("14", "p50 of a lone client (digits JSON c=1), batching `On` over `Off`", _ON, _OFF,
          1.1, 1.0),
    _most("15", "p50, digits JSON c=1", _latency("slipway-digits", "p50_ms", 1),
          _latency("mlserver", "p50_ms", 1), 0.65, 0.5),
    _most("16a", "p99, digits JSON c=32", _latency("slipway-digits", "p99_ms", 32),
          _latency("mlserver", "p99_ms", 32), 0.15, 0.03),
    _most("16b", "p99, digits JSON c=32", _latency("slipway-digits", "p99_ms", 32),
          _latency("triton", "p99_ms", 32), 1.0, None),
    _most("17a", "start to first answer, one process with the largest model (minilm) each",
          Series("slipway-minilm", "start_s"), Series("mlserver-minilm", "start_s"), 0.6, 0.4),
    _informs("17b", "start to first answer of 4 models: four processes of ours at once, one of "
             "theirs", Series("slipway-four", "start_s"), Series("mlserver", "start_s")),
    _informs(
        "17c",
        "start to first answer, one process with one small model (digits) each",
        Series("slipway-digits", "start_s"),
        Series("mlserver-digits", "start_s"),
    ),
    _most("18a", "PSS, one process with the largest model (minilm) each",
          Series("slipway-minilm", "pss_mb"), Series("mlserver-minilm", "pss_mb"), 0.85, 0.72),
    _most("18b", "PSS, one process with one small model (digits)",
          Series("slipway-digits", "pss_mb"), None, 110, 85),
    _informs("18c", "PSS of 4 models: the sum of our four processes, one process of theirs",
             Series("slipway-four", "pss_mb"), Series("mlserver", "pss_mb")),
    _most("19", "installed size without bytecode", Series("slipway", "size_mb"),
          Series("mlserver", "size_mb"), 0.75, 0.65),
    _informs("19b", "the same with all extras, as the image has them",
             Series("slipway-all", "size_mb"), Series("mlserver", "size_mb")),
)  # fmt: skip
"""Every row, in the order of the table. Numbers are those of the targets; letters split a row."""


NUMBERS: Final = frozenset(
    number for row in ROWS for number in (row.number, row.number.rstrip("abcd"))
)
"""How rows can be asked for: `5` for all of its parts, or `5a`."""


def rows_for(numbers: frozenset[str]) -> tuple[Row, ...]:
    """The rows asked for by number, `5` or `5a`; all of them where nothing is asked for."""
    return tuple(
        row for row in ROWS if not numbers or {row.number, row.number.rstrip("abcd")} & numbers
    )
