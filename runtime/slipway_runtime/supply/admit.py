"""Take a converted model over: from where code of the original may have run to where it is served.

Lives here: what is believed of a conversion, which is nothing but its bytes. They are copied and
hashed in a process that never saw the original, and then treated as any model that was fetched.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from slipway_runtime.config import ServingConfig
from slipway_runtime.errors import DigestMismatch, InvalidModel
from slipway_runtime.pipeline.ahead import check_extras
from slipway_runtime.supply.digest import ModelWriter, copy_stream
from slipway_runtime.supply.fetch import SupplyOptions, finished, with_labels
from slipway_runtime.supply.folder import FACTS_FILE, MODEL_FILE
from slipway_runtime.supply.original import CONVERTED, read_original, read_report, untrusted
from slipway_runtime.supply.termination import ConversionSummary, SupplyResult

log: Final = logging.getLogger(__name__)


def admit(
    config: ServingConfig, options: SupplyOptions, *, original: Path, converted: Path
) -> SupplyResult:
    """Copy a converted model into the folder that is served from, verified.

    Args:
        config: the revision; its digest is that of the converted model.
        options: `into` is that folder.
        original: the folder where the fetching process has left the model and its facts.
        converted: the folder where the converting process has left ONNX and a report.

    Raises:
        SupplyError: why there is no model.
        MissingExtra: the pipeline needs what is not installed.
    """
    (options.into / FACTS_FILE).unlink(missing_ok=True)
    check_extras(config.pipeline)
    config = with_labels(config, options)
    facts, report = read_original(original), read_report(converted)
    with ModelWriter(options.into, max_bytes=options.max_bytes) as writer:
        with untrusted(converted / CONVERTED) as file:
            copy_stream(file, writer)
        _check(writer, config)
        writer.commit(options.into / MODEL_FILE)
    log.info("taken over", extra={"bytes": writer.size_bytes, "digest": writer.digest})
    result = SupplyResult(
        digest=writer.digest,
        format=facts.format,
        size_bytes=writer.size_bytes,
        source=facts.source,
        conversion=ConversionSummary(
            source_digest=facts.digest,
            framework=report.framework,
            parity=report.parity,
            optimization=report.optimization,
        ),
    )
    return finished(result, options.into / MODEL_FILE, config, options)


def _check(writer: ModelWriter, config: ServingConfig) -> None:
    promised = config.digest
    if not writer.size_bytes:
        raise InvalidModel("model: its conversion left an empty file, expected an ONNX model")
    if promised not in (None, writer.digest):
        raise DigestMismatch(
            f"digest: converted once more the model is {writer.digest}, expected {promised}; the "
            f"converter's image is another{_calibrated(config)}, or this processor computes "
            "otherwise; convert it once with `slipway-runtime convert`, and publish the ONNX model"
        )


def _calibrated(config: ServingConfig) -> str:
    """Samples are part of the bytes where they calibrate."""
    if config.model.optimization.quantization != "StaticInt8" or config.model.samples is None:
        return ""
    name = config.model.samples.config_map.name
    return f", ConfigMap {name!r} of model.samples has changed (give new samples a new name)"
