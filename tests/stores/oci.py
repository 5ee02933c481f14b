"""Debian's docker-registry with a password, over TLS."""

from __future__ import annotations

import hashlib
import json
import shutil
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest
import yaml

from tests.stores.authority import Authority
from tests.stores.server import Server, free_port, listens
from tests.stores.source import Secret

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
LOGIN: Final = ("puller", "registry-s3cret-of-tests")
_HTPASSWD: Final = "puller:$2b$04$XPlYHGc3VM0hOMPjL3Oq/OIqPtANMSxNnnZ.0GVUMlFg7MypU95W2\n"
_EMPTY: Final = b"{}"


class Registry:
    """Repositories below `models/`."""

    is_guarded = True

    def __init__(self, host: str, port: int, authority: Authority) -> None:
        self.address = (host, port)
        self._http = httpx.Client(
            base_url=f"https://{host}:{port}",
            verify=ssl.create_default_context(cafile=str(authority.file)),
            auth=LOGIN,
            trust_env=False,
        )

    def put(self, name: str, content: bytes) -> None:
        """Push a file as `oras push` does."""
        self.push(name, [self.layer(name, "model.onnx", content)])

    def put_folder(self, name: str, files: Mapping[str, bytes]) -> None:
        self.push(name, [self.layer(name, file, content) for file, content in files.items()])

    def folder_uri(self, name: str, port: int | None = None) -> str:
        return f"{self.uri(name, port)}/"

    def layer(
        self, name: str, title: str, content: bytes, kind: str = "application/octet-stream"
    ) -> dict[str, object]:
        """Upload a layer; its descriptor."""
        annotations = {"org.opencontainers.image.title": title} if title else {}
        return {**self._blob(name, content), "mediaType": kind, "annotations": annotations}

    def push(self, name: str, layers: Sequence[Mapping[str, object]], tag: str = "1") -> str:
        """Push a manifest; its digest."""
        kind = "application/vnd.oci.empty.v1+json"
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {**self._blob(name, _EMPTY), "mediaType": kind},
            "layers": layers,
        }
        text = json.dumps(manifest).encode()
        self._http.put(
            f"/v2/{_repository(name)}/manifests/{tag}",
            content=text,
            headers={"content-type": MANIFEST},
        ).raise_for_status()
        return f"sha256:{hashlib.sha256(text).hexdigest()}"

    def tags(self, name: str) -> list[str]:
        """All tags of a repository."""
        answer = self._http.get(f"/v2/{_repository(name)}/tags/list").raise_for_status()
        return sorted(answer.json()["tags"])

    def name_of(self, name: str, digest: str) -> str:
        """An artifact as other programs name it."""
        return f"{self.address[0]}:{self.address[1]}/{_repository(name)}@{digest}"

    def uri(self, name: str, port: int | None = None) -> str:
        return f"oci://{self.address[0]}:{port or self.address[1]}/{_repository(name)}:1"

    def settings(self, port: int | None = None) -> Mapping[str, str]:
        return {}

    def secret(self, port: int | None = None) -> Secret:
        return _docker_config(f"{self.address[0]}:{port or self.address[1]}", *LOGIN)

    def wrong_secret(self) -> Secret:
        host, port = self.address
        return _docker_config(f"{host}:{port}", LOGIN[0], "guessed")

    def close(self) -> None:
        self._http.close()

    def _blob(self, name: str, content: bytes) -> dict[str, object]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        begun = self._http.post(f"/v2/{_repository(name)}/blobs/uploads/").raise_for_status()
        place = httpx.URL(begun.headers["location"]).copy_merge_params({"digest": digest})
        self._http.put(place, content=content).raise_for_status()
        return {"digest": digest, "size": len(content)}


def _repository(name: str) -> str:
    return f"models/{name.removesuffix('.onnx')}"


def _docker_config(host: str, username: str, password: str) -> Secret:
    auths = {host: {"username": username, "password": password}}
    return {".dockerconfigjson": json.dumps({"auths": auths})}


@contextmanager
def registry(host: str, folder: Path, authority: Authority) -> Iterator[Registry]:
    """Run a registry in a folder."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.fail("docker-registry is missing; run: apt-get install docker-registry")
    shown, port = authority.certificate(host), free_port(host)
    (folder / "htpasswd").write_text(_HTPASSWD)
    config = folder / "config.yml"
    configuration = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}},
        "http": {
            "addr": f"{host}:{port}",
            "relativeurls": True,
            "tls": {"certificate": str(shown.file), "key": str(shown.key)},
        },
        "auth": {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}},
    }
    config.write_text(yaml.safe_dump(configuration))
    log = folder / "registry.log"
    with Server([program, "serve", config], log, is_up=lambda: listens(host, port)):
        running = Registry(host, port, authority)
        try:
            yield running
        finally:
            running.close()
