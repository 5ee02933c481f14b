"""Fetch one model: from its URI to `model.onnx` and `model.json` in a folder.

Lives here: the order of the steps. Which module serves which scheme: `sources.py`.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from slipway_runtime.config import ModelBlock, ServingConfig
from slipway_runtime.errors import InvalidConfig, InvalidModel
from slipway_runtime.pipeline.spec import Pipeline
from slipway_runtime.supply.claim import fetch_claim
from slipway_runtime.supply.configmap import fetch_configmap
from slipway_runtime.supply.credentials import Credentials, read_credentials
from slipway_runtime.supply.digest import ModelWriter, check_digest, file_digest
from slipway_runtime.supply.folder import FACTS_FILE, FUSED_FILE, MODEL_FILE
from slipway_runtime.supply.http import Store
from slipway_runtime.supply.local import fetch_file
from slipway_runtime.supply.retry import Patience
from slipway_runtime.supply.route import Route
from slipway_runtime.supply.sources import Remote, Stores, fetch_remote
from slipway_runtime.supply.termination import SignatureSummary, SupplyResult
from slipway_runtime.supply.uri import LAPTOP_SCHEMES, SERVED_SCHEMES, redacted, scheme_of

log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SupplyOptions:
    """What the process allows, beside what the revision asks."""

    into: Path
    source_folder: Path = Path("/source")
    """Where the ConfigMap or the claim of the model is mounted."""
    credentials_folder: Path | None = None
    ca_file: Path | None = None
    max_bytes: int = 16 * 2**30
    stores: Stores = field(default_factory=Stores)
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
    result = _present(model, config.digest) or _fetched(config, options)
    if options.resolve:
        result = _resolved(result, model, options.validate_timeout_s)
    if config.pipeline.has_steps:
        signature = _fused(config.pipeline, options)
        result = result.model_copy(update={"signature": signature} if signature else {})
    facts = {
        "uri": redacted(config.model.uri),
        **result.model_dump(by_alias=True, exclude_none=True),
    }
    facts_file.write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    return result


def _present(model: Path, digest: str | None) -> SupplyResult | None:
    """A container that starts again finds its model; it is hashed, not believed."""
    if digest is None or not model.is_file() or file_digest(model) != digest:
        return None
    log.info("model is already there", extra={"digest": digest})
    return SupplyResult(digest=digest, size_bytes=model.stat().st_size)


def _fetched(config: ServingConfig, options: SupplyOptions) -> SupplyResult:
    with ModelWriter(options.into, max_bytes=options.max_bytes) as writer:
        log.info("fetching", extra={"uri": redacted(config.model.uri)})
        source = _from_source(config, writer, options)
        check_digest("model.digest", writer.digest, config.model.digest, writer.head)
        check_digest("digest", writer.digest, config.digest, writer.head)
        if not writer.size_bytes:
            raise InvalidModel("model: the file is empty, expected an ONNX model")
        writer.commit(options.into / MODEL_FILE)
        log.info("fetched", extra={"bytes": writer.size_bytes, "digest": writer.digest})
        return SupplyResult(digest=writer.digest, size_bytes=writer.size_bytes, source=source)


def _from_source(config: ServingConfig, writer: ModelWriter, options: SupplyOptions) -> str | None:
    """Fetch, from the very place that was resolved where one is known; tell such a place."""
    model = config.model
    uri = config.source or model.uri
    scheme = scheme_of(uri, served=LAPTOP_SCHEMES if options.allow_file else SERVED_SCHEMES)
    match scheme:
        case "configmap":
            fetch_configmap(uri, writer, folder=options.source_folder)
        case "pvc":
            fetch_claim(uri, writer, folder=options.source_folder)
        case "file":
            fetch_file(uri, writer)
        case _:
            credentials = _credentials(model, options)
            with Store(options.patience, _route(model, options)) as store:
                remote = Remote(store, credentials, options.stores)
                return fetch_remote(scheme, uri, writer, remote)
    return None


def _credentials(model: ModelBlock, options: SupplyOptions) -> Credentials | None:
    if model.credentials is None:
        return None
    if options.credentials_folder is None:
        raise InvalidConfig(
            "model.credentials: a Secret needs a cluster; fetch with "
            "`slipway-runtime fetch --credentials-dir DIR`, or serve the file with --model FILE"
        )
    return read_credentials(model.credentials.secret_name, options.credentials_folder)


def _route(model: ModelBlock, options: SupplyOptions) -> Route:
    if model.ca_bundle is not None and options.ca_file is None:
        raise InvalidConfig(
            "model.caBundle: a ConfigMap or Secret needs a cluster; fetch with "
            "`slipway-runtime fetch --ca-file FILE`, or serve the file with --model FILE"
        )
    return Route(options.ca_file if model.ca_bundle else None, model.proxy)


def _fused(pipeline: Pipeline, options: SupplyOptions) -> SignatureSummary | None:
    """Make one model of pipeline and model; its signature where it is to be looked into."""
    from slipway_runtime.pipeline.exposed import exposed_summary
    from slipway_runtime.pipeline.process import fuse
    from slipway_runtime.supply.validate import validated

    model, out, timeout_s = (
        options.into / MODEL_FILE, options.into / FUSED_FILE, options.validate_timeout_s,
    )  # fmt: skip
    fuse(model, pipeline, out, timeout_s=timeout_s)
    if not options.resolve:
        return None
    signature, _ = validated(out, timeout_s=timeout_s)
    return exposed_summary(signature, pipeline)


def _resolved(result: SupplyResult, model: Path, timeout_s: float) -> SupplyResult:
    # Late: onnx and ONNX Runtime are slow to import, and pods that fetch by digest need neither.
    from slipway_runtime.supply.validate import validated

    signature, framework = validated(model, timeout_s=timeout_s)
    return result.model_copy(update={"signature": signature, "framework": framework})
