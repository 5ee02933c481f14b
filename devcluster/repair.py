"""Prove that `up` repairs a cluster: kill its processes one by one, then all at once.

Run as `python -m devcluster prove-repair --name NAME`, on a cluster nobody else uses.
"""

from __future__ import annotations

import os
import signal
import time

from devcluster import cgroups, host, network, smoke
from devcluster.cluster import Cluster
from devcluster.errors import DevclusterError
from devcluster.layout import layout
from devcluster.progress import say


def prove(cluster: Cluster) -> None:
    """Kill and repair in every way there is; each time the whole cluster must work again.

    Raises:
        DevclusterError: something did not.
    """
    cluster.up(metrics_server=False)
    smoke.check(cluster, "before")
    everybody = set(cluster.processes())
    for victim in sorted(everybody):
        _prove_one(cluster, f"after-{victim}", {victim})
    _prove_one(cluster, "after-pair", {"etcd", "kube-apiserver"})
    _prove_one(cluster, "after-all", everybody)
    _lose_everything(cluster)
    _repair(cluster, "after-reboot")
    say("proved: every process of the node can be lost, alone and together, and up repairs it")


def _prove_one(cluster: Cluster, name: str, victims: set[str]) -> None:
    before = cluster.processes()
    for victim in sorted(victims):
        os.kill(before[victim].pid, signal.SIGKILL)
    _repair(cluster, name)
    after = cluster.processes()
    for component, process in before.items():
        was_replaced = process.pid != after[component].pid
        if component in victims and not was_replaced:
            raise DevclusterError(f"{component}: was killed, and has process {process.pid} again")
        if component not in victims and was_replaced:
            say(f"  {component} was replaced, too")


def _repair(cluster: Cluster, name: str) -> None:
    began = time.monotonic()
    cluster.up(metrics_server=False)
    repaired_s = time.monotonic() - began
    if not cluster.status().is_healthy:
        raise DevclusterError(f"{name}: up returned, and status is not healthy")
    smoke.check(cluster, name)
    say(f"{name}: up took {repaired_s:.1f} s, all works after {time.monotonic() - began:.1f} s")


def _lose_everything(cluster: Cluster) -> None:
    """What a reboot takes: processes, containers, shims, mounts, the namespace. Disk stays."""
    plan = layout(cluster.name)
    for process in cluster.processes().values():
        os.kill(process.pid, signal.SIGKILL)
    cgroups.kill_all(cluster.node)
    host.end_shims(plan.containerd_socket)
    host.unmount_below(plan.root)
    network.remove_network(cluster.name, network.addresses(cluster.index))
    cgroups.remove_group(cluster.node)
    (plan.root / "boot-id").write_text("another boot")
