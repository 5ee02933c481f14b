"""JSON Web Tokens, judged by the public keys of who issues them. The only door to PyJWT.

Only signatures by a private key are taken: whoever has the public one could make the others. Which
algorithms may be, each key says by its kind; what a token says of itself only chooses among them.
A token that was valid is remembered until it expires, so that only its first request is slow.

Source: RFC 7519 (JWT), RFC 7517 (JWK), RFC 8725 (best practices).
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from time import time
from typing import Any, Final, NamedTuple

import jwt

from slipway_runtime.authentication.policy import Policy
from slipway_runtime.authentication.shown import MISSING_BEARER, bearer_token
from slipway_runtime.errors import ConfigError, shown

MAX_KEYS: Final = 64
MAX_TOKEN_BYTES: Final = 8 * 1024
LEEWAY_S: Final = 30
"""By how much the clocks of issuer and pod may differ."""

_MAX_TRIES: Final = 4
"""Keys that a token may be tried with: each costs time, and anybody may send one."""
_REMEMBERED: Final = 4096
_MIN_RSA_BITS: Final = 2048
_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES: Final[Mapping[str, tuple[str, ...]]] = {
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA",),
}
_WORDS: Final[Mapping[type[Exception], str]] = {
    jwt.ExpiredSignatureError: "the token has expired",
    jwt.ImmatureSignatureError: "the token is not valid yet",
    jwt.InvalidAudienceError: "the token is for another audience",
    jwt.InvalidIssuerError: "the token is of another issuer",
    jwt.InvalidSignatureError: "the token has no valid signature",
    jwt.MissingRequiredClaimError: "the token lacks a claim: exp, iss and aud are expected",
}
"""Of PyJWT's errors, those that a client may want to know; never their own words."""
_INVALID: Final = "the token is not valid"
_DAMAGED: Final = (
    jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError,
)  # fmt: skip
"""What a token can make PyJWT raise: endless numbers and deep nesting are none of its errors."""
_UNKNOWN_KEY: Final = "the token is signed with a key that is not known here"


class _Key(NamedTuple):
    name: str | None
    algorithms: tuple[str, ...]
    key: Any
    """Of the library that computes; what it may verify stands in `algorithms`."""


class Tokens:
    """Knows whose tokens are valid."""

    def __init__(self, policy: Policy, keys: Iterable[_Key]) -> None:
        self._keys: Final = tuple(keys)
        self._issuer: Final = policy.issuer
        self._audience: Final = policy.audience
        self._valid: Final[OrderedDict[bytes, float]] = OrderedDict()
        """Tokens by their hash, and when each expires."""

    def __len__(self) -> int:
        return len(self._keys)

    def fault(self, authorization: bytes | None, api_key: bytes | None) -> str:
        """Say what is wrong with the token that was shown; nothing when it is valid."""
        token = bearer_token(authorization)
        if token is None:
            return MISSING_BEARER
        if len(token) > MAX_TOKEN_BYTES:
            return f"the token is longer than {MAX_TOKEN_BYTES} bytes"
        known = hashlib.sha256(token).digest()
        expires_s = self._valid.get(known)
        if expires_s is not None and time() < expires_s:
            return ""
        self._valid.pop(known, None)
        return self._judged(token, known)

    def _judged(self, token: bytes, known: bytes) -> str:
        try:
            claims = self._claims(token)
        except _UnknownKey:
            return _UNKNOWN_KEY
        except _DAMAGED as err:
            return _WORDS.get(type(err), _INVALID)
        self._valid[known] = float(claims["exp"]) + LEEWAY_S
        if len(self._valid) > _REMEMBERED:
            self._valid.popitem(last=False)
        return ""

    def _claims(self, token: bytes) -> dict[str, Any]:
        """Verify the signature first, then what the token says.

        Raises:
            jwt.PyJWTError: it is not valid.
            _UnknownKey: no key of ours may have signed it.
        """
        *others, last = self._keys_for(jwt.get_unverified_header(token))
        for key in others:
            try:
                return self._verified(token, key)
            except jwt.InvalidSignatureError:
                continue
        return self._verified(token, last)

    def _keys_for(self, header: Mapping[str, Any]) -> list[_Key]:
        algorithm, name = header.get("alg"), header.get("kid")
        found = [
            key
            for key in self._keys
            if algorithm in key.algorithms and (name is None or key.name in (None, name))
        ]
        if not found or len(found) > _MAX_TRIES:
            raise _UnknownKey
        return found

    def _verified(self, token: bytes, key: _Key) -> dict[str, Any]:
        claims: dict[str, Any] = jwt.decode(
            token,
            key.key,
            algorithms=list(key.algorithms),
            audience=self._audience,
            issuer=self._issuer,
            leeway=LEEWAY_S,
            options={"require": ["exp", "iss", "aud"]},
        )
        return claims


class _UnknownKey(Exception):
    """No key of ours may have signed a token."""


def tokens_of(policy: Policy, files: Mapping[str, bytes]) -> Tokens:
    """Read a JSON Web Key Set, the only file.

    Raises:
        ConfigError: there is none, it is no such set, or holds a key that is no secret's public
            half.
    """
    if len(files) != 1:
        raise ConfigError(f"authentication: got {len(files)} files, expected one with a JWKS")
    [content] = files.values()
    try:
        entries = json.loads(content)["keys"]
    except (ValueError, RecursionError, KeyError, TypeError) as err:
        raise ConfigError('authentication: no JWKS, expected {"keys": [...]}') from err
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise ConfigError(f"authentication: JWKS: expected a list of at most {MAX_KEYS} keys")
    found = (_read(place, entry) for place, entry in enumerate(entries))
    return Tokens(policy, [key for key in found if key is not None])


def _read(place: int, entry: object) -> _Key | None:
    """One key; None where it is for something else, as RFC 7517 (section 5) has it.

    Raises:
        ConfigError: it is a secret, too weak, or damaged.
    """
    where = f"authentication: JWKS: key {place}"
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where}: got {type(entry).__name__}, expected an object")
    if entry.get("kty") == "oct" or "d" in entry:
        raise ConfigError(f"{where}: is a secret, expected a public key")
    algorithms = _algorithms(entry)
    if not algorithms or entry.get("use", "sig") != "sig":
        return None
    try:
        key = jwt.PyJWK(dict(entry), algorithms[0]).key
    except (jwt.PyJWTError, ValueError, TypeError) as err:
        raise ConfigError(f"{where}: damaged ({type(err).__name__})") from err
    if entry["kty"] == "RSA" and key.key_size < _MIN_RSA_BITS:
        raise ConfigError(f"{where}: has {key.key_size} bits, expected at least {_MIN_RSA_BITS}")
    name = entry.get("kid")
    if name is not None and not isinstance(name, str):
        raise ConfigError(f"{where}: kid: got {shown(name)}, expected text")
    return _Key(name, algorithms, key)


def _algorithms(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """What a key may have signed with: by its kind, and by what it says of itself."""
    kind, curve, said = (entry.get(name) for name in ("kty", "crv", "alg"))
    possible: tuple[str, ...] = _RSA if kind == "RSA" else ()
    if kind in ("EC", "OKP") and isinstance(curve, str):
        possible = _CURVES.get(curve, ())
    return possible if said is None else tuple(name for name in possible if name == said)
