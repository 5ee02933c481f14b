"""Signatures of artifacts, made as cosign 2 makes them with a key."""

from __future__ import annotations

import base64
import json
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.stores.oci import Registry

PAYLOAD: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
ANNOTATION: Final = "dev.cosignproject.cosign/signature"
Key = EllipticCurvePrivateKey | RSAPrivateKey | Ed25519PrivateKey


def public(key: Key) -> bytes:
    """The file cosign.pub."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


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
