"""The same against a real registry: Debian's docker-registry."""

import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from slipway_runtime.supply.termination import EXIT_OK
from tests.unit.runtime import models
from tests.unit.runtime.processes import runtime, serving_document

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = """\
version: 0.1
log: {level: info, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: "%s"}}
http: {addr: "127.0.0.1:0"}
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = shutil.which("docker-registry")
    assert program, (
        "docker-registry is missing: apt-get install --no-install-recommends docker-registry"
    )
    folder = tmp_path_factory.mktemp("registry")
    config = folder / "config.yml"
    config.write_text(CONFIG % (folder / "storage"))
    with subprocess.Popen(
        [program, "serve", str(config)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stderr
        try:
            found = next(
                re.search(r"listening on (127\.0\.0\.1:\d+)", line)
                for line in process.stderr
                if "listening on" in line
            )
            assert found
            yield found[1]
        finally:
            process.kill()


def push(registry: str, repository: str, tag: str, content: bytes) -> str:
    """Push a file as `oras push` does, and return the manifest's digest."""
    with httpx.Client(base_url=f"http://{registry}", trust_env=False) as client:
        for blob in (b"{}", content):
            start = client.post(f"/v2/{repository}/blobs/uploads/").headers["location"]
            upload = httpx.URL(start).copy_merge_params({"digest": digest_of(blob)})
            client.put(upload, content=blob).raise_for_status()
        text = json.dumps(manifest_of(content))
        headers = {"Content-Type": MANIFEST}
        path = f"/v2/{repository}/manifests/{tag}"
        client.put(path, content=text, headers=headers).raise_for_status()
    return digest_of(text.encode())


def manifest_of(content: bytes) -> dict[str, Any]:
    empty = {
        "mediaType": "application/vnd.oci.empty.v1+json",
        "digest": digest_of(b"{}"),
        "size": 2,
    }
    layer = {
        "mediaType": "application/vnd.oci.image.layer.v1.tar",
        "digest": digest_of(content),
        "size": len(content),
        "annotations": {"org.opencontainers.image.title": "digits.onnx"},
    }
    return {"schemaVersion": 2, "mediaType": MANIFEST, "config": empty, "layers": [layer]}


def digest_of(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def test_a_model_is_pulled_by_tag_and_by_digest(registry: str, tmp_path: Path) -> None:
    content = models.affine().SerializeToString()
    manifest = push(registry, "models/digits", "2", content)
    for number, reference in enumerate((":2", f"@{manifest}", f":2@{manifest}")):
        document = serving_document(f"oci://{registry}/models/digits{reference}")
        message, into = tmp_path / "message", tmp_path / str(number)
        arguments = ("fetch", "--into", into, "--termination-message", message)
        done = runtime(*arguments, config_json=json.dumps(document))
        assert done.returncode == EXIT_OK, done.stderr
        assert json.loads(message.read_text())["result"]["digest"] == digest_of(content)
        assert (into / "model.onnx").read_bytes() == content


@pytest.mark.parametrize(
    "reference", ["models/digits:none", "models/none:1", f"m@sha256:{'0' * 64}"]
)
def test_what_the_registry_does_not_have_is_not_found(
    registry: str, tmp_path: Path, reference: str
) -> None:
    document = json.dumps(serving_document(f"oci://{registry}/{reference}"))
    message = tmp_path / "message"
    done = runtime(
        "fetch", "--into", tmp_path, "--termination-message", message, config_json=document
    )
    assert done.returncode == 10
    assert json.loads(message.read_text())["failure"]["reason"] == "NotFound"
