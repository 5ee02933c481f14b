"""What the container that fetches a model gets to see, and no other container.

Lives here: volumes of the model's source, of its credentials, of the certificates to trust and of
labels; and what to say when one of them does not exist.
Stays out: what the step does with them (the runtime's `supply/`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from slipway_operator.api.pipeline import Pipeline
from slipway_operator.api.v1alpha1 import FileReference, Model, Samples
from slipway_operator.plan.names import Manifest

_CONFIGMAP_URI: Final = re.compile(r"configmap://([^/]+)/.+")
_CLAIM_URI: Final = re.compile(r"pvc://([^/]+)/.*")
MOUNTS: Final = frozenset({"source", "credentials", "ca", "cosign", "cache"})
"""Names of the volumes."""
_SOURCE_DIR: Final = "/source"
_CACHE_DIR: Final = "/cache"
_CREDENTIALS_DIR: Final = "/var/run/slipway/credentials"
_KEY_DIR: Final = "/var/run/slipway/cosign"
_KEY_FILE: Final = "cosign.pub"
_CA_DIR: Final = "/var/run/slipway/ca"
_CA_FILE: Final = "ca.crt"
_LABELS_DIR: Final = "/var/run/slipway/labels"
_KEY_OF: Final = {"ConfigMap": "config", "Secret": "secret"}
"""The kubelet's words for a key that is not there."""
SAMPLES: Final = "samples"
SAMPLES_FILE: Final = "/samples/samples.json"
_OWNER_READS: Final = 0o400
"""The kubelet lets the pod's group read, too: it is how a process that is not root may."""


def mounts(
    model: Model, *, resolving: bool, pipeline: Pipeline | None = None
) -> Iterator[Manifest]:
    """Yield how the fetching container mounts each volume: only the cache is written."""
    for volume, folder in sources(model, resolving=resolving, pipeline=pipeline):
        mount: Manifest = {"name": volume["name"], "mountPath": folder}
        yield mount if folder == _CACHE_DIR else mount | {"readOnly": True}


def sources(
    model: Model, *, resolving: bool, pipeline: Pipeline | None = None
) -> Iterator[tuple[Manifest, str]]:
    """Yield each volume and where the fetching container has it.

    Signatures are looked at once: pods fetch by the digest that was signed, and start without key.
    """
    if name := configmap_source(model.uri):
        yield {"name": "source", "configMap": {"name": name}}, _SOURCE_DIR
    if name := claim_source(model.uri):
        claim = {"claimName": name, "readOnly": True}
        yield {"name": "source", "persistentVolumeClaim": claim}, _SOURCE_DIR
    if model.credentials is not None:
        secret = {"secretName": model.credentials.secret_name, "defaultMode": _OWNER_READS}
        yield {"name": "credentials", "secret": secret}, _CREDENTIALS_DIR
    if model.ca_bundle is not None:
        yield {"name": "ca", **_file(model.ca_bundle, _CA_FILE)}, _CA_DIR
    if resolving and model.verify is not None:
        yield {"name": "cosign", **_file(model.verify.cosign_key, _KEY_FILE)}, _KEY_DIR
    if model.cache is not None:
        claim = {"claimName": model.cache.persistent_volume_claim}
        yield {"name": "cache", "persistentVolumeClaim": claim}, _CACHE_DIR
    if places := _labels(pipeline):
        yield {"name": "labels", "projected": {"sources": places}}, _LABELS_DIR


def _labels(pipeline: Pipeline | None) -> list[Manifest]:
    """Each key of labels under NAME/KEY, once."""
    steps = (step.labels for step in (pipeline and pipeline.postprocess) or ())
    found = dict.fromkeys(
        (step.config_map.name, step.config_map.key) for step in steps if step and step.config_map
    )
    return [
        {"configMap": {"name": name, "items": [{"key": key, "path": f"{name}/{key}"}]}}
        for name, key in found
    ]


def samples_volume(samples: Samples, *, optional: bool = False) -> Manifest:
    """Render the volume of the samples, which the container that fetches does not see.

    Args:
        samples: of the spec.
        optional: a pod starts without them, too.
    """
    chosen = samples.config_map
    items = [{"key": chosen.key, "path": SAMPLES_FILE.rpartition("/")[2]}]
    more = {"optional": True} if optional else {}
    return {"name": SAMPLES, "configMap": {"name": chosen.name, "items": items, **more}}


def samples_mount() -> Manifest:
    """Render how a container sees them."""
    return {"name": SAMPLES, "mountPath": SAMPLES_FILE.rpartition("/")[0], "readOnly": True}


def _file(reference: FileReference, path: str) -> Manifest:
    if reference.secret is not None:
        items = [{"key": reference.secret.key, "path": path}]
        return {"secret": {"secretName": reference.secret.name, "items": items}}
    if reference.config_map is not None:
        items = [{"key": reference.config_map.key, "path": path}]
        return {"configMap": {"name": reference.config_map.name, "items": items}}
    raise ValueError("a file is of a ConfigMap or of a Secret: the schema lets nothing else in")


def missing(spec: Mapping[str, Any], cause: str, namespace: str) -> str | None:
    """Say which object a pod waits for, given the kubelet's words; None when it is another cause.

    >>> missing({"model": {"uri": "configmap://m/k"}}, 'configmap "m" not found', "team")
    "model.uri: ConfigMap 'm' does not exist in namespace 'team'; create it"
    """
    model, pipeline = spec.get("model") or {}, spec.get("pipeline") or {}
    for field, kind, name, key in (*_objects(model), *_places(pipeline)):
        if f'{kind.lower()} "{name}" not found' in cause:
            return f"{field}: {kind} {name!r} does not exist in namespace {namespace!r}; create it"
        if key and f"references non-existent {_KEY_OF[kind]} key: {key}" in cause:
            return f"{field}: {kind} {name!r} has no key {key!r}; add it, or name another"
    return None


def _objects(model: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Field, kind, name and key of everything that is mounted."""
    if name := configmap_source(str(model.get("uri") or "")):
        yield "model.uri", "ConfigMap", name, ""
    if name := claim_source(str(model.get("uri") or "")):
        yield "model.uri", "PersistentVolumeClaim", name, ""
    if name := (model.get("credentials") or {}).get("secretName"):
        yield "model.credentials", "Secret", name, ""
    if name := (model.get("cache") or {}).get("persistentVolumeClaim"):
        yield "model.cache", "PersistentVolumeClaim", name, ""
    if found := (model.get("samples") or {}).get("configMap"):
        yield "model.samples", "ConfigMap", found["name"], found["key"]
    key = (model.get("verify") or {}).get("cosignKey") or {}
    for where, file in (("model.caBundle", model.get("caBundle")), ("model.verify", key)):
        for field, kind in (("configMap", "ConfigMap"), ("secret", "Secret")):
            if found := (file or {}).get(field):
                yield where, kind, found["name"], found["key"]


def _places(pipeline: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for number, step in enumerate(pipeline.get("postprocess") or ()):
        if found := (step.get("labels") or {}).get("configMap"):
            field = f"pipeline.postprocess[{number}].labels"
            yield field, "ConfigMap", found["name"], found["key"]


def configmap_source(uri: str) -> str | None:
    """Name the ConfigMap a model comes from; None for other schemes.

    >>> configmap_source("configmap://digits-v1/model.onnx")
    'digits-v1'
    """
    found = _CONFIGMAP_URI.fullmatch(uri)
    return found.group(1) if found else None


def claim_source(uri: str) -> str | None:
    """Name the claim a model lies in; None for other schemes.

    >>> claim_source("pvc://models/digits/2.onnx")
    'models'
    """
    found = _CLAIM_URI.fullmatch(uri)
    return found.group(1) if found else None
