"""API keys: as they are written down, and as they are known while we serve.

What is kept of a key is a hash, made with a secret of this process: nobody outside can choose a key
by the beginning of its hash, so that looking one up tells nothing by the time it takes, and costs
the same whether there is one key or a thousand.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from hmac import compare_digest
from typing import Final

from slipway_runtime.authentication.shown import MISSING_KEY, bearer_token
from slipway_runtime.errors import ConfigError, shown

MIN_CHARACTERS: Final = 16
"""Fewer could be guessed."""
MAX_CHARACTERS: Final = 512
_WRONG: Final = "credentials: the key is not valid"
_BUCKET_BYTES: Final = 8
_NOBODY: Final = bytes(32)


class ApiKeys:
    """Knows which keys are valid, and none of them."""

    def __init__(self, keys: Iterable[bytes]) -> None:
        self._secret: Final = os.urandom(32)
        hashes = map(self._hash, keys)
        self._known: Final = {digest[:_BUCKET_BYTES]: digest for digest in hashes}

    def __len__(self) -> int:
        return len(self._known)

    def fault(self, authorization: bytes | None, api_key: bytes | None) -> str:
        """Say what is wrong with the credentials that were shown; nothing when they are valid."""
        token = bearer_token(authorization)
        if api_key is None and token is None:
            return MISSING_KEY
        # Both are looked up, whatever the first one comes to.
        return "" if self._has(api_key) | self._has(token) else _WRONG

    def _has(self, key: bytes | None) -> bool:
        if key is None or len(key) > MAX_CHARACTERS:
            return False
        digest = self._hash(key)
        return compare_digest(self._known.get(digest[:_BUCKET_BYTES], _NOBODY), digest)

    def _hash(self, key: bytes) -> bytes:
        return hashlib.blake2b(key, digest_size=32, key=self._secret).digest()


def keys_of_secret(files: Mapping[str, bytes]) -> ApiKeys:
    """Take every value of a Secret as a key; line breaks at its end are not part of it.

    Raises:
        ConfigError: one of them is no key, by its name.
    """
    return ApiKeys([_checked(name, content) for name, content in files.items()])


def keys_of_lines(files: Mapping[str, bytes]) -> ApiKeys:
    """Take every line of a file as a key; empty lines and those that begin with # are none.

    Raises:
        ConfigError: one of them is no key, by its number.
    """
    lines = [
        (f"line {number}", line)
        for content in files.values()
        for number, line in enumerate(content.splitlines(), start=1)
        if line.strip() and not line.startswith(b"#")
    ]
    return ApiKeys([_checked(name, line) for name, line in lines])


def _checked(name: str, content: bytes) -> bytes:
    """A key that a header can carry. What it is never stands in a message."""
    key = content.strip()
    if not MIN_CHARACTERS <= len(key) <= MAX_CHARACTERS:
        raise ConfigError(
            f"authentication: key {shown(name)} has {len(key)} characters, "
            f"expected {MIN_CHARACTERS} to {MAX_CHARACTERS}"
        )
    if any(not 0x21 <= byte <= 0x7E for byte in key):
        raise ConfigError(
            f"authentication: key {shown(name)} has white space, or characters beyond ASCII; "
            "expected letters, digits and signs, such as those of openssl rand -hex 32"
        )
    return key
