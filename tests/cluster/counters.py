"""Pods' counters under a played load: the operator reads them as it reads a runtime's."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Self

PORT: Final = 8082
_RATE: Final = 100.0
"""Requests per second of each address."""


class Counters:
    """One server per address, all of them on the port that the operator reads."""

    def __init__(self, errors: dict[str, float]) -> None:
        began = time.monotonic()
        self._servers = [
            ThreadingHTTPServer((host, PORT), _handler(share, began))
            for host, share in errors.items()
        ]

    def __enter__(self) -> Self:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        for server in self._servers:
            server.shutdown()
            server.server_close()


def _handler(errors: float, began: float) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers with what has happened so far."""

        def do_GET(self) -> None:
            total = _RATE * (time.monotonic() - began)
            bad = int(total * errors)
            text = (
                "# TYPE slipway_requests_total counter\n"
                f'slipway_requests_total{{code="200",protocol="rest"}} {int(total) - bad}\n'
                f'slipway_requests_total{{code="500",protocol="rest"}} {bad}\n'
            )
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing: a test's output is for its failures."""

    return Handler
