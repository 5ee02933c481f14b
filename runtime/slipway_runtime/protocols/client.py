"""The client behind a request, for the one door that is in a hurry.

ASGI takes two messages and two coroutines for an answer, and says that a client is gone to nobody
but who waits for it. Our connections put this beside the request, as one of ASGI's extensions.
"""

from __future__ import annotations

from typing import Final, Protocol

from starlette.types import Scope

EXTENSION: Final = "slipway.client"


class Client(Protocol):
    """Who waits for an answer."""

    is_gone: bool

    def watch(self) -> None:
        """Cancel the task of this request when the client goes."""

    def unwatch(self) -> None:
        """Let the task run from now on."""

    def answer(self, status: int, headers: bytes, body: bytes, *, is_last: bool) -> bool:
        """Send a whole answer, and close after it when it is the last; False when it cannot now."""


def client_of(scope: Scope) -> Client | None:
    """The client behind a request; None where the server is not ours."""
    extensions = scope.get("extensions")
    found: Client | None = extensions.get(EXTENSION) if extensions else None
    return found
