"""The way to a store: whom to trust, and through which proxy.

Lives here: the certificates and the rules of `noProxy`, of the spec or of the environment.
`http.py` goes the way, and asks nobody else: it has to know whether a proxy resolves a name.
"""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies

from slipway_runtime.config import ProxyBlock
from slipway_runtime.errors import InvalidConfig
from slipway_runtime.supply.uri import redacted

_ANY: Final = "*"


@dataclass(frozen=True, slots=True)
class Route:
    """How to reach a store; by default as the environment of the process says."""

    ca_file: Path | None = None
    """Certificates that are trusted beside the system's."""
    proxy: ProxyBlock | None = None

    def proxy_of(self, url: str) -> str | None:
        """The proxy for a URL; None to go directly.

        Raises:
            InvalidConfig: it is no URL.
        """
        proxy = self.proxy or _of_environment()
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as err:
            raise InvalidConfig(
                f"model.uri: got {redacted(url)!r}, expected a URL ({err})"
            ) from err
        if goes_directly(parts.hostname or "", port, proxy.no_proxy):
            return None
        return proxy.https if parts.scheme == "https" else proxy.http

    def trust(self) -> ssl.SSLContext:
        """Trust the system's certificates and those of the spec.

        Raises:
            InvalidConfig: the bundle holds no certificate.
        """
        context = ssl.create_default_context()
        if self.ca_file is not None:
            try:
                context.load_verify_locations(cafile=self.ca_file)
            except (OSError, ssl.SSLError) as err:
                raise InvalidConfig(
                    "model.caBundle: no certificates can be read from it, "
                    "expected PEM, one or more times -----BEGIN CERTIFICATE-----"
                ) from err
        return context


def _of_environment() -> ProxyBlock:
    """What the process was told: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY."""
    told = getproxies()

    def proxy(scheme: str) -> str | None:
        found = told.get(scheme) or told.get("all")
        return found if not found or "://" in found else f"http://{found}"

    # Not checked: what httpx takes beyond the schema of the spec is the machine's own affair.
    return ProxyBlock.model_construct(
        http=proxy("http"), https=proxy("https"), no_proxy=told.get("no")
    )


def goes_directly(host: str, port: int | None, no_proxy: str | None) -> bool:
    """Tell whether a host is exempt: by its name, a domain above it, its address or a network.

    >>> goes_directly("minio.ml.svc", 9000, "localhost, .svc")
    True
    >>> goes_directly("10.1.2.3", None, "10.0.0.0/8"), goes_directly("evilsvc", None, ".svc")
    (True, False)
    """
    for entry in (no_proxy or "").lower().split(","):
        name, wanted_port = _entry(entry.strip())
        if wanted_port and wanted_port != str(port):
            continue
        if name and _covers(name, host.lower()):
            return True
    return False


def _entry(text: str) -> tuple[str, str]:
    """Tell a port from the colons of a network or of an address."""
    if "/" in text or text.count(":") > 1:
        return text.strip("[]"), ""
    name, _, port = text.partition(":")
    return name, port


def _covers(name: str, host: str) -> bool:
    if name == _ANY:
        return True
    bare = name.removeprefix("*").removeprefix(".")
    if host == bare or host.endswith(f".{bare}"):
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False)
    except ValueError:
        return False
