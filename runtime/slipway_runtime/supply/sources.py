"""Which module serves which scheme, of those that lie behind a network."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from slipway_runtime.supply.credentials import Credentials
from slipway_runtime.supply.digest import ModelWriter
from slipway_runtime.supply.download import fetch_http
from slipway_runtime.supply.gs import gs_source
from slipway_runtime.supply.hf import fetch_hf
from slipway_runtime.supply.http import Store
from slipway_runtime.supply.identity import http_identity
from slipway_runtime.supply.oci import fetch_oci
from slipway_runtime.supply.s3 import S3Place, s3_source
from slipway_runtime.supply.uri import object_uri


@dataclass(frozen=True, slots=True)
class Stores:
    """What this process knows of stores, whichever model is asked for."""

    insecure_registries: tuple[str, ...] = ()
    token_hosts: tuple[str, ...] = ()
    s3: S3Place = field(default_factory=S3Place)
    gs_endpoint: str | None = None
    hf_endpoint: str | None = None


@dataclass(frozen=True, slots=True)
class Remote:
    """How to talk to a store, and as whom."""

    http: Store
    credentials: Credentials | None
    known: Stores
    signed_by: Path | None = None
    """Public key with which an OCI artifact has to be signed."""


def fetch_remote(scheme: str, uri: str, writer: ModelWriter, remote: Remote) -> str | None:
    """Fetch a model from behind a network into the writer.

    Returns:
        The URI by which the same bytes can be had again, where the store has one.

    Raises:
        SupplyError: it cannot be had.
    """
    match scheme:
        case "oci":
            return fetch_oci(
                uri,
                writer,
                remote.http,
                insecure=remote.known.insecure_registries,
                credentials=remote.credentials,
                token_hosts=remote.known.token_hosts,
                signed_by=remote.signed_by,
            )
        case "s3":
            url, identity = s3_source(object_uri(uri), remote.credentials, remote.known.s3)
            fetch_http(url, writer, remote.http, identity=identity)
        case "gs":
            found = object_uri(uri), remote.credentials, remote.http, remote.known.gs_endpoint
            url, identity = gs_source(*found)
            fetch_http(url, writer, remote.http, identity=identity)
        case "hf":
            return fetch_hf(uri, writer, remote.http, remote.credentials, remote.known.hf_endpoint)
        case _:
            identity = http_identity(remote.credentials)
            fetch_http(uri, writer, remote.http, identity=identity)
    return None
