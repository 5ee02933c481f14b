"""Models in an OCI registry: one manifest, one layer, every digest checked.

Two layouts are read as a file: an artifact whose only layer is the model, and one with several
layers of which a single title (`org.opencontainers.image.title`) ends in `.onnx`. As a folder,
every layer is a file by its title, or an archive that is unpacked, as those of images are. Foreign
layer URLs are never followed.

Source: OCI Distribution Specification 1.1, "Pulling manifests", "Pulling blobs"; Docker Registry
token authentication.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import platform
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlencode, urlsplit

import httpx

from slipway_runtime.errors import (
    AccessDenied,
    InvalidConfig,
    NotFound,
    Unavailable,
    Unsupported,
    clipped,
    shown,
)
from slipway_runtime.supply.archive import unpack
from slipway_runtime.supply.credentials import Credentials
from slipway_runtime.supply.digest import ModelWriter, check_digest
from slipway_runtime.supply.download import fetch_http
from slipway_runtime.supply.http import Store, asked, check_status, small_body
from slipway_runtime.supply.identity import Headers, Identity, basic
from slipway_runtime.supply.signature import check_signed
from slipway_runtime.supply.tree import Tree, is_hidden
from slipway_runtime.supply.uri import OCIReference, is_loopback, oci_reference

log: Final = logging.getLogger(__name__)

_MANIFESTS: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_INDEXES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_NO_KIND: Final = "application/vnd.oci.empty.v1+json"
_TITLE: Final = "org.opencontainers.image.title"
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_TOKENS_OF: Final = {"registry-1.docker.io": "auth.docker.io"}
"""Where the best known registry keeps its tokens."""
_CHALLENGE: Final = re.compile(r'([a-zA-Z]+)="([^"]*)"')
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


def fetch_oci(
    uri: str,
    writer: ModelWriter,
    store: Store,
    *,
    insecure: Sequence[str],
    credentials: Credentials | None = None,
    token_hosts: Sequence[str] = (),
    signed_by: Path | None = None,
) -> str:
    """Fetch the model's layer.

    Args:
        uri: `oci://HOST/REPO[:TAG][@sha256:…]`.
        writer: receives the layer's bytes.
        store: how to talk HTTP.
        insecure: registries (`host[:port]`) that speak plain HTTP.
        credentials: a Secret of type kubernetes.io/dockerconfigjson or kubernetes.io/basic-auth.
        token_hosts: who else may see the credentials, beside the registry.
        signed_by: public key with which the artifact has to be signed.

    Returns:
        The URI by which the same bytes can be had again: a tag moves, a digest does not.

    Raises:
        SupplyError: it cannot be had, or is not what the manifest promises.
    """
    registry = opened(uri, store, insecure, credentials, token_hosts)
    manifest, found = registry.signed_manifest(signed_by)
    registry.blob(chosen_layer(manifest), writer)
    return registry.source(found)


def fetch_oci_folder(
    uri: str,
    tree: Tree,
    store: Store,
    *,
    insecure: Sequence[str],
    credentials: Credentials | None = None,
    token_hosts: Sequence[str] = (),
    signed_by: Path | None = None,
) -> str:
    """Fetch all layers, each a file with a title or an archive; `fetch_oci` says the rest."""
    registry = opened(uri, store, insecure, credentials, token_hosts)
    manifest, found = registry.signed_manifest(signed_by)
    layers = _layers(manifest)
    if not layers:
        raise Unsupported("model.uri: the artifact has no layers, expected the model's files")
    tree.expect(sum(size for layer in layers if isinstance(size := layer.get("size"), int)))
    for layer in layers:
        if _is_archive(layer):
            with tree.aside() as (writer, archive):
                registry.blob(layer, writer)
                writer.commit(archive)
                unpack(archive, tree)
        elif not is_hidden(_title(layer)):
            with tree.file(_title(layer)) as writer:
                registry.blob(layer, writer)
    return f"{registry.source(found)}/"


def opened(
    uri: str,
    store: Store,
    insecure: Sequence[str],
    credentials: Credentials | None,
    token_hosts: Sequence[str],
) -> Registry:
    """Begin to talk to the registry of a URI; `fetch_oci` says what is given."""
    reference = oci_reference(uri)
    is_plain = _is_insecure(reference.host, insecure)
    identity = Puller(reference, store, credentials, is_plain=is_plain, token_hosts=token_hosts)
    return Registry(reference, store, identity, is_plain=is_plain)


class Registry:
    """One repository of one registry."""

    def __init__(
        self, reference: OCIReference, store: Store, identity: Identity, *, is_plain: bool
    ) -> None:
        self._reference: Final = reference
        self._store: Final = store
        self._identity: Final = identity
        scheme = "http" if is_plain else "https"
        self._base: Final = f"{scheme}://{reference.host}/v2/{reference.repository}"
        self._top: str | None = None
        """Digest of what was asked for last: a manifest, or the index that names it."""

    def manifest(self, wanted: str | None = None) -> tuple[Mapping[str, Any], str]:
        """Read the manifest that the URI names, or another one of the repository; its digest."""
        return self._manifest(wanted or self._reference.wanted, depth=0)

    def signed_manifest(self, key: Path | None) -> tuple[Mapping[str, Any], str]:
        """Read the manifest that the URI names; signed is what the URI names, be it an index."""
        manifest, found = self.manifest()
        if key is not None:
            signed = self._top or found
            check_signed(self, signed, key)
            log.info("signature is good", extra={"digest": signed})
        return manifest, found

    def document(self, layer: Mapping[str, Any]) -> bytes:
        """Read a small layer, compared with its descriptor."""
        digest = _digest(layer)
        raw, _ = asked(self._store, f"{self._base}/blobs/{digest}", self._identity)
        found = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        check_digest("model.verify: signature", found, digest)
        return raw

    def referrers(self, digest: str, kind: str) -> list[str]:
        """Digests of the artifacts of a kind that refer to another one, unverified.

        A registry without that list keeps it under a tag; one that has learnt it may have both.

        Source: OCI Distribution Specification 1.1, "Listing Referrers", "Referrers Tag Schema".
        """
        asked_for = f"{self._base}/referrers/{digest}?{urlencode({'artifactType': kind})}"
        for url in (asked_for, f"{self._base}/manifests/{digest.replace(':', '-')}"):
            try:
                raw, media_type = self._store.patiently(url, partial(self._document, url))
            except (NotFound, InvalidConfig):  # what it does not know, it answers with 400 to 406
                continue
            if media_type in _INDEXES and (found := _referring(_parsed(raw), kind)):
                return found
        return []

    def blob(self, layer: Mapping[str, Any], writer: ModelWriter) -> None:
        """Stream a layer, and compare it with its descriptor."""
        digest = _digest(layer)
        size = layer.get("size")
        if isinstance(size, int):
            writer.expect(size)
        url = f"{self._base}/blobs/{digest}"
        fetch_http(url, writer, self._store, identity=self._identity, digest=digest)
        check_digest("model.uri: layer", writer.digest, digest, writer.head)

    def source(self, manifest: str) -> str:
        """Name a manifest by its digest."""
        return f"oci://{self._reference.host}/{self._reference.repository}@{manifest}"

    def _manifest(self, wanted: str, depth: int) -> tuple[Mapping[str, Any], str]:
        url = f"{self._base}/manifests/{wanted}"
        raw, media_type = self._store.patiently(url, lambda: self._document(url))
        found = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        check_digest("model.uri: manifest", found, wanted if _DIGEST.fullmatch(wanted) else None)
        manifest = _parsed(raw)
        self._top = self._top if depth else found
        if manifest.get("mediaType", media_type) in _INDEXES or "manifests" in manifest:
            if depth:
                raise Unsupported(
                    "model.uri: an index of indexes, expected a manifest or an index of manifests"
                )
            return self._manifest(_digest(_chosen_manifest(manifest)), depth + 1)
        return manifest, found

    def _document(self, url: str) -> tuple[bytes, str]:
        with self._store.get(url, self._headers(url)) as response:
            if response.status_code < 300 or not self._identity.challenged(response):
                return _body(response, url, self._identity)
        with self._store.get(url, self._headers(url)) as response:
            return _body(response, url, self._identity)

    def _headers(self, url: str) -> Headers:
        return {"accept": ", ".join((*_MANIFESTS, *_INDEXES)), **self._identity.headers(url)}


class Puller(Identity):
    """Somebody who pulls, or nobody: gets a token from where the registry says, within limits."""

    def __init__(
        self,
        reference: OCIReference,
        store: Store,
        credentials: Credentials | None,
        *,
        is_plain: bool,
        token_hosts: Sequence[str],
    ) -> None:
        self._reference: Final = reference
        self._store: Final = store
        self._is_plain: Final = is_plain
        self._token_hosts: Final = token_hosts
        self._login: Final = (
            None if credentials is None else registry_login(credentials, reference.host)
        )
        if credentials is not None:
            self.remedy = credentials.remedy
        self._authorization: str | None = None

    def headers(self, url: str) -> Headers:
        """Show what the registry has asked for before."""
        return {"authorization": self._authorization} if self._authorization else {}

    def challenged(self, refusal: httpx.Response) -> bool:
        """Do what a 401 asks for.

        Raises:
            AccessDenied: it wants what we do not have, or would have it shown to strangers.
        """
        if refusal.status_code != 401:
            return False
        kind, _, rest = refusal.headers.get("www-authenticate", "").partition(" ")
        challenge = {key.lower(): value for key, value in _CHALLENGE.findall(rest)}
        if kind.lower() == "basic" and self._login:
            self._authorization = basic(*self._login)
            return True
        self._authorization = f"Bearer {self._token(kind, challenge)}"
        return True

    def _token(self, kind: str, challenge: Mapping[str, str]) -> str:
        realm = urlsplit(challenge.get("realm", ""))
        allowed = ("https", "http") if self._is_plain else ("https",)
        # A registry that speaks https must not send us to a token service that does not.
        if kind.lower() != "bearer" or realm.scheme not in allowed or not realm.netloc:
            raise AccessDenied(
                f"model.uri: registry {self._reference.host!r} wants credentials, "
                "expected one that may be read anonymously, or model.credentials with a Secret"
            )
        scope = challenge.get("scope", f"repository:{self._reference.repository}:pull")
        query = urlencode({"service": challenge.get("service", ""), "scope": scope})
        url = f"{realm.geturl()}?{query}"
        told_by = f"oci://{self._reference.host}"
        with self._store.get(url, self._shown_to(realm), told_by=told_by) as response:
            answer = _parsed(_body(response, url, self)[0])
        token = answer.get("token") or answer.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise AccessDenied(f"model.uri: registry {self._reference.host!r} gives no token")
        return token

    def _shown_to(self, realm: SplitResult) -> Headers:
        """Credentials go to the registry's own host, and to where the settings allow."""
        if self._login is None:
            return {}
        host = (realm.hostname or "").lower()
        own = urlsplit(f"//{self._reference.host}").hostname or ""
        if host not in {own.lower(), _TOKENS_OF.get(own.lower()), *self._token_hosts}:
            raise AccessDenied(
                f"model.uri: registry {self._reference.host!r} wants its credentials to be shown "
                f"to {shown(host)}, which is another host; if that is right, "
                f"set SLIPWAY_RUNTIME_TOKEN_HOSTS={clipped(host, 253)}"
            )
        return {"authorization": basic(*self._login)}


def registry_login(credentials: Credentials, host: str) -> tuple[str, str]:
    """Find the user name and password for a registry.

    Raises:
        InvalidConfig: the Secret has none for it.
    """
    if login := credentials.login():
        return login
    text = credentials.get(".dockerconfigjson", "config.json")
    if text is None:
        raise InvalidConfig(credentials.lacks(".dockerconfigjson", "username and password"))
    try:
        entries = json.loads(text)["auths"]
        found = {_registry_name(name): entry for name, entry in entries.items()}
        return _docker_login(found[_registry_name(host)])
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise InvalidConfig(
            f"model.credentials: .dockerconfigjson of Secret {credentials.name!r} has no user name "
            f"and password for {host!r}; "
            "make it with `kubectl create secret docker-registry`"
        ) from err


def _docker_login(entry: Mapping[str, Any]) -> tuple[str, str]:
    if entry.get("username") and entry.get("password"):
        return str(entry["username"]), str(entry["password"])
    username, colon, password = base64.b64decode(entry["auth"]).decode().partition(":")
    if not colon:
        raise ValueError("no colon")
    return username, password


def _registry_name(name: str) -> str:
    """Bring the names of a registry together: Docker writes its own as a URL."""
    bare = name.lower().removeprefix("https://").removeprefix("http://").partition("/")[0]
    return "docker.io" if bare in ("index.docker.io", "registry-1.docker.io") else bare


def chosen_layer(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """Choose the layer that is the model.

    Raises:
        Unsupported: there is none, or more than one could be meant.
    """
    layers = _layers(manifest)
    titled = [layer for layer in layers if _title(layer).endswith(".onnx")]
    if len(titled) == 1:
        return titled[0]
    if len(layers) == 1 and not titled:
        _refuse_archive(layers[0])
        return layers[0]
    titles = ", ".join(shown(_title(layer)) for layer in layers[:10]) or "no layers"
    raise Unsupported(
        f"model.uri: the artifact has {titles}, expected a single layer or one titled *.onnx; "
        "name a folder with a slash at the URI's end"
    )


def _layers(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [layer for layer in manifest.get("layers") or [] if isinstance(layer, dict)]


def _refuse_archive(layer: Mapping[str, Any]) -> None:
    if _is_archive(layer):
        raise Unsupported(
            f"model.uri: the artifact's only layer is {shown(layer.get('mediaType'))}, "
            "expected the model file itself; name the folder with a slash at the URI's end, "
            "or push the file with `oras push HOST/REPO:TAG model.onnx`"
        )


def _is_archive(layer: Mapping[str, Any]) -> bool:
    media_type = str(layer.get("mediaType", ""))
    return "tar" in media_type or media_type.endswith(("+gzip", "+zstd", ".gzip"))


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


def _referring(index: Mapping[str, Any], kind: str) -> list[str]:
    """Of a kind first; then those of none, as some registries tell by an empty configuration."""
    entries = index.get("manifests")
    found = [x for x in (entries if isinstance(entries, list) else []) if isinstance(x, dict)]
    return [
        _digest(entry)
        for wanted in ((kind,), (None, "", _NO_KIND))
        for entry in found
        if entry.get("artifactType") in wanted
    ]


def _is_insecure(host: str, insecure: Sequence[str]) -> bool:
    return is_loopback(urlsplit(f"//{host}").hostname or "") or host.lower() in insecure


def _title(layer: Mapping[str, Any]) -> str:
    annotations = layer.get("annotations")
    return str(annotations.get(_TITLE, "")) if isinstance(annotations, dict) else ""


def _digest(descriptor: Mapping[str, Any]) -> str:
    digest = descriptor.get("digest")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise Unsupported(f"model.uri: a descriptor's digest is {shown(digest)}, expected sha256:…")
    return digest


def _body(response: httpx.Response, url: str, identity: Identity) -> tuple[bytes, str]:
    check_status(response, url, identity)
    kind = response.headers.get("content-type", "").partition(";")[0].strip()
    return small_body(response), kind


def _parsed(raw: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as err:
        raise Unavailable("model.uri: the registry answers with something that is no JSON") from err
    if not isinstance(document, dict):
        raise Unavailable("model.uri: the registry answers with something that is no JSON object")
    return document
