"""The cluster's certificates and kubeconfigs, made with `openssl`.

One authority signs everything; who a client is stands in its certificate's subject.
Certificates last ten years: a cluster is thrown away long before.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from devcluster.cache import write_if_changed
from devcluster.commands import Words, run
from devcluster.network import KUBERNETES_SERVICE_IP

DAYS: Final = "3650"


@dataclass(frozen=True, slots=True)
class Identity:
    """One certificate: whom it names, and what it may be used for."""

    file: str
    common_name: str
    organization: str = ""
    server_names: tuple[str, ...] = ()
    """Subject alternative names such as `DNS:x` and `IP:y`; empty for a pure client."""


def identities(node: str, node_ip: str) -> tuple[Identity, ...]:
    """Every certificate of a cluster."""
    service = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")
    api_names = tuple(f"DNS:{name}" for name in (*service, f"{service[-1]}.cluster.local"))
    return (
        Identity(
            "apiserver",
            "kube-apiserver",
            server_names=(*api_names, *(f"IP:{ip}" for ip in (KUBERNETES_SERVICE_IP, node_ip))),
        ),
        Identity("kubelet-server", node, server_names=(f"DNS:{node}", f"IP:{node_ip}")),
        Identity("apiserver-kubelet-client", "kube-apiserver-kubelet-client", "system:masters"),
        Identity("front-proxy-client", "front-proxy-client"),
        Identity("admin", "slipway-admin", "system:masters"),
        Identity("kubelet", f"system:node:{node}", "system:nodes"),
        Identity("kube-controller-manager", "system:kube-controller-manager"),
        Identity("kube-scheduler", "system:kube-scheduler"),
        Identity("kube-proxy", "system:kube-proxy"),
        Identity("coredns", "system:coredns"),
        Identity("traefik", "slipway:traefik"),
    )


def ensure_pki(folder: Path, node: str, node_ip: str) -> None:
    """Make the authority, the service accounts' key and each certificate where missing."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not (folder / "ca.crt").exists():
        _new_key(folder / "ca.key")
        subject = ["-subj", "/CN=slipway-devcluster", "-days", DAYS]
        _commit(
            folder / "ca.crt",
            ["openssl", "req", "-x509", "-new", "-key", folder / "ca.key", *subject],
        )
    if not (folder / "sa.pub").exists():
        _new_key(folder / "sa.key")
        _commit(folder / "sa.pub", ["openssl", "pkey", "-in", folder / "sa.key", "-pubout"])
    for identity in identities(node, node_ip):
        if not (folder / f"{identity.file}.crt").exists():
            _sign(folder, identity)


def extensions(identity: Identity) -> str:
    """The certificate extensions of an identity, in openssl's words."""
    usages = "serverAuth,clientAuth" if identity.server_names else "clientAuth"
    lines = ["basicConstraints=critical,CA:false", "keyUsage=critical,digitalSignature"]
    lines.append(f"extendedKeyUsage={usages}")
    if identity.server_names:
        lines.append(f"subjectAltName={','.join(identity.server_names)}")
    return "\n".join(lines) + "\n"


def kubeconfig(server: str, ca: bytes, certificate: bytes, key: bytes, name: str) -> dict[str, Any]:
    """A self-contained kubeconfig with one cluster, one user and one context, all called `name`."""

    def encoded(data: bytes) -> str:
        return base64.b64encode(data).decode()

    cluster = {"server": server, "certificate-authority-data": encoded(ca)}
    user = {"client-certificate-data": encoded(certificate), "client-key-data": encoded(key)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }


def write_kubeconfig(path: Path, folder: Path, identity: str, server: str, name: str) -> None:
    """Write an identity's kubeconfig, readable by its owner only."""
    files = (folder / "ca.crt", folder / f"{identity}.crt", folder / f"{identity}.key")
    ca, certificate, key = (file.read_bytes() for file in files)
    document = kubeconfig(server, ca, certificate, key, name)
    write_if_changed(path, yaml.safe_dump(document, sort_keys=False), mode=0o600)


def _sign(folder: Path, identity: Identity) -> None:
    key = folder / f"{identity.file}.key"
    _new_key(key)
    organization = f"/O={identity.organization}" if identity.organization else ""
    subject = f"{organization}/CN={identity.common_name}"
    request = run(["openssl", "req", "-new", "-key", key, "-subj", subject])
    extension_file = folder / f"{identity.file}.ext"
    extension_file.write_text(extensions(identity))
    authority: Words = ["-CA", folder / "ca.crt", "-CAkey", folder / "ca.key", "-days", DAYS]
    sign: Words = ["openssl", "x509", "-req", *authority, "-extfile", extension_file]
    _commit(folder / f"{identity.file}.crt", sign, stdin=request)


def _new_key(path: Path) -> None:
    curve = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
    path.touch(mode=0o600)
    path.write_text(run(["openssl", "genpkey", *curve]))


def _commit(path: Path, command: Words, stdin: str | None = None) -> None:
    """Write a command's output whole or not at all: half a certificate would be kept for ever."""
    write_if_changed(path, run(command, stdin=stdin))
