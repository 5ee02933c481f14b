"""Where the guard stands: ahead of everything that clients ask for, on each wire.

Health of the server may be exempt, by the very paths and methods that tell it and nothing else:
what a path means is decided by the same bytes as what it is admitted to.
"""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from slipway_runtime.authentication.guard import Guard
from slipway_runtime.errors import Unauthenticated
from slipway_runtime.protocols.wire import error_body, further_headers, status_of

_HEALTH_PATHS: Final = frozenset({b"/", b"/ping", b"/v2/health/live", b"/v2/health/ready"})
_HEALTH_METHODS: Final = frozenset(
    {
        b"/grpc.health.v1.Health/Check",
        b"/grpc.health.v1.Health/Watch",
        b"/inference.GRPCInferenceService/ServerLive",
        b"/inference.GRPCInferenceService/ServerReady",
    }
)


def exempt_methods(guard: Guard | None) -> frozenset[bytes]:
    """Name the methods of gRPC that answer everybody."""
    return _HEALTH_METHODS if guard is not None and guard.policy.exempts_health else frozenset()


class Admission:
    """Stands ahead of an application."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app: Final = app
        self._guard: Final = guard
        self._open: Final = _HEALTH_PATHS if guard.policy.exempts_health else frozenset()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope, or refuse it."""
        if scope["type"] == "http" and not self._is_open(scope):
            try:
                self._guard.check(scope["headers"])
            except Unauthenticated as err:
                await _refuse(send, err)
                return
        await self._app(scope, receive, send)

    def _is_open(self, scope: Scope) -> bool:
        return scope["method"] == "GET" and scope["raw_path"] in self._open


async def _refuse(send: Send, error: Unauthenticated) -> None:
    body, status = error_body(str(error)), status_of(error)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *further_headers(status, error),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
