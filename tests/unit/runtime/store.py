"""A real HTTP server whose answers a test writes, the bad ones too."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event

from tests.stores.serving import served

Answer = Callable[[BaseHTTPRequestHandler], None]


class StoreDouble(ThreadingHTTPServer):
    """Answers each path with the next of its answers; the last one repeats."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, list[Answer]] = {}
        self.seen: list[tuple[str, dict[str, str]]] = []

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def url(self, path: str) -> str:
        return f"http://{self.host}{path}"

    def headers_of(self, path: str) -> list[dict[str, str]]:
        """The headers of each request for a path, names in lower case."""
        return [headers for seen, headers in self.seen if seen.partition("?")[0] == path]

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what some tests want."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StoreDouble

    def do_GET(self) -> None:
        self.server.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
        answers = self.server.answers.get(self.path.partition("?")[0], [says(404)])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        answer(self)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: the test says what matters."""


@contextmanager
def store() -> Iterator[StoreDouble]:
    """A store on a free port."""
    with served(StoreDouble()) as server:
        yield server


def says(status: int, body: bytes = b"", **headers: str) -> Answer:
    """A whole answer with a status; header names are written with underscores."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        _start(request, status, len(body), headers)
        request.wfile.write(body)

    return answer


def sends(content: bytes, **headers: str) -> Answer:
    """A file; a range is honoured when If-Range names the file's ETag."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        start = _wanted_start(request, headers.get("ETag"))
        if start is None:
            _start(request, 200, len(content), headers)
        else:
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            _start(request, 206, len(content) - start, {**headers, "Content_Range": span})
        request.wfile.write(content[start or 0 :])

    return answer


def cuts(content: bytes, after: int, **headers: str) -> Answer:
    """A file whose connection breaks after so many bytes."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        start = _wanted_start(request, headers.get("ETag")) or 0
        _start(
            request,
            206 if start else 200,
            len(content) - start,
            {**headers, **_span(start, content)},
        )
        request.wfile.write(content[start:after])
        request.wfile.flush()
        request.close_connection = True
        request.connection.shutdown(socket.SHUT_RDWR)

    return answer


def redirects(location: str, status: int = 302) -> Answer:
    """A redirect."""
    return says(status, Location=location)


def _span(start: int, content: bytes) -> dict[str, str]:
    return {"Content_Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}


def _wanted_start(request: BaseHTTPRequestHandler, etag: str | None) -> int | None:
    wanted = request.headers.get("Range", "")
    if not wanted.startswith("bytes=") or request.headers.get("If-Range") != etag:
        return None
    return int(wanted.removeprefix("bytes=").rstrip("-"))


def _start(
    request: BaseHTTPRequestHandler, status: int, length: int, headers: dict[str, str]
) -> None:
    request.send_response(status)
    for name, value in {"Content_Length": str(length), **headers}.items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()


def hangs(content: bytes, asked: Event, released: Event) -> Answer:
    """Begin an answer, say so, and go no further until it is released."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content[:50])
        asked.set()
        released.wait(30)

    return answer
