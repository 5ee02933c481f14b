"""Models on the Hugging Face Hub: a file or a folder of one commit. Nothing there is ever run.

Source: Hugging Face Hub, "Hub API Endpoints"; the answers of `resolve` name the commit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

import httpx

from slipway_runtime.errors import Unavailable, shown
from slipway_runtime.supply.credentials import Credentials
from slipway_runtime.supply.digest import ModelWriter
from slipway_runtime.supply.download import fetch_http
from slipway_runtime.supply.http import Store, asked
from slipway_runtime.supply.identity import http_identity
from slipway_runtime.supply.uri import HubURI, hub_uri, redacted

ENDPOINT: Final = "https://huggingface.co"
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_NEXT: Final = re.compile(r'<([^<>]{1,4096})>; *rel="next"')


def fetch_hf(
    uri: str,
    writer: ModelWriter,
    store: Store,
    credentials: Credentials | None,
    endpoint: str | None,
) -> str:
    """Fetch a file of a commit into the writer; a branch or tag is looked up once.

    Returns:
        The URI by which the same bytes can be had again: a branch moves, a commit does not.

    Raises:
        SupplyError: it cannot be had.
    """
    hub = Hub(hub_uri(uri), store, credentials, endpoint)
    fetch_http(hub.url(hub.place.path), writer, store, identity=hub.identity)
    return hub.source(hub.place.path)


class Hub:
    """One commit of one repository."""

    def __init__(
        self, place: HubURI, store: Store, credentials: Credentials | None, endpoint: str | None
    ) -> None:
        self.place: Final = place
        self.identity: Final = http_identity(credentials)
        self._base: Final = (endpoint or ENDPOINT).rstrip("/")
        self._store: Final = store
        self._commit: Final = self._found_commit()

    def url(self, path: str) -> str:
        """Address a file."""
        path = quote(path, safe="/")
        return f"{self._base}/{self.place.repository}/resolve/{self._commit}/{path}"

    def source(self, path: str) -> str:
        """Name a file, or a folder, of this very commit."""
        return f"hf://{self.place.repository}@{self._commit}/{quote(path, safe='/')}"

    def files(self) -> Iterator[tuple[str, int]]:
        """List name and size of all files of the folder.

        Raises:
            SupplyError: the hub does not tell.
        """
        folder = self.place.path.rstrip("/")
        api = f"{self._base}/api/models/{self.place.repository}/tree/{self._commit}"
        url: str | None = f"{api}/{quote(folder, safe='/')}".rstrip("/") + "?recursive=true"
        while url is not None:
            raw, headers = asked(self._store, url, self.identity)
            yield from _files(raw, f"{folder}/" if folder else "")
            url = self._next(headers)

    def _next(self, headers: httpx.Headers) -> str | None:
        found = _NEXT.search(headers.get("link", ""))
        if found is None:
            return None
        # Its own pages only: the token goes along.
        if not found[1].startswith(f"{self._base}/api/models/{self.place.repository}/tree/"):
            raise Unavailable(f"model.uri: the hub continues its list at {redacted(found[1])!r}")
        return found[1]

    def _found_commit(self) -> str:
        """Find out which commit a revision is now, so that everything is of the same one."""
        if _COMMIT.fullmatch(self.place.revision):
            return self.place.revision
        revision = quote(self.place.revision, safe="")
        url = f"{self._base}/api/models/{self.place.repository}/revision/{revision}"
        return _sha(asked(self._store, url, self.identity)[0])


def _files(raw: bytes, folder: str) -> Iterator[tuple[str, int]]:
    try:
        for entry in json.loads(raw):
            if entry["type"] == "file" and str(entry["path"]).startswith(folder):
                yield str(entry["path"])[len(folder) :], int(entry["size"])
    except (ValueError, KeyError, TypeError, RecursionError) as err:
        raise Unavailable("model.uri: the hub does not tell the files of the folder") from err


def _sha(raw: bytes) -> str:
    try:
        sha = json.loads(raw)["sha"]
    except (ValueError, KeyError, TypeError, RecursionError) as err:
        raise Unavailable("model.uri: the hub does not tell the commit of the revision") from err
    if not isinstance(sha, str) or not _COMMIT.fullmatch(sha):
        raise Unavailable(f"model.uri: the hub tells {shown(sha)} for a commit")
    return sha
