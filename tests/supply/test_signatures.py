"""Signatures of artifacts in a real registry, made by cosign itself, and here as it makes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    SECP521R1,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa

from tests.stores.authority import Authority
from tests.stores.cosign import AS_COSIGN_2, Key, document, public, sign, signature, signed
from tests.stores.oci import Registry, registry
from tests.supply.step import Ended, fetched
from tests.unit.runtime import models

HOST: Final = "127.0.0.2"
MODEL: Final = models.affine().SerializeToString()
VERIFY: Final = {"verify": {"cosignKey": {"configMap": {"name": "k", "key": "cosign.pub"}}}}
OURS: Final = generate_private_key(SECP256R1())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Registry]:
    """A registry."""
    with registry(HOST, tmp_path_factory.mktemp("registry"), authority) as running:
        yield running


@pytest.fixture
def name() -> str:
    """A repository of the test's own."""
    return f"signed-{uuid4().hex[:8]}"


def pushed(store: Registry, name: str) -> str:
    """Push the model; the manifest's digest."""
    return store.push(name, [store.layer(name, "model.onnx", MODEL)])


def checked(folder: Path, store: Registry, authority: Authority, name: str, key: Key) -> Ended:
    """Fetch as the supply Job does, with a key."""
    return fetched_with(folder, store, authority, name, public(key))


def fetched_with(
    folder: Path, store: Registry, authority: Authority, name: str, key: bytes, **more: Any
) -> Ended:
    folder.mkdir(exist_ok=True)
    (folder / "cosign.pub").write_bytes(key)
    return fetched(
        folder, store.uri(name), secret=store.secret(), ca=authority.file, model=VERIFY,
        resolve=True, cosign_key=folder / "cosign.pub", **more,
    )  # fmt: skip


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(OURS, id="P-256"),
        pytest.param(generate_private_key(SECP384R1()), id="P-384"),
        pytest.param(generate_rsa(65537, 2048), id="RSA"),
        pytest.param(Ed25519PrivateKey.generate(), id="Ed25519"),
    ],
)
def test_an_artifact_that_is_signed_is_fetched(
    tmp_path: Path, store: Registry, authority: Authority, name: str, key: Key
) -> None:
    digest = pushed(store, name)
    content = document(digest)
    signed(store, name, digest, (content, signature(key, content)))
    done = checked(tmp_path, store, authority, name, key)
    assert done.code == 0, done.log
    assert "signature is good" in done.log
    assert done.message["result"]["source"].endswith(f"@{digest}")


@pytest.mark.parametrize(
    ("how", "tag"), [((), ""), (AS_COSIGN_2, ".sig")], ids=["cosign 3", "as cosign 2"]
)
@pytest.mark.parametrize(
    "key",
    [
        pytest.param(OURS, id="P-256"),
        pytest.param(generate_private_key(SECP384R1()), id="P-384"),
        pytest.param(generate_private_key(SECP521R1()), id="P-521"),
        pytest.param(generate_rsa(65537, 2048), id="RSA"),
    ],
)
def test_what_cosign_has_signed_is_fetched(
    tmp_path: Path, store: Registry, authority: Authority, name: str, key: Key,
    how: tuple[str, ...], tag: str,
) -> None:  # fmt: skip
    digest = pushed(store, name)
    sign(store, name, digest, key, tmp_path, authority, *how)
    assert store.tags(name) == ["1", f"{digest.replace(':', '-')}{tag}"]
    done = checked(tmp_path, store, authority, name, key)
    assert done.code == 0, done.log
    assert "signature is good" in done.log
    other = generate_private_key(SECP256R1())
    assert "of another key" in refused(checked(tmp_path / "x", store, authority, name, other))


def test_cosign_signs_otherwise_with_an_ed25519_key_and_that_is_said(
    tmp_path: Path, store: Registry, authority: Authority, name: str
) -> None:
    """Over a hash of the bytes (Ed25519ph), which no library here verifies."""
    key, digest = Ed25519PrivateKey.generate(), pushed(store, name)
    sign(store, name, digest, key, tmp_path, authority)
    assert "Ed25519ph" in refused(checked(tmp_path, store, authority, name, key))


def test_one_good_signature_among_several_is_enough(
    tmp_path: Path, store: Registry, authority: Authority, name: str
) -> None:
    digest = pushed(store, name)
    content = document(digest)
    theirs = signature(generate_private_key(SECP256R1()), content)
    signed(store, name, digest, (content, theirs), (content, signature(OURS, content)))
    assert checked(tmp_path, store, authority, name, OURS).code == 0


def refused(done: Ended) -> str:
    assert (done.code, done.reason) == (10, "SignatureMismatch"), done.log
    assert not done.model.exists()
    return done.why


def test_an_artifact_without_a_signature_is_refused(
    tmp_path: Path, store: Registry, authority: Authority, name: str
) -> None:
    digest = pushed(store, name)
    assert f"{digest} has no signature" in refused(checked(tmp_path, store, authority, name, OURS))


def test_a_signature_of_another_key_is_refused(
    tmp_path: Path, store: Registry, authority: Authority, name: str
) -> None:
    digest = pushed(store, name)
    content = document(digest)
    signed(store, name, digest, (content, signature(OURS, content)))
    other = generate_private_key(SECP256R1())
    assert "of another key" in refused(checked(tmp_path, store, authority, name, other))


def test_a_signature_for_another_artifact_is_refused(
    tmp_path: Path, store: Registry, authority: Authority, name: str
) -> None:
    """A good one, which somebody has copied to another tag."""
    digest, content = pushed(store, name), document("sha256:" + "0" * 64)
    signed(store, name, digest, (content, signature(OURS, content)))
    assert "it is for sha256:0000" in refused(checked(tmp_path, store, authority, name, OURS))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(b"no JSON", "for something else", id="no JSON"),
        pytest.param(b"[" * 9999, "for something else", id="deep JSON"),
        pytest.param(document("sha256:x", "atomic"), "for something else", id="another type"),
        pytest.param(b'{"critical": 1}', "for something else", id="nothing in it"),
    ],
)
def test_a_document_that_says_nothing_is_refused(
    tmp_path: Path, store: Registry, authority: Authority, name: str, content: bytes, problem: str
) -> None:
    digest = pushed(store, name)
    signed(store, name, digest, (content, signature(OURS, content)))
    assert problem in refused(checked(tmp_path, store, authority, name, OURS))


def test_a_document_that_was_changed_is_refused(
    tmp_path: Path, store: Registry, authority: Authority, name: str
) -> None:
    digest = pushed(store, name)
    good = document("sha256:" + "1" * 64)
    signed(store, name, digest, (document(digest), signature(OURS, good)))
    assert "of another key" in refused(checked(tmp_path, store, authority, name, OURS))


def test_a_tag_that_moves_needs_a_signature_of_its_own(
    tmp_path: Path, store: Registry, authority: Authority, name: str
) -> None:
    digest = pushed(store, name)
    content = document(digest)
    signed(store, name, digest, (content, signature(OURS, content)))
    store.push(name, [store.layer(name, "model.onnx", MODEL + b"")] * 1 + [
        store.layer(name, "notes.txt", b"another artifact under the tag")
    ])  # fmt: skip
    assert "has no signature" in refused(checked(tmp_path, store, authority, name, OURS))


def test_a_folder_is_held_to_its_signature(
    tmp_path: Path, store: Registry, authority: Authority, name: str
) -> None:
    pushed(store, name)
    (tmp_path / "cosign.pub").write_bytes(public(OURS))
    done = fetched(
        tmp_path, store.folder_uri(name), secret=store.secret(), ca=authority.file, model=VERIFY,
        cosign_key=tmp_path / "cosign.pub",
    )  # fmt: skip
    assert "has no signature" in refused(done)


def test_pods_of_a_resolved_revision_ask_for_no_signature(
    tmp_path: Path, store: Registry, authority: Authority, name: str
) -> None:
    """They fetch the manifest that was looked at; a signature that is gone stops none of them."""
    digest = pushed(store, name)
    content = document(digest)
    signed(store, name, digest, (content, signature(OURS, content)))
    job = checked(tmp_path, store, authority, name, OURS)
    pinned = {key: job.message["result"][key] for key in ("digest", "source")}
    pod = fetched(
        tmp_path / "pod", store.uri(name), secret=store.secret(), ca=authority.file, model=VERIFY,
        pinned=pinned, cosign_key=tmp_path / "gone",
    )  # fmt: skip
    assert pod.code == 0, pod.log


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY"])
def test_what_is_no_key_is_refused(
    tmp_path: Path, store: Registry, authority: Authority, name: str, content: bytes
) -> None:
    pushed(store, name)
    done = fetched_with(tmp_path, store, authority, name, content)
    assert (done.code, done.reason) == (10, "InvalidConfig")
    assert "model.verify.cosignKey" in done.why
