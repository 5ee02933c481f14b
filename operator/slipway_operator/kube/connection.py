"""Where the API server is and who we are there: a kubeconfig, or the pod's service account."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config
from yaml import YAMLError


class NotConnected(Exception):
    """There is neither a kubeconfig nor a service account."""


@dataclass(frozen=True, slots=True)
class Access:
    """One endpoint with credentials, for the watch transport; the token is never shown."""

    server: str
    ca_path: str | None
    token: str | None
    certificate_path: str | None
    key_path: str | None
    verifies: bool

    def __repr__(self) -> str:
        return f"Access(server={self.server!r})"


class Connection:
    """The configuration of the API client; tokens are read again when they rotate."""

    def __init__(self, configuration: Configuration, namespace: str = "") -> None:
        self.configuration = configuration
        self.namespace = namespace
        """Of the kubeconfig's context; empty when it names none."""

    async def access(self) -> Access:
        """Tell the current credentials."""
        config = self.configuration
        bearer = (await config.auth_settings()).get("BearerToken", {}).get("value") or ""
        return Access(
            server=config.host,
            ca_path=config.ssl_ca_cert or None,
            token=bearer.partition(" ")[2].strip() or None,
            certificate_path=config.cert_file or None,
            key_path=config.key_file or None,
            verifies=bool(config.verify_ssl),
        )


async def connect(kubeconfig: str | None = None, context: str | None = None) -> Connection:
    """Find the API server: a kubeconfig first, then the service account of the pod.

    Args:
        kubeconfig: path of one; None: `KUBECONFIG`, which may be a list of paths, or the default.
        context: name of a context in it; None: its current one.

    Raises:
        NotConnected: none of them is there, or the kubeconfig cannot be used.
    """
    configuration = Configuration()
    try:
        found = _kubeconfig(kubeconfig)
        if found or kubeconfig or context:
            namespace = await _loaded(found or str(kubeconfig), context, configuration)
        else:
            load_incluster_config(client_configuration=configuration)
            namespace = ""
    except (ConfigException, OSError, YAMLError) as error:
        raise NotConnected(
            f"no API server: {error}; set KUBECONFIG, or run in a pod with a service account"
        ) from error
    # The client would look for both before each request, in a thread: for a proxy, and for a
    # .netrc, whose password it would send to the API server.
    configuration.client_session_kwargs = {"trust_env": False}
    configuration.proxy = configuration.proxy or proxy_for(configuration.host)
    return Connection(configuration, namespace)


async def _loaded(path: str, context: str | None, configuration: Configuration) -> str:
    """Read a kubeconfig; tell the namespace of its context."""
    if not _kubeconfig(path):
        raise ConfigException(f"there is no kubeconfig {path!r}")
    loader = await load_kube_config(path, context=context, client_configuration=configuration)
    return str(loader.current_context["context"].get("namespace") or "")


def proxy_for(server: str) -> str | None:
    """Tell the proxy that the environment names for a server (`HTTPS_PROXY`, `NO_PROXY`)."""
    found = urlsplit(server)
    if found.hostname is None or proxy_bypass(found.hostname):
        return None
    return getproxies().get(found.scheme)


def _kubeconfig(given: str | None) -> str | None:
    """Find the kubeconfig, or a list of them; None when none exists."""
    named = given or os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    paths = [str(Path(p).expanduser()) for p in named.split(os.pathsep) if p]
    found = [p for p in paths if Path(p).is_file()]
    return os.pathsep.join(found) or None
