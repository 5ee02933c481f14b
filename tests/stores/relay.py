"""What lies between: a line that breaks when asked to, and a proxy that makes tunnels."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.stores.serving import served

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


class Proxy(socketserver.ThreadingTCPServer):
    """Answers CONNECT alone, and leads every name to one store, as only it knows names."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, target: tuple[str, int], *, refusal: str = "") -> None:
        super().__init__((target[0], 0), _Tunnel)
        self.target, self.refusal = target, refusal
        self.asked: list[str] = []
        """First lines."""
        self.passed = bytearray()
        """What it could read of all tunnels."""

    @property
    def url(self) -> str:
        return f"http://{self.target[0]}:{self.server_address[1]}"


class _Tunnel(socketserver.BaseRequestHandler):
    server: Proxy

    def handle(self) -> None:
        head = bytearray()
        while not head.endswith(b"\r\n\r\n"):
            head += self.request.recv(1)
        line = head.split(b"\r\n")[0].decode()
        self.server.asked.append(line)
        if self.server.refusal or not line.startswith("CONNECT "):
            refusal = self.server.refusal or "405 Method Not Allowed"
            self.request.sendall(f"HTTP/1.1 {refusal}\r\nContent-Length: 0\r\n\r\n".encode())
            return
        with socket.create_connection(self.server.target) as store:
            self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            seen = self.server.passed
            asking = threading.Thread(target=_pass_on, args=(self.request, store, None, seen))
            asking.start()
            _pass_on(store, self.request, None, seen)
            with suppress(OSError):
                self.request.shutdown(socket.SHUT_RDWR)
            asking.join()


def _pass_on(
    source: socket.socket, target: socket.socket, left: int | None, seen: bytearray | None = None
) -> None:
    with suppress(OSError):
        while left is None or left > 0:
            chunk = source.recv(_CHUNK_BYTES if left is None else min(left, _CHUNK_BYTES))
            if not chunk:
                break
            if seen is not None:
                seen += chunk
            target.sendall(chunk)
            left = None if left is None else left - len(chunk)


@contextmanager
def relay(target: tuple[str, int], *, cuts: int, after_bytes: int) -> Iterator[Relay]:
    """Run a relay on a free port of the store's host."""
    with served(Relay(target, cuts=cuts, after_bytes=after_bytes)) as server:
        yield server


@contextmanager
def proxy(target: tuple[str, int], *, refusal: str = "") -> Iterator[Proxy]:
    """Run a proxy that leads to a store, or refuses."""
    with served(Proxy(target, refusal=refusal)) as server:
        yield server
