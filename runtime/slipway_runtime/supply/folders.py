"""Fetch a folder: everything below a URI that ends in a slash.

Lives here: which schemes have folders, and how many files they may have.
Stays out: the stores' ways of listing (`listing.py`), an artifact's layers (`oci.py`), and what is
safe to write (`tree.py`).
"""

from __future__ import annotations

from slipway_runtime.errors import NotFound
from slipway_runtime.supply.download import fetch_http
from slipway_runtime.supply.http import Store
from slipway_runtime.supply.listing import Listed, Listing, gs_listing, hf_listing, s3_listing
from slipway_runtime.supply.oci import fetch_oci_folder
from slipway_runtime.supply.sources import Remote
from slipway_runtime.supply.tree import Tree, is_hidden, too_many
from slipway_runtime.supply.uri import hub_uri, object_uri, redacted


def fetch_remote_folder(scheme: str, uri: str, tree: Tree, remote: Remote) -> str | None:
    """Fetch a folder from behind a network.

    Returns:
        The URI by which the same bytes can be had again, where the store has one.

    Raises:
        SupplyError: it cannot be had.
    """
    if scheme == "oci":
        return fetch_oci_folder(
            uri,
            tree,
            remote.http,
            insecure=remote.known.insecure_registries,
            credentials=remote.credentials,
            token_hosts=remote.known.token_hosts,
            signed_by=remote.signed_by,
        )
    listing = _listing(scheme, uri, remote)
    fetch_listed(uri, listing, tree, remote.http)
    return listing.source


def _listing(scheme: str, uri: str, remote: Remote) -> Listing:
    known, credentials = remote.known, remote.credentials
    match scheme:
        case "s3":
            return s3_listing(object_uri(uri), credentials, known.s3, remote.http)
        case "gs":
            return gs_listing(object_uri(uri), credentials, remote.http, known.gs_endpoint)
        case _:
            return hf_listing(hub_uri(uri), credentials, remote.http, known.hf_endpoint)


def fetch_listed(uri: str, listing: Listing, tree: Tree, store: Store) -> None:
    """Fetch every file of a list, once the whole list is known and fits.

    Raises:
        SupplyError: it cannot be had, or is too much.
    """
    wanted: list[Listed] = []
    for listed in listing.files:
        if is_hidden(listed.name):
            continue
        if len(wanted) == tree.max_files:
            raise too_many(tree.max_files)
        wanted.append(listed)
    if not wanted:
        raise NotFound(f"model.uri: {redacted(uri)!r} has no files below it; check the URI")
    tree.expect(sum(listed.size_bytes for listed in wanted))
    for listed in sorted(wanted, key=lambda found: found.name):
        with tree.file(listed.name) as writer:
            fetch_http(listed.url, writer, store, identity=listing.identity)
