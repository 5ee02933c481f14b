"""Read a request body under limits: encoding, size, time, and the sum of all bodies in flight."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Final

from starlette.types import Message, Receive, Scope

from slipway_runtime.errors import (
    BodyTimeout,
    InvalidRequest,
    QueueFull,
    RequestTooLarge,
    shown,
)
from slipway_runtime.units import readable_bytes

THREAD_ABOVE_BYTES: Final = 256 * 1024
"""Larger ones are parsed and written in a thread: they would hold the loop for milliseconds."""

Part = bytes | memoryview
"""A body, or a part of it. Views are of large binary bodies only: whoever reads text copies it."""


class ClientGone(Exception):
    """The client hung up before its body was complete; nobody is left to answer."""


class BodyBudget:
    """How many bytes of bodies may be held at once: many large ones must not fill the memory."""

    def __init__(self, limit_bytes: int, of: str = "request bodies") -> None:
        self.limit_bytes: Final = limit_bytes
        self._of: Final = of
        self._held_bytes = 0

    def take(self, size_bytes: int, own_bytes: int = 0) -> None:
        """Count a body, until as much is given back; a lone one always fits.

        Args:
            size_bytes: what it takes now.
            own_bytes: what it has taken before, where it comes part by part.

        Raises:
            QueueFull: others hold too much.
        """
        others = self._held_bytes > own_bytes
        if others and self._held_bytes + size_bytes > self.limit_bytes:
            raise QueueFull(
                f"server holds {readable_bytes(self._held_bytes)} of {self._of}, at most "
                f"{readable_bytes(self.limit_bytes)} may be held; retry later"
            )
        self._held_bytes += size_bytes

    def give(self, size_bytes: int) -> None:
        """Count it no more."""
        self._held_bytes -= size_bytes

    @contextmanager
    def hold(self, size_bytes: int) -> Iterator[None]:
        """Count a body while it is being answered.

        Raises:
            QueueFull: others hold too much.
        """
        self.take(size_bytes)
        try:
            yield
        finally:
            self.give(size_bytes)


class BodyLimit:
    """The rules for the bodies of one route."""

    def __init__(
        self, max_bytes: int, timeout_s: float, setting: str = "serving.maxJSONBytes"
    ) -> None:
        self.max_bytes: Final = max_bytes
        self._setting: Final = setting
        self._timeout_s: Final = timeout_s

    def announced(self, scope: Scope) -> int:
        """Bytes to reckon with, from the head alone: nothing has been read when this refuses.

        Returns:
            The Content-Length; the limit itself for a chunked body.

        Raises:
            RequestTooLarge: more is announced than allowed.
        """
        length = None
        for name, value in scope["headers"]:
            if name == b"content-length":
                length = value
        if length is None:
            return self.max_bytes
        if not length.isdigit():
            raise InvalidRequest(
                f"content-length: got {shown(length.decode('latin-1'))}, expected a number"
            )
        self._check(int(length))
        return int(length)

    async def read(self, receive: Receive) -> bytes:
        """Read the whole body.

        Raises:
            RequestTooLarge: it grows beyond the limit.
            BodyTimeout: it does not arrive in time.
            ClientGone: it ends early.
        """
        message = await receive()
        if message["type"] == "http.request" and not message.get("more_body"):
            body: bytes = message.get("body", b"")  # the usual case: it all came with the head
            self._check(len(body))
            return body
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._collect(message, receive)
        except TimeoutError as err:
            raise BodyTimeout(f"body: not complete within {self._timeout_s:g}s") from err

    async def _collect(self, message: Message, receive: Receive) -> bytes:
        collected = BytesIO()  # gives away what it has collected; a bytearray would copy megabytes
        while True:
            if message["type"] == "http.disconnect":
                raise ClientGone
            collected.write(message.get("body", b""))
            self._check(collected.tell())
            if not message.get("more_body"):
                return collected.getvalue()
            message = await receive()

    def _check(self, size_bytes: int) -> None:
        if size_bytes > self.max_bytes:
            raise RequestTooLarge(
                f"body: {size_bytes} bytes or more, expected at most {self.max_bytes}; "
                f"{self._setting} sets the limit"
            )


async def discard(receive: Receive, *, at_most_bytes: int, at_most_s: float) -> None:
    """Read on after an early answer, within bounds.

    A client that is still sending when the connection closes gets a reset, and never sees the
    answer that told it why.
    """
    try:
        async with asyncio.timeout(at_most_s):
            while at_most_bytes > 0:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body"):
                    return
                at_most_bytes -= len(message.get("body", b""))
    except TimeoutError:
        return
