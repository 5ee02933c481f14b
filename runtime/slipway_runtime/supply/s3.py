"""Models in S3, AWS's and all that speak its language.

Lives here: addresses of objects, signatures of requests (Signature Version 4, for GET), and what
the stores' error codes mean. Streaming, ranges and retries are those of every HTTP store.

Source: Amazon S3 API Reference, "Authenticating Requests: Using the Authorization Header".
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal
from urllib.parse import parse_qsl, quote, urlsplit

import httpx

from slipway_runtime.errors import InvalidConfig
from slipway_runtime.supply.credentials import Credentials
from slipway_runtime.supply.identity import Headers, Identity
from slipway_runtime.supply.uri import ObjectURI

Addressing = Literal["Auto", "Path", "VirtualHosted"]

_EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()
_DEFAULT_REGION: Final = "us-east-1"
_CODE: Final = re.compile(rb"<Code>([A-Za-z0-9]{1,64})</Code>")
_REGION: Final = re.compile(r"[a-z0-9-]{1,32}")
_MAX_ERROR_BYTES: Final = 8192
_HINTS: Final = {
    "RequestTimeTooSkewed": "the clock of the node is wrong",
    "AccessDenied": "the key may be denied, or missing where listing is denied",
}


@dataclass(frozen=True, slots=True)
class S3Place:
    """Where a bucket is: what the Secret says, else the settings, else AWS."""

    endpoint: str | None = None
    """Base URL of a compatible store; None for AWS."""
    region: str = _DEFAULT_REGION
    addressing: Addressing = "Auto"
    """`Auto` is by path at an endpoint of one's own, and by host name at AWS."""

    def given(self, credentials: Credentials | None) -> S3Place:
        """Let the Secret have its say."""
        if credentials is None:
            return self
        return S3Place(
            credentials.get("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3") or self.endpoint,
            credentials.get("AWS_REGION", "AWS_DEFAULT_REGION") or self.region,
            self.addressing,
        )

    def url(self, bucket: str, key: str) -> str:
        """Address an object, or with an empty key its bucket.

        >>> S3Place().url("models", "a b.onnx")
        'https://models.s3.us-east-1.amazonaws.com/a%20b.onnx'
        >>> S3Place("http://minio:9000").url("models", "m.onnx")
        'http://minio:9000/models/m.onnx'

        Raises:
            InvalidConfig: the endpoint is no URL of a store.
        """
        base = self.endpoint or f"https://s3.{self.region}.amazonaws.com"
        parts = urlsplit(base)
        if parts.scheme not in ("https", "http") or not parts.netloc or "@" in parts.netloc:
            raise InvalidConfig(
                "model.credentials: AWS_ENDPOINT_URL or SLIPWAY_RUNTIME_S3_ENDPOINT is no address "
                "of a store, expected https://HOST[:PORT]"
            )
        path = parts.path.rstrip("/")
        if self._by_path(bucket):
            return f"{parts.scheme}://{parts.netloc}{path}/{bucket}/{_encoded(key)}"
        return f"{parts.scheme}://{bucket}.{parts.netloc}{path}/{_encoded(key)}"

    def _by_path(self, bucket: str) -> bool:
        if self.addressing == "Auto":
            # A wildcard certificate covers one label: a bucket with dots would be distrusted.
            return self.endpoint is not None or "." in bucket
        return self.addressing == "Path"


class SignedRequests(Identity):
    """Signs each request with an access key; knows the bucket's region after the first refusal."""

    def __init__(
        self,
        credentials: Credentials,
        region: str,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.remedy = credentials.remedy
        self._access_key: Final = credentials.get("AWS_ACCESS_KEY_ID") or ""
        self._secret_key: Final = credentials.get("AWS_SECRET_ACCESS_KEY") or ""
        self._session_token: Final = credentials.get("AWS_SESSION_TOKEN")
        self._region = region
        self._now: Final = now
        if not self._access_key or not self._secret_key:
            raise InvalidConfig(
                credentials.lacks("AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY", "neither")
            )

    def headers(self, url: str) -> Headers:
        """Sign a GET of the URL, for about a quarter of an hour."""
        moment = self._now().strftime("%Y%m%dT%H%M%SZ")
        signed = {
            "host": httpx.URL(url).netloc.decode(),
            "x-amz-content-sha256": _EMPTY_SHA256,
            "x-amz-date": moment,
        }
        if self._session_token:
            signed["x-amz-security-token"] = self._session_token
        scope = f"{moment[:8]}/{self._region}/s3/aws4_request"
        signature = self._signature(canonical_request(url, signed), moment, scope)
        names = ";".join(sorted(signed))
        authorization = (
            f"AWS4-HMAC-SHA256 Credential={self._access_key}/{scope},"
            f"SignedHeaders={names},Signature={signature}"
        )
        return {**signed, "authorization": authorization}

    def challenged(self, refusal: httpx.Response) -> bool:
        """Take the bucket's region from a refusal; it stands in a header."""
        region = refusal.headers.get("x-amz-bucket-region", self._region)
        if region == self._region or not _REGION.fullmatch(region):
            return False
        self._region = region
        return True

    def said(self, refusal: httpx.Response) -> str:
        """Quote the store's error code."""
        return said(refusal)

    def _signature(self, request: str, moment: str, scope: str) -> str:
        digest = hashlib.sha256(request.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}"
        key = f"AWS4{self._secret_key}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.digest(key, text.encode(), "sha256").hex()


class Anonymous(Identity):
    """Nobody, in words of S3."""

    remedy = "check that it may be read without credentials, or give model.credentials"

    def said(self, refusal: httpx.Response) -> str:
        """Quote the store's error code."""
        return said(refusal)


def s3_identity(credentials: Credentials | None, region: str) -> Identity:
    """Sign where the Secret has a key; one with an endpoint alone is for public buckets."""
    if credentials is None or not credentials.get("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        return Anonymous()
    return SignedRequests(credentials, region)


def s3_source(
    uri: ObjectURI, credentials: Credentials | None, place: S3Place
) -> tuple[str, Identity]:
    """Find out the URL of an object, and how to ask for it.

    Raises:
        InvalidConfig: the Secret or the settings do not tell.
    """
    found = place.given(credentials)
    return found.url(uri.bucket, uri.key), s3_identity(credentials, found.region)


def canonical_request(url: str, signed: Mapping[str, str]) -> str:
    """Write a GET as the signature sees it."""
    parts = urlsplit(url)
    query = sorted(parse_qsl(parts.query, keep_blank_values=True))
    lines = [
        "GET",
        parts.path or "/",
        "&".join(f"{_encoded(k, '')}={_encoded(v, '')}" for k, v in query),
        *(f"{name}:{signed[name]}" for name in sorted(signed)),
        "",
        ";".join(sorted(signed)),
        _EMPTY_SHA256,
    ]
    return "\n".join(lines)


def said(refusal: httpx.Response) -> str:
    """Quote status and error code of a refusal, with what is known of the code."""
    text = f"{refusal.status_code} {refusal.reason_phrase}".strip()
    found = _CODE.search(_start(refusal))
    if found is None:
        return text
    code = found[1].decode()
    hint = _HINTS.get(code)
    return f"{text} ({code}: {hint})" if hint else f"{text} ({code})"


def _start(refusal: httpx.Response) -> bytes:
    raw = bytearray()
    try:
        for chunk in refusal.iter_raw():
            raw += chunk
            if len(raw) >= _MAX_ERROR_BYTES:
                break
    except (httpx.HTTPError, httpx.StreamError):
        pass  # a refusal without its reason is a refusal
    return bytes(raw)


def _encoded(text: str, safe: str = "/") -> str:
    return quote(text, safe=f"-_.~{safe}")
