"""Look at the signatures of an OCI artifact, as cosign writes them, with a given public key.

A signature is an artifact of its own beside the signed one. Of cosign 2, a tag says which digest is
signed, each layer is a small document with that digest, and its annotation is the signature over
the bytes of the document. Of cosign 3, the registry lists what refers to the digest, and the layer
is a bundle (`bundle.py`). Nothing else is asked: no transparency log, no certificates, no
identities.

Source: sigstore/cosign, "SIGNATURE_SPEC.md"; containers/image, "containers-signature(5)" for the
document.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from slipway_runtime.errors import InvalidConfig, NotFound, SignatureMismatch, Unsupported
from slipway_runtime.supply.bundle import KIND, claimed, stated_digest

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
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

    def referrers(self, digest: str, kind: str) -> Sequence[str]:
        """Digests of the artifacts of a kind that refer to another one."""


class _Signature(NamedTuple):
    content: bytes
    signature: bytes
    digest: Callable[[], str | None]
    """What is signed, to be asked once the signature is good: so far it is anybody's word."""


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
    problem = None
    for found in chain(_tagged(repository, digest), _bundled(repository, digest)):
        if not _is_signed(public, found.signature, found.content):
            problem = f"it is {_stranger(public)}"
        elif (signed := found.digest()) != digest:
            problem = f"it is for {signed or 'something else'}"
        else:
            return
    if problem is None:
        raise SignatureMismatch(
            f"model.verify: {digest} has no signature, expected one of the key in cosignKey; "
            "sign it with `cosign sign --key cosign.key HOST/REPO@DIGEST`"
        )
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


def _tagged(repository: Repository, digest: str) -> Iterator[_Signature]:
    """What cosign 2 has written."""
    try:
        manifest, _ = repository.manifest(f"{digest.replace(':', '-')}.sig")
    except NotFound:
        return
    for layer in _layers(manifest, _PAYLOAD):
        annotations = layer.get("annotations")
        text = annotations.get(_ANNOTATION) if isinstance(annotations, dict) else None
        try:
            signature = base64.b64decode(str(text), validate=True)
        except (binascii.Error, ValueError):
            continue
        payload = repository.document(layer)
        yield _Signature(payload, signature, partial(_signed_digest, payload))


def _bundled(repository: Repository, digest: str) -> Iterator[_Signature]:
    """What cosign 3 has written."""
    for artifact in repository.referrers(digest, KIND)[:_MAX_SIGNATURES]:
        try:
            manifest, _ = repository.manifest(artifact)
            documents = [repository.document(layer) for layer in _layers(manifest, KIND)]
        except (NotFound, Unsupported):  # somebody's leftover hides no other
            continue
        for claim in filter(None, map(claimed, documents)):
            about = partial(stated_digest, claim.payload, digest)
            yield _Signature(claim.content, claim.signature, about)


def _layers(manifest: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    layers = manifest.get("layers")
    found = (layers if isinstance(layers, list) else [])[:_MAX_SIGNATURES]
    return [x for x in found if isinstance(x, dict) and x.get("mediaType") == kind]


def _stranger(key: PublicKeyTypes) -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if isinstance(key, Ed25519PublicKey):
        return (
            "of another key, or Ed25519ph, which cosign 3 makes of such keys and nobody reads here"
        )
    return "of another key"


def _is_signed(key: PublicKeyTypes, signature: bytes, payload: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        match key:
            case EllipticCurvePublicKey():
                _verify_curve(key, signature, payload)
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


def _verify_curve(key: EllipticCurvePublicKey, signature: bytes, content: bytes) -> None:
    """Verify with SHA-256, as cosign 2 signs by any curve, or the curve's own, as cosign 3 does."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512

    own = {384: SHA384(), 521: SHA512()}.get(key.key_size)
    try:
        key.verify(signature, content, ECDSA(SHA256()))
    except InvalidSignature:
        if own is None:
            raise
        key.verify(signature, content, ECDSA(own))


def _signed_digest(payload: bytes) -> str | None:
    """The digest in a document; its signature is good, so what stands there is the signer's."""
    try:
        critical = json.loads(payload)["critical"]
        if critical["type"] == _TYPE:
            return str(critical["image"]["docker-manifest-digest"])
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    return None
