"""A line that breaks: passes bytes on to a store, and cuts what is under way when asked to."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK_BYTES = 65536


class Relay(socketserver.ThreadingTCPServer):
    """Cuts each of its first connections after so many bytes of answer."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, target: tuple[str, int], *, cuts: int, after_bytes: int) -> None:
        super().__init__((target[0], 0), _Line)
        self.target, self.cuts, self.after_bytes = target, cuts, after_bytes
        self.connections = 0

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Line(socketserver.BaseRequestHandler):
    server: Relay

    def handle(self) -> None:
        self.server.connections += 1
        left = self.server.after_bytes if self.server.connections <= self.server.cuts else None
        with socket.create_connection(self.server.target) as store:
            asking = threading.Thread(target=_pass_on, args=(self.request, store, None))
            asking.start()
            _pass_on(store, self.request, left)
            with suppress(OSError):
                self.request.shutdown(socket.SHUT_RDWR)
            with suppress(OSError):
                store.shutdown(socket.SHUT_RDWR)
            asking.join()


def _pass_on(source: socket.socket, target: socket.socket, left: int | None) -> None:
    with suppress(OSError):
        while left is None or left > 0:
            chunk = source.recv(_CHUNK_BYTES if left is None else min(left, _CHUNK_BYTES))
            if not chunk:
                break
            target.sendall(chunk)
            left = None if left is None else left - len(chunk)


@contextmanager
def relay(target: tuple[str, int], *, cuts: int, after_bytes: int) -> Iterator[Relay]:
    """Run a relay on a free port of the store's host."""
    with Relay(target, cuts=cuts, after_bytes=after_bytes) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
