"""Fetch one model: from its URI to `model.onnx` and `model.json` in a folder.

Lives here: the order of the steps, and which module serves which scheme.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from slipway_runtime.config import ModelBlock, ServingConfig
from slipway_runtime.errors import InvalidModel
from slipway_runtime.supply.configmap import fetch_configmap
from slipway_runtime.supply.digest import ModelWriter, check_digest, file_digest
from slipway_runtime.supply.download import fetch_http
from slipway_runtime.supply.folder import FACTS_FILE, MODEL_FILE
from slipway_runtime.supply.http import Store
from slipway_runtime.supply.local import fetch_file
from slipway_runtime.supply.oci import fetch_oci
from slipway_runtime.supply.retry import Patience
from slipway_runtime.supply.termination import SupplyResult
from slipway_runtime.supply.uri import LAPTOP_SCHEMES, SERVED_SCHEMES, redacted, scheme_of

log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SupplyOptions:
    """What the process allows, beside what the revision asks."""

    into: Path
    configmap_folder: Path = Path("/source")
    max_bytes: int = 16 * 2**30
    insecure_registries: tuple[str, ...] = ()
    allow_file: bool = False
    resolve: bool = False
    validate_timeout_s: float = 300.0
    patience: Patience = field(default_factory=Patience)


def supply(config: ServingConfig, options: SupplyOptions) -> SupplyResult:
    """Bring the model of a revision into a folder, verified.

    Returns:
        What was found; also in `model.json` beside the model.

    Raises:
        SupplyError: why there is no model.
    """
    model, facts_file = options.into / MODEL_FILE, options.into / FACTS_FILE
    # First: what a failure leaves behind must not describe another model.
    facts_file.unlink(missing_ok=True)
    size_bytes, digest = _present(model, config.digest) or _fetched(config, options)
    result = SupplyResult(digest=digest, size_bytes=size_bytes)
    if options.resolve:
        result = _resolved(result, model, options.validate_timeout_s)
    facts = {
        "uri": redacted(config.model.uri),
        **result.model_dump(by_alias=True, exclude_none=True),
    }
    facts_file.write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    return result


def _present(model: Path, digest: str | None) -> tuple[int, str] | None:
    """A container that starts again finds its model; it is hashed, not believed."""
    if digest is None or not model.is_file() or file_digest(model) != digest:
        return None
    log.info("model is already there", extra={"digest": digest})
    return model.stat().st_size, digest


def _fetched(config: ServingConfig, options: SupplyOptions) -> tuple[int, str]:
    with ModelWriter(options.into, max_bytes=options.max_bytes) as writer:
        log.info("fetching", extra={"uri": redacted(config.model.uri)})
        _from_source(config.model, writer, options)
        check_digest("model.digest", writer.digest, config.model.digest, writer.head)
        check_digest("digest", writer.digest, config.digest, writer.head)
        if not writer.size_bytes:
            raise InvalidModel("model: the file is empty, expected an ONNX model")
        writer.commit(options.into / MODEL_FILE)
        log.info("fetched", extra={"bytes": writer.size_bytes, "digest": writer.digest})
        return writer.size_bytes, writer.digest


def _from_source(model: ModelBlock, writer: ModelWriter, options: SupplyOptions) -> None:
    scheme = scheme_of(model.uri, served=LAPTOP_SCHEMES if options.allow_file else SERVED_SCHEMES)
    if scheme == "configmap":
        return fetch_configmap(model.uri, writer, folder=options.configmap_folder)
    if scheme == "file":
        return fetch_file(model.uri, writer)
    with Store(options.patience) as store:
        if scheme == "oci":
            return fetch_oci(model.uri, writer, store, insecure=options.insecure_registries)
        return fetch_http(model.uri, writer, store)


def _resolved(result: SupplyResult, model: Path, timeout_s: float) -> SupplyResult:
    # Late: onnx and ONNX Runtime are slow to import, and pods that fetch by digest need neither.
    from slipway_runtime.supply.validate import validated

    signature, framework = validated(model, timeout_s=timeout_s)
    return result.model_copy(update={"signature": signature, "framework": framework})
