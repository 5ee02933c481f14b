"""Look whether there are other bytes at a model's source than those that are known.

Cheaply where the store tells what it has: a registry the digest of a manifest, a hub the commit of
a branch, a web server or a bucket a strong ETag. Otherwise, and where that is another one than
before, the model is fetched and hashed: only its digest says that the bytes are others.
Stays out: what follows from it, which is the operator's, and every check of the model.
"""

from __future__ import annotations

import hashlib
import logging
from typing import Final, NamedTuple

import httpx

from slipway_runtime.config import ServingConfig
from slipway_runtime.supply.fetch import SupplyOptions, brought, opened_remote, source_scheme
from slipway_runtime.supply.gs import gs_source
from slipway_runtime.supply.hf import Hub
from slipway_runtime.supply.http import Store, check_status
from slipway_runtime.supply.identity import Identity, http_identity
from slipway_runtime.supply.oci import opened
from slipway_runtime.supply.s3 import s3_source
from slipway_runtime.supply.sources import Remote
from slipway_runtime.supply.termination import Look
from slipway_runtime.supply.uri import hub_uri, is_folder, object_uri

log: Final = logging.getLogger(__name__)

_FIRST_BYTE: Final = {"range": "bytes=0-0"}
"""The headers are all that is wanted; not every server knows HEAD, and signatures are for GET."""


class Known(NamedTuple):
    """What was found before."""

    digest: str | None = None
    mark: str | None = None
    """As this module has told it."""


def look(config: ServingConfig, options: SupplyOptions, known: Known) -> Look:
    """Find out what the source has now.

    Raises:
        SupplyError: it does not tell.
    """
    # What was pinned is not asked for, and a copy would not tell what the source has.
    model = config.model.model_copy(update={"digest": None, "verify": None, "cache": None})
    pins = {"digest": None, "source": None, "source_digest": None}
    asked = config.model_copy(update={"model": model, **pins})
    mark = _mark(asked, options)
    if known.digest and mark and mark in (known.mark, _hashed(config.source)):
        log.info("unchanged", extra={"digest": known.digest})
        return Look(digest=known.digest, mark=mark)
    digest = brought(asked, options).digest
    log.info("looked", extra={"digest": digest, "changed": digest != known.digest})
    return Look(digest=digest, mark=mark)


def _mark(config: ServingConfig, options: SupplyOptions) -> str | None:
    """What changes whenever the bytes do, without the bytes; None where the store has no such."""
    uri = config.model.uri
    scheme = source_scheme(uri, options)
    if scheme in ("configmap", "pvc", "file"):
        return None
    with opened_remote(config, options) as remote:
        return _hashed(_told(scheme, uri, remote))


def _told(scheme: str, uri: str, remote: Remote) -> str | None:
    credentials, known = remote.credentials, remote.known
    if scheme == "oci":
        hosts = known.insecure_registries, credentials, known.token_hosts
        registry = opened(uri, remote.http, *hosts)
        source = registry.source(registry.manifest()[1])
        return f"{source}/" if is_folder(uri) else source
    if scheme == "hf":
        hub = Hub(hub_uri(uri), remote.http, credentials, known.hf_endpoint)
        return hub.source(hub.place.path)
    if is_folder(uri):
        return None
    return remote.http.patiently(uri, lambda: _etag(remote.http, *_address(scheme, uri, remote)))


def _address(scheme: str, uri: str, remote: Remote) -> tuple[str, Identity]:
    credentials, known = remote.credentials, remote.known
    match scheme:
        case "s3":
            return s3_source(object_uri(uri), credentials, known.s3)
        case "gs":
            return gs_source(object_uri(uri), credentials, remote.http, known.gs_endpoint)
        case _:
            return uri, http_identity(credentials)


def _etag(store: Store, url: str, identity: Identity) -> str | None:
    """The strong ETag of what lies at a URL; a weak one says only that it means the same."""
    headers = _headers(store, url, identity)
    etag = headers.get("etag", "")
    return None if not etag or etag.startswith("W/") else etag


def _headers(store: Store, url: str, identity: Identity) -> httpx.Headers:
    with store.get(url, {**identity.headers(url), **_FIRST_BYTE}) as response:
        if response.status_code < 300 or not identity.challenged(response):
            check_status(response, url, identity)
            return response.headers
    with store.get(url, {**identity.headers(url), **_FIRST_BYTE}) as response:
        check_status(response, url, identity)
        return response.headers


def _hashed(text: str | None) -> str | None:
    """Of one form, whatever a store tells: it goes into a status, and into arguments."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}" if text else None
