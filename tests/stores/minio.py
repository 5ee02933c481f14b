"""MinIO: S3 on this machine. It is filled by curl, whose signatures are its own."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from devcluster.go import installed
from devcluster.versions import versions
from tests.stores.authority import Authority
from tests.stores.server import Server, free_port, listens
from tests.stores.source import Secret

_PACKAGE: Final = "github.com/minio/minio"
_USER: Final = "slipway-tests"
_PASSWORD: Final = "minio-s3cret-of-tests"
_BUCKET: Final = "models"


class Minio:
    """A server with one bucket that wants a key, and one that anybody may read."""

    is_guarded = True

    def __init__(self, host: str, port: int, authority: Authority) -> None:
        self.address = (host, port)
        self._ca = authority.file
        self._base = f"https://{host}:{port}"

    def make_buckets(self) -> None:
        for bucket in (_BUCKET, "public"):
            self._curl("-X", "PUT", f"{self._base}/{bucket}")
        policy = (
            '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*",'
            '"Action":["s3:GetObject","s3:ListBucket"],'
            '"Resource":["arn:aws:s3:::public/*","arn:aws:s3:::public"]}]}'
        )
        self._send(f"{self._base}/public?policy=", policy.encode())

    def put(self, name: str, content: bytes, bucket: str = _BUCKET) -> None:
        self._send(f"{self._base}/{bucket}/{name}", content)

    def put_folder(self, name: str, files: Mapping[str, bytes]) -> None:
        for file, content in files.items():
            self.put(f"{name}/{file}", content)

    def folder_uri(self, name: str, port: int | None = None) -> str:
        return self.uri(f"{name}/", port)

    def uri(self, name: str, port: int | None = None) -> str:
        return f"s3://{_BUCKET}/{name}"

    def settings(self, port: int | None = None) -> Mapping[str, str]:
        return {"s3_endpoint": f"https://{self.address[0]}:{port or self.address[1]}"}

    def secret(self, port: int | None = None) -> Secret:
        return {
            "AWS_ACCESS_KEY_ID": _USER,
            "AWS_SECRET_ACCESS_KEY": _PASSWORD,
            "AWS_ENDPOINT_URL": f"https://{self.address[0]}:{port or self.address[1]}",
        }

    def wrong_secret(self) -> Secret:
        return {**self.secret(), "AWS_SECRET_ACCESS_KEY": "guessed"}

    def _send(self, url: str, content: bytes) -> None:
        with tempfile.NamedTemporaryFile() as file:  # from a pipe, curl would not tell its length
            file.write(content)
            file.flush()
            self._curl("-T", file.name, url)

    def _curl(self, *arguments: str) -> None:
        signing = ["--aws-sigv4", "aws:amz:us-east-1:s3", "--user", f"{_USER}:{_PASSWORD}"]
        done = subprocess.run(
            ["curl", "-sS", "--fail", "--cacert", str(self._ca), *signing, *arguments],
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert not done.returncode, done.stderr.decode()


@contextmanager
def minio(host: str, folder: Path, authority: Authority) -> Iterator[Minio]:
    """Run MinIO in a folder."""
    program = installed("minio", _PACKAGE, versions().minio)
    shown, certificates = authority.certificate(host), folder / "certs"
    certificates.mkdir()
    (certificates / "public.crt").write_bytes(shown.file.read_bytes())
    (certificates / "private.key").write_bytes(shown.key.read_bytes())
    port = free_port(host)
    command = [program, "server", folder / "data", "--address", f"{host}:{port}",
               "--certs-dir", certificates]  # fmt: skip
    environment = {
        "MINIO_ROOT_USER": _USER,
        "MINIO_ROOT_PASSWORD": _PASSWORD,
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
    }
    log = folder / "minio.log"
    running = Server(command, log, environment=environment, is_up=lambda: _is_online(host, port))
    with running:
        store = Minio(host, port, authority)
        store.make_buckets()
        yield store


def _is_online(host: str, port: int) -> bool:
    """MinIO listens before it can answer; its health check tells."""
    if not listens(host, port):
        return False
    url = f"https://{host}:{port}/minio/health/cluster"
    done = subprocess.run(
        ["curl", "-ksf", "--max-time", "5", url], capture_output=True, check=False
    )
    return not done.returncode
