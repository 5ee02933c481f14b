"""What a request shows of itself: credentials in its head, and nowhere else."""

from __future__ import annotations

from typing import Final

AUTHORIZATION: Final = b"authorization"
API_KEY: Final = b"x-api-key"

MISSING_KEY: Final = (
    "credentials: none, expected Authorization: Bearer KEY or X-API-Key: KEY; the query is not read"
)
MISSING_BEARER: Final = (
    "credentials: none, expected Authorization: Bearer TOKEN; the query is not read"
)
_SCHEME: Final = b"bearer "


def bearer_token(authorization: bytes | None) -> bytes | None:
    """Take the token out of the header Authorization; None where it has another scheme.

    >>> bearer_token(b"Bearer abc"), bearer_token(b"Basic YTpi"), bearer_token(None)
    (b'abc', None, None)
    """
    if authorization is None or authorization[: len(_SCHEME)].lower() != _SCHEME:
        return None
    return authorization[len(_SCHEME) :].strip()
