"""HTTP to whoever may answer anything: images of the user's own, a Prometheus of somebody else.

An answer is bounded in bytes and time, followed nowhere else, and asked for without the proxies of
the environment. What the answer means is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp

MAX_BYTES: Final = 1 << 20
_AT_ONCE: Final = 32
_AS_IT_IS: Final = {"Accept-Encoding": "identity"}
"""What comes compressed all the same is not unpacked: a few bytes could become any number."""


class NoAnswer(Exception):
    """Nothing came in time, or more than fits."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was said."""

    status: int
    body: bytes


class BoundedClient:
    """Asks, a bounded number of times at once."""

    def __init__(self, at_once: int = _AT_ONCE, of_one_host: int = 0) -> None:
        self._at_once, self._of_one_host = at_once, of_one_host
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def ask(
        self,
        url: str,
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float,
        max_bytes: int = MAX_BYTES,
        trust: ssl.SSLContext | None = None,
    ) -> Answer:
        """Get, or post a body; `trust` says whom over TLS, if not whom the system does.

        Raises:
            NoAnswer: nothing came in time, or more than fits.
        """
        if self._session is None:  # not before there is a loop
            connector = aiohttp.TCPConnector(
                limit=self._at_once, limit_per_host=self._of_one_host, force_close=True
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                headers=_AS_IT_IS,
                auto_decompress=False,
            )
        method = "GET" if body is None else "POST"
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._session.request(
                    method,
                    url,
                    data=body,
                    headers=headers,
                    allow_redirects=False,
                    ssl=trust or True,
                ) as answer,
            ):
                return Answer(answer.status, await _read(answer, url, max_bytes))
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise NoAnswer(f"{url}: {type(error).__name__}: {error}") from error


async def _read(answer: aiohttp.ClientResponse, url: str, max_bytes: int) -> bytes:
    found = bytearray()
    async for chunk in answer.content.iter_any():
        found += chunk
        if len(found) > max_bytes:
            raise NoAnswer(f"{url}: more than {max_bytes} bytes")
    return bytes(found)


def at(host: str, port: int) -> str:
    """Base of the URLs of a pod.

    >>> at("::1", 80), at("10.0.0.1", 80)
    ('http://[::1]:80', 'http://10.0.0.1:80')
    """
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
