"""Keys, tokens, and volumes as the kubelet mounts them, for tests of authentication."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from time import time
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

ISSUER: Final = "https://issuer.test"
AUDIENCE: Final = "digits"
_versions = itertools.count(1)


def mount(folder: Path, files: Mapping[str, bytes | str]) -> Path:
    """Put files into a volume the way the kubelet does: all of them at once, by moving a link."""
    folder.mkdir(exist_ok=True)
    version = folder / f"..2026_{next(_versions)}"
    version.mkdir()
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        (version / name).write_bytes(data)
    link = folder / "..data_tmp"
    link.symlink_to(version.name)
    os.replace(link, folder / "..data")
    for name in files:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    return folder


class Issuer:
    """Who signs tokens: keys of several kinds, by name."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {
            "rsa": rsa.generate_private_key(public_exponent=65537, key_size=2048),
            "ec": ec.generate_private_key(ec.SECP256R1()),
            "ed": ed25519.Ed25519PrivateKey.generate(),
        }

    def jwks(self, *names: str, **changes: Any) -> str:
        """The public keys, as an issuer publishes them."""
        return json.dumps({"keys": [self.public(n, **changes) for n in names or self.keys]})

    def public(self, name: str, **changes: Any) -> dict[str, Any]:
        """One public key."""
        kinds: dict[str, Any] = {
            "rsa": jwt.algorithms.RSAAlgorithm,
            "ec": jwt.algorithms.ECAlgorithm,
            "ed": jwt.algorithms.OKPAlgorithm,
        }
        told = kinds[name].to_jwk(self.keys[name].public_key(), as_dict=True)
        return {**told, "kid": name, "use": "sig", **changes}

    def token(
        self,
        name: str = "rsa",
        algorithm: str = "RS256",
        *,
        key: Any = None,
        headers: Mapping[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """A token that is good for a minute, with changes; None removes a claim."""
        now = time()
        good = {"iss": ISSUER, "aud": AUDIENCE, "exp": now + 60, "nbf": now - 1, "sub": "alice"}
        said = {k: v for k, v in {**good, **claims}.items() if v is not None}
        told = {k: v for k, v in {"kid": name, **(headers or {})}.items() if v is not None}
        return jwt.encode(said, key or self.keys[name], algorithm, headers=told)
