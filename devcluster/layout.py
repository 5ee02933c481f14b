"""Where one cluster's files lie.

Everything a cluster writes is below one folder, so that `down` removes all of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from devcluster.cache import cache_root
from devcluster.errors import DevclusterError

NAME: Final = re.compile(r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?")
SOCKET_LIMIT: Final = 107
"""Bytes of a unix socket's path, in Linux."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of a cluster."""

    name: str
    root: Path

    @property
    def node(self) -> str:
        """The node's name, which also names its cgroup and its namespace."""
        return f"slipway-{self.name}"

    @property
    def pki(self) -> Path:
        """Certificates and keys."""
        return self.root / "pki"

    @property
    def config(self) -> Path:
        """Configuration files and the components' kubeconfigs."""
        return self.root / "config"

    @property
    def logs(self) -> Path:
        """One log per component, and the audit log."""
        return self.root / "logs"

    @property
    def records(self) -> Path:
        """One JSON file per process."""
        return self.root / "processes"

    @property
    def etcd(self) -> Path:
        """The database."""
        return self.root / "etcd"

    @property
    def kubelet(self) -> Path:
        """Pods' volumes and logs."""
        return self.root / "kubelet"

    @property
    def containerd(self) -> Path:
        """Images and snapshots."""
        return self.root / "containerd"

    @property
    def containerd_state(self) -> Path:
        """What containerd expects to vanish with a reboot: sockets, mounts, tasks."""
        return self.root / "run"

    @property
    def containerd_socket(self) -> Path:
        """Where containerd answers."""
        return self.containerd_state / "containerd.sock"

    @property
    def cni_config(self) -> Path:
        """The folder with the network's one conflist."""
        return self.root / "cni" / "net.d"

    @property
    def cni_addresses(self) -> Path:
        """Which pod has which address."""
        return self.root / "cni" / "ipam"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.root / "kubeconfig"

    @property
    def audit_log(self) -> Path:
        """One JSON object per request to the API server."""
        return self.logs / "audit.log"

    def log(self, component: str) -> Path:
        """A component's standard output and error."""
        return self.logs / f"{component}.log"

    def kubeconfig_of(self, component: str) -> Path:
        """A component's own kubeconfig."""
        return self.config / f"{component}.kubeconfig"


def layout(name: str) -> Layout:
    """The layout of a cluster's name.

    Raises:
        DevclusterError: the name is no DNS label of at most 20 characters, or the cache's path is
            too long for a socket in it.
    """
    if not NAME.fullmatch(name):
        raise DevclusterError(
            f"cluster name {name!r}: expected a letter and at most 19 more of a-z, 0-9 and '-'"
        )
    plan = Layout(name, cache_root() / "clusters" / name)
    longest = f"{plan.containerd_socket}.ttrpc"
    if len(longest.encode()) > SOCKET_LIMIT:
        raise DevclusterError(
            f"{longest!r}: {len(longest.encode())} bytes, a socket's path may have {SOCKET_LIMIT}; "
            "set SLIPWAY_CACHE to a shorter folder"
        )
    return plan
