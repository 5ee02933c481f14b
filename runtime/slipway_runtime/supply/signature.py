"""Look at the signatures of an OCI artifact, as cosign writes them, with a given public key.

A signature is an artifact of its own beside the signed one: the tag says which digest is signed,
each layer is a small document with that digest, and its annotation is the signature over the bytes
of the document. Nothing else is asked: no transparency log, no certificates, no identities.

Source: sigstore/cosign, "SIGNATURE_SPEC.md"; containers/image, "containers-signature(5)" for the
document.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from slipway_runtime.errors import InvalidConfig, NotFound, SignatureMismatch

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

_PAYLOAD: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
_ANNOTATION: Final = "dev.cosignproject.cosign/signature"
_TYPE: Final = "cosign container image signature"
_MAX_SIGNATURES: Final = 32
_MAX_KEY_BYTES: Final = 64 * 1024


class Repository(Protocol):
    """Where artifact and signatures lie."""

    def manifest(self, wanted: str | None = None) -> tuple[Mapping[str, Any], str]:
        """Read a manifest by its tag, and its digest."""

    def document(self, layer: Mapping[str, Any]) -> bytes:
        """Read a small layer, compared with its descriptor."""


def check_signed(repository: Repository, digest: str, key: Path) -> None:
    """Hold an artifact to a public key.

    Args:
        repository: of the artifact.
        digest: `sha256:…` of its manifest, or of the index that the URI names.
        key: file with the public key, in PEM.

    Raises:
        SignatureMismatch: no signature is one of the key for this very digest.
        InvalidConfig: the file is no public key.
    """
    public = public_key(key)
    try:
        manifest, _ = repository.manifest(f"{digest.replace(':', '-')}.sig")
    except NotFound as err:
        raise SignatureMismatch(
            f"model.verify: {digest} has no signature, expected one of the key in cosignKey; "
            "sign it with `cosign sign --key cosign.key HOST/REPO@DIGEST`"
        ) from err
    problem = "it has none"
    for layer, signature in _signatures(manifest):
        payload = repository.document(layer)
        if not _is_signed(public, signature, payload):
            problem = "it is of another key"
        elif (signed := _signed_digest(payload)) != digest:
            problem = f"it is for {signed or 'something else'}"
        else:
            return
    raise SignatureMismatch(
        f"model.verify: no signature of {digest} is good, the last one: {problem}; expected one of "
        "the key in cosignKey"
    )


def public_key(file: Path) -> PublicKeyTypes:
    """Read a public key; `check_signed` says what may be raised."""
    # Late: few models are signed.
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        with file.open("rb") as opened:
            return load_pem_public_key(opened.read(_MAX_KEY_BYTES))
    except (OSError, ValueError, UnsupportedAlgorithm) as err:
        raise InvalidConfig(
            "model.verify.cosignKey: no public key can be read from it, expected PEM, "
            "-----BEGIN PUBLIC KEY-----, as in cosign.pub"
        ) from err


def _signatures(manifest: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], bytes]]:
    layers = manifest.get("layers")
    for layer in (layers if isinstance(layers, list) else [])[:_MAX_SIGNATURES]:
        if not isinstance(layer, dict) or layer.get("mediaType") != _PAYLOAD:
            continue
        annotations = layer.get("annotations")
        text = annotations.get(_ANNOTATION) if isinstance(annotations, dict) else None
        if isinstance(text, str):
            try:
                yield layer, base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError):
                continue


def _is_signed(key: PublicKeyTypes, signature: bytes, payload: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        match key:
            case EllipticCurvePublicKey():
                key.verify(signature, payload, ECDSA(SHA256()))
            case RSAPublicKey():
                key.verify(signature, payload, PKCS1v15(), SHA256())
            case Ed25519PublicKey():
                key.verify(signature, payload)
            case _:
                raise InvalidConfig(
                    f"model.verify.cosignKey: a key of type {type(key).__name__} signs nothing of "
                    "cosign's, expected ECDSA, RSA or Ed25519"
                )
    except InvalidSignature:
        return False
    return True


def _signed_digest(payload: bytes) -> str | None:
    """The digest in a document; its signature is good, so what stands there is the signer's."""
    try:
        critical = json.loads(payload)["critical"]
        if critical["type"] == _TYPE:
            return str(critical["image"]["docker-manifest-digest"])
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    return None
