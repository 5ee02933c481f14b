"""One suite over every store: what is fetched, and what is said when it cannot be.

Each store is the real one, over TLS, with a certificate of an authority that only the spec names.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from tests.stores.authority import Authority
from tests.stores.hub_double import COMMIT, HubDouble
from tests.stores.minio import Minio
from tests.stores.oci import Registry
from tests.stores.relay import relay
from tests.stores.source import Source
from tests.supply.step import fetched
from tests.unit.runtime import models

SCHEMES: Final = ("https", "s3", "gs", "oci", "hf")
MODEL: Final = os.urandom(9 * 2**20)
DIGEST: Final = f"sha256:{hashlib.sha256(MODEL).hexdigest()}"
WRONG: Final = "sha256:" + "0" * 64
TOLD_WITHIN_S: Final = 15.0


@pytest.fixture(params=SCHEMES)
def source(request: pytest.FixtureRequest, sources: dict[str, Source]) -> Source:
    """A store that has the model."""
    found = sources[request.param]
    found.put("good.onnx", MODEL)
    return found


def test_a_model_is_fetched(tmp_path: Path, source: Source, authority: Authority) -> None:
    done = fetched(
        tmp_path,
        source.uri("good.onnx"),
        secret=source.secret(),
        ca=authority.file,
        settings=source.settings(),
    )
    assert done.code == 0, done.log
    assert done.message["result"]["digest"] == DIGEST
    assert done.model.read_bytes() == MODEL


def test_wrong_credentials_are_denied_at_once(
    tmp_path: Path, source: Source, authority: Authority
) -> None:
    secret = source.wrong_secret()
    done = fetched(
        tmp_path,
        source.uri("good.onnx"),
        secret=secret,
        ca=authority.file,
        settings=source.settings(),
    )
    assert (done.code, done.reason) == (10, "AccessDenied")
    assert "check the credentials in Secret 'login'" in done.why
    assert done.took_s < TOLD_WITHIN_S


def test_without_credentials_it_is_denied(
    tmp_path: Path, source: Source, authority: Authority
) -> None:
    done = fetched(tmp_path, source.uri("good.onnx"), ca=authority.file, settings=source.settings())
    assert done.reason == ("AccessDenied" if source.is_guarded else "")


def test_a_missing_object_is_not_found(
    tmp_path: Path, source: Source, authority: Authority
) -> None:
    done = fetched(
        tmp_path,
        source.uri("other.onnx"),
        secret=source.secret(),
        ca=authority.file,
        settings=source.settings(),
    )
    assert (done.code, done.reason) == (10, "NotFound")
    assert done.took_s < TOLD_WITHIN_S


def test_c13_another_digest_is_refused(
    tmp_path: Path, source: Source, authority: Authority
) -> None:
    done = fetched(
        tmp_path,
        source.uri("good.onnx"),
        secret=source.secret(),
        ca=authority.file,
        model={"digest": WRONG},
        settings=source.settings(),
    )
    assert (done.code, done.reason) == (10, "DigestMismatch")
    assert not done.model.exists()


def test_c14_a_cut_connection_is_taken_up_where_it_broke(
    tmp_path: Path, source: Source, authority: Authority
) -> None:
    """TLS, headers and challenges come first: the cut is in the middle of the model."""
    with relay(source.address, cuts=3, after_bytes=6 * 2**20) as line:
        uri, secret = source.uri("good.onnx", line.port), source.secret(line.port)
        settings = source.settings(line.port)
        done = fetched(tmp_path, uri, secret=secret, ca=authority.file, settings=settings)
        connections = line.connections
    assert done.code == 0, done.log
    assert done.model.read_bytes() == MODEL
    assert connections > 1
    assert "attempt failed" in done.log


def test_a_store_that_is_never_whole_is_given_up(
    tmp_path: Path, source: Source, authority: Authority
) -> None:
    with relay(source.address, cuts=1000, after_bytes=1000) as line:
        uri, secret = source.uri("good.onnx", line.port), source.secret(line.port)
        done = fetched(
            tmp_path,
            uri,
            secret=secret,
            ca=authority.file,
            settings={**source.settings(line.port), "fetch_attempts": "3"},
        )
    assert (done.code, done.reason) == (11, "Unavailable")
    assert "failed 3 times in a row" in done.why
    assert done.took_s < TOLD_WITHIN_S


def test_an_authority_that_nobody_knows_is_named_at_once(tmp_path: Path, source: Source) -> None:
    done = fetched(
        tmp_path, source.uri("good.onnx"), secret=source.secret(), settings=source.settings()
    )
    assert (done.code, done.reason) == (11, "Untrusted")
    assert "model.caBundle" in done.why
    assert done.took_s < TOLD_WITHIN_S


def test_a_bundle_without_certificates_is_refused(tmp_path: Path, source: Source) -> None:
    nothing = tmp_path / "ca.crt"
    nothing.write_text("-----BEGIN CERTIFICATE-----\n")
    done = fetched(
        tmp_path,
        source.uri("good.onnx"),
        secret=source.secret(),
        ca=nothing,
        settings=source.settings(),
    )
    assert (done.code, done.reason) == (10, "InvalidConfig")
    assert "model.caBundle" in done.why


def test_a_secret_without_the_right_keys_is_refused(
    tmp_path: Path, source: Source, authority: Authority
) -> None:
    incomplete = {"AWS_ACCESS_KEY_ID": "only", "password": "half-a-s3cret"}
    done = fetched(
        tmp_path,
        source.uri("good.onnx"),
        secret=incomplete,
        ca=authority.file,
        settings=source.settings(),
    )
    assert (done.code, done.reason) == (10, "InvalidConfig")
    assert "Secret 'login' has the keys AWS_ACCESS_KEY_ID, password" in done.why


def test_a_public_bucket_needs_no_key(tmp_path: Path, s3: Minio, authority: Authority) -> None:
    s3.put("digits%20v1/good.onnx", MODEL, "public")
    endpoint = s3.secret()["AWS_ENDPOINT_URL"]
    uri = "s3://public/digits%20v1/good.onnx"
    done = fetched(tmp_path, uri, ca=authority.file, settings={"s3_endpoint": endpoint})
    assert done.code == 0, done.log
    assert done.message["result"]["digest"] == DIGEST


@pytest.mark.parametrize("region", ["eu-west-1", "us-east-1"])
def test_c23_the_region_of_the_signature_may_be_any(
    tmp_path: Path, s3: Minio, authority: Authority, region: str
) -> None:
    """MinIO takes the region of its default bucket location only, and says so."""
    s3.put("good.onnx", MODEL)
    secret = {**s3.secret(), "AWS_REGION": region}
    done = fetched(tmp_path, s3.uri("good.onnx"), secret=secret, ca=authority.file)
    assert (done.code, done.reason) == (0, ""), done.why


def test_a_hub_is_asked_for_one_commit_and_its_token_goes_nowhere_else(
    tmp_path: Path, hub: HubDouble, authority: Authority
) -> None:
    hub.put("onnx/good.onnx", MODEL)
    uri = hub.uri("onnx/good.onnx")
    done = fetched(tmp_path, uri, secret=hub.secret(), ca=authority.file, settings=hub.settings())
    assert done.code == 0, done.log
    assert hub.content.tokens_seen == []


def test_a_tag_that_moves_leaves_the_pods_their_bytes(
    tmp_path: Path, sources: dict[str, Source], authority: Authority
) -> None:
    """The Job tells the manifest's digest, and pods that start later ask for that."""
    oci = sources["oci"]
    oci.put("moving.onnx", MODEL)
    uri, secret = oci.uri("moving.onnx"), oci.secret()
    job = fetched(tmp_path / "job", uri, secret=secret, ca=authority.file)
    oci.put("moving.onnx", b"another model")
    pinned = {key: job.message["result"][key] for key in ("digest", "source")}
    pod = fetched(tmp_path / "pod", uri, secret=secret, ca=authority.file, pinned=pinned)
    assert pod.code == 0, pod.log
    assert pod.model.read_bytes() == MODEL
    del pinned["source"]
    lost = fetched(tmp_path / "lost", uri, secret=secret, ca=authority.file, pinned=pinned)
    assert (lost.code, lost.reason) == (10, "DigestMismatch")


def test_c25_a_branch_is_pinned_to_its_commit(
    tmp_path: Path, hub: HubDouble, authority: Authority
) -> None:
    hub.put("good.onnx", MODEL)
    uri = hub.uri("good.onnx")
    done = fetched(tmp_path, uri, secret=hub.secret(), ca=authority.file, settings=hub.settings())
    assert done.message["result"]["source"] == f"hf://team/digits@{COMMIT}/good.onnx"


def test_c25_a_gated_repository_says_so(
    tmp_path: Path, hub: HubDouble, authority: Authority
) -> None:
    done = fetched(tmp_path, hub.uri("m.onnx"), ca=authority.file, settings=hub.settings())
    assert (done.code, done.reason) == (10, "AccessDenied")
    assert "(GatedRepo)" in done.why


def test_c25_a_pointer_in_place_of_a_file_is_recognised(
    tmp_path: Path, hub: HubDouble, authority: Authority
) -> None:
    hub.put("pointer.onnx", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
    uri = hub.uri("pointer.onnx")
    done = fetched(
        tmp_path, uri, secret=hub.secret(), ca=authority.file, resolve=True, settings=hub.settings()
    )
    assert (done.code, done.reason) == (10, "InvalidModel")
    assert "a Git LFS pointer" in done.why


def _folder() -> dict[str, bytes]:
    """A model of several files: a graph, and its weights in a folder below."""
    weights = os.urandom(12)
    model = models.external("data/weights.bin")
    return {
        "onnx/model.onnx": model.SerializeToString(),
        "onnx/data/weights.bin": np.ones((4, 3), np.float32).tobytes(),
        "README.md": weights,
        ".gitattributes": b"is left out",
    }


def _digest_of(files: dict[str, bytes]) -> str:
    lines = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        for name, content in sorted(files.items())
        if not name.startswith(".")
    )
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def test_c12_a_folder_is_fetched_and_its_digest_is_that_of_its_files(
    tmp_path: Path, sources: dict[str, Source], source: Source, authority: Authority
) -> None:
    """From a web server as an archive, whose digest is its own."""
    files = _folder()
    name = f"digits-{os.urandom(4).hex()}"
    source.put_folder(name, files)
    done = fetched(
        tmp_path,
        source.folder_uri(name),
        secret=source.secret(),
        ca=authority.file,
        resolve=True,
        settings=source.settings(),
    )
    assert done.code == 0, done.log
    result = done.message["result"]
    assert [tensor["name"] for tensor in result["signature"]["inputs"]] == ["x"]
    found = done.model.parent / "folder"
    assert {p.relative_to(found).as_posix() for p in found.rglob("*") if p.is_file()} == {
        name for name in files if not name.startswith(".")
    }
    if source is not sources["https"]:
        assert result["digest"] == _digest_of(files)
    pinned = {key: result[key] for key in ("digest", "source") if key in result}
    pod = fetched(
        tmp_path / "pod",
        source.folder_uri(name),
        secret=source.secret(),
        ca=authority.file,
        pinned=pinned,
        settings=source.settings(),
    )
    assert pod.code == 0, pod.log
    assert pod.message["result"]["digest"] == result["digest"]


def test_c13_a_folder_of_other_bytes_is_refused(
    tmp_path: Path, source: Source, authority: Authority
) -> None:
    source.put_folder("changed", _folder())
    done = fetched(
        tmp_path,
        source.folder_uri("changed"),
        secret=source.secret(),
        ca=authority.file,
        model={"digest": WRONG},
        settings=source.settings(),
    )
    assert (done.code, done.reason) == (10, "DigestMismatch")
    assert list(done.model.parent.iterdir()) == []


def test_a_folder_that_is_not_there_is_not_found(
    tmp_path: Path, source: Source, authority: Authority
) -> None:
    done = fetched(
        tmp_path,
        source.folder_uri("nothing"),
        secret=source.secret(),
        ca=authority.file,
        settings=source.settings(),
    )
    assert (done.code, done.reason) == (10, "NotFound")


def test_c24_an_image_with_a_model_in_a_layer_is_read(
    tmp_path: Path, sources: dict[str, Source], authority: Authority
) -> None:
    """As `FROM scratch` and `COPY model/ /` make it; a whiteout in it is refused."""
    oci = sources["oci"]
    assert isinstance(oci, Registry)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in _folder().items():
            info = tarfile.TarInfo(f"models/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    kind = "application/vnd.oci.image.layer.v1.tar+gzip"
    oci.push("image", [oci.layer("image", "", packed.getvalue(), kind)])
    done = fetched(
        tmp_path, oci.folder_uri("image"), secret=oci.secret(), ca=authority.file, resolve=True
    )
    assert done.code == 0, done.log
    assert done.message["result"]["source"].endswith("/")
