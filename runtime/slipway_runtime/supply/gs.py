"""Models in Google Cloud Storage: addresses of objects, and tokens for a service account.

Source: Cloud Storage, "JSON API, Objects: get"; RFC 7523, "Using JWTs as Authorization Grants".
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from time import time
from typing import Any, Final
from urllib.parse import quote, urlsplit

import httpx

from slipway_runtime.errors import AccessDenied, InvalidConfig
from slipway_runtime.extras import require
from slipway_runtime.supply.credentials import Credentials
from slipway_runtime.supply.http import Interrupted, Store, is_transient
from slipway_runtime.supply.identity import Headers, Identity
from slipway_runtime.supply.uri import ObjectURI, is_loopback, redacted

ENDPOINT: Final = "https://storage.googleapis.com"
_SCOPE: Final = "https://www.googleapis.com/auth/devstorage.read_only"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_KEY: Final = "key.json"
_LIFETIME_S: Final = 600


def gs_source(
    uri: ObjectURI, credentials: Credentials | None, store: Store, endpoint: str | None
) -> tuple[str, Identity]:
    """Find out the URL of an object, and how to ask for it.

    Raises:
        InvalidConfig: the Secret has no key of a service account.
        MissingExtra: what signs with such a key is not installed.
        AccessDenied: Google does not take the key.
    """
    base = (endpoint or ENDPOINT).rstrip("/")
    url = f"{base}/storage/v1/b/{uri.bucket}/o/{quote(uri.key, safe='')}?alt=media"
    return url, gs_identity(credentials, store)


def gs_identity(credentials: Credentials | None, store: Store) -> Identity:
    """Be nobody, or the service account of the Secret.

    Raises:
        MissingExtra: what signs for an account is not installed.
    """
    if credentials is None:
        return Identity()
    require("model.credentials for gs://", "cryptography")
    return ServiceAccount(credentials, store)


class ServiceAccount(Identity):
    """Shows a token that was got for a signed request; gets a new one when it is refused."""

    def __init__(self, credentials: Credentials, store: Store) -> None:
        self.remedy = credentials.remedy
        self._credentials: Final = credentials
        self._store: Final = store
        self._token: str | None = None

    def headers(self, url: str) -> Headers:
        """Show the token."""
        if self._token is None:
            self._token = self._fresh_token()
        return {"authorization": f"Bearer {self._token}"}

    def challenged(self, refusal: httpx.Response) -> bool:
        """A download may take longer than a token is good for."""
        if refusal.status_code != 401:
            return False
        self._token = None
        return True

    def _fresh_token(self) -> str:
        account = _account(self._credentials)
        url = account["token_uri"]
        form = {"grant_type": _GRANT, "assertion": assertion(account, int(time()))}
        answer = self._store.post(url, form)
        if is_transient(answer.status_code):
            raise Interrupted(f"{redacted(url)!r} answers {answer.status_code}")
        if answer.status_code != 200:
            raise AccessDenied(
                f"model.credentials: {redacted(url)!r} answers {self.said(answer)} to the key of "
                f"{account['client_email']!r}; {self.remedy}"
            )
        try:
            token = answer.json()["access_token"]
        except (ValueError, KeyError, TypeError) as err:
            raise Interrupted(f"{redacted(url)!r} gives no token") from err
        return str(token)


def assertion(account: Mapping[str, str], now_s: int) -> str:
    """Sign a request for a token with the account's key.

    Raises:
        InvalidConfig: the key is none.
    """
    # Late: no other source needs it.
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(account["private_key"].encode(), password=None)
    except (ValueError, TypeError) as err:
        raise InvalidConfig(f"model.credentials: private_key of {_KEY} cannot be read") from err
    if not isinstance(key, RSAPrivateKey):
        raise InvalidConfig(f"model.credentials: private_key of {_KEY} is not an RSA key")
    head = {"alg": "RS256", "typ": "JWT", "kid": account.get("private_key_id", "")}
    claims = {
        "iss": account["client_email"],
        "scope": _SCOPE,
        "aud": account["token_uri"],
        "iat": now_s,
        "exp": now_s + _LIFETIME_S,
    }
    signed = f"{_encoded(json.dumps(head))}.{_encoded(json.dumps(claims))}"
    return f"{signed}.{_encoded(key.sign(signed.encode(), PKCS1v15(), SHA256()))}"


def _account(credentials: Credentials) -> Mapping[str, str]:
    """Read the file that Google hands out for a service account."""
    text = credentials.get(_KEY)
    if text is None:
        raise InvalidConfig(credentials.lacks(_KEY))
    try:
        read: Any = json.loads(text)
        account = {k: v for k, v in read.items() if isinstance(v, str)}
    except (ValueError, AttributeError) as err:
        raise InvalidConfig(f"{_not_an_account(credentials)}, expected JSON") from err
    for field in ("client_email", "private_key", "token_uri"):
        if not account.get(field):
            raise InvalidConfig(f"{_not_an_account(credentials)}: it has no {field}")
    parts = urlsplit(account["token_uri"])
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise InvalidConfig(f"{_not_an_account(credentials)}: its token_uri is not https://")
    return account


def _not_an_account(credentials: Credentials) -> str:
    return (
        f"model.credentials: {_KEY} of Secret {credentials.name!r} is no key of a service account"
    )


def _encoded(part: str | bytes) -> str:
    raw = part.encode() if isinstance(part, str) else part
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
