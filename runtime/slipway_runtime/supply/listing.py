"""List the files below a folder of a store: S3, Google Cloud Storage, the Hugging Face Hub.

What a store lists is believed no more than an archive: names are checked where they are written
(`tree.py`), and there are only so many of them.

Source: Amazon S3 API Reference, "ListObjectsV2"; Cloud Storage, "JSON API, Objects: list"; Hugging
Face Hub, "Hub API Endpoints".
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote_plus, urlencode
from xml.etree import ElementTree

from slipway_runtime.errors import Unavailable
from slipway_runtime.supply.credentials import Credentials
from slipway_runtime.supply.gs import ENDPOINT, gs_identity
from slipway_runtime.supply.hf import Hub
from slipway_runtime.supply.http import Store, asked
from slipway_runtime.supply.identity import Identity
from slipway_runtime.supply.s3 import S3Place, s3_identity
from slipway_runtime.supply.uri import HubURI, ObjectURI

_HADOOP_MARKER: Final = "_$folder$"
_GS_FIELDS: Final = "items(name,size),nextPageToken"


@dataclass(frozen=True, slots=True)
class Listed:
    """One file below a folder."""

    name: str
    """Below the folder."""
    url: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a folder, and how to ask for them."""

    files: Iterator[Listed]
    identity: Identity
    source: str | None = None
    """The URI by which the same bytes can be had again, where the store has one."""


def s3_listing(
    uri: ObjectURI, credentials: Credentials | None, place: S3Place, store: Store
) -> Listing:
    """List objects whose keys begin with that of the URI."""
    found = place.given(credentials)
    identity = s3_identity(credentials, found.region)

    def files() -> Iterator[Listed]:
        query = {"list-type": "2", "encoding-type": "url", "prefix": uri.key}
        while True:
            # In this order, and with %20: so it is signed.
            text = urlencode(sorted(query.items()), quote_via=quote)
            raw, _ = asked(store, f"{found.url(uri.bucket, '')}?{text}", identity)
            page = _page(raw)
            for key, size_bytes in page.objects:
                if name := _below(key, uri.key):
                    yield Listed(name, found.url(uri.bucket, key), size_bytes)
            if page.token is None:
                return
            query["continuation-token"] = page.token

    return Listing(files(), identity)


def gs_listing(
    uri: ObjectURI, credentials: Credentials | None, store: Store, endpoint: str | None
) -> Listing:
    """List objects whose names begin with that of the URI."""
    base = f"{(endpoint or ENDPOINT).rstrip('/')}/storage/v1/b/{uri.bucket}/o"
    identity = gs_identity(credentials, store)

    def files() -> Iterator[Listed]:
        query = {"prefix": uri.key, "fields": _GS_FIELDS}
        while True:
            raw, _ = asked(store, f"{base}?{urlencode(query)}", identity)
            page = _document(raw)
            for item in page.get("items") or ():
                key = str(item["name"])
                if name := _below(key, uri.key):
                    url = f"{base}/{quote(key, safe='')}?alt=media"
                    yield Listed(name, url, int(item.get("size", 0)))
            if not page.get("nextPageToken"):
                return
            query["pageToken"] = str(page["nextPageToken"])

    return Listing(files(), identity)


def hf_listing(
    uri: HubURI, credentials: Credentials | None, store: Store, endpoint: str | None
) -> Listing:
    """List files of a folder of a commit."""
    hub = Hub(uri, store, credentials, endpoint)
    files = (
        Listed(name, hub.url(f"{uri.path}{name}"), size_bytes) for name, size_bytes in hub.files()
    )
    return Listing(files, hub.identity, hub.source(uri.path))


@dataclass(frozen=True, slots=True)
class _Page:
    objects: list[tuple[str, int]]
    token: str | None


def _page(raw: bytes) -> _Page:
    """Read a page of S3's; it has no business with entities of its own."""
    if b"<!" in raw:
        raise Unavailable("model.uri: the store's list has a document type, expected none")
    try:
        root = ElementTree.fromstring(raw)  # noqa: S314  # without a document type
        objects = [
            (unquote_plus(_text(entry, "Key") or ""), int(_text(entry, "Size") or 0))
            for entry in root.iterfind("{*}Contents")
        ]
        is_cut = _text(root, "IsTruncated") == "true"
        return _Page(objects, _text(root, "NextContinuationToken") if is_cut else None)
    except (ElementTree.ParseError, ValueError) as err:
        raise Unavailable("model.uri: the store's list cannot be read, expected XML") from err


def _text(element: ElementTree.Element, name: str) -> str | None:
    return element.findtext(f"{{*}}{name}")


def _document(raw: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(raw)
        [(item["name"], int(item.get("size", 0))) for item in found.get("items") or ()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        raise Unavailable("model.uri: the store's list cannot be read, expected JSON") from err
    return found


def _below(key: str, folder: str) -> str:
    """The name below the folder; empty for what only stands for a folder."""
    name = key.removeprefix(folder)
    return "" if name.endswith(("/", _HADOOP_MARKER)) else name
