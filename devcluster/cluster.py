"""One named cluster: up, down, and what a test asks of it.

>>> cluster = Cluster("demo")                       # doctest: +SKIP
>>> cluster.up(metrics_server=False)                # doctest: +SKIP
>>> cluster.kubeconfig                              # doctest: +SKIP
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from devcluster import addons, cgroups, components, host, network, packages
from devcluster.audit import AuditLog
from devcluster.cache import cache_root, file_lock, folder, write_if_changed
from devcluster.components import STOP_ORDER, Blueprint, Component
from devcluster.errors import DevclusterError
from devcluster.go import node_binary
from devcluster.images import archive_of
from devcluster.kube import KubeClient, condition_is
from devcluster.layout import layout
from devcluster.pki import ensure_pki, write_kubeconfig
from devcluster.processes import boot_id
from devcluster.progress import say, step, wait_until
from devcluster.runtime import ContainerRuntime
from devcluster.supervisor import ProcessStatus, Supervisor

NODE_READY_TIMEOUT_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """What `status` tells."""

    processes: tuple[ProcessStatus, ...]
    missing: tuple[str, ...]
    """Components that should run and were never started."""
    unhealthy: tuple[str, ...]
    """Components that run and do not answer."""
    is_node_ready: bool
    versions: dict[str, str]

    @property
    def is_healthy(self) -> bool:
        """Whether nothing is left to repair."""
        alive = bool(self.processes) and all(process.is_alive for process in self.processes)
        return alive and self.is_node_ready and not self.missing and not self.unhealthy


class Cluster:
    """A Kubernetes of one node, known by its name on this machine."""

    def __init__(self, name: str = "demo") -> None:
        self.name = name
        self._layout = layout(name)
        self._supervisor = Supervisor(self._layout)
        self._runtime = ContainerRuntime(self._layout.containerd_socket)

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self._layout.kubeconfig

    @property
    def audit(self) -> AuditLog:
        """Every write to the API, and the reads of all but the system's own watchers."""
        return AuditLog(self._layout.audit_log)

    @property
    def node(self) -> str:
        """The node's name."""
        return self._layout.node

    @property
    def node_ip(self) -> str:
        """Where the API (port 6443) and NodePorts answer."""
        return self._addresses().node_ip

    @property
    def host_ip(self) -> str:
        """Where pods reach a server that listens on this machine."""
        return self._addresses().host_ip

    @property
    def index(self) -> int:
        """Which of the machine's cluster slots it has; its addresses follow from it."""
        index = self._recorded_index()
        if index is None:
            raise DevclusterError(f"cluster {self.name!r}: not up (python -m devcluster up)")
        return index

    @property
    def client(self) -> KubeClient:
        """The administrator's client."""
        server = f"https://{self.node_ip}:6443"
        return KubeClient(server, self._layout.pki, self._layout.kubeconfig)

    def up(
        self, *, metrics_server: bool = True, traefik: bool = False, wait_metrics: bool = False
    ) -> None:
        """Bring the cluster up, or repair what is missing of it; nothing is done twice.

        Args:
            metrics_server: also deploy metrics-server (its first build takes minutes).
            traefik: also install the Gateway API and run Traefik; once asked for, it stays.
            wait_metrics: return only when the metrics API answers.
        """
        packages.require()
        with self._lock():
            plan = self._blueprint(node_binary(), index=self._ensure_index())
            self._prepare(plan)
            with step(f"starting cluster {self.name} at {plan.server}"):
                self._start_core(plan)
            if metrics_server:
                addons.deploy_metrics_server(self.client, self._runtime)
            if traefik or "traefik" in self._supervisor.statuses():
                self._start_traefik(plan)
            if metrics_server and wait_metrics:
                addons.wait_for_metrics(self.client)

    def down(self) -> None:
        """Remove everything `up` made; what is not there is passed over."""
        with self._lock():
            index = self._recorded_index()
            if index is None:
                # A namespace or group of this name would be another cache's: leave it alone.
                say(f"cluster {self.name}: not up")
            else:
                with step(f"taking cluster {self.name} down"):
                    self._end_processes()
                    host.unmount_below(self._layout.root)
                    network.remove_network(self.name, network.addresses(index))
                    cgroups.remove_group(self.node)
                    host.remove_leftovers(self._layout.root, self.node)
            self._remove_files()
            with file_lock("clusters"):
                if not names():
                    host.restore_settings()
                    host.remove_empty_folders()

    def restart(self, component: str) -> None:
        """Restart one component and wait until it is healthy again."""
        with self._lock():
            self._supervisor.restart(self._component(component))

    def processes(self) -> dict[str, ProcessStatus]:
        """The node's processes by component."""
        return self._supervisor.statuses()

    def log(self, component: str) -> Path:
        """A component's log."""
        if component not in STOP_ORDER:
            raise DevclusterError(
                f"component {component!r}: expected one of {', '.join(STOP_ORDER)}"
            )
        return self._layout.log(component)

    def load_image(self, reference_or_archive: str | Path) -> None:
        """Give the node an image: an archive, or the reference of one that `images` built."""
        archive = Path(reference_or_archive)
        if not archive.is_file():
            reference = str(reference_or_archive)
            if reference in self._runtime.images():
                return
            archive = archive_of(reference)
        with step(f"loading {archive.name} into cluster {self.name}"):
            self._runtime.import_archive(archive)

    def status(self) -> ClusterStatus:
        """Look at everything, change nothing."""
        found = self._supervisor.statuses()
        index = self._recorded_index()
        if index is None:
            return ClusterStatus((), tuple(_core_names()), (), False, {})
        plan = self._blueprint(Path(), index=index)
        wanted = {component.name: component for component in _core(plan)}
        unhealthy = [
            name
            for name, component in wanted.items()
            if name in found and found[name].is_alive and not self._supervisor.is_healthy(component)
        ]
        node = self.client.get(f"/api/v1/nodes/{self.node}")
        return ClusterStatus(
            processes=tuple(found.values()),
            missing=tuple(name for name in wanted if name not in found),
            unhealthy=tuple(unhealthy),
            is_node_ready=condition_is(node, "Ready"),
            versions=_versions(node),
        )

    def _prepare(self, plan: Blueprint) -> None:
        """Make everything a process needs before it starts."""
        paths = self._layout
        host.remember_settings()
        self._forget_former_boot()
        network.ensure_network(self.name, plan.addresses)
        cgroups.ensure_group(self.node)
        for path in (
            paths.logs,
            paths.config,
            paths.etcd,
            paths.kubelet,
            paths.kubelet / "plugins",
        ):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        ensure_pki(paths.pki, self.node, plan.addresses.node_ip)
        write_kubeconfig(paths.kubeconfig, paths.pki, "admin", plan.server, self.node)
        for name in _CLIENTS:
            write_kubeconfig(paths.kubeconfig_of(name), paths.pki, name, plan.server, name)

    def _start_core(self, plan: Blueprint) -> None:
        supervisor, began = self._supervisor, datetime.now(UTC).replace(microsecond=0)
        core = {component.name: component for component in _core(plan)}
        # containerd and etcd know nothing of each other: let them start side by side.
        supervisor.ensure_started(core["containerd"])
        supervisor.ensure_healthy(core["etcd"])
        # An API server that outlived its etcd reconnects by itself; one that does not is replaced.
        supervisor.ensure_healthy(core["kube-apiserver"])
        supervisor.ensure_healthy(core["containerd"])
        self._ensure_image(plan.pause_image)
        others = ("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
        started = {name for name in others if supervisor.ensure_started(core[name])}
        addons.grant_coredns(self.client)
        supervisor.ensure_started(core["coredns"])
        for name in (*others, "coredns"):
            supervisor.ensure_healthy(core[name])
        self._wait_for_node(since=began if "kubelet" in started else None)

    def _wait_for_node(self, since: datetime | None) -> None:
        """Wait until pods can be made; a Ready from before the kubelet's restart does not count."""
        client, kubelet_log = self.client, self._layout.log("kubelet")

        def ready() -> bool:
            node = client.get(f"/api/v1/nodes/{self.node}")
            return condition_is(node, "Ready", since=since)

        def has_account() -> bool:
            return client.get("/api/v1/namespaces/default/serviceaccounts/default") is not None

        timeout_s = NODE_READY_TIMEOUT_S
        wait_until(ready, f"node {self.node} to be Ready", timeout_s=timeout_s, log=kubelet_log)
        wait_until(
            has_account,
            "the service account default/default",
            timeout_s=timeout_s,
            log=self._layout.log("kube-controller-manager"),
        )

    def _start_traefik(self, plan: Blueprint) -> None:
        addons.apply_gateway_api(self.client)
        component = components.traefik(plan, addons.traefik_program())
        with step(f"starting Traefik at http://{plan.addresses.node_ip}:8000"):
            self._supervisor.ensure_healthy(component)
            addons.wait_for_gateway_class(self.client, self._layout.log("traefik"))

    def _ensure_image(self, reference: str) -> None:
        if reference not in self._runtime.images():
            self._runtime.import_archive(addons.pause_archive())

    def _end_processes(self) -> None:
        for name in STOP_ORDER[: STOP_ORDER.index("containerd")]:
            self._supervisor.end(name, grace_s=5.0)
        self._runtime.kill_tasks()
        cgroups.kill_all(self.node)
        # Nothing they hold is kept, so they need no time to put it away.
        for name in STOP_ORDER[STOP_ORDER.index("containerd") :]:
            self._supervisor.end(name, grace_s=0.0)
        host.end_shims(self._layout.containerd_socket)
        host.remove_sockets(self._layout.containerd_state)

    def _remove_files(self) -> None:
        """Remove the cluster's folder; renamed first: no half of it must pass for a whole."""
        removed = self._layout.root.with_name(f".removed-{self.name}")
        if removed.exists():  # an interrupted `down` left it
            shutil.rmtree(removed)
        if self._layout.root.exists():
            self._layout.root.rename(removed)
            shutil.rmtree(removed)

    def _forget_former_boot(self) -> None:
        """Empty containerd's volatile state when the machine has booted since, as /run would be."""
        marker = self._layout.root / "boot-id"
        if marker.is_file() and marker.read_text() != boot_id():
            say("the machine has booted since; forgetting containerd's tasks")
            host.remove_sockets(self._layout.containerd_state)
            shutil.rmtree(self._layout.containerd_state, ignore_errors=True)
        write_if_changed(marker, boot_id())

    def _component(self, name: str) -> Component:
        plan = self._blueprint(node_binary(), index=self.index)
        known = {component.name: component for component in _core(plan)}
        if "traefik" in self._supervisor.statuses():
            known["traefik"] = components.traefik(plan, addons.traefik_program())
        if name not in known:
            raise DevclusterError(f"component {name!r}: expected one of {', '.join(known)}")
        return known[name]

    def _blueprint(self, binary: Path, *, index: int) -> Blueprint:
        return Blueprint(
            layout=self._layout,
            addresses=network.addresses(index),
            binary=binary,
            pause_image=addons.pause_reference() if binary != Path() else "",
            snapshotter=host.snapshotter_for(host.file_system(folder("clusters"))),
            is_cgroup_v2=cgroups.is_cgroup_v2(),
        )

    def _addresses(self) -> network.Addresses:
        return network.addresses(self.index)

    def _recorded_index(self) -> int | None:
        return _index_in(self._layout.root)

    def _ensure_index(self) -> int:
        """The cluster's index, allocated at its first `up` and kept until `down`."""
        with file_lock("clusters"):
            index = self._recorded_index()
            if index is None:
                taken = {
                    index
                    for name in names()
                    if (index := _index_in(cache_root() / "clusters" / name)) is not None
                }
                index = network.free_index(taken, network.host_addresses())
                self._refuse_foreign_namespace()
                state = json.dumps({"index": index}) + "\n"
                write_if_changed(self._layout.root / "state.json", state)
            return index

    def _refuse_foreign_namespace(self) -> None:
        if network.netns_exists(self.name):
            raise DevclusterError(
                f"network namespace {self.node!r} exists and is not this cache's; "
                f"another SLIPWAY_CACHE may own it, else: ip netns delete {self.node}"
            )

    @contextmanager
    def _lock(self) -> Iterator[None]:
        if os.geteuid() != 0:
            raise DevclusterError("needs root: a node makes namespaces, mounts and control groups")
        with file_lock(f"cluster-{self.name}"):
            yield


def names() -> list[str]:
    """Names of the clusters that are up, or were and have not been taken down."""
    found = (cache_root() / "clusters").glob("*/state.json")
    return sorted(path.parent.name for path in found)


_CLIENTS: Final = (
    *("kubelet", "kube-controller-manager", "kube-scheduler", "kube-proxy", "coredns", "traefik"),
)


def _core(plan: Blueprint) -> tuple[Component, ...]:
    return (
        components.etcd(plan),
        components.apiserver(plan),
        components.containerd(plan),
        components.controller_manager(plan),
        components.scheduler(plan),
        components.kubelet(plan),
        components.kube_proxy(plan),
        components.coredns(plan),
    )


def _core_names() -> list[str]:
    return [name for name in STOP_ORDER if name != "traefik"]


def _index_in(root: Path) -> int | None:
    try:
        return int(json.loads((root / "state.json").read_text())["index"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _versions(node: dict[str, Any] | None) -> dict[str, str]:
    info = (node or {}).get("status", {}).get("nodeInfo", {})
    keys = ("kubeletVersion", "containerRuntimeVersion", "kernelVersion", "osImage")
    return {key: info[key] for key in keys if key in info}
