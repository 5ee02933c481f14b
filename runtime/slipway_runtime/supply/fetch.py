"""Fetch one model: from its URI to `model.onnx`, or a folder with it, and `model.json`.

Lives here: the order of the steps. Which module serves which scheme: `sources.py`, `folders.py`. A
model of another format, a file or TensorFlow's folder, is only brought here (`fetch_original`);
what converts it, and what takes the result over (`admit.py`), are processes of their own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from slipway_runtime.config import ModelBlock, ServingConfig
from slipway_runtime.errors import (
    DigestMismatch,
    Foreign,
    InvalidConfig,
    InvalidModel,
    SupplyError,
    Unsupported,
)
from slipway_runtime.extras import require
from slipway_runtime.formats import recognise, refuse_pickle
from slipway_runtime.onnx_scan import is_rewritten
from slipway_runtime.pipeline.ahead import check_extras
from slipway_runtime.pipeline.labels import labels_digest, spelled_out
from slipway_runtime.supply.archive import unpack
from slipway_runtime.supply.cache import Cache
from slipway_runtime.supply.choice import chosen_model
from slipway_runtime.supply.claim import fetch_claim, fetch_claim_folder
from slipway_runtime.supply.configmap import fetch_configmap
from slipway_runtime.supply.credentials import Credentials, read_credentials
from slipway_runtime.supply.digest import ModelWriter, check_digest, file_digest
from slipway_runtime.supply.folder import (
    FACTS_FILE,
    MODEL_FILE,
    fused_file,
    write_facts,
)
from slipway_runtime.supply.folders import fetch_remote_folder
from slipway_runtime.supply.http import Store
from slipway_runtime.supply.local import fetch_file, fetch_file_folder
from slipway_runtime.supply.original import MODEL as ORIGINAL
from slipway_runtime.supply.original import Original, write_original
from slipway_runtime.supply.retry import Patience
from slipway_runtime.supply.route import Route
from slipway_runtime.supply.sources import Remote, Stores, fetch_remote
from slipway_runtime.supply.termination import SignatureSummary, SupplyResult
from slipway_runtime.supply.tree import FOLDER, Tree, folder_digest, published_folder, walked
from slipway_runtime.supply.uri import (
    LAPTOP_SCHEMES,
    SERVED_SCHEMES,
    is_archive,
    is_folder,
    redacted,
    scheme_of,
)
from slipway_runtime.vocabulary import Format

log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SupplyOptions:
    """What the process allows, beside what the revision asks."""

    into: Path
    source_folder: Path = Path("/source")
    """Where the ConfigMap or the claim of the model is mounted."""
    cache_folder: Path | None = None
    """Where the claim of `model.cache` is mounted."""
    credentials_folder: Path | None = None
    ca_file: Path | None = None
    cosign_key_file: Path | None = None
    labels_folder: Path = Path("/var/run/slipway/labels")
    """Where the ConfigMaps of the pipeline's labels are mounted."""
    max_bytes: int = 16 * 2**30
    max_files: int = 10_000
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
        MissingExtra: it needs what is not installed.
    """
    # First: what a failure leaves behind must not describe another model.
    (options.into / FACTS_FILE).unlink(missing_ok=True)
    check_extras(config.pipeline)
    config = with_labels(config, options)
    found = _present(config, options) or _fetched(config, options, partial(_brought, config))
    if options.resolve or found.model.is_dir():
        _refuse_foreign(found.model, config.model)
    return finished(found.result, found.model, config, options)


def fetch_original(config: ServingConfig, options: SupplyOptions) -> Original:
    """Bring a model into a folder as it is, to be converted or optimised by another process.

    Returns:
        What was found; also in a file beside the model.

    Raises:
        SupplyError: why there is none, or why it is not going to be converted.
        MissingExtra: it needs what is not installed.
    """
    # What is wrong with the pipeline is told before a conversion.
    check_extras(config.pipeline)
    with_labels(config, options)
    _refuse_many_files(config.model, config.model.format, is_dir=is_folder(config.model.uri))
    # The digest of a revision is that of the converted model; here it is the original's.
    asked = config.model_copy(update={"digest": config.source_digest})
    found = _original_folder(asked, options) if _many(asked.model) else _original(asked, options)
    format_ = _format(found.model, config.model)
    _refuse_many_files(config.model, format_, is_dir=found.model.is_dir())
    if format_ == "ONNX" and not config.model.optimization.rewrites:
        raise Unsupported(
            "model: it is ONNX, expected the other format that was found before; it has been "
            "replaced meanwhile, so give model.digest, or a name that does not move"
        )
    refuse_pickle(found.model, format_, allowed=config.model.allow_pickle)
    result, path = found.result, found.model.relative_to(options.into).as_posix()
    original = Original(format=format_, digest=result.digest, source=result.source, path=path)
    write_original(options.into, original)
    return original


def _many(asked: ModelBlock) -> bool:
    """Whether a model of another format is several files: TensorFlow's is, and no other.

    Raises:
        Unsupported: the URI leads to one file where it should be several, or the other way.
    """
    is_saved_model = asked.format in ("Auto", "TensorFlow")
    if is_folder(asked.uri) and not is_saved_model:
        raise Unsupported(
            f"model.uri: {redacted(asked.uri)!r} is a folder, expected the one file of a model of "
            f"the format {asked.format}; name the file"
        )
    many = is_folder(asked.uri) or (is_archive(asked.uri) and is_saved_model)
    if asked.format == "TensorFlow" and not many:
        raise Unsupported(
            f"model.uri: {redacted(asked.uri)!r} is one file, expected the folder of a SavedModel; "
            "end the URI in a slash, or publish the folder as an archive (.zip, .tar.gz)"
        )
    return many


def _original(asked: ServingConfig, options: SupplyOptions) -> _Found:
    model = options.into / ORIGINAL
    bring = partial(_file, asked, target=model)
    return _present_file(model, asked.digest) or _fetched(asked, options, bring)


def _original_folder(asked: ServingConfig, options: SupplyOptions) -> _Found:
    present = _present(asked, options) if is_folder(asked.model.uri) else None
    return present or _fetched(asked, options, partial(_brought, asked))


def brought(config: ServingConfig, options: SupplyOptions) -> SupplyResult:
    """Bring the bytes here and hash them; nobody looks into them.

    Raises:
        SupplyError: they cannot be had.
    """
    return _fetched(config, options, partial(_brought, config)).result


def with_labels(config: ServingConfig, options: SupplyOptions) -> ServingConfig:
    """Put labels that lie in ConfigMaps into the pipeline.

    Raises:
        SupplyError: they are not there, no list of names, or not those of the revision.
    """
    pipeline = spelled_out(config.pipeline, lambda at: options.labels_folder / at.name / at.key)
    found = labels_digest(pipeline)
    if config.labels_digest not in (None, found):
        places = " and ".join(str(at) for at in config.pipeline.labels_places)
        raise DigestMismatch(
            f"pipeline.postprocess: {places} holds other labels than when this revision was "
            f"resolved: got {found}, expected {config.labels_digest}; put the old ones back, and "
            "give new ones a ConfigMap of another name"
        )
    return config.model_copy(update={"pipeline": pipeline})


def _refuse_many_files(asked: ModelBlock, format_: str, *, is_dir: bool) -> None:
    is_many = is_dir or is_archive(asked.uri)
    if format_ == "ONNX" and asked.optimization.rewrites and is_many:
        raise Unsupported(
            "model.optimization: a folder or archive is served as it is, expected the one file of "
            "a model below 2 GiB; optimise it with `slipway-runtime optimize`, publish the result, "
            "and remove quantization and pruning"
        )


def finished(
    result: SupplyResult, model: Path, config: ServingConfig, options: SupplyOptions
) -> SupplyResult:
    """Look into a model that is there, if asked to, make of it what is served, write the facts."""
    if options.resolve:
        result = _resolved(result, model, options.validate_timeout_s)
    is_fused = config.pipeline.has_steps or is_rewritten(model, config.model.optimization.graph)
    if is_fused:
        signature = _fused(config, model, options)
        found: dict[str, object] = {"labels_digest": labels_digest(config.pipeline)}
        result = result.model_copy(update=found | ({"signature": signature} if signature else {}))
    facts = {
        "uri": redacted(config.model.uri),
        **result.model_dump(by_alias=True, exclude_none=True),
    }
    write_facts(options.into, facts, model, is_fused=is_fused)
    return result


class _Found(NamedTuple):
    """A verified model on the disk."""

    result: SupplyResult
    model: Path


def _present(config: ServingConfig, options: SupplyOptions) -> _Found | None:
    """A container that starts again finds its model; it is hashed, not believed."""
    folder = options.into / FOLDER
    if not is_folder(config.model.uri):
        return _present_file(options.into / MODEL_FILE, config.digest)
    if config.digest is None or not folder.is_dir() or folder_digest(folder) != config.digest:
        return None
    log.info("model is already there", extra={"digest": config.digest})
    return _of_folder(config, options, config.digest)


def _present_file(file: Path, digest: str | None) -> _Found | None:
    if digest is None or not file.is_file() or file_digest(file) != digest:
        return None
    log.info("model is already there", extra={"digest": digest})
    return _of_file(file, digest)


def _format(model: Path, asked: ModelBlock) -> Format:
    return recognise(model) if asked.format == "Auto" else asked.format


def _refuse_foreign(model: Path, asked: ModelBlock) -> None:
    """Say so where a model would have to be converted; what nobody knows, the checks judge."""
    try:
        format_ = _format(model, asked)
    except SupplyError:
        return
    if format_ != "ONNX":
        refuse_pickle(model, format_, allowed=asked.allow_pickle)
        raise Foreign(format_)


def _of_file(file: Path, digest: str, source: str | None = None) -> _Found:
    size_bytes = file.stat().st_size
    return _Found(SupplyResult(digest=digest, size_bytes=size_bytes, source=source), file)


def _of_folder(
    config: ServingConfig, options: SupplyOptions, digest: str, source: str | None = None
) -> _Found:
    folder = options.into / FOLDER
    names = list(walked(folder))
    size_bytes = sum((folder / name).stat().st_size for name in names)
    model = folder / chosen_model(names, config.model.format)
    return _Found(SupplyResult(digest=digest, size_bytes=max(1, size_bytes), source=source), model)


def _fetched(
    config: ServingConfig,
    options: SupplyOptions,
    bring: Callable[[SupplyOptions, Cache | None], _Found],
) -> _Found:
    log.info("fetching", extra={"uri": redacted(config.model.uri)})
    cache = _cache(config, options)
    with cache.turn(_wanted(config)) if cache else nullcontext():
        found = bring(options, cache)
    log.info("fetched", extra={"bytes": found.result.size_bytes, "digest": found.result.digest})
    return found


def _brought(config: ServingConfig, options: SupplyOptions, cache: Cache | None) -> _Found:
    if is_folder(config.model.uri):
        return _cached_folder(config, options, cache) or _folder(config, options, cache)
    if is_archive(config.model.uri):
        return _archive(config, options, cache)
    return _file(config, options, cache, target=options.into / MODEL_FILE)


def _signed_by(config: ServingConfig, options: SupplyOptions) -> Path | None:
    """The key to look at signatures with; what was resolved has been looked at then.

    Raises:
        InvalidConfig: the artifact is to be signed, and the key is not here.
        MissingExtra: what verifies signatures is not installed.
    """
    if config.model.verify is None or config.source is not None:
        return None
    if options.cosign_key_file is None:
        raise InvalidConfig(
            "model.verify: a ConfigMap or Secret needs a cluster; fetch with "
            "`slipway-runtime fetch --cosign-key FILE`, or serve the file with --model FILE"
        )
    require("model.verify", "cryptography")
    return options.cosign_key_file


def _cache(config: ServingConfig, options: SupplyOptions) -> Cache | None:
    if config.model.cache is None or options.cache_folder is None:
        return None
    if _signed_by(config, options) is not None:
        return None  # what the registry has is to be looked at, and it is what is signed
    return Cache(options.cache_folder, sleep=options.patience.sleep)


def _wanted(config: ServingConfig) -> str | None:
    """The digest that is known before anything is fetched."""
    return config.digest or config.model.digest


def _file(
    config: ServingConfig, options: SupplyOptions, cache: Cache | None, *, target: Path
) -> _Found:
    with ModelWriter(options.into, max_bytes=options.max_bytes) as writer:
        source = _bytes(config, writer, options, cache)
        if not writer.size_bytes:
            raise InvalidModel("model: the file is empty, expected an ONNX model")
        writer.commit(target)
        if cache:
            cache.keep(writer.digest, target)
        return _of_file(target, writer.digest, source)


def _archive(config: ServingConfig, options: SupplyOptions, cache: Cache | None) -> _Found:
    """The digest of an archive is that of the file which was published."""
    with _tree(options) as tree:
        with tree.aside() as (writer, archive):
            source = _bytes(config, writer, options, cache)
            writer.commit(archive)
            if cache:
                cache.keep(writer.digest, archive)
            unpack(archive, tree)
        chosen_model(tree.names, config.model.format)
        tree.commit()
    return _of_folder(config, options, writer.digest, source)


def _cached_folder(
    config: ServingConfig, options: SupplyOptions, cache: Cache | None
) -> _Found | None:
    wanted = _wanted(config)
    if cache is None or wanted is None:
        return None
    with _tree(options) as tree:
        if not cache.copied_folder(wanted, tree):
            return None
        _check(config, tree.digest)
        tree.commit()
    return _of_folder(config, options, wanted, config.source)


def _folder(config: ServingConfig, options: SupplyOptions, cache: Cache | None) -> _Found:
    uri = config.source or config.model.uri
    scheme = source_scheme(uri, options)
    with _tree(options) as tree:
        source = None
        if scheme == "pvc":
            fetch_claim_folder(uri, tree, folder=options.source_folder)
        elif scheme == "file":
            fetch_file_folder(uri, tree)
        else:
            with opened_remote(config, options) as remote:
                source = fetch_remote_folder(scheme, uri, tree, remote)
        _check(config, tree.digest)
        chosen_model(tree.names, config.model.format)
        tree.commit()
        if cache:
            cache.keep(tree.digest, options.into / FOLDER)
        return _of_folder(config, options, tree.digest, source)


def _tree(options: SupplyOptions) -> Tree:
    return Tree(options.into, max_bytes=options.max_bytes, max_files=options.max_files)


def _check(config: ServingConfig, digest: str, head: bytes = b"") -> None:
    check_digest("model.digest", digest, config.model.digest, head)
    check_digest("digest", digest, config.digest, head)


def _bytes(
    config: ServingConfig, writer: ModelWriter, options: SupplyOptions, cache: Cache | None
) -> str | None:
    """Fetch one file, from the very place that was resolved where one is known, and check it.

    Returns:
        The URI by which the same bytes can be had again, where the store has one.
    """
    wanted = _wanted(config)
    if cache and wanted and cache.copied(wanted, writer):
        _check(config, writer.digest, writer.head)
        return config.source
    uri, source = config.source or config.model.uri, None
    match source_scheme(uri, options):
        case "configmap":
            fetch_configmap(uri, writer, folder=options.source_folder)
        case "pvc":
            fetch_claim(uri, writer, folder=options.source_folder)
        case "file":
            fetch_file(uri, writer)
        case scheme:
            with opened_remote(config, options) as remote:
                source = fetch_remote(scheme, uri, writer, remote)
    _check(config, writer.digest, writer.head)
    return source


def source_scheme(uri: str, options: SupplyOptions) -> str:
    """The scheme of a URI; file:// only where it is allowed."""
    return scheme_of(uri, served=LAPTOP_SCHEMES if options.allow_file else SERVED_SCHEMES)


@contextmanager
def opened_remote(config: ServingConfig, options: SupplyOptions) -> Iterator[Remote]:
    """Begin to talk to the store of a model, as whom and by which way the spec says."""
    credentials, key = _credentials(config.model, options), _signed_by(config, options)
    with Store(options.patience, _route(config.model, options)) as store:
        yield Remote(store, credentials, options.stores, key)


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


def _fused(config: ServingConfig, model: Path, options: SupplyOptions) -> SignatureSummary | None:
    """Make one model of pipeline and model; its signature where it is to be looked into."""
    from slipway_runtime.pipeline.exposed import exposed_summary
    from slipway_runtime.pipeline.process import fuse
    from slipway_runtime.supply.validate import validated

    out, timeout_s = fused_file(model), options.validate_timeout_s
    fuse(
        model,
        config.pipeline,
        out,
        graph=config.model.optimization.graph,
        tokenizers=published_folder(model, options.into),
        timeout_s=timeout_s,
    )
    if not options.resolve:
        return None
    signature, _ = validated(out, timeout_s=timeout_s)
    return exposed_summary(signature, config.pipeline)


def _resolved(result: SupplyResult, model: Path, timeout_s: float) -> SupplyResult:
    # Late: onnx and ONNX Runtime are slow to import, and pods that fetch by digest need neither.
    from slipway_runtime.supply.validate import validated

    signature, framework = validated(model, timeout_s=timeout_s)
    return result.model_copy(update={"signature": signature, "framework": framework})
