"""Serve on a laptop what a pod would serve: a file, or the YAML that would be applied.

Lives here: turning either into the serving.json that a pod would have got.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from slipway_runtime.authentication.policy import Policy, policy_of
from slipway_runtime.config import ServingConfig, parse_config
from slipway_runtime.errors import ConfigError, NotFound, shown
from slipway_runtime.onnx_scan import is_rewritten
from slipway_runtime.pipeline.ahead import check_extras
from slipway_runtime.pipeline.spec import Pipeline
from slipway_runtime.repository import revision_of
from slipway_runtime.settings import Settings
from slipway_runtime.supply.digest import file_digest
from slipway_runtime.supply.folder import fused_file, supplied_model

log: Final = logging.getLogger(__name__)

_CLUSTER_ONLY: Final = frozenset(
    {
        "runtime",
        "replicas",
        "autoscaling",
        "exposure",
        "rollout",
        "monitoring",
        "suspend",
    }
)
"""Blocks of the spec that say how a cluster runs the model, and nothing about its answers."""

_HONOURED: Final = ("model", "pipeline", "serving")
_POLL: Final = "poll"
"""Of the model: a cluster looks again; a laptop does when it is started again."""
_SECURITY: Final = "security"
"""Honoured too, and no part of what a revision is."""


class Found(NamedTuple):
    """What to serve, and how to find the file again when it is to be loaded anew."""

    config: ServingConfig
    model: Path
    locate: Callable[[], Path]
    policy: Policy | None = None
    """Who may ask, as the YAML says."""
    published: Path | None = None
    """The folder that the model is a part of, where it is in one."""

    @property
    def is_made(self) -> bool:
        """Whether the file was made here, of a model and its pipeline or without its ZipMap."""
        return self.model == fused_file(self.model)


def from_model(model: Path, settings: Settings) -> Found:
    """Serve a file, or the model of a folder, under its own name.

    Raises:
        SupplyError: it answers in maps, and cannot be made to answer in tensors.
    """
    document = {"name": model_name(model.absolute()), "model": {"uri": model.absolute().as_uri()}}
    file = _chosen(model, settings)
    found = Found(_described(document, file), file, lambda: _chosen(model, settings))
    return _fused(found, settings, None)


def from_manifest(
    manifest: Path, model: Path | None, settings: Settings, labels: Path | None = None
) -> Found:
    """Serve what a ModelDeployment's YAML says.

    Args:
        manifest: one document of YAML.
        model: a file, or a folder with the model, in place of its URI.
        settings: of the process.
        labels: a file in place of the ConfigMap with the pipeline's labels.

    Raises:
        ConfigError: the YAML asks for something this release does not do, naming it.
        SupplyError: the model cannot be had.
        MissingExtra: it needs what is not installed.
    """
    document = _document(manifest)
    policy = policy_of(document.pop(_SECURITY, None) or {})
    uri = str(document["model"].get("uri", "")) if isinstance(document.get("model"), dict) else ""
    if model is None and uri.startswith(("configmap://", "pvc://")):
        kind = "ConfigMap" if uri.startswith("configmap") else "volume"
        raise ConfigError(f"model.uri: a {kind} needs a cluster; give the file with --model FILE")
    asked = parse_config(_with_revision(document, "0" * 10))
    check_extras(asked.pipeline)  # before anything is fetched for it
    if model is not None:
        file, given = _chosen(model, settings), model
        published = model if model.is_dir() else None
        config, locate = _described(document, file), lambda: _chosen(given, settings)
        found = Found(config, file, locate, policy, published)
        return _fused(found, settings, labels)
    unresolved = asked.model_copy(update={"pipeline": Pipeline()})
    if unresolved.model.optimization.rewrites:
        raise ConfigError(
            "model.optimization: quantization and pruning need a cluster; optimise the file with "
            "`slipway-runtime optimize`, and serve it with --model FILE"
        )
    fetched = _cached(unresolved, settings)
    config = _described(document, fetched)
    from slipway_runtime.supply.tree import published_folder  # late, as in `_cached`

    published = published_folder(fetched, _folder(config))
    found = Found(config, fetched, lambda: _cached(unresolved, settings), policy, published)
    return _fused(found, settings, labels)


def _fused(found: Found, settings: Settings, labels: Path | None) -> Found:
    """Put the pipeline, where there is one, and the model into one file, as a pod does."""
    graph = found.config.model.optimization.graph
    if not found.config.pipeline.has_steps and not is_rewritten(found.model, graph):
        return found
    from slipway_runtime.pipeline.labels import spelled_out
    from slipway_runtime.pipeline.process import fuse

    pipeline = spelled_out(found.config.pipeline, lambda _: _given(labels))
    # Beside the model where that is ours; a file of the user's keeps its folder to itself.
    ours = _folder(found.config)
    out = fused_file(found.model if found.model.is_relative_to(ours) else ours / found.model.name)
    out.parent.mkdir(parents=True, exist_ok=True)
    timeout_s = settings.validate_timeout_s
    fuse(
        found.model, pipeline, out,
        graph=graph, tokenizers=found.published, timeout_s=timeout_s,
    )  # fmt: skip
    return found._replace(model=out)


def _chosen(model: Path, settings: Settings) -> Path:
    """The model of a folder, by the rule that holds for fetched ones; a file is one already."""
    if not model.is_dir():
        return model
    from slipway_runtime.supply.choice import chosen_model
    from slipway_runtime.supply.claim import folder_names

    names = folder_names(model.absolute().as_uri(), model, settings.max_model_files)
    return model / chosen_model(names, "ONNX")


def _given(labels: Path | None) -> Path:
    if labels is None:
        raise ConfigError(
            "pipeline.postprocess: labels of a ConfigMap need a cluster; give the file with "
            "--labels FILE"
        )
    return labels


def _document(manifest: Path) -> dict[str, Any]:
    """The `name`, `namespace` and blocks of a manifest that say something about answers."""
    try:
        content = yaml.safe_load(manifest.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as err:
        raise ConfigError(f"{manifest}: cannot be read ({err})") from err
    if not isinstance(content, dict) or content.get("kind") != "ModelDeployment":
        raise ConfigError(f"{manifest}: expected one document of kind ModelDeployment")
    metadata, spec = content.get("metadata") or {}, content.get("spec") or {}
    honoured = (*_HONOURED, _SECURITY)
    unknown = sorted(set(spec) - _CLUSTER_ONLY - set(honoured))
    if unknown:
        raise ConfigError(
            f"spec.{unknown[0]}: not served by this release, expected one of {', '.join(honoured)}"
        )
    blocks = {key: spec[key] for key in honoured if spec.get(key) is not None}
    if isinstance(blocks.get("model"), dict):
        blocks["model"] = {k: v for k, v in blocks["model"].items() if k != _POLL}
    return {
        "name": metadata.get("name"),
        "namespace": metadata.get("namespace", "default"),
        **blocks,
    }


def _cached(config: ServingConfig, settings: Settings) -> Path:
    """Fetch into the user's cache; a model whose digest is pinned is fetched once."""
    # Late: most models on a laptop are files, and an HTTP client is slow to import.
    from slipway_runtime.supply.fetch import SupplyOptions, supply
    from slipway_runtime.supply.step import patience, stores

    folder = _folder(config)
    pinned = config.model_copy(update={"digest": config.digest or config.model.digest})
    supply(
        pinned,
        SupplyOptions(
            into=folder,
            max_bytes=settings.max_model_bytes,
            max_files=settings.max_model_files,
            stores=stores(settings),
            allow_file=True,
            patience=patience(settings),
        ),
    )
    return supplied_model(folder)


def _folder(config: ServingConfig) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "slipway" / "models"
    return cache / f"{config.namespace}-{config.name}"


def _described(document: dict[str, Any], model: Path) -> ServingConfig:
    """Complete a document with what a cluster would have found out."""
    try:
        digest = file_digest(model)
    except OSError as err:
        raise NotFound(
            f"model: {shown(str(model))} cannot be read ({os.strerror(err.errno or 0)})"
        ) from err
    return parse_config({**_with_revision(document, revision_of(digest)), "digest": digest})


def _with_revision(document: dict[str, Any], revision: str) -> dict[str, Any]:
    return {"namespace": "default", **document, "revision": revision, "revisionNumber": 1}


def model_name(model: Path) -> str:
    """The name under which a file is served.

    >>> model_name(Path("My Model_v2.onnx"))
    'my-model-v2'
    """
    return re.sub(r"[^a-z0-9]+", "-", model.stem.lower()).strip("-")[:40].strip("-") or "model"
