"""HTTPS servers of the tests' own: what answers is a function of the request."""

from __future__ import annotations

import hashlib
import ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.stores.authority import Certificate


class SecureServer(ThreadingHTTPServer):
    """Answers GET and POST with `answer`, which its kinds write."""

    daemon_threads = True

    def __init__(self, host: str, shown: Certificate) -> None:
        super().__init__((host, 0), _Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(shown.file, shown.key)
        # In the connection's own thread: a client that does not trust us holds up nobody.
        self.socket = context.wrap_socket(
            self.socket, server_side=True, do_handshake_on_connect=False
        )
        self.address = (host, int(self.server_address[1]))

    @property
    def base(self) -> str:
        return f"https://{self.address[0]}:{self.address[1]}"

    def answer(self, request: Request) -> None:
        raise NotImplementedError

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that do not trust us hang up."""


class Request(BaseHTTPRequestHandler):
    """One request, and how to answer it."""

    protocol_version = "HTTP/1.1"
    body = b""

    def says(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def sends(self, content: bytes) -> None:
        """Send a file, or the rest of it."""
        tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        span = self.headers.get("Range", "")
        if not span or self.headers.get("If-Range") != tag:
            self.says(200, content, ETag=tag)
            return
        start = int(span.removeprefix("bytes=").rstrip("-"))
        place = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.says(206, content[start:], ETag=tag, Content_Range=place)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


class _Handler(Request):
    server: SecureServer

    def do_GET(self) -> None:
        self.server.answer(self)

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.answer(self)
