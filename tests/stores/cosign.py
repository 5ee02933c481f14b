"""Signatures of artifacts, made as cosign 2 and 3 make them with a key, and by cosign itself."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from devcluster.go import installed
from devcluster.versions import versions
from tests.stores.authority import Authority
from tests.stores.oci import LOGIN, Registry

PAYLOAD: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
ANNOTATION: Final = "dev.cosignproject.cosign/signature"
Key = EllipticCurvePrivateKey | RSAPrivateKey | Ed25519PrivateKey


def public(key: Key) -> bytes:
    """The file cosign.pub."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


OFFLINE: Final = ("--use-signing-config=false", "--tlog-upload=false")
"""Neither its signing service nor its public log, which no test can reach."""
AS_COSIGN_2: Final = ("--new-bundle-format=false",)


def sign(
    store: Registry, name: str, digest: str, key: Key, folder: Path, authority: Authority, *how: str
) -> None:
    """Run cosign with a key."""
    program = installed("cosign", "github.com/sigstore/cosign/v3/cmd/cosign", versions().cosign)
    environment = {
        **os.environ,
        "COSIGN_PASSWORD": "",
        "HOME": str(folder),
        "SSL_CERT_FILE": str(authority.file),
    }
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "own.pem").write_bytes(pem)
    importing = ("import-key-pair", "--key", "own.pem", "--output-key-prefix", "own", "--yes")
    login = ("--registry-username", LOGIN[0], "--registry-password", LOGIN[1])
    signing = ("sign", "--yes", "--key", "own.key", *OFFLINE, *how, *login)
    for words in (importing, (*signing, store.name_of(name, digest))):
        done = subprocess.run(
            [program, *words], env=environment, cwd=folder, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert not done.returncode, done.stderr


def document(digest: str, kind: str = "cosign container image signature") -> bytes:
    """What cosign signs."""
    critical = {
        "identity": {"docker-reference": ""},
        "image": {"docker-manifest-digest": digest},
        "type": kind,
    }
    return json.dumps({"critical": critical, "optional": None}).encode()


def signature(key: Key, content: bytes) -> bytes:
    match key:
        case EllipticCurvePrivateKey():
            return key.sign(content, ECDSA(SHA256()))
        case RSAPrivateKey():
            return key.sign(content, PKCS1v15(), SHA256())
        case _:
            return key.sign(content)


def statement(digest: str, predicate: str = "https://sigstore.dev/cosign/sign/v1") -> bytes:
    """What cosign 3 signs."""
    stated = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": digest.removeprefix("sha256:")}}],
        "predicateType": predicate,
        "predicate": {},
    }
    return json.dumps(stated).encode()


def bundle(key: Key, payload: bytes) -> bytes:
    """What cosign 3 writes down."""
    kind = "application/vnd.in-toto+json"
    content = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": kind,
        "signatures": [{"sig": base64.b64encode(signature(key, content)).decode()}],
    }
    return json.dumps(
        {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"publicKey": {"hint": ""}},
            "dsseEnvelope": envelope,
        }
    ).encode()


def signed(store: Registry, name: str, digest: str, *signatures: tuple[bytes, bytes]) -> None:
    """Push signatures of a digest: pairs of document and signature."""
    layers = [
        {
            **store.layer(name, "", content, PAYLOAD),
            "annotations": {ANNOTATION: base64.b64encode(made).decode()},
        }
        for content, made in signatures
    ]
    store.push(name, layers, f"{digest.replace(':', '-')}.sig")
