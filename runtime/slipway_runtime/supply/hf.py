"""Models on the Hugging Face Hub: one file of one commit. Nothing of a repository is ever run.

Source: Hugging Face Hub, "Hub API Endpoints"; the answers of `resolve` name the commit.
"""

from __future__ import annotations

import json
import re
from typing import Final
from urllib.parse import quote

from slipway_runtime.errors import Unavailable, shown
from slipway_runtime.supply.credentials import Credentials
from slipway_runtime.supply.digest import ModelWriter
from slipway_runtime.supply.download import fetch_http
from slipway_runtime.supply.http import Store, check_status, small_body
from slipway_runtime.supply.identity import Identity, http_identity
from slipway_runtime.supply.uri import HubURI, hub_uri

ENDPOINT: Final = "https://huggingface.co"
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


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
    place, base = hub_uri(uri), (endpoint or ENDPOINT).rstrip("/")
    identity = http_identity(credentials)
    commit = _commit(place, base, store, identity)
    path = quote(place.path, safe="/")
    url = f"{base}/{place.repository}/resolve/{commit}/{path}"
    fetch_http(url, writer, store, identity=identity)
    return f"hf://{place.repository}@{commit}/{path}"


def _commit(place: HubURI, base: str, store: Store, identity: Identity) -> str:
    """Find out which commit a revision is now, so that all parts of a file are of the same one."""
    if _COMMIT.fullmatch(place.revision):
        return place.revision
    url = f"{base}/api/models/{place.repository}/revision/{quote(place.revision, safe='')}"

    def asked() -> str:
        with store.get(url, identity.headers(url)) as response:
            check_status(response, url, identity)
            return _sha(small_body(response))

    return store.patiently(url, asked)


def _sha(raw: bytes) -> str:
    try:
        sha = json.loads(raw)["sha"]
    except (ValueError, KeyError, TypeError, RecursionError) as err:
        raise Unavailable("model.uri: the hub does not tell the commit of the revision") from err
    if not isinstance(sha, str) or not _COMMIT.fullmatch(sha):
        raise Unavailable(f"model.uri: the hub tells {shown(sha)} for a commit")
    return sha
