"""What each process of the node is started with: its command line, its files, how it shows health.

Pure: from a cluster's layout and addresses to values; `cluster.py` starts them.
A flag is here only if the default is wrong for a single throw-away node.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from devcluster import node_config
from devcluster.layout import Layout
from devcluster.network import SERVICE_RANGE, Addresses

API_QPS: Final = 200
API_BURST: Final = 400
"""Far above the defaults (5 to 50), which would pace a burst of pods."""


@dataclass(frozen=True, slots=True)
class Component:
    """One process of the node."""

    name: str
    argv: tuple[str, ...]
    health_url: str = ""
    """Answers 200 once the component serves; empty for containerd, asked over its socket."""
    files: Mapping[Path, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    working_folder: Path | None = None
    grace_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Blueprint:
    """What the components of one cluster are derived from."""

    layout: Layout
    addresses: Addresses
    binary: Path
    """The multi-call program."""
    pause_image: str
    snapshotter: str = "overlayfs"
    is_cgroup_v2: bool = False

    @property
    def server(self) -> str:
        """The API server's address."""
        return f"https://{self.addresses.node_ip}:6443"


Maker = Callable[[Blueprint], Component]
"""Each function below is one; Traefik's needs its program, too."""

STOP_ORDER: Final = (
    *("traefik", "kubelet", "kube-proxy", "kube-scheduler", "kube-controller-manager", "coredns"),
    *("containerd", "kube-apiserver", "etcd"),
)
"""Who is ended before whom; the pods' own processes go just before containerd."""


def etcd(plan: Blueprint) -> Component:
    """The database: on loopback inside the namespace, with health on the node's address."""
    health = f"http://{plan.addresses.node_ip}:2381"
    arguments = {
        "name": plan.layout.node,
        "data-dir": plan.layout.etcd,
        "listen-client-urls": "http://127.0.0.1:2379",
        "advertise-client-urls": "http://127.0.0.1:2379",
        "listen-peer-urls": "http://127.0.0.1:2380",
        "initial-advertise-peer-urls": "http://127.0.0.1:2380",
        "initial-cluster": f"{plan.layout.node}=http://127.0.0.1:2380",
        "listen-metrics-urls": health,
        "unsafe-no-fsync": "true",  # survives its own crash; the machine's, perhaps not
        "log-level": "warn",
    }
    argv = (str(plan.binary), "etcd", *_flags(arguments))
    return Component("etcd", argv, health_url=f"{health}/health")


def apiserver(plan: Blueprint) -> Component:
    """The API server, with audit of every write."""
    pki = plan.layout.pki
    policy = plan.layout.config / "audit-policy.yaml"
    arguments = {
        "advertise-address": plan.addresses.node_ip,
        "secure-port": "6443",
        "etcd-servers": "http://127.0.0.1:2379",
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "allow-privileged": "true",
        "client-ca-file": pki / "ca.crt",
        "tls-cert-file": pki / "apiserver.crt",
        "tls-private-key-file": pki / "apiserver.key",
        "kubelet-certificate-authority": pki / "ca.crt",
        "kubelet-client-certificate": pki / "apiserver-kubelet-client.crt",
        "kubelet-client-key": pki / "apiserver-kubelet-client.key",
        # Else exec and logs look the node's name up in DNS.
        "kubelet-preferred-address-types": "InternalIP",
        "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
        "service-account-key-file": pki / "sa.pub",
        "service-account-signing-key-file": pki / "sa.key",
        "service-cluster-ip-range": SERVICE_RANGE,
        # The metrics API is served by an extension server, which trusts this certificate alone.
        "requestheader-client-ca-file": pki / "ca.crt",
        "requestheader-allowed-names": "front-proxy-client",
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "proxy-client-cert-file": pki / "front-proxy-client.crt",
        "proxy-client-key-file": pki / "front-proxy-client.key",
        "audit-policy-file": policy,
        "audit-log-path": plan.layout.audit_log,
        "audit-log-maxsize": "100",
        "audit-log-maxbackup": "3",
        "profiling": "false",
    }
    return Component(
        "kube-apiserver",
        (str(plan.binary), "kube-apiserver", *_flags(arguments)),
        health_url=f"{plan.server}/readyz",
        files={policy: _yaml(audit_policy())},
        grace_s=5.0,  # left alone it drains for a minute; nothing here needs it to
    )


def controller_manager(plan: Blueprint) -> Component:
    """The controllers, each with its own service account."""
    pki = plan.layout.pki
    arguments = {
        **_kubeconfigs(plan, "kube-controller-manager"),
        "bind-address": plan.addresses.node_ip,
        "leader-elect": "false",  # there is one; an election would only delay its return
        "use-service-account-credentials": "true",
        "root-ca-file": pki / "ca.crt",
        "service-account-private-key-file": pki / "sa.key",
        "cluster-signing-cert-file": pki / "ca.crt",
        "cluster-signing-key-file": pki / "ca.key",
        "kube-api-qps": API_QPS,
        "kube-api-burst": API_BURST,
        "flex-volume-plugin-dir": plan.layout.kubelet / "plugins",
        # A demo of autoscaling should take seconds: the defaults are 15 s, 30 s and 5 min.
        "horizontal-pod-autoscaler-sync-period": "5s",
        "horizontal-pod-autoscaler-initial-readiness-delay": "5s",
        "horizontal-pod-autoscaler-cpu-initialization-period": "20s",
    }
    argv = (str(plan.binary), "kube-controller-manager", *_flags(arguments))
    health = f"https://{plan.addresses.node_ip}:10257/healthz"
    return Component("kube-controller-manager", argv, health_url=health)


def scheduler(plan: Blueprint) -> Component:
    """The scheduler."""
    path = plan.layout.config / "kube-scheduler.yaml"
    kubeconfig = plan.layout.kubeconfig_of("kube-scheduler")
    config = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": str(kubeconfig), "qps": API_QPS, "burst": API_BURST},
        "leaderElection": {"leaderElect": False},
    }
    arguments = {
        "config": path,
        "bind-address": plan.addresses.node_ip,
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
    }
    return Component(
        "kube-scheduler",
        (str(plan.binary), "kube-scheduler", *_flags(arguments)),
        health_url=f"https://{plan.addresses.node_ip}:10259/healthz",
        files={path: _yaml(config)},
    )


def containerd(plan: Blueprint) -> Component:
    """The container runtime, apart from any other of this machine."""
    path = plan.layout.config / "containerd.toml"
    text = node_config.containerd_toml(
        plan.layout, plan.addresses, plan.pause_image, plan.snapshotter
    )
    conflist = plan.layout.cni_config / "10-slipway.conflist"
    cni = json.dumps(node_config.cni_conflist(plan.layout, plan.addresses), indent=2)
    return Component(
        "containerd",
        ("containerd", "--config", str(path), "--log-level", "warn"),
        files={path: text, conflist: cni},
    )


def kubelet(plan: Blueprint) -> Component:
    """The node's agent."""
    path = plan.layout.config / "kubelet.yaml"
    resolver = plan.layout.config / "resolv.conf"
    config = node_config.kubelet_configuration(
        plan.layout, plan.addresses, resolver, api_qps=API_QPS, is_cgroup_v2=plan.is_cgroup_v2
    )
    arguments = {
        "config": path,
        "kubeconfig": plan.layout.kubeconfig_of("kubelet"),
        "node-ip": plan.addresses.node_ip,
        "hostname-override": plan.layout.node,
        "root-dir": plan.layout.kubelet,
        "cert-dir": plan.layout.kubelet / "pki",
    }
    return Component(
        "kubelet",
        (str(plan.binary), "kubelet", *_flags(arguments)),
        health_url=f"http://{plan.addresses.node_ip}:10248/healthz",
        files={path: _yaml(config), resolver: f"nameserver {plan.addresses.node_ip}\n"},
    )


def kube_proxy(plan: Blueprint) -> Component:
    """Service addresses, as iptables rules inside the namespace."""
    path = plan.layout.config / "kube-proxy.yaml"
    kubeconfig = plan.layout.kubeconfig_of("kube-proxy")
    config = node_config.kube_proxy_configuration(plan.layout.node, plan.addresses, kubeconfig)
    return Component(
        "kube-proxy",
        # Given beside --config it counts: it only names the node.
        (str(plan.binary), "kube-proxy", f"--config={path}"),
        health_url=f"http://{plan.addresses.node_ip}:10256/livez",
        files={path: _yaml(config)},
    )


def coredns(plan: Blueprint) -> Component:
    """The cluster's DNS, on the node's own address."""
    path = plan.layout.config / "Corefile"
    return Component(
        "coredns",
        (str(plan.binary), "coredns", "-conf", str(path)),
        health_url=f"http://{plan.addresses.node_ip}:10355/ready",
        files={path: node_config.corefile(plan.layout.kubeconfig_of("coredns"), plan.addresses)},
    )


def traefik(plan: Blueprint, program: Path) -> Component:
    """A real Gateway implementation; entry point `web` on the node's port 8000."""
    # Traefik reads ./traefik.yaml of the folder it starts in: give it an empty one.
    workdir = plan.layout.root / "traefik"
    ping = f"{plan.addresses.node_ip}:10356"
    argv = (
        str(program),
        "--providers.kubernetesgateway=true",
        f"--providers.kubernetesgateway.statusAddress.ip={plan.addresses.node_ip}",
        "--entryPoints.web.address=:8000",
        f"--entryPoints.ping.address={ping}",
        "--ping=true",
        "--ping.entryPoint=ping",
        "--log.level=INFO",
        "--log.noColor=true",
        "--global.checkNewVersion=false",
        "--global.sendAnonymousUsage=false",
    )
    return Component(
        "traefik",
        argv,
        health_url=f"http://{ping}/ping",
        env={"KUBECONFIG": str(plan.layout.kubeconfig_of("traefik"))},
        working_folder=workdir,
    )


def audit_policy() -> dict[str, Any]:
    """Record every write of everybody, and every read but those of the system's own watchers."""
    reads = ["get", "list", "watch"]
    own = ("kube-controller-manager", "kube-scheduler", "kube-proxy", "coredns", "apiserver")
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "verbs": reads, "users": [f"system:{name}" for name in own]},
            {
                "level": "None",
                "verbs": reads,
                "userGroups": ["system:nodes", "system:serviceaccounts:kube-system"],
            },
            {
                "level": "None",
                "verbs": ["get"],
                "nonResourceURLs": ["/healthz*", "/livez*", "/readyz*", "/metrics"],
            },
            {"level": "Metadata"},
        ],
    }


def _kubeconfigs(plan: Blueprint, component: str) -> dict[str, Path]:
    path = plan.layout.kubeconfig_of(component)
    roles = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
    return dict.fromkeys(roles, path)


def _flags(arguments: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(f"--{name}={value}" for name, value in arguments.items())


def _yaml(document: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(document), sort_keys=False)
