"""How a store knows who asks: headers for each attempt, and what a refusal may change in them.

Lives here: nobody, and a name or token that is simply shown. Signatures and tokens that have to be
fetched live with their stores (`s3.py`, `gs.py`, `oci.py`).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from slipway_runtime.errors import InvalidConfig

if TYPE_CHECKING:
    import httpx

    from slipway_runtime.supply.credentials import Credentials

_CODE: Final = re.compile(r"[A-Za-z]{1,64}")
Headers = Mapping[str, str]


class Identity:
    """Nobody: what anybody may read. The others are kinds of it."""

    remedy = "check that it may be read without credentials"
    """What a person does about a refusal."""

    def headers(self, url: str) -> Headers:
        """Make the headers of one attempt; they may be bound to the URL and to the moment."""
        return {}

    def challenged(self, refusal: httpx.Response) -> bool:
        """Take in what a refusal tells; True where asking again at once may help.

        Raises:
            SupplyError: it tells that nothing will.
        """
        return False

    def said(self, refusal: httpx.Response) -> str:
        """Quote a refusal; its body is not read yet."""
        text = f"{refusal.status_code} {refusal.reason_phrase}".strip()
        code = refusal.headers.get("x-error-code", "")  # the Hugging Face Hub's
        return f"{text} ({code})" if _CODE.fullmatch(code) else text


class Shown(Identity):
    """One header, the same for every request."""

    def __init__(self, authorization: str, *, remedy: str) -> None:
        self._authorization: Final = authorization
        self.remedy = remedy

    def headers(self, url: str) -> Headers:
        """Show it."""
        return {"authorization": self._authorization}


def http_identity(credentials: Credentials | None) -> Identity:
    """Read a bearer `token`, or `username` and `password`.

    Raises:
        InvalidConfig: the Secret has neither.
    """
    if credentials is None:
        return Identity()
    if token := credentials.get("token"):
        return Shown(f"Bearer {token}", remedy=credentials.remedy)
    if login := credentials.login():
        return Shown(basic(*login), remedy=credentials.remedy)
    raise InvalidConfig(credentials.lacks("token", "username and password"))


def basic(username: str, password: str) -> str:
    """Write a name and a password as HTTP wants them.

    >>> basic("me", "secret")
    'Basic bWU6c2VjcmV0'

    Source: RFC 7617.
    """
    return f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"
