"""What every answer of the client port carries: which revision answered, and when to move on."""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from slipway_runtime.inference.dataplane import DataPlane

Headers = list[tuple[bytes, bytes]]


class Envelope:
    """Adds the revision's headers, and `Connection: close` while draining.

    Clients that keep connections alive would otherwise stay with a pod that is about to go.
    """

    def __init__(self, app: ASGIApp, dataplane: DataPlane) -> None:
        self._app: Final = app
        self._dataplane: Final = dataplane
        self._headers: Final = _revision_headers(dataplane)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""

        async def stamped(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._headers]
                # Asked as the answer leaves: draining may have begun since the request came.
                if self._dataplane.is_draining:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        await self._app(scope, receive, stamped)


def _revision_headers(dataplane: DataPlane) -> Headers:
    config = dataplane.config
    headers = [
        (b"x-model-name", config.name.encode()),
        (b"x-model-revision", config.revision.encode()),
    ]
    label = config.model.version
    return headers if not label else [*headers, (b"x-model-version", label.encode("ascii"))]
