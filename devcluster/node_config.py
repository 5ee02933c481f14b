"""Configuration files of what runs on the node: containerd, CNI, kubelet, kube-proxy, CoreDNS.

Pure: addresses and paths in, documents out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from devcluster.layout import Layout
from devcluster.network import Addresses

CNI_PLUGINS: Final = "/usr/lib/cni"
DNS_PORT: Final = 53


def containerd_toml(
    layout: Layout, addresses: Addresses, pause_image: str, snapshotter: str
) -> str:
    """Containerd's configuration: every path of its own, runc, and the pause image."""
    return f"""\
version = 2
root = "{layout.containerd}"
state = "{layout.containerd_state}"
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
  address = "{layout.containerd_socket}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause_image}"
  netns_mounts_under_state_dir = true
  # Without CAP_SYS_RESOURCE pods fail with "can't get final child's PID from pipe: EOF".
  restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{CNI_PLUGINS}"
  conf_dir = "{layout.cni_config}"
  max_conf_num = 1

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "{snapshotter}"
  default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  BinaryName = "runc"
  Root = "{layout.containerd_state}/runc"
  SystemdCgroup = false

# A registry that a test starts on the machine speaks plain HTTP.
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."{addresses.host_ip}:5000"]
  endpoint = ["http://{addresses.host_ip}:5000"]
"""


def cni_conflist(layout: Layout, addresses: Addresses) -> dict[str, Any]:
    """One bridge for all pods, with addresses of the cluster's own range."""
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(layout.cni_addresses),
            "ranges": [[{"subnet": addresses.pod_range}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": layout.node, "plugins": [bridge, portmap]}


def kubelet_configuration(
    layout: Layout, addresses: Addresses, resolver: Path, *, api_qps: int, is_cgroup_v2: bool
) -> dict[str, Any]:
    """The kubelet's configuration.

    `cgroupRoot` is the cluster's own: a kubelet kills what it finds below its root and knows not,
    so two of them must never share one.
    """
    config: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(layout.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(layout.pki / "kubelet-server.crt"),
        "tlsPrivateKeyFile": str(layout.pki / "kubelet-server.key"),
        "healthzBindAddress": addresses.node_ip,
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.node}",
        "failSwapOn": False,
        "clusterDomain": "cluster.local",
        "clusterDNS": [addresses.node_ip],
        "resolvConf": str(resolver),
        "podLogsDir": str(layout.kubelet / "pod-logs"),
        "volumePluginDir": str(layout.kubelet / "plugins"),
        "localStorageCapacityIsolation": False,
        "serializeImagePulls": False,
        "kubeAPIQPS": api_qps,
        "kubeAPIBurst": 2 * api_qps,
        "eventRecordQPS": 0,
        "maxPods": 250,
        # Images are imported, never pulled: one collected would be gone for good.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
            "imagefs.inodesFree": "1%",
        },
    }
    if not is_cgroup_v2:
        config["failCgroupV1"] = False
    return config


def kube_proxy_configuration(node: str, addresses: Addresses, kubeconfig: Path) -> dict[str, Any]:
    """kube-proxy's configuration; zero leaves alone the conntrack limits, which are read-only."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "hostnameOverride": node,
        "clusterCIDR": addresses.pod_range,
        "clientConnection": {"kubeconfig": str(kubeconfig), "qps": 50, "burst": 100},
        "healthzBindAddress": f"{addresses.node_ip}:10256",
        "metricsBindAddress": f"{addresses.node_ip}:10249",
        "nodePortAddresses": [f"{addresses.node_ip}/32"],
        "conntrack": {"maxPerCore": 0, "min": 0},
        # An endpoint that became ready or went away shows within this time.
        "iptables": {"minSyncPeriod": "200ms"},
    }


def corefile(kubeconfig: Path, addresses: Addresses) -> str:
    """CoreDNS' configuration: the cluster's names only, nothing is forwarded to the outside."""
    node_ip = addresses.node_ip
    return f"""\
.:{DNS_PORT} {{
    bind {node_ip}
    errors
    health {node_ip}:10354
    ready {node_ip}:10355
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 1
    }}
}}
"""
