"""The proxy reaches an API server as a kubeconfig says: over TLS, with a client certificate."""

from __future__ import annotations

import base64
import ssl
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.cluster.faultproxy import FaultProxy
from tests.cluster.faultproxy.upstream import Cluster
from tests.unit.faultproxy.upstream_double import ApiServer


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the keys and certificates of an authority, a server and a client."""
    folder = tmp_path_factory.mktemp("pki")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    authority = ("-x509", "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca", "-days", "2")
    openssl("req", *key, *authority)
    for name, extension in [("server", "subjectAltName=IP:127.0.0.1"), ("client", "")]:
        asked = ("-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl("req", *key, *asked)
        (folder / f"{name}.ext").write_text(extension)
        signed = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
        openssl(
            "x509", "-req", "-in", f"{name}.csr", *signed, "-extfile", f"{name}.ext",
            "-out", f"{name}.crt",
        )  # fmt: skip
    return folder


def kubeconfig(path: Path, port: int, cluster: Mapping[str, str], user: Mapping[str, str]) -> Path:
    """Write a kubeconfig with these credentials."""
    server = {"server": f"https://127.0.0.1:{port}"}
    config: dict[str, Any] = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {**server, **cluster}}],
        "users": [{"name": "u", "user": dict(user)}],
    }
    path.write_text(yaml.safe_dump(config))
    return path


def encoded(path: Path) -> str:
    """Return a file as kubeconfigs hold it."""
    return base64.b64encode(path.read_bytes()).decode()


async def ask(path: Path) -> int:
    """Return the status of a GET through a proxy with this kubeconfig."""
    with FaultProxy(path) as proxy:
        async with aiohttp.request("GET", f"{proxy.url}/api/v1/pods") as answer:
            return answer.status


class TestOverTls:
    @pytest.fixture
    def port(self, pki: Path) -> Any:
        """The port of an API server that talks only to clients with a certificate."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=pki / "ca.crt")
        context.load_cert_chain(pki / "server.crt", pki / "server.key")
        context.verify_mode = ssl.CERT_REQUIRED
        with ApiServer(context).running() as server:
            yield server.port

    async def test_certificates_may_be_in_the_kubeconfig(
        self, pki: Path, port: int, tmp_path: Path
    ) -> None:
        cluster = {"certificate-authority-data": encoded(pki / "ca.crt")}
        user = {
            "client-certificate-data": encoded(pki / "client.crt"),
            "client-key-data": encoded(pki / "client.key"),
        }
        assert await ask(kubeconfig(tmp_path / "config", port, cluster, user)) == 200

    async def test_certificates_may_be_files_beside_the_kubeconfig(
        self, pki: Path, port: int
    ) -> None:
        user = {"client-certificate": "client.crt", "client-key": "client.key"}
        path = kubeconfig(pki / "config", port, {"certificate-authority": "ca.crt"}, user)
        assert await ask(path) == 200

    async def test_a_server_of_another_authority_is_not_trusted(
        self, pki: Path, port: int, tmp_path: Path
    ) -> None:
        cluster = {"certificate-authority-data": encoded(pki / "client.crt")}
        with pytest.raises(aiohttp.ClientError):
            await ask(kubeconfig(tmp_path / "config", port, cluster, {}))

    async def test_a_client_without_a_certificate_gets_nothing(
        self, pki: Path, port: int, tmp_path: Path
    ) -> None:
        cluster = {"certificate-authority-data": encoded(pki / "ca.crt")}
        with pytest.raises(aiohttp.ClientError):
            await ask(kubeconfig(tmp_path / "config", port, cluster, {}))


def test_credentials_that_need_a_program_are_refused(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "config", 1, {}, {"exec": "aws"})
    with pytest.raises(ValueError, match="got \\['exec'\\], expected a token"):
        Cluster.read(path)
