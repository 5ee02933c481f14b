"""An OCI registry: Debian's `docker-registry` as a process on this machine, in plain HTTP."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx
import pytest
import yaml

from tests.kubeapi import eventually

_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_EMPTY: Final = b"{}"


class Registry:
    """One process; ended with its block."""

    def __init__(self, host: str, folder: Path) -> None:
        program = shutil.which("docker-registry")
        if program is None:
            pytest.fail("docker-registry is missing; run: apt-get install docker-registry")
        self.address = f"{host}:{_free_port(host)}"
        self._log = folder / "registry.log"
        config = folder / "config.yml"
        config.write_text(yaml.safe_dump(_configuration(self.address, folder / "storage")))
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [program, "serve", str(config)], stdout=output, stderr=output
            )
        self._http = httpx.Client(base_url=f"http://{self.address}", timeout=10)

    def __enter__(self) -> Self:
        eventually(self._answers, "the registry answers", describe=self._log.read_text)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        err: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()
        self._process.terminate()
        self._process.wait(timeout=10)

    def push(self, repository: str, tag: str, model: bytes) -> str:
        """Push a model as `oras push` does: an artifact of one layer; tell its URI."""
        layer = {
            **self._blob(repository, model),
            "mediaType": "application/octet-stream",
            "annotations": {"org.opencontainers.image.title": "model.onnx"},
        }
        config = {
            **self._blob(repository, _EMPTY),
            "mediaType": "application/vnd.oci.empty.v1+json",
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": config,
            "layers": [layer],
        }
        self._http.put(
            f"/v2/{repository}/manifests/{tag}",
            content=json.dumps(manifest),
            headers={"content-type": _MANIFEST},
        ).raise_for_status()
        return f"oci://{self.address}/{repository}:{tag}"

    def _blob(self, repository: str, content: bytes) -> dict[str, object]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        begun = self._http.post(f"/v2/{repository}/blobs/uploads/").raise_for_status()
        place = httpx.URL(begun.headers["location"]).copy_merge_params({"digest": digest})
        self._http.put(place, content=content).raise_for_status()
        return {"digest": digest, "size": len(content)}

    def _answers(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        try:
            return self._http.get("/v2/").is_success
        except httpx.TransportError:
            return False


def _configuration(address: str, storage: Path) -> dict[str, object]:
    return {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(storage)}},
        "http": {"addr": address, "relativeurls": True},
    }


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
