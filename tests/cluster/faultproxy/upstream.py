"""Reach the real API server with the credentials of a kubeconfig.

Lives here: reading the kubeconfig, TLS, forwarding. Stays out: faults.
"""

from __future__ import annotations

import base64
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml
from yarl import URL

HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "host",
        "content-length",
    }
)


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the current context of a kubeconfig says."""

    server: str
    namespace: str
    authority: str | None
    """The certificate authority's certificates as PEM text."""
    certificate: bytes | None
    """The client's certificate and key, one PEM text."""
    token: str | None

    @classmethod
    def read(cls, kubeconfig: Path) -> Cluster:
        """Read the current context of a kubeconfig; certificates may be files or in the text.

        Raises:
            ValueError: the user has credentials of a kind that the proxy does not know.
        """
        config = yaml.safe_load(kubeconfig.read_text())
        context = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], context["cluster"])["cluster"]
        user = _named(config["users"], context["user"])["user"] or {}
        if unknown := {"exec", "auth-provider", "username"} & set(user):
            raise ValueError(f"user {context['user']!r}: got {sorted(unknown)}, expected a token")
        folder = kubeconfig.parent
        authority = _content(cluster, "certificate-authority", folder)
        certificate = _content(user, "client-certificate", folder)
        key = _content(user, "client-key", folder)
        return cls(
            server=cluster["server"].rstrip("/"),
            namespace=context.get("namespace", "default"),
            authority=authority.decode() if authority else None,
            certificate=certificate + b"\n" + key if certificate and key else None,
            token=user.get("token"),
        )

    def tls(self, *, as_client: bool) -> ssl.SSLContext:
        """Return the TLS settings, with the client's certificate or without."""
        context = ssl.create_default_context(cadata=self.authority)
        if as_client and self.certificate:
            # OpenSSL reads certificates of clients from files only.
            with tempfile.NamedTemporaryFile() as file:
                file.write(self.certificate)
                file.flush()
                context.load_cert_chain(file.name)
        return context


class Upstream:
    """The API server as the proxy sees it; an async context manager."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def __aenter__(self) -> Upstream:
        for as_client in (True, False):
            connector = aiohttp.TCPConnector(limit=0, ssl=self._cluster.tls(as_client=as_client))
            self._sessions[as_client] = aiohttp.ClientSession(
                connector=connector,
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
                skip_auto_headers=("User-Agent", "Accept", "Content-Type", "Accept-Encoding"),
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in self._sessions.values():
            await session.close()

    async def send(
        self, method: str, raw_path: str, headers: Mapping[str, str], body: bytes, *, plain: bool
    ) -> aiohttp.ClientResponse:
        """Forward a request; with `plain` the answer will not be compressed.

        A client that brings its own token is forwarded without our certificate, which would win.
        """
        kept = end_to_end(headers)
        if plain:
            kept = {
                name: value for name, value in kept.items() if name.lower() != "accept-encoding"
            }
        brings_token = any(name.lower() == "authorization" for name in kept)
        if self._cluster.token and not brings_token:
            kept["Authorization"] = f"Bearer {self._cluster.token}"
        return await self._sessions[not brings_token].request(
            method,
            URL(self._cluster.server + raw_path, encoded=True),
            headers=kept,
            data=body or None,
            allow_redirects=False,
        )


def end_to_end(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that a proxy passes on."""
    return {name: value for name, value in headers.items() if name.lower() not in HOP_BY_HOP}


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)


def _content(block: Mapping[str, str], key: str, folder: Path) -> bytes | None:
    if data := block.get(f"{key}-data"):
        return base64.b64decode(data)
    if path := block.get(key):
        return (folder / path).read_bytes()
    return None
