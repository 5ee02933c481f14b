"""Models in an OCI registry: one manifest, one layer, every digest checked.

Two layouts are read: an artifact whose only layer is the model, and one with several layers of
which a single title (`org.opencontainers.image.title`) ends in `.onnx`. Foreign layer URLs are
never followed.

Source: OCI Distribution Specification 1.1, "Pulling manifests", "Pulling blobs"; Docker Registry
token authentication.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import httpx

from slipway_runtime.errors import AccessDenied, Unavailable, Unsupported, shown
from slipway_runtime.supply.digest import ModelWriter, check_digest
from slipway_runtime.supply.download import Headers, fetch_http
from slipway_runtime.supply.http import Store, check_status
from slipway_runtime.supply.uri import OCIReference, oci_reference

_MANIFESTS: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_INDEXES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_TITLE: Final = "org.opencontainers.image.title"
_MAX_DOCUMENT_BYTES: Final = 4 * 2**20
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_CHALLENGE: Final = re.compile(r'([a-zA-Z]+)="([^"]*)"')
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


def fetch_oci(uri: str, writer: ModelWriter, store: Store, *, insecure: Sequence[str]) -> None:
    """Fetch the model's layer.

    Args:
        uri: `oci://HOST/REPO[:TAG][@sha256:…]`.
        writer: receives the layer's bytes.
        store: how to talk HTTP.
        insecure: registries (`host[:port]`) that speak plain HTTP.

    Raises:
        SupplyError: it cannot be had, or is not what the manifest promises.
    """
    Registry(oci_reference(uri), store, insecure=insecure).fetch(writer)


class Registry:
    """One repository of one registry, spoken to anonymously."""

    def __init__(self, reference: OCIReference, store: Store, *, insecure: Sequence[str]) -> None:
        self._reference: Final = reference
        self._store: Final = store
        self._scheme: Final = "http" if _is_insecure(reference.host, insecure) else "https"
        self._base: Final = f"{self._scheme}://{reference.host}/v2/{reference.repository}"
        self._token: Headers = {}

    def fetch(self, writer: ModelWriter) -> None:
        """Find the layer, stream it, and compare it with its descriptor."""
        layer = chosen_layer(self._manifest(self._reference.wanted, depth=0))
        digest = _digest(layer)
        size = layer.get("size")
        if isinstance(size, int):
            writer.expect(size)
        url = f"{self._base}/blobs/{digest}"
        fetch_http(url, writer, self._store, headers=self._token, authorize=self._authorized)
        check_digest("model.uri: layer", writer.digest, digest, writer.head)

    def _manifest(self, wanted: str, depth: int) -> Mapping[str, Any]:
        url = f"{self._base}/manifests/{wanted}"
        raw, media_type = self._store.patiently(url, lambda: self._document(url))
        found = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        check_digest("model.uri: manifest", found, wanted if _DIGEST.fullmatch(wanted) else None)
        manifest = _parsed(raw)
        if manifest.get("mediaType", media_type) in _INDEXES or "manifests" in manifest:
            if depth:
                raise Unsupported(
                    "model.uri: an index of indexes, expected a manifest or an index of manifests"
                )
            return self._manifest(_digest(_chosen_manifest(manifest)), depth + 1)
        return manifest

    def _document(self, url: str) -> tuple[bytes, str]:
        headers = {"accept": ", ".join((*_MANIFESTS, *_INDEXES))}
        with self._store.get(url, {**headers, **self._token}) as response:
            if response.status_code != 401:
                return _body(response, url)
            self._token = self._authorized(response)
        with self._store.get(url, {**headers, **self._token}) as response:
            return _body(response, url)

    def _authorized(self, refusal: httpx.Response) -> Headers:
        """Get an anonymous token from where the registry says.

        Raises:
            AccessDenied: it wants another kind of credentials, or gives none.
        """
        kind, _, rest = refusal.headers.get("www-authenticate", "").partition(" ")
        challenge = {key.lower(): value for key, value in _CHALLENGE.findall(rest)}
        realm = urlsplit(challenge.get("realm", ""))
        # A registry that speaks https must not send us to a token service that does not.
        if (
            kind.lower() != "bearer"
            or realm.scheme not in ("https", self._scheme)
            or not realm.netloc
        ):
            raise AccessDenied(
                f"model.uri: registry {self._reference.host!r} wants credentials, "
                "expected one that may be read anonymously"
            )
        scope = challenge.get("scope", f"repository:{self._reference.repository}:pull")
        query = {"service": challenge.get("service", ""), "scope": scope}
        token = self._anonymous_token(f"{realm.geturl()}?{urlencode(query)}")
        return {"authorization": f"Bearer {token}"}

    def _anonymous_token(self, url: str) -> str:
        with self._store.get(url, {}) as response:
            answer = _parsed(_body(response, url)[0])
        token = answer.get("token") or answer.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise AccessDenied(
                f"model.uri: registry {self._reference.host!r} gives no anonymous token"
            )
        return token


def chosen_layer(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """Choose the layer that is the model.

    Raises:
        Unsupported: there is none, or more than one could be meant.
    """
    layers = [layer for layer in manifest.get("layers") or [] if isinstance(layer, dict)]
    titled = [layer for layer in layers if _title(layer).endswith(".onnx")]
    if len(titled) == 1:
        return titled[0]
    if len(layers) == 1 and not titled:
        _refuse_archive(layers[0])
        return layers[0]
    titles = ", ".join(shown(_title(layer)) for layer in layers[:10]) or "no layers"
    raise Unsupported(
        f"model.uri: the artifact has {titles}, expected a single layer or one titled *.onnx; "
        "push it with `oras push HOST/REPO:TAG model.onnx`"
    )


def _refuse_archive(layer: Mapping[str, Any]) -> None:
    media_type = str(layer.get("mediaType", ""))
    if "tar" in media_type or media_type.endswith(("+gzip", "+zstd", ".gzip")):
        raise Unsupported(
            f"model.uri: the artifact's only layer is {shown(media_type)}, "
            "expected the model file itself; push it with `oras push HOST/REPO:TAG model.onnx`"
        )


def _chosen_manifest(index: Mapping[str, Any]) -> Mapping[str, Any]:
    entries = [entry for entry in index.get("manifests") or [] if isinstance(entry, dict)]
    if len(entries) == 1:
        return entries[0]
    machine = platform.machine()
    wanted = {"os": "linux", "architecture": _ARCHITECTURES.get(machine, machine)}
    fitting = [
        entry for entry in entries if wanted.items() <= dict(entry.get("platform") or {}).items()
    ]
    if len(fitting) != 1:
        raise Unsupported(
            f"model.uri: the index has {len(entries)} manifests, expected one, or one for "
            f"linux/{wanted['architecture']}; name the manifest by its digest"
        )
    return fitting[0]


def _is_insecure(host: str, insecure: Sequence[str]) -> bool:
    return urlsplit(f"//{host}").hostname in _LOOPBACK or host.lower() in insecure


def _title(layer: Mapping[str, Any]) -> str:
    annotations = layer.get("annotations")
    return str(annotations.get(_TITLE, "")) if isinstance(annotations, dict) else ""


def _digest(descriptor: Mapping[str, Any]) -> str:
    digest = descriptor.get("digest")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise Unsupported(f"model.uri: a descriptor's digest is {shown(digest)}, expected sha256:…")
    return digest


def _body(response: httpx.Response, url: str) -> tuple[bytes, str]:
    check_status(response, url)
    raw = bytearray()
    for chunk in response.iter_raw():
        raw += chunk
        if len(raw) > _MAX_DOCUMENT_BYTES:
            raise Unsupported(
                f"model.uri: a manifest is above {_MAX_DOCUMENT_BYTES} bytes, "
                "expected a small document"
            )
    return bytes(raw), response.headers.get("content-type", "").partition(";")[0].strip()


def _parsed(raw: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as err:
        raise Unavailable("model.uri: the registry answers with something that is no JSON") from err
    if not isinstance(document, dict):
        raise Unavailable("model.uri: the registry answers with something that is no JSON object")
    return document
