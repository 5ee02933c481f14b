"""What every answer of the client port carries: which revision answered, and when to move on."""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from slipway_runtime.inference.dataplane import DataPlane

Headers = list[tuple[bytes, bytes]]
CLOSE: Final = (b"connection", b"close")


class Stamp:
    """The revision's headers, and whether an answer is the last of its connection.

    While draining, clients that keep connections alive would otherwise stay with a pod that is
    about to go.
    """

    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane: Final = dataplane
        self._headers: Final = _fixed_headers(dataplane)
        self._written: tuple[str, bytes] = ("", b"")

    @property
    def is_last(self) -> bool:
        """Asked as the answer leaves: draining may have begun since the request came."""
        return self._dataplane.is_draining

    def headers(self, revision: str | None) -> Headers:
        """The headers of an answer by this revision; by default the one that is asked now."""
        return [*self._headers, (b"x-model-revision", (revision or self._revision()).encode())]

    def block(self, revision: str | None) -> bytes:
        """The same as they stand in the answer."""
        revision = revision or self._revision()
        known, block = self._written
        if known != revision:
            block = b"".join(b"%s: %s\r\n" % pair for pair in self.headers(revision))
            self._written = (revision, block)
        return block

    def _revision(self) -> str:
        model = self._dataplane.loaded
        return model.origin.revision if model else self._dataplane.config.revision


class Envelope:
    """Stamps the answers of an application."""

    def __init__(self, app: ASGIApp, stamp: Stamp) -> None:
        self._app: Final = app
        self._stamp: Final = stamp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._stamp.headers(None)]
                if self._stamp.is_last:
                    message["headers"].append(CLOSE)
            await send(message)

        await self._app(scope, receive, stamped)


def _fixed_headers(dataplane: DataPlane) -> Headers:
    config = dataplane.config
    headers = [(b"x-model-name", config.name.encode())]
    label = config.model.version
    return headers if not label else [*headers, (b"x-model-version", label.encode("ascii"))]
