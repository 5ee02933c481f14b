"""The way to a store: whom to trust, and through which proxy.

Lives here: the certificates and the rules of `noProxy`. `http.py` goes the way.
"""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from slipway_runtime.config import ProxyBlock
from slipway_runtime.errors import InvalidConfig

_ANY: Final = "*"


@dataclass(frozen=True, slots=True)
class Route:
    """How to reach a store; by default as the environment of the process says."""

    ca_file: Path | None = None
    """Certificates that are trusted beside the system's."""
    proxy: ProxyBlock | None = None

    def proxy_of(self, url: str) -> str | None:
        """The proxy for a URL; None to go directly."""
        if self.proxy is None:
            return None
        parts = urlsplit(url)
        if goes_directly(parts.hostname or "", parts.port, self.proxy.no_proxy):
            return None
        return self.proxy.https if parts.scheme == "https" else self.proxy.http

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


def goes_directly(host: str, port: int | None, no_proxy: str | None) -> bool:
    """Tell whether a host is exempt: by its name, a domain above it, its address or a network.

    >>> goes_directly("minio.ml.svc", 9000, "localhost, .svc")
    True
    >>> goes_directly("10.1.2.3", None, "10.0.0.0/8"), goes_directly("evilsvc", None, ".svc")
    (True, False)
    """
    for entry in (no_proxy or "").lower().split(","):
        name, _, wanted_port = entry.strip().partition(":") if "/" not in entry else (entry, "", "")
        if wanted_port and wanted_port != str(port):
            continue
        if name.strip() and _covers(name.strip(), host.lower()):
            return True
    return False


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
