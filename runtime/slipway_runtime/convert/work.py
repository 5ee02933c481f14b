"""One task from end to end, inside the converting process: convert, optimise, or both."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

from slipway_runtime.convert.optimizing import (
    Outcome,
    Wish,
    columns,
    optimised,
    remarks,
    repeated,
)
from slipway_runtime.convert.original import Column, Feeds
from slipway_runtime.convert.samples import given
from slipway_runtime.convert.steps import Progress, convert
from slipway_runtime.convert.task import Optimization, Optimized, Parity, Report, Task
from slipway_runtime.inference.session import Session
from slipway_runtime.supply.digest import file_digest
from slipway_runtime.supply.validate import inspected


def work(task: Task, progress: Progress) -> Report:
    """Do what is asked; the model lies at `task.target` when all of it went well.

    Raises:
        SupplyError: it cannot be had, or its answers are not near enough to the original's.
    """
    report = _taken(task, progress) if task.format == "ONNX" else convert(task, progress)
    if task.optimization is None:
        return report
    model = Path(task.source if task.format == "ONNX" else task.target)
    return _optimised(model, task, task.optimization, report, progress)


def _taken(task: Task, progress: Progress) -> Report:
    """Look into a model that is ONNX already."""
    source = Path(task.source)
    progress(f"loading {source.name} as ONNX")
    began_s = monotonic()
    _, framework = inspected(source)
    digest, size_bytes = file_digest(source), source.stat().st_size
    return Report(
        format=task.format,
        framework=framework or "ONNX",
        source_digest=digest,
        source_bytes=size_bytes,
        digest=digest,
        size_bytes=size_bytes,
        parity=None,
        load_s=monotonic() - began_s,
        convert_s=0.0,
        compare_s=0.0,
    )


def _optimised(
    model: Path, task: Task, asked: Optimization, report: Report, progress: Progress
) -> Report:
    wish, target = _wish(asked), Path(task.target)
    samples = given(Path(task.samples), _inputs(model)) if task.samples else []
    outcome = None
    if task.is_pinned:
        progress(f"optimising: {wish.told}")
        repeated(model, target, wish, samples)
    else:
        outcome = optimised(model, target, wish, samples, progress=progress)
    after = report.model_copy(
        update={"digest": file_digest(target), "size_bytes": target.stat().st_size}
    )
    return after if outcome is None else told(after, outcome, samples)


def _inputs(model: Path) -> tuple[Column, ...]:
    return columns(Session(model, threads=1))


def _wish(asked: Optimization) -> Wish:
    """Nothing of the graph: each pod has ONNX Runtime do that for its own processor."""
    return Wish(
        graph="None",
        quantization=asked.quantization,
        pruning=asked.pruning,
        sparsity_percent=asked.sparsity_percent,
        min_agreement_percent=asked.min_agreement_percent,
    )


def told(report: Report, outcome: Outcome, samples: list[Feeds]) -> Report:
    """Add what optimising has brought.

    The comparison is of what is going to be served with what it was made of.
    """
    found = outcome.difference
    parity = Parity(
        rows=found.rows,
        given_rows=found.rows if samples else 0,
        max_abs_diff=found.max_abs,
        max_rel_diff=found.max_rel,
        label_agreement_percent=found.label_agreement_percent,
    )
    optimized = Optimized(
        size_bytes_before=outcome.before.size_bytes,
        latency_us_before=outcome.before.latency_us,
        latency_us_after=outcome.after.latency_us,
    )
    warnings = (*report.warnings, *remarks(outcome))
    return report.model_copy(
        update={"parity": parity, "optimized": optimized, "warnings": warnings}
    )
