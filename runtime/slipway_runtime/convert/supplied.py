"""The converting step of a pod: a fetched model in one folder, ONNX and a report in another.

Nobody believes more of this step than the bytes that it leaves: `supply/admit.py` takes them over.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from slipway_runtime.config import ServingConfig
from slipway_runtime.convert import task
from slipway_runtime.convert.jail import converted
from slipway_runtime.errors import Unsupported, clipped
from slipway_runtime.formats import refuse_pickle
from slipway_runtime.supply.digest import file_digest
from slipway_runtime.supply.original import (
    CONVERTED,
    Original,
    Report,
    read_original,
    write_report,
)
from slipway_runtime.supply.termination import OptimizationSummary, ParitySummary

log: Final = logging.getLogger(__name__)


def convert_supplied(
    config: ServingConfig, *, original: Path, into: Path, samples: Path | None, timeout_s: float
) -> None:
    """Convert what the fetching step has left, and optimise it where that is asked for.

    Raises:
        SupplyError: why it cannot be converted, or that its answers would be others.
    """
    facts, target = read_original(original), into / CONVERTED
    if config.digest and target.is_file() and file_digest(target) == config.digest:
        log.info("model is already converted", extra={"digest": config.digest})
        return
    source = original / facts.path
    refuse_pickle(source, facts.format, allowed=config.model.allow_pickle)
    asked = _task(config, facts, source, target, samples)
    try:
        report = converted(asked, timeout_s=timeout_s, progress=log.info)
    except ModuleNotFoundError as err:
        raise Unsupported(
            f"model: this image lacks {err.name!r}, which reads {facts.format}; "
            "give the operator an image that has it (chart value converterImage)"
        ) from err
    for text in report.warnings:
        log.warning("conversion", extra={"cause": text})
    write_report(into, _told(report))


def _task(
    config: ServingConfig, facts: Original, source: Path, target: Path, samples: Path | None
) -> task.Task:
    inputs = [each.model_dump(by_alias=True) for each in config.model.inputs]
    wish = config.model.optimization
    return task.Task.model_validate(
        {
            "source": str(source),
            "target": str(target),
            "format": facts.format,
            "allowPickle": config.model.allow_pickle,
            "inputs": inputs,
            "samples": None if samples is None else str(samples),
            "optimization": wish.model_dump(by_alias=True, exclude={"graph"})
            if wish.rewrites
            else None,
            "isPinned": config.digest is not None,
        }
    )


def _told(report: task.Report) -> Report:
    return Report(
        framework=clipped(report.framework, 100),
        parity=report.parity and _parity(report.parity),
        optimization=report.optimized and _optimization(report.optimized),
    )


def _parity(found: task.Parity) -> ParitySummary:
    agreement = found.label_agreement_percent
    return ParitySummary(
        rows=found.rows,
        max_abs_diff=f"{found.max_abs_diff:.1e}",
        label_agreement_percent=None if agreement is None else int(agreement),
    )


def _optimization(found: task.Optimized) -> OptimizationSummary:
    return OptimizationSummary(
        size_bytes_before=found.size_bytes_before,
        latency_microseconds_before=round(found.latency_us_before),
        latency_microseconds_after=round(found.latency_us_after),
    )
