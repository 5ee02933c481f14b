"""The node's own network namespace, one per cluster, and the addresses in it.

Lives here: the address plan (pure), and making and removing the namespace and its veth pair.
Stays out: everything of the machine's own network, which stays as it is but for one route to
the pods that goes over our veth and ends with it.
Plan: RFC 2544's benchmark range, never a real network, cut by a small index per cluster.
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from devcluster.commands import run
from devcluster.errors import DevclusterError

MAX_CLUSTERS: Final = 8
SERVICE_RANGE: Final = "198.19.0.0/16"
"""The same for all clusters: a service address means something only inside its own namespace."""
KUBERNETES_SERVICE_IP: Final = "198.19.0.1"
NETNS_FOLDER: Final = Path("/run/netns")

_LINKS: Final = ipaddress.IPv4Network("198.18.0.0/24")
_PODS: Final = ipaddress.IPv4Network("198.18.64.0/18")


@dataclass(frozen=True, slots=True)
class Addresses:
    """What one cluster's index stands for."""

    host_ip: str
    """The machine, as seen from the node and its pods."""
    node_ip: str
    """The node: its API on port 6443, its NodePorts, its DNS."""
    pod_range: str
    host_link: str
    node_link: str


def addresses(index: int) -> Addresses:
    """Derive a cluster's addresses and interface names.

    >>> addresses(1).node_ip, addresses(1).pod_range
    ('198.18.0.6', '198.18.72.0/21')
    """
    if not 0 <= index < MAX_CLUSTERS:
        raise DevclusterError(f"cluster index {index}: expected 0 to {MAX_CLUSTERS - 1}")
    return Addresses(
        host_ip=str(_LINKS[4 * index + 1]),
        node_ip=str(_LINKS[4 * index + 2]),
        pod_range=str(list(_PODS.subnets(new_prefix=21))[index]),
        host_link=f"slipway{index}-host",
        node_link=f"slipway{index}-node",
    )


def free_index(taken: set[int], host_addresses: set[str]) -> int:
    """The smallest index that no recorded cluster has, and whose address this machine does not use.

    Raises:
        DevclusterError: all are in use.
    """
    for index in range(MAX_CLUSTERS):
        if index not in taken and addresses(index).host_ip not in host_addresses:
            return index
    raise DevclusterError(
        f"all {MAX_CLUSTERS} cluster slots are in use (python -m devcluster down)"
    )


def host_addresses() -> set[str]:
    """The IPv4 addresses of this machine's interfaces."""
    links = json.loads(run(["ip", "-j", "-4", "address", "show"]) or "[]")
    return {info["local"] for link in links for info in link.get("addr_info", ())}


def netns_path(cluster: str) -> Path:
    """The file by which a cluster's namespace is entered."""
    return NETNS_FOLDER / f"slipway-{cluster}"


def netns_exists(cluster: str) -> bool:
    """Whether the namespace is there; a bare file left by a lost mount does not count."""
    mounted = Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split()[4] == str(netns_path(cluster)) for line in mounted)


def ensure_network(cluster: str, plan: Addresses) -> bool:
    """Make the namespace and its link to the machine where missing; tell whether they were."""
    netns = netns_path(cluster).name
    made = False
    if not netns_exists(cluster):
        netns_path(cluster).unlink(missing_ok=True)
        run(["ip", "netns", "add", netns])
        made = True
    if not _link_is_complete(netns, plan):
        made = True
        _remove_link(plan)
        _make_link(netns, plan)
    inside = netns_path(cluster)
    # Inside the namespace only. With the bridge switch, pods' answers pass kube-proxy's rules.
    settings = (
        "for key in ip_forward conf/all/route_localnet; do echo 1 > /proc/sys/net/ipv4/$key; done;"
        "f=/proc/sys/net/bridge/bridge-nf-call-iptables; [ ! -e $f ] || echo 1 > $f"
    )
    # nsenter, not `ip netns exec`: the latter remounts /sys.
    run(["nsenter", f"--net={inside}", "sh", "-c", settings])
    run(["ip", "route", "replace", plan.pod_range, "via", plan.node_ip, "dev", plan.host_link])
    return made


def remove_network(cluster: str, plan: Addresses) -> None:
    """Remove the link and the namespace, as far as they are there."""
    _remove_link(plan)
    if netns_exists(cluster):
        run(["ip", "netns", "delete", netns_path(cluster).name])
    netns_path(cluster).unlink(missing_ok=True)


def _make_link(netns: str, plan: Addresses) -> None:
    inside = ["ip", "-n", netns]
    peer = ["peer", "name", plan.node_link, "netns", netns]
    run(["ip", "link", "add", plan.host_link, "type", "veth", *peer])
    run(["ip", "address", "add", f"{plan.host_ip}/30", "dev", plan.host_link])
    run(["ip", "link", "set", plan.host_link, "up"])
    run([*inside, "link", "set", "lo", "up"])
    run([*inside, "address", "add", f"{plan.node_ip}/30", "dev", plan.node_link])
    run([*inside, "link", "set", plan.node_link, "up"])
    run([*inside, "route", "replace", "default", "via", plan.host_ip])


def _remove_link(plan: Addresses) -> None:
    links = json.loads(run(["ip", "-j", "link", "show", "type", "veth"]) or "[]")
    if any(link.get("ifname") == plan.host_link for link in links):
        run(["ip", "link", "delete", plan.host_link])


def _link_is_complete(netns: str, plan: Addresses) -> bool:
    if plan.host_ip not in host_addresses():
        return False
    inside = json.loads(run(["ip", "-n", netns, "-j", "-4", "address", "show"]) or "[]")
    return any(
        info.get("local") == plan.node_ip for link in inside for info in link.get("addr_info", ())
    )
